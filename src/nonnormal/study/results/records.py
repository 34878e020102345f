"""Records: which command made a file, from what, with which code, when and where; and whether it is still that file.

Each result has records beside its study, one for each content that a command gave it, named by the content's SHA-256:
results/<study>/records/<file>/<SHA-256>.json. A record is written before the file takes its name, so there is no file
without its record, and older contents keep theirs. It lists the inputs that its command had read until then, with their
SHA-256; from file to file, these form the chain from a figure back to the data. It contains the SHA-256 of its own
entries, so a damaged or edited record is refused. Times differ between runs, so no result may depend on them: the
results page reads records, and shows only what is the same in every run.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nonnormal.files import read_json, sha256_of, tracking, write_json
from nonnormal.study.results import provenance
from nonnormal.study.results.paths import making, records_folder


@dataclass
class Recorder:
    """A `files.Observer` that notes inputs, refuses damaged ones, and writes a record for each result.

    Attributes:
        command: as it was called.
        facts: study and settings of the command, as JSON values.
        inputs: SHA-256 by path of all files read so far.
    """

    command: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self._start, self._clock, self._code = _now(), time.monotonic(), None
        self._known: dict[tuple, str] = {}

    def reading(self, path: Path) -> None:
        """Note the file as an input.

        Raises:
            ValueError: it has records, but none of its content: it was damaged or changed.
        """
        state = path.stat()
        key = (path, state.st_size, state.st_mtime_ns, state.st_ino)
        if key not in self._known:
            self._known[key] = check(path)
        self.inputs[relative(path)] = self._known[key]

    def writing(self, temporary: Path, path: Path) -> None:
        """Write the record of the content that `path` is about to have."""
        if records_folder(relative(path)) is None:
            return
        self._code = self._code or provenance.describe()
        digest = sha256_of(temporary)
        record = {
            "file": relative(path),
            "sha256": digest,
            "bytes": temporary.stat().st_size,
            "command": shlex.join(self.command),
            "started": self._start,
            "ended": _now(),
            "seconds": round(time.monotonic() - self._clock, 3),  # also where the clock was set meanwhile
            "inputs": dict(sorted(self.inputs.items())),
            **self.facts,
            **self._code,
        }
        with tracking(None):
            write_json(record_path(path, digest), sealed(record))


def study_facts(study, run: str | None) -> dict[str, Any]:
    """Entries of a record about the study: its SHA-256, the settings of the run (all without one), the seeds."""
    settings = study.resolved
    seeds = {"study": study.seed}
    if run is not None:
        settings = settings | {"runs": {run: study.run(run).model_dump(mode="json")}}
        seeds["training"] = study.train_seed(run)
    return {"study": {"name": study.name, "sha256": study.sha256}, "seeds": seeds, "settings": settings}


def relative(path: Path | str) -> str:
    """The path relative to the project's folder; unchanged if it lies elsewhere."""
    path = Path(path)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.as_posix()


def record_path(path: Path | str, digest: str) -> Path:
    """Record of the file with that content."""
    return records_folder(relative(path)) / f"{digest}.json"


