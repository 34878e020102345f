"""Lineage: the files behind a network and what was measured of it, first the data, each with what it was made from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nonnormal.files import sha256_of
from nonnormal.study.results.records import Link, NoRecordError, chain, relative

Known = dict[tuple[str, str], Link]


def lineage(paths: Iterable[Path], known: Known, without: Iterable[Path] = ()) -> list[dict[str, Any]]:
    """One entry a file, after those that it was made from.

    Commands are told without their arguments and there is no time, so that a study that is made again, or was
    interrupted, has the same lineage; for the same reason a checkpoint is left out. `nonnormal provenance` has it all.

    Args:
        paths: results that are there.
        known: the links that other lineages have found, and then this one's, too.
        without: files that are left out.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    left_out = {*map(relative, without)}

    def add(link: Link) -> None:
        key = (link.path, link.expected)
        if link.path in left_out or key in found:
            return
        for part in link.inputs:
            add(part)
        record = link.record or {}
        found[key] = {
            "path": link.path,
            "sha256": link.expected,
            "state": link.state,
            "command": _command(record["command"]) if record else None,
            "revision": (record.get("revision") or "unknown")[:10] if record else None,
            "uncommitted": bool(record.get("uncommitted_changes")),
            "inputs": [part.path for part in link.inputs if part.path not in left_out],
        }

    for path in paths:
        add(_link(path, known))
    return list(found.values())


def _link(path: Path, known: Known) -> Link:
    """The chain of a file; of one without records the file alone."""
    try:
        return chain(path, known)
    except NoRecordError:
        digest = sha256_of(path)
        return Link(relative(path), digest, digest, None, ())


def _command(line: str) -> str:
    """The command without its program and arguments, e.g. "evaluate bounds"."""
    words = shlex.split(line)[1:]
    plain = next((i for i, word in enumerate(words) if not re.fullmatch(r"[a-z0-9-]+", word) or word[0] == "-"), None)
    return " ".join(words[:plain])
