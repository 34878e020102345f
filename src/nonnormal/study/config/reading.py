"""Study files, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nonnormal.study.config.messages import explain, in_one_line
from nonnormal.study.config.study import Study, StudyError, study_model
from nonnormal.study.registry import all_experiments


class _Loader(yaml.SafeLoader):
    """YAML loader with a bounded size that refuses a key given twice, of which PyYAML would take the last."""

    def get_single_node(self):
        node = super().get_single_node()  # aliases and merge keys, which unfold after this, are still references here
        _extent(node, {}, 0)
        return node

    def compose_mapping_node(self, anchor):
        node, lines = super().compose_mapping_node(anchor), {}
        for key, _ in node.value:
            line, said = key.start_mark.line + 1, (key.tag, str(key.value))
            if said in lines:
                raise StudyError(f"line {line}: the key {key.value} is given twice, first in line {lines[said]}")
            lines[said] = line
        return node


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON; refuses a key given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise StudyError(f"the key {next(key for key in keys if keys.count(key) > 1)} is given twice")
    return found


def validate(raw: Any, source: str | Mapping[str, Any]) -> Study:
    """The study in `raw`, the content of a study file.

    Args:
        raw: mappings, lists and values; a number may be a text such as 1e-3, which YAML 1.1 parses as a text.
        source: name of the file; for several files, merged in their order, the content by name.

    Raises:
        StudyError: naming the file and, for each mistake, the key, what was found, and what is allowed.
    """
    files = {source: raw} if isinstance(source, str) else source
    try:
        _extent(raw, {}, 0)
        model = model_for(raw)
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [in_one_line(f"{_holder(files, key)}: {text}") for key, text in explain(error.errors(), raw, model)]
        raise StudyError("\n".join(dict.fromkeys(lines))) from None
    except StudyError as error:
        raise StudyError(f"{[*files][-1]}: {error}") from None


def model_for(raw: Any) -> type[Study]:
    """The model of a study file's content, with the sections of the experiments that its key `experiments` names.

    Raises:
        StudyError: one of them cannot be loaded.
    """
    named = raw.get("experiments") if isinstance(raw, Mapping) else None
    own = named if isinstance(named, list) and all(isinstance(name, str) and ":" in name for name in named) else []
    try:
        return study_model(all_experiments(tuple(own)))
    except ValueError as error:
        raise StudyError(f"experiments: {error}") from None


def load(path: Path | str) -> Study:
    """The study in a YAML or JSON file.

    Raises:
        StudyError: the file is missing, is not YAML, or has a key or value that is not allowed.
    """
    return validate(read(path), str(path))


def read(path: Path | str) -> Any:
    """The content of a YAML or JSON file, not yet checked.

    Raises:
        StudyError: the file is missing, is not YAML, or has a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        # Jobs read the resolved study, which is JSON: as YAML, 2,000 runs would take each of them seconds.
        if Path(path).suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        return yaml.load(text, _Loader)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise StudyError(f"{path}: is nested too deeply") from None
    except StudyError as error:
        raise StudyError(in_one_line(f"{path}: {error}")) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no text, or a date or number that there is not
        kind = "JSON" if Path(path).suffix == ".json" else "YAML"
        raise StudyError(in_one_line(f"{path}: is not {kind} ({error})")) from None


def _holder(files: Mapping[str, Any], key: tuple) -> str:
    """The file with the longest part of a key's path; of several the last, whose value counts."""

    def said(name: str) -> int:
        node, depth = files[name], 0
        for part in key:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                break
            depth += 1
        return depth

    return max(reversed(files), key=said)


_MOST_VALUES, _DEEPEST = 2_000_000, 32


def _extent(node: Any, known: dict[int, int], depth: int) -> int:
    """Number of values of a node with all its references (YAML aliases) expanded.

    Args:
        node: of YAML, or what was made of it.
        known: extents of nodes by id, of those that have been counted.
        depth: of the node.

    Raises:
        StudyError: too many, too deep, or the node contains itself.
    """
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, Mapping):
        children = node.values()
    elif isinstance(node, list | yaml.SequenceNode):
        children = node.value if isinstance(node, yaml.SequenceNode) else node
    else:
        return 1
    if depth > _DEEPEST:
        raise StudyError(f"is nested more than {_DEEPEST} deep, or refers to itself")
    if id(node) not in known:
        known[id(node)] = 1 + sum(_extent(child, known, depth + 1) for child in children)
    if known[id(node)] > _MOST_VALUES:
        raise StudyError(f"unfolds to more than {_MOST_VALUES:,} values")
    return known[id(node)]
