"""What is said of a mistake in a study file: the key, what was found, what is allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from nonnormal.sections import FEATURES
from nonnormal.settings import Basis, Process, Run, Settings
from nonnormal.study.model import Study

_LONGEST = 1500


def explain(detail: Mapping[str, Any]) -> str:
    """One mistake: key, what was found, what is allowed."""
    location = detail["loc"]
    if location[:1] == ("features",):  # pydantic names which kind it read
        location = location[:1] + location[2:]
    key = ".".join(str(part) for part in location if part != "[key]") or "the file"
    if detail["type"] == "extra_forbidden":
        allowed = ", ".join(_model_at(detail["loc"][:-1]).model_fields)
        return f"{key}: unknown key; allowed here: {allowed}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    found = _shown(detail["input"])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["loc"] and detail["type"] == "value_error" and isinstance(detail["input"], Mapping):
        return f"{key}.{message}"  # several keys together; the message begins with one of them
    if detail["loc"]:
        return f"{key}: found {found if len(found) < 80 else found[:77] + '...'}; {message}"
    return message if isinstance(detail["input"], Mapping) else f"{key}: found {found[:80]}; a study is a mapping"


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
