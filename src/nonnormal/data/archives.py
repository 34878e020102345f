"""Archives read member by member into memory: nothing is extracted to disk, and no content is executed.

Members that no honest data set has (a path that leads outside, a link, a device, an absurd size) are refused by name
before their content is read, and so are headers and directories that would take much memory. Hidden members and those
of operating systems are left out. Independent of images.
"""

from __future__ import annotations

import contextlib
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nonnormal.data.ignored import ignored

HEADER_LIMIT = 1 << 16
"""Largest extension of a tar header, in bytes: a path has at most 4096."""
DIRECTORY_LIMIT = 1 << 20
"""Largest directory of a zip, in bytes: some 10,000 members."""


def tar_members(path: Path, *, limit: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each regular file in a tar, gzipped or uncompressed, in the order of the archive.

    Args:
        path: the archive.
        limit: largest size of a member, in bytes.

    Raises:
        ValueError: a member is refused, or the archive is damaged.
    """
    with _readable(path), _opened(path) as archive:
        for member in _tar_files(archive, limit):
            yield member.name, archive.extractfile(member).read()


def count_tar_members(path: Path, *, limit: int) -> int:
    """Number of regular files in a tar, all of which `tar_members` would yield."""
    with _readable(path), _opened(path) as archive:
        return sum(1 for _ in _tar_files(archive, limit))


class _Header(tarfile.TarInfo):
    """A tar header, refused if the archive's author could make `tarfile` allocate any amount of memory for it."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        header = super().frombuf(buf, encoding, errors)
        if (
            header.type in _EXTENSIONS and not 0 <= header.size <= HEADER_LIMIT
        ):  # a negative size would read the rest of the file
            size = f"{header.size:,} bytes, more than the {HEADER_LIMIT:,} allowed"
            raise ValueError(f"a header has an extension of {size}; refused")
        if header.type == tarfile.GNUTYPE_SPARSE:  # has as many further headers as it likes
            cls._refuse_sparse(header)
        return header

    def _proc_gnusparse_10(self, following, *_):
        self._refuse_sparse(following)

    @staticmethod
    def _refuse_sparse(header: tarfile.TarInfo):
        raise ValueError(f"member {header.name!r} is a sparse file; refused")


_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def _opened(path: Path) -> tarfile.TarFile:
    """A tar, gzipped or uncompressed: with other compressions the archive's author chooses how much memory is used."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return tarfile.open(path, "r:gz" if packed else "r:", tarinfo=_Header)


def _tar_files(archive: tarfile.TarFile, limit: int) -> Iterator[tarfile.TarInfo]:
    """The regular files of an open tar; members that are neither file nor folder are refused."""
    while (member := archive.next()) is not None:
        archive.members.clear()  # tarfile keeps all members: gigabytes for a million images
        archive.pax_headers.clear()  # and headers for all members, which no data set needs
        _check_name(member.name)
        if member.size < 0:  # and the next member would be this one again
            raise ValueError(f"member {member.name!r} has a negative size; refused")
        if member.isdir() or ignored(member.name):
            continue
        if not member.isreg():
            kind = "a link" if member.islnk() or member.issym() else "neither file nor folder"
            raise ValueError(f"member {member.name!r} is {kind}; refused")
        _check_size(member.name, member.size, limit)
        yield member


def zip_members(
    path: Path | BinaryIO, *, limit: int, label: str = "", wanted: str | None = None
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file in a zip, in the order of its directory.

    Args:
        path: the archive, or its open content.
        limit: largest size of a member, in bytes, unpacked.
        label: name of the archive in messages; its path if left out.
        wanted: the one member to read; all if left out.

    Raises:
        ValueError: a member is refused, or the archive is damaged.
    """
    with _readable(label or path), path.open("rb") if isinstance(path, Path) else contextlib.nullcontext(path) as file:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                _check_name(member.filename)
                if member.is_dir() or ignored(member.filename) or wanted not in (None, member.filename):
                    continue
                _check_zip_member(member, limit)
                # Read the declared size only: a member that unpacks to more would fill the memory.
                with archive.open(member) as content:
                    yield member.filename, content.read(member.file_size)


def _check_zip_member(member: zipfile.ZipInfo, limit: int) -> None:
    """Refuse a member that is not a file, cannot be read, or is larger than allowed."""
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if the archive was not made on Unix
    if kind not in (0, stat.S_IFREG):
        raise ValueError(f"member {member.filename!r} is a link or a device; refused")
    if member.flag_bits & 1:
        raise ValueError(f"member {member.filename!r} is encrypted; refused")
    if member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):  # zipfile unpacks other compressions without a bound
        raise ValueError(f"member {member.filename!r} is neither stored nor deflated; refused")
    _check_size(member.filename, member.file_size, limit)


def _check_directory(file: BinaryIO) -> None:
    """Refuse a zip with a large directory: `zipfile` takes ten times the memory for it."""
    end = zipfile._EndRecData(file)  # private, but where ZipFile itself takes the size from
    if end and (size := end[zipfile._ECD_SIZE]) > DIRECTORY_LIMIT:
        raise ValueError(f"has a directory of {size:,} bytes, more than the {DIRECTORY_LIMIT:,} allowed; refused")


def npz_array(content: bytes, name: str, *, limit: int, label: str) -> np.ndarray:
    """One array of an npz file; pickled objects are refused.

    Args:
        content: of the file.
        name: of the array.
        limit: largest size of an array, in bytes.
        label: name of the file in messages.

    Raises:
        ValueError: there is no such array, it holds objects, or the file is damaged.
    """
    members = zip_members(io.BytesIO(content), limit=limit, label=label, wanted=f"{name}.npy")
    array = next((member for _, member in members), None)
    if array is None:
        raise ValueError(f"{label}: has no array {name!r}")
    try:
        return np.lib.format.read_array(io.BytesIO(array), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # MemoryError: it claims a wrong size
        raise ValueError(f"{label}: array {name!r}: {error}") from None


_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,  # an unknown compression
    RecursionError,  # headers on headers
)


@contextlib.contextmanager
def _readable(label: Path | str) -> Iterator[None]:
    """Turn errors on a damaged or refused archive into a ValueError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise ValueError(f"{label}: is not an archive of this kind, or is damaged ({error})") from None
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None


def _check_name(name: str) -> None:
    """Refuse a member whose path leads out of the archive."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise ValueError(f"member {name!r} leads outside of the archive; refused")


def _check_size(name: str, size: int, limit: int) -> None:
    """Refuse a member that is larger than allowed."""
    if size > limit:
        raise ValueError(f"member {name!r} has {size:,} bytes, more than the {limit:,} allowed; refused")
