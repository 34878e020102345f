"""Records: which command made a file, from what, with which code, when and where; and whether it is still that file.

Each result has records beside its study, one for each content that a command gave it, named by the content's SHA-256:
results/<study>/records/<file>/<SHA-256>.json. A record is written before the file takes its name, so there is no file
without its record, and older contents keep theirs. It holds what its command had read until then, as SHA-256 by path:
from file to file, these are the chain from a figure back to the data. Times differ between runs, so nothing that
is made may depend on them: the results page reads records, and tells nothing of them that differs.
"""

from __future__ import annotations

import datetime
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nonnormal.files import observed, sha256_of, write_json
from nonnormal.study.results import provenance
from nonnormal.study.results.paths import records_folder


@dataclass
class Recorder:
    """Notes what a command reads, refuses what is damaged, and writes a record for each result: a `files.Observer`.

    Attributes:
        command: as it was called.
        facts: what the command's study and settings are, as JSON values.
        inputs: SHA-256 by path of all that was read so far.
    """

    command: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self._start, self._clock, self._code = _now(), time.monotonic(), None
        self._known: dict[tuple, str] = {}

    def reading(self, path: Path) -> None:
        """Notes the file as an input.

        Raises:
            ValueError: it has records, but none of its content: it was damaged or changed.
        """
        state = path.stat()
        key = (path, state.st_size, state.st_mtime_ns, state.st_ino)
        if key not in self._known:
            self._known[key] = check(path)
        self.inputs[relative(path)] = self._known[key]

    def writing(self, temporary: Path, path: Path) -> None:
        """Writes the record of what `path` is about to be."""
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
        with observed(None):
            write_json(record_path(path, digest), record)


def study_facts(study, run: str | None) -> dict[str, Any]:
    """What a record says of the study: its SHA-256, the settings that concern the run (all without one), the seeds."""
    settings = study.resolved
    seeds = {"study": study.seed}
    if run is not None:
        settings = settings | {"runs": {run: study.run(run).model_dump(mode="json")}}
        seeds["training"] = study.train_seed(run)
    return {"study": {"name": study.name, "sha256": study.sha256}, "seeds": seeds, "settings": settings}


def relative(path: Path | str) -> str:
    """The path from the folder of the project; as it is where it lies elsewhere."""
    path = Path(path)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.as_posix()


def record_path(path: Path | str, digest: str) -> Path:
    """Record of the file with that content."""
    return records_folder(relative(path)) / f"{digest}.json"


def check(path: Path) -> str:
    """SHA-256 of a file, which is one of those that its records name, if it has any.

    Raises:
        ValueError: it is none of them.
    """
    digest, recorded = sha256_of(path), _recorded(path)
    if recorded and digest not in recorded:
        raise ValueError(
            f"{path} is damaged, or was changed: expected SHA-256 {_newest(recorded)}, found {digest}; delete it to "
            f"have it made again, or delete {records_folder(relative(path))} if it shall be used as it is"
        )
    return digest


def _recorded(path: Path) -> dict[str, Path]:
    """The records of a file by the SHA-256 of the content that each tells of."""
    folder = records_folder(relative(path))
    return {record.stem: record for record in folder.glob("*.json")} if folder else {}


def _newest(recorded: dict[str, Path]) -> str:
    """The SHA-256 that was written last, as the records say: of copies, the files' own times say nothing."""

    def ended(digest: str) -> tuple[str, float]:
        record = recorded[digest]
        return json.loads(record.read_text(encoding="utf-8"))["ended"], record.stat().st_mtime

    return max(recorded, key=ended)


# ---- the chain -------------------------------------------------------------------------------------------------------


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
        """What became of it since: "as made", "changed since" or "missing"."""
        return "missing" if self.found is None else "as made" if self.found == self.expected else "changed since"

    def walk(self) -> Iterator[Link]:
        """This file and all that it was made from."""
        yield self
        for link in self.inputs:
            yield from link.walk()


def chain(path: Path, known: dict[tuple[str, str], Link] | None = None) -> Link:
    """The file with all that it was made from, back to the data.

    A file that has changed since its command wrote it is shown with its newest record.

    Args:
        path: of the file.
        known: the links that are found, by path and SHA-256; what is in it already is not looked at again.

    Raises:
        ValueError: no command recorded that it wrote this file.
        FileNotFoundError: there is neither file nor record.
    """
    recorded = _recorded(path)
    if not recorded and not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not recorded:
        raise ValueError(f"{path}: no command recorded that it wrote this file")
    found = sha256_of(path) if path.is_file() else None
    expected = found if found in recorded else _newest(recorded)
    return _link(relative(path), expected, {} if known is None else known)


def _link(path: str, expected: str, known: dict[tuple[str, str], Link]) -> Link:
    """The link of a file with the content that it had, and so on; `known` are those already found."""
    if (path, expected) in known:
        return known[path, expected]
    file, record = Path(path), None
    if records_folder(path) and (place := record_path(path, expected)).is_file():
        record = json.loads(place.read_text(encoding="utf-8"))
    inputs = tuple(_link(name, digest, known) for name, digest in (record or {}).get("inputs", {}).items())
    found = sha256_of(file) if file.is_file() else None
    known[path, expected] = Link(path, expected, found, record, inputs)
    return known[path, expected]


def lines(link: Link) -> Iterator[str]:
    """The chain as a tree, one file a line; what a file was made from is shown where the file comes first."""
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
