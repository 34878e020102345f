"""Study files, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nonnormal.study.messages import explain, in_one_line
from nonnormal.study.model import Study, StudyError


def validate(raw: Any, source: str) -> Study:
    """The study in `raw`, the content of a study file.

    Raises:
        StudyError: naming `source` and, for each mistake, the key, what was found, and what is allowed.
    """
    try:
        _extent(raw, {}, 0)
        return Study.model_validate(raw)
    except ValidationError as error:
        lines = [in_one_line(f"{source}: {explain(detail)}") for detail in error.errors()]
        raise StudyError("\n".join(dict.fromkeys(lines))) from None
    except StudyError as error:
        raise StudyError(f"{source}: {error}") from None


def load(path: Path | str) -> Study:
    """The study in a YAML or JSON file.

    Raises:
        StudyError: the file is missing, is not YAML, or says something that is not allowed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        # Jobs read the resolved study, which is JSON: as YAML, 2,000 runs would take each of them seconds.
        raw = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise StudyError(f"{path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no text, or a date or number that there is not
        kind = "JSON" if Path(path).suffix == ".json" else "YAML"
        raise StudyError(in_one_line(f"{path}: is not {kind} ({error})")) from None
    return validate(raw, str(path))


_MOST_VALUES, _DEEPEST = 2_000_000, 32


def _extent(node: Any, known: dict[int, int], depth: int) -> int:
    """Number of values that a node unfolds to, each that is referred to counted as often as it is.

    Raises:
        StudyError: too many, too deep, or the node contains itself.
    """
    if not isinstance(node, Mapping | list):
        return 1
    if depth > _DEEPEST:
        raise StudyError(f"is nested more than {_DEEPEST} deep, or refers to itself")
    if id(node) not in known:
        children = node.values() if isinstance(node, Mapping) else node
        known[id(node)] = 1 + sum(_extent(child, known, depth + 1) for child in children)
    if known[id(node)] > _MOST_VALUES:
        raise StudyError(f"unfolds to more than {_MOST_VALUES:,} values")
    return known[id(node)]
