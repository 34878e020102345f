"""Archives read member by member into memory: nothing is extracted to disk, nothing that they contain is run.

A member that no honest data set has (a path that leads outside, a link, a device, an absurd size) is refused by name
before its content is read. Knows nothing of images.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np


def tar_members(path: Path, *, limit: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each regular file in a tar, compressed or not, in the order of the archive.

    Args:
        path: the archive.
        limit: largest size of a member, in bytes.

    Raises:
        ValueError: a member is refused, or the archive is damaged.
    """
    with _readable(path), tarfile.open(path) as archive:
        for member in _tar_files(archive, path, limit):
            yield member.name, archive.extractfile(member).read()


def count_tar_members(path: Path, *, limit: int) -> int:
    """Number of regular files in a tar, every one of which `tar_members` would yield."""
    with _readable(path), tarfile.open(path) as archive:
        return sum(1 for _ in _tar_files(archive, path, limit))


def _tar_files(archive: tarfile.TarFile, path: Path, limit: int) -> Iterator[tarfile.TarInfo]:
    """The regular files of an open tar; what is neither file nor folder is refused."""
    while (member := archive.next()) is not None:
        archive.members.clear()  # tarfile remembers all: gigabytes for a million images
        _check_name(member.name, path)
        if member.isdir():
            continue
        if not member.isreg():
            kind = "a link" if member.islnk() or member.issym() else "neither file nor folder"
            raise ValueError(f"{path}: member {member.name!r} is {kind}; refused")
        _check_size(member.name, member.size, limit, path)
        yield member


def zip_members(
    path: Path | BinaryIO, *, limit: int, label: str = "", wanted: str | None = None
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file in a zip, in the order of its directory.

    Args:
        path: the archive, or its open content.
        limit: largest size of a member, in bytes, unpacked.
        label: what messages call the archive; its path where this is left out.
        wanted: the one member to read; all where this is left out.

    Raises:
        ValueError: a member is refused, or the archive is damaged.
    """
    label = label or str(path)
    with _readable(label), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _check_name(member.filename, label)
            if member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made under Unix
            if kind not in (0, stat.S_IFREG):
                raise ValueError(f"{label}: member {member.filename!r} is a link or a device; refused")
            if member.flag_bits & 1:
                raise ValueError(f"{label}: member {member.filename!r} is encrypted; refused")
            _check_size(member.filename, member.file_size, limit, label)
            if wanted in (None, member.filename):
                yield member.filename, archive.read(member)


def npz_array(content: bytes, name: str, *, limit: int, label: str) -> np.ndarray:
    """One array of an npz file; pickled objects are refused.

    Args:
        content: of the file.
        name: of the array.
        limit: largest size of an array, in bytes.
        label: what messages call the file.

    Raises:
        ValueError: there is no such array, it holds objects, or the file is damaged.
    """
    members = zip_members(io.BytesIO(content), limit=limit, label=label, wanted=f"{name}.npy")
    array = next((member for _, member in members), None)
    if array is None:
        raise ValueError(f"{label}: has no array {name!r}")
    try:
        return np.lib.format.read_array(io.BytesIO(array), allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{label}: array {name!r}: {error}") from None


_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,  # an unknown compression
)


@contextlib.contextmanager
def _readable(label: Path | str) -> Iterator[None]:
    """Turns what the libraries raise on a damaged archive into a ValueError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise ValueError(f"{label}: is no such archive, or is damaged ({error})") from None


def _check_name(name: str, label: Path | str) -> None:
    """Refuses a member whose path leads out of the archive."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise ValueError(f"{label}: member {name!r} leads outside of the archive; refused")


def _check_size(name: str, size: int, limit: int, label: Path | str) -> None:
    """Refuses a member that is larger than any that is expected."""
    if size > limit:
        raise ValueError(f"{label}: member {name!r} has {size:,} bytes, more than the {limit:,} allowed; refused")
