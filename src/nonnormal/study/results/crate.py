"""Crates: the chain of a result as an RO-Crate, a format that other tools read.

By the profile Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5): the files with their SHA-256, each command
as a CreateAction from files to files, and the software in the version that it had. The crate is the folder of the
project. All its contents come from the records, so the same records give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nonnormal.study.results.records import Link, record_path

PLACE = Path("ro-crate-metadata.json")  # the name required by the standard

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_LICENCE = "https://spdx.org/licenses/Apache-2.0"
_FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
}


def describe(link: Link) -> dict[str, Any]:
    """JSON-LD of the file with all files that it was made from, back to the data.

    Raises:
        ValueError: one of the files is missing, or has changed since; or the library rocrate is missing.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ModuleNotFoundError:
        raise ValueError("--crate: needs the library rocrate; in a clone: pip install '.[study]'") from None
    links = {each.path: each for each in link.walk()}
    if strayed := [each for each in link.walk() if each.state != "as made"]:
        raise ValueError(
            "\n".join(f"{each.path}: {each.state}; a crate needs all files as they were made" for each in strayed)
        )
    crate = ROCrate(version="1.1")
    crate.name = f"{link.path} and what it was made from"
    crate.description = "Files, the commands that made one from the other, and the software that they ran."
    crate.datePublished = link.record["ended"]
    crate.license = crate.add_jsonld({"@id": _LICENCE, "@type": "CreativeWork", "name": "Apache-2.0"})
    profile = {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    crate.root_dataset["conformsTo"] = crate.add_jsonld(profile)
    files = {path: _add(crate, path, **_file(each)) for path, each in sorted(links.items())}
    for path, each in sorted(links.items()):
        if each.record:
            record = record_path(path, each.expected).as_posix()
            files[path]["subjectOf"] = _add(crate, record, name=f"record of {path}", encodingFormat=_FORMATS[".json"])
    crate.mainEntity = files[link.path]
    crate.root_dataset["mentions"] = [
        crate.add_jsonld(_action(crate, files, made)) for made in _by_command(links.values())
    ]
    return crate.metadata.generate()


def _by_command(links: Iterable[Link]) -> list[list[Link]]:
    """The files that commands made, those of one call together, in the order of time."""
    found: dict[tuple[str, str], list[Link]] = {}
    for link in sorted((link for link in links if link.record), key=lambda link: link.path):
        found.setdefault((link.record["started"], link.record["command"]), []).append(link)
    return [found[key] for key in sorted(found)]


def _add(crate, path: str, **facts: Any):
    """The file as a part of the crate, by its path in the project or, elsewhere, by its URI."""
    if Path(path).is_absolute():
        return crate.add_file(Path(path).as_uri(), properties=facts)
    return crate.add_file(dest_path=path, properties=facts)


def _file(link: Link) -> dict[str, Any]:
    """Description of a file."""
    found = {"name": link.path, "sha256": link.expected, "contentSize": str(Path(link.path).stat().st_size)}
    suffix = Path(link.path).suffix
    return found | ({"encodingFormat": _FORMATS[suffix]} if suffix in _FORMATS else {})


def _action(crate, files: dict[str, Any], made: list[Link]) -> dict[str, Any]:
    """A call of a command: its inputs, software and outputs."""
    records = [link.record for link in made]
    first = records[0]
    facts = [first["hardware"], f"Python {first['python']}"]
    if study := first.get("study"):
        facts.append(f"study {study['name']}, SHA-256 {study['sha256']}")
    facts += [f"seed of {purpose} {seed}" for purpose, seed in first.get("seeds", {}).items()]
    inputs = sorted({path for record in records for path in record["inputs"]})
    return {
        "@id": "#" + hashlib.sha256(f"{first['started']} {first['command']}".encode()).hexdigest()[:16],
        "@type": "CreateAction",
        "name": first["command"],
        "description": "; ".join(facts),
        "startTime": first["started"],
        "endTime": max(record["ended"] for record in records),
        "instrument": {"@id": _software(crate, first)},
        "object": [{"@id": files[path].id} for path in inputs],
        "result": [{"@id": files[link.path].id} for link in made],
    }


def _software(crate, record: dict[str, Any]) -> str:
    """Identifier of a record's code, which is added to the crate with the packages below it."""
    revision = (record["revision"] or "unknown") + "+changes" * record["uncommitted_changes"]
    packages = {"nonnormal": revision, **record["packages"]}
    names = {package: f"#{package}-{version}" for package, version in packages.items()}
    for package, name in names.items():
        if crate.dereference(name) is None:
            told = {"@id": name, "@type": "SoftwareApplication", "name": package, "softwareVersion": packages[package]}
            if package == "nonnormal":
                told["softwareRequirements"] = [{"@id": names[each]} for each in record["packages"]]
            crate.add_jsonld(told)
    return names["nonnormal"]
