"""What is said of a mistake in a study file: the key, what was found, what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from nonnormal.study.config.sections import FEATURES
from nonnormal.study.config.settings import Basis, Process, Run, Settings
from nonnormal.study.config.study import Study

_LONGEST = 1500


def explain(details: Sequence[Mapping[str, Any]], raw: Any) -> list[tuple[tuple, str]]:
    """(key as a path, what is said of it) of each mistake that pydantic found in `raw`, each said once.

    A mistake in the defaults is that of all runs that have it from there, and one of a value that may be of several
    kinds is found once for each kind.
    """
    found: dict[tuple, list[Mapping[str, Any]]] = {}
    for detail in details:
        found.setdefault(_key(detail["loc"]), []).append(detail)
    of_defaults = {(key[1:], detail["msg"]) for key in found if key[:1] == ("defaults",) for detail in found[key]}
    said = []
    for key, same in found.items():
        below = _in_a_run(key)
        if below is not None and (not below or not _has(raw, key)):
            same = [detail for detail in same if (below, detail["msg"]) not in of_defaults]
        one_kind = all(detail["loc"] == key for detail in same)
        deeper = any(len(other) > len(key) and other[: len(key)] == key for other in found)
        if deeper:  # a list is called too short where its items are wrong
            same = [detail for detail in same if detail["type"] != "too_short"]
        if one_kind:
            said += [(key, _sentence(key, detail)) for detail in same]
        elif same and not deeper:
            first, *others = dict.fromkeys(map(_allowed, same))
            allowed = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
            said.append((key, _sentence(key, same[0], allowed)))
    return said


_NAMED = ("runs", "networks", "processes", "bases")  # mappings of the study's own names
_KIND = re.compile(r"\[key\]|float|int|(literal|tuple|function-\w+|constrained-\w+)\W.*|classifier|inception")


def _key(location: tuple) -> tuple:
    """The location without the kinds of values that pydantic tries there."""
    above = ("", *location)
    return tuple(
        part
        for before, part in zip(above, location, strict=False)
        if before in _NAMED or not (isinstance(part, str) and _KIND.fullmatch(part))
    )


def _in_a_run(key: tuple) -> tuple | None:
    """The path within a run, None outside of runs."""
    for above in (("runs",), ("designs", "runs"), ("recipe", "networks")):
        if key[: len(above)] == above and len(key) > len(above):
            return key[len(above) + 1 :]
    return None


def _has(raw: Any, key: tuple) -> bool:
    """Whether the raw study itself has the key."""
    for part in key:
        if not isinstance(raw, Mapping) or part not in raw:
            return isinstance(raw, list)
        raw = raw[part]
    return True


def _sentence(path: tuple, detail: Mapping[str, Any], allowed: str | None = None) -> str:
    """One mistake: key, what was found, what is allowed."""
    key = ".".join(map(str, path)) or "the file"
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed here: {', '.join(_model_at(detail['loc'][:-1]).model_fields)}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    found, message = _shown(detail["input"]), allowed or _allowed(detail)
    if path and detail["type"] == "value_error" and isinstance(detail["input"], Mapping):
        return f"{key}.{message}"  # several keys together; the message begins with one of them
    if path:
        return f"{key}: found {found if len(found) < 80 else found[:77] + '...'}; {message}"
    return message if isinstance(detail["input"], Mapping) else f"{key}: found {found[:80]}; a study is a mapping"


def _allowed(detail: Mapping[str, Any]) -> str:
    """What is allowed, in the words of YAML where pydantic has those of Python."""
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        return "must be one of " + context["expected"].replace(" or ", ", ").replace("'", "")
    if detail["type"] in ("too_short", "too_long"):
        bound, n = ("least", "min_length") if detail["type"] == "too_short" else ("most", "max_length")
        return f"must be a list of at {bound} {context[n]} item{'s' * (context[n] > 1)}"
    if detail["type"] in _KINDS:
        return f"must be {_KINDS[detail['type']]}"
    return detail["msg"].removeprefix("Value error, ")


_KINDS = dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "a mapping")
_KINDS |= dict.fromkeys(("tuple_type", "list_type"), "a list")
_KINDS |= {"string_type": "a text", "bool_type": "true or false", "float_type": "a number"}


def _shown(value: Any) -> str:
    """The value as a study would say it."""
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):  # a key that JSON has not, or more digits than Python writes
        return f"a {type(value).__name__}"


def _model_at(location: tuple) -> type[Settings]:
    """The settings class that the keys at a location belong to."""
    model: type[Settings] = Study
    if "runs" in location[:2]:
        model, location = Run, location[location.index("runs") + 2 :]
    if location[:1] == ("features",):
        model, location = FEATURES[location[1]], location[2:]
    within = {("recipe", "processes"): Process, ("recipe", "networks"): Run}
    within |= {("crossing", "processes"): Process, ("crossing", "bases"): Basis}
    if inner := within.get(location[:2]):
        model, location = inner, location[3:]
    for part in location:
        kind = model.model_fields[part].annotation
        model = next((option for option in get_args(kind) if option is not type(None)), kind)
    return model


def in_one_line(text: str) -> str:
    """The text in one line that a terminal can show: other characters are escaped, what is too long is cut."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
