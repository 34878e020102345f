"""Reference: every key of a study file with its type, default, allowed values and meaning, as Markdown."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nonnormal.files import own
from nonnormal.study.config.study import study_model
from nonnormal.study.registry import packaged

_HEAD = """# Keys of a study file

Written by `nonnormal schema` from the settings' classes, which check a study; the JSON schema is
[workflow/schemas/study.json](../workflow/schemas/study.json). A section is listed once, with all places where it is
used. Keys that a run or a network of a section leaves out are taken from `defaults`; keys that `defaults` leaves out
have the default below. NAME stands for a name of your own: a letter first, then a to z, 0 to 9, - and _.
"""
_TYPES = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}


def reference() -> str:
    """The reference of all keys, experiments of this package included."""
    return "\n".join([_HEAD, *(_part(model, places) for model, places in _places().items())]) + "\n"


def _places() -> dict[type[BaseModel], list[str]]:
    """Each settings class with the places of its keys, the study's own first."""
    found: dict[type[BaseModel], list[str]] = {}
    queue: list[tuple[type[BaseModel], str]] = [(study_model(packaged()), "")]
    while queue:
        model, place = queue.pop(0)
        if model in found:  # the keys below it are the same as at its first place
            found[model].append(place)
            continue
        found[model] = [place]
        for key, field in model.model_fields.items():
            queue += [(below, f"{place}{key}.{'NAME.' * named}") for below, named in _settings_in(field.annotation)]
    return found


def _settings_in(hint: Any, named: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """The settings classes in a type, and whether they are values of a mapping by name."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint, named
    for part in get_args(hint):
        yield from _settings_in(part, named or get_origin(hint) is dict)


def _part(model: type[BaseModel], places: list[str]) -> str:
    """A section: its places, and a row for each of its keys."""
    shapes = model.model_json_schema()
    rows = [
        f"| `{key}` | {_type(shapes['properties'][key])} | {_default(field)} | "
        f"{_allowed(shapes['properties'][key])} | {_cell(field.description)} |"
        for key, field in model.model_fields.items()
    ]
    where = ", ".join(f"`{place.rstrip('.')}`" for place in dict.fromkeys(places) if place)
    heading = f"## {where}" if where else "## The file"
    lines = [heading, "", _cell(inspect.getdoc(model)), ""]
    return "\n".join([*lines, "| key | type | default | allowed | |", "|---|---|---|---|---|", *rows, ""])


def _type(shape: Mapping[str, Any]) -> str:
    """The type of a value, in words."""
    if "$ref" in shape:
        return "section"
    if options := shape.get("anyOf") or shape.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, options)))
    kind = shape.get("type")
    if kind == "array":
        items = shape.get("items") or (shape.get("prefixItems") or [{}])[0]
        return f"list of {_type(items)}"
    if kind == "object":
        below = [*shape.get("patternProperties", {}).values(), shape.get("additionalProperties")]
        return f"{_type(next(filter(None, below), {}))} by name"
    return _TYPES.get(kind, "text")


def _default(field: FieldInfo) -> str:
    """The default of a key."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, Mapping) and value:
        return ", ".join(f"`{name}`" for name in value)
    return f"`{json.dumps(value, ensure_ascii=False)}`" if value != "" else "empty"


def _allowed(shape: Mapping[str, Any]) -> str:
    """The allowed values of a type."""
    if options := shape.get("anyOf"):
        return "; ".join(dict.fromkeys(filter(None, map(_allowed, options))))
    if shape.get("type") == "array":
        items = shape.get("items") or (shape.get("prefixItems") or [{}])[0]
        least = shape.get("minItems", 0)
        return "; ".join(filter(None, [_allowed(items), f"{least} or more items" * (least > 0)]))
    if "enum" in shape or "const" in shape:
        return ", ".join(f"`{name}`" for name in shape.get("enum", [shape.get("const")]))
    if shape.get("pattern") == own.PATTERN:
        return "`module:NAME`"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {shape[name]:,g}" for name, sign in signs.items() if name in shape)


def _cell(text: str | None) -> str:
    """The text in one line, as a cell of a table has it."""
    return " ".join((text or "").split()).replace("|", "\\|")