SEAL = "record_sha256"


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the SHA-256 of its other entries, whatever their order and layout in the file."""
    entries = {key: value for key, value in record.items() if key != SEAL}
    text = json.dumps(entries, sort_keys=True)
    return entries | {SEAL: hashlib.sha256(text.encode()).hexdigest()}


def read_record(path: Path | str, digest: str) -> dict[str, Any]:
    """The record of the file with that content.

    Raises:
        ValueError: it is damaged, was edited, or is the record of another file.
    """
    place = record_path(path, digest)
    with tracking(None):
        record = read_json(place, _advice(path))
    if (found := sealed(record)[SEAL]) != (expected := record.get(SEAL)):
        raise ValueError(
            f"{place} is damaged, or was edited: expected SHA-256 {expected} of its entries, found {found}; "
            + _advice(path)
        )
    if (record["file"], record["sha256"]) != (relative(path), digest):
        raise ValueError(f"{place} is the record of another file, {record['file']}; {_advice(path)}")
    return record


def _advice(path: Path | str) -> str:
    """Advice on a damaged record of the file."""
    return f"delete it and {relative(path)}, and make that again: {making(relative(path))}"


def check(path: Path) -> str:
    """SHA-256 of a file, after a check against its records, if it has any.

    Raises:
        ValueError: none of its records has this SHA-256.
    """
    digest, recorded = sha256_of(path), _recorded(path)
    if recorded and digest not in recorded:
        raise ValueError(
            f"{path} is damaged, or was changed: expected SHA-256 {_newest(path, recorded)}, found {digest}; "
            f"delete it to have it made again, or delete {records_folder(relative(path))} to use it as it is"
        )
    return digest


def _recorded(path: Path) -> dict[str, Path]:
    """The records of a file by the SHA-256 of the content that each describes."""
    folder = records_folder(relative(path))
    return {record.stem: record for record in folder.glob("*.json")} if folder else {}


def _newest(path: Path, recorded: dict[str, Path]) -> str:
    """The SHA-256 that was written last according to the records; the times of copied files prove nothing."""

    def ended(digest: str) -> tuple[str, float]:
        return read_record(path, digest)["ended"], recorded[digest].stat().st_mtime

    return max(recorded, key=ended)


# ---- the chain -------------------------------------------------------------------------------------------------------


class NoRecordError(ValueError):
    """No command recorded that it wrote the file."""


@dataclass(frozen=True)
class Link:
    """A file of a chain.

    Attributes:
        path: of the file.
        expected: SHA-256 that it had when the next file was made from it.
        found: SHA-256 that it has, None where it is missing.
        record: of the expected content, None where no command of this project wrote it.
        inputs: what it was made from.
    """

    path: str
    expected: str
    found: str | None
    record: dict[str, Any] | None
    inputs: tuple[Link, ...]

    @property
    def state(self) -> str:
        """State of the file: "as made", "changed since" or "missing"."""
        return "missing" if self.found is None else "as made" if self.found == self.expected else "changed since"

    def walk(self) -> Iterator[Link]:
        """This file and all files that it was made from."""
        yield self
        for link in self.inputs:
            yield from link.walk()


def chain(path: Path, known: dict[tuple[str, str], Link] | None = None) -> Link:
    """The file with all files that it was made from, back to the data.

    A file that has changed since its command wrote it is shown with its newest record.

    Args:
        path: of the file.
        known: links by path and SHA-256, extended in place; files in it are not read again.

    Raises:
        NoRecordError: no command recorded that it wrote this file.
        ValueError: a record of the chain is damaged.
        FileNotFoundError: there is neither file nor record.
    """
    recorded = _recorded(path)
    if not recorded and not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not recorded:
        raise NoRecordError(f"{path}: no command recorded that it wrote this file")
    found = sha256_of(path) if path.is_file() else None
    expected = found if found in recorded else _newest(path, recorded)
    return _link(relative(path), expected, {} if known is None else known)


def _link(path: str, expected: str, known: dict[tuple[str, str], Link], above: tuple = ()) -> Link:
    """The link of a file with the content that it had, recursively; `above` are the links on the way to it."""
    if (path, expected) in known:
        return known[path, expected]
    file, record = Path(path), None
    if records_folder(path) and (place := record_path(path, expected)).is_file():
        if (path, expected) in above:
            raise ValueError(f"{place} says that the file was made from itself; {_advice(path)}")
        record = read_record(path, expected)
    below = (record or {}).get("inputs", {}).items()
    inputs = tuple(_link(name, digest, known, (*above, (path, expected))) for name, digest in below)
    found = sha256_of(file) if file.is_file() else None
    known[path, expected] = Link(path, expected, found, record, inputs)
    return known[path, expected]


def lines(link: Link) -> Iterator[str]:
    """The chain as a tree, one file a line; the inputs of a file are shown at its first occurrence."""
    shown: set[tuple[str, str]] = set()

    def below(link: Link, head: str, tail: str) -> Iterator[str]:
        again = (link.path, link.expected) in shown and link.inputs
        shown.add((link.path, link.expected))
        above = "  (see above)" * bool(again)
        yield f"{head}{link.path}  {link.expected[:12]}  {link.state}{_made(link.record)}{above}"
        for i, part in enumerate(() if again else link.inputs):
            last = i == len(link.inputs) - 1
            yield from below(part, tail + ("└─ " if last else "├─ "), tail + ("   " if last else "│  "))

    yield from below(link, "", "")


def _made(record: dict[str, Any] | None) -> str:
    """How a file was made, in one line."""
    if record is None:
        return "  (made by no command)"
    revision = (record["revision"] or "unknown")[:10] + "+changes" * record["uncommitted_changes"]
    return f"  ← {record['command']}  [{revision}, {record['ended']}, {record['seconds']:.1f} s]"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def called() -> list[str]:
    """This process's command, without the path of the program."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
