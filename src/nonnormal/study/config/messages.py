"""Messages for mistakes in a study file: the key, what was found, what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from nonnormal.files import own
from nonnormal.study.config.sections import FEATURES, NAME_PATTERN, NAME_RULE
from nonnormal.study.config.settings import Run
from nonnormal.study.config.values import Settings

_LONGEST = 1500


def explain(details: Sequence[Mapping[str, Any]], raw: Any, model: type[Settings]) -> list[tuple[tuple, str]]:
    """(key as a path, message) for each mistake that pydantic found in `raw`, without repetitions.

    pydantic reports a mistake in the defaults for each run that inherits it, and one in a value of several allowed
    kinds for each kind; here it is reported once.
    """
    found: dict[tuple, list[Mapping[str, Any]]] = {}
    for detail in details:
        found.setdefault(_key(detail["loc"], model), []).append(detail)
    of_defaults = {(key[1:], detail["msg"]) for key in found if key[:1] == ("defaults",) for detail in found[key]}
    said = []
    for key, same in found.items():
        below = _in_a_run(key, model)
        if below is not None and (not below or not _has(raw, key)):
            same = [detail for detail in same if (below, detail["msg"]) not in of_defaults]
        one_kind = all(detail["loc"] == key for detail in same)
        deeper = any(len(other) > len(key) and other[: len(key)] == key for other in found)
        if deeper:  # pydantic calls a list too short if its items are wrong
            same = [detail for detail in same if detail["type"] != "too_short"]
        if one_kind:
            said += [(key, _sentence(key, detail, model)) for detail in same]
        elif same and not deeper:
            first, *others = dict.fromkeys(map(_allowed, same))
            allowed = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
            said.append((key, _sentence(key, same[0], model, allowed)))
    return said


_KIND = re.compile(
    r"\[key\]|float|int|constrained-\w+|(literal|tuple|function-\w+|constrained-\w+)\W.*|classifier|inception"
)


def _key(location: tuple, model: type[Settings]) -> tuple:
    """The location without the kinds of values that pydantic tries there; names in the study are kept."""
    return tuple(
        part
        for i, part in enumerate(location)
        if not (isinstance(part, str) and _KIND.fullmatch(part)) or _is_named(_at(location[:i], model))
    )


def _in_a_run(key: tuple, model: type[Settings]) -> tuple | None:
    """The path within a run, None outside of runs."""
    for i in range(1, len(key)):
        if _is_named(hint := _at(key[:i], model)) and get_args(hint)[1] is Run:
            return key[i + 1 :]
    return None


def _has(raw: Any, key: tuple) -> bool:
    """Whether the raw study itself has the key."""
    for part in key:
        if not isinstance(raw, Mapping) or part not in raw:
            return isinstance(raw, list)
        raw = raw[part]
    return True


def _sentence(path: tuple, detail: Mapping[str, Any], model: type[Settings], allowed: str | None = None) -> str:
    """One mistake: key, what was found, what is allowed."""
    key = ".".join(map(str, path)) or "the file"
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed here: {', '.join(_at(detail['loc'][:-1], model).model_fields)}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    found, message = _shown(detail["input"]), allowed or _allowed(detail)
    if detail["type"] == "model_type" and (fields := getattr(_at(detail["loc"], model), "model_fields", None)):
        message += f" with keys from {', '.join(fields)}"
    if detail["type"] in ("tuple_type", "list_type") and isinstance(detail["input"], (str, int, float)):
        message += f", e.g. [{found}]"
    if path and detail["type"] == "value_error" and isinstance(detail["input"], Mapping):
        return f"{key}.{message}"  # several keys together; the message begins with one of them
    if path:
        return f"{key}: found {found if len(found) < 80 else found[:77] + '...'}; {message}"
    return (
        message
        if isinstance(detail["input"], Mapping)
        else f"{key}: found {found[:80]}; a study is a mapping of keys to values, e.g. name: my-study"
    )


def _allowed(detail: Mapping[str, Any]) -> str:
    """The allowed values, in the terms of YAML instead of Python's."""
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        return "must be one of " + context["expected"].replace(" or ", ", ").replace("'", "")
    if detail["type"] in ("too_short", "too_long"):
        bound, n = ("least", "min_length") if detail["type"] == "too_short" else ("most", "max_length")
        return f"must be a list of at {bound} {context[n]} item{'s' * (context[n] > 1)}"
    if context.get("pattern") == NAME_PATTERN or (detail["loc"][-1:] == ("[key]",) and detail["type"] == "string_type"):
        return NAME_RULE
    if context.get("pattern") == own.PATTERN:
        return "must be module:NAME of your own, e.g. my_experiment:EXPERIMENT"
    if detail["type"] in _KINDS:
        return f"must be {_KINDS[detail['type']]}"
    message = detail["msg"].removeprefix("Value error, ")
    return (
        message.replace("Input should", "must")
        .replace("String should", "must")
        .replace("a valid integer", "a whole number")
    )


_KINDS = dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "a mapping")
_KINDS |= dict.fromkeys(("tuple_type", "list_type"), "a list")
_KINDS |= {"string_type": "a text", "bool_type": "true or false", "float_type": "a number"}


def _shown(value: Any) -> str:
    """The value as it is written in a study file."""
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):  # a key that JSON has not, or more digits than Python writes
        return f"a {type(value).__name__}"


def _at(location: tuple, model: type[Settings]) -> Any:
    """The type of what stands at a location: a settings class, a mapping of names, or another; None of no key."""
    hint: Any = model
    for part in location:
        if _is_named(hint):
            hint = get_args(hint)[1]
        elif get_origin(hint) is tuple:  # an item of a list
            hint = get_args(hint)[0]
        elif hasattr(hint, "model_fields"):
            hint = hint.model_fields[part].annotation if part in hint.model_fields else None
        else:
            hint = FEATURES.get(part)  # the kind that a study asks for
        options = [option for option in get_args(hint) if option is not type(None)]
        if len(options) == 1 and not _is_named(hint) and get_origin(hint) is not tuple:  # of one that may be null
            (hint,) = options
    return hint


def _is_named(hint: Any) -> bool:
    """Whether the type is a mapping of names of the study's own."""
    return get_origin(hint) is dict


def in_one_line(text: str) -> str:
    """The text in one line that a terminal can show: other characters are escaped, what is too long is cut."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
