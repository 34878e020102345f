"""Safe files: writes are atomic, and reading never runs code from a file.

Tensors are stored as safetensors (no pickle) with a JSON header and a SHA-256 of the whole file in it. Every writer
goes through `atomic`: the bytes go to a temporary folder beside the target and are renamed when they are complete
and on disk. An `Observer` is notified of each file that is read or written, for example to keep records.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


class Observer(Protocol):
    """Interface of an object that is notified of each file that is read or written."""

    def reading(self, path: Path) -> None:
        """Called before the file is read; raises ValueError to prevent the reading."""

    def writing(self, temporary: Path, path: Path) -> None:
        """Called when `temporary` is complete, before it is renamed to `path`."""


_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextlib.contextmanager
def tracking(observer: Observer | None) -> Iterator[None]:
    """Context in which the observer is notified of every file that is read or written; None: no observer."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def observer() -> Observer | None:
    """The current observer, or None."""
    return _observer.get()


def track_input(path: Path | str) -> Path:
    """Returns the path, after it has told the observer that this file is an input.

    Raises:
        FileNotFoundError: there is no such file; the error names it, which the errors of some libraries do not.
        ValueError: the observer knows that the file is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if (told := _observer.get()) and path.is_file():
        told.reading(path)
    return path


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path on the disk of `path`, which replaces `path` on success and vanishes on any error.

    The file name is kept, because writers often choose the format by its suffix. Missing folders are made. Temporary
    folders of killed writers, which nobody holds a lock on, are removed.

    Raises:
        OSError: the disk is full, or there is no permission to write; the error names `path`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        folder, lock = _locked_folder(path)
        temporary = folder / path.name
        try:
            temporary.touch()
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            if told := _observer.get():
                told.writing(temporary, path)
            temporary.replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        about = error.filename and Path(error.filename)
        ours = not about or about in path.parents or _prefix(path) in str(about)
        if error.errno in _DENIED and ours:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


_DENIED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def _prefix(path: Path) -> str:
    """Prefix of the names of a path's temporary folders."""
    return f".{path.name}."


def _locked_folder(path: Path) -> tuple[Path, int]:
    """(a new folder beside `path`, its descriptor, on which there is a lock).

    The folder is locked, not the file, because some libraries replace the file that they write.
    """
    while True:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path)))
        with contextlib.suppress(FileNotFoundError):  # taken for abandoned before the lock was there
            handle = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks, where nothing is removed either
                fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, handle
            os.close(handle)


def _remove_abandoned(path: Path) -> None:
    """Removes the temporary folders of `path` whose writers have ended."""
    ours = re.compile(re.escape(_prefix(path)) + "[a-z0-9_]{8}")
    for found in path.parent.iterdir():
        if not ours.fullmatch(found.name):
            continue
        with contextlib.suppress(OSError):
            handle = os.open(found, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(found)
            finally:
                os.close(handle)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes `content` to `path`, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` to `path`, atomically, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str, advice: str = "delete it to have it made again") -> dict[str, Any]:
    """The mapping in a JSON file of `write_json`.

    Args:
        path: of the file.
        advice: what to do about a damaged file.

    Raises:
        ValueError: the file is not JSON, or does not contain a mapping.
        FileNotFoundError: there is no such file.
    """
    path = track_input(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged (no JSON: {error}); {advice}") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise ValueError(f"{path} is damaged (expected a mapping, found {kind}); {advice}")
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


# ---- tensors ---------------------------------------------------------------------------------------------------------

_NO_CHECKSUM = {"file_sha256": "0" * 64}  # in the header until the file is complete
_CHECKSUM = re.compile(rb'file_sha256\\": \\"([0-9a-f]{64})\\"')  # JSON within JSON


def write_tensors(path: Path | str, tensors: dict[str, torch.Tensor], header: dict[str, Any] | None = None) -> None:
    """Writes named tensors and a JSON-serialisable header as one safetensors file with its checksum, atomically.

    Equal content gives equal bytes. Tensors on the CPU are written without a copy.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        try:
            save_file(stored, temporary, {"header": json.dumps({**(header or {}), **_NO_CHECKSUM}, sort_keys=True)})
        except SafetensorError as error:
            if found := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(found[1]), os.strerror(int(found[1]))) from None
            raise
        _store_checksum(temporary)


def read_tensors(
    path: Path | str, device: torch.device | str = "cpu"
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors, header) of a file made by `write_tensors`.

    Raises:
        ValueError: the file is not a complete safetensors file, or has changed since it was written.
        FileNotFoundError: there is no such file.
    """
    try:
        with safe_open(track_input(path), framework="pt", device=str(device)) as file:
            _verify_checksum(path)
            header = json.loads(file.metadata()["header"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({error}); delete it to have it made again"
        ) from None
    return tensors, {key: value for key, value in header.items() if key not in _NO_CHECKSUM}


def _store_checksum(path: Path) -> None:
    """Writes the file's SHA-256 into its header, where it is counted as 64 zeros."""
    with path.open("rb+") as file:
        place, _, found = _digest(file, path)
        file.seek(place)
        file.write(found.encode())


def _verify_checksum(path: Path | str) -> None:
    """Raises an error if any byte of a safetensors file has changed since `_store_checksum`.

    Raises:
        ValueError: the SHA-256 differs from the one in the header, or the header has none.
    """
    path = Path(path)
    with path.open("rb") as file:
        _, expected, found = _digest(file, path)
    if expected != found:
        raise ValueError(
            f"{path} is damaged: expected SHA-256 {expected} (with zeros in its own place), found {found}; "
            "delete it to have it made again"
        )


def _digest(file: BinaryIO, path: Path) -> tuple[int, str, str]:
    """(position of the SHA-256 in the header, its value there, SHA-256 of the content)."""
    length = file.read(8)
    head = file.read(int.from_bytes(length, "little"))
    place = _CHECKSUM.search(head)
    if place is None:
        raise ValueError(f"{path} has no SHA-256 of itself in its header; delete it to have it made again")
    content = hashlib.sha256(length + head[: place.start(1)] + b"0" * 64 + head[place.end(1) :])
    chunk = memoryview(bytearray(1 << 20))
    while size := file.readinto(chunk):
        content.update(chunk[:size])
    return 8 + place.start(1), place[1].decode(), content.hexdigest()
