"""Files from the web or from disk: interrupted transfers resume, and only files with the expected SHA-256 are used.

A file arrives as `<name>.part` and gets its name when size and SHA-256 are right. One process at a time fetches it;
processes that waited use its file. Files that a user placed by hand are read in place, and never changed or deleted.
Independent of images.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nonnormal.files import sha256_of, track_input

DOWNLOADS = Path("data/downloads")
CHUNK = 1 << 20
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}

log = logging.getLogger(__name__)


class DownloadError(ValueError):
    """A file is not available, or is not the expected one; the message says what to do."""


class _Transient(Exception):
    """A transfer broke off, and another attempt may succeed."""


class _Refused(Exception):
    """A mirror does not have the requested file."""


@dataclass(frozen=True)
class File:
    """Description of a file before it is fetched.

    Attributes:
        name: file name.
        size: in bytes; None if unknown.
        sha256: in hex; only the first digits if no more are known, None if unknown.
        urls: addresses, tried in this order.
        key: key of a study that names the source of its files.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    urls: tuple[str, ...] = ()
    key: str = "source"

    def __str__(self) -> str:
        known = [] if self.size is None else [f"{self.size:,} bytes"]
        known += [] if self.sha256 is None else [f"SHA-256 {self.digits}"]
        return f"{self.name} ({', '.join(known) or 'size and SHA-256 not known'})"

    @property
    def digits(self) -> str | None:
        """The known digits of the SHA-256, for messages."""
        return self.sha256 and self.sha256 + "…" * (len(self.sha256) < 64)


def obtain(file: File, *, placed: Path | None = None, folder: Path = DOWNLOADS) -> tuple[Path, str]:
    """(path, SHA-256) of the file: placed by hand, else found in the folder, else fetched into it.

    Args:
        file: the expected file.
        placed: the file, or the folder that contains it; no other place is searched.
        folder: folder of downloads.

    Raises:
        DownloadError: it is not at the given place, is another file, or cannot be fetched.
    """
    target = folder / file.name
    if placed is not None:
        target = placed / file.name if placed.is_dir() else placed
    if target.is_file():
        digest = _found(target, file)
    elif placed is not None:
        raise DownloadError(f"{file.key}.path: there is no file {target.resolve()}; expected {file}")
    else:
        digest = fetch(file, folder)
    if file.sha256 is None:
        log.info("%s: its SHA-256 was not published; found %s", target, digest)
    return track_input(target), digest


def _found(target: Path, file: File) -> str:
    """SHA-256 of the existing file.

    Raises:
        DownloadError: it is another file.
    """
    try:
        return check(target, file)
    except _Refused as reason:
        raise DownloadError(
            f"{target.resolve()}: {reason}. It was left as it is: put {file} in its place, or, if this is a file "
            f"that you trust, give its SHA-256 in the study: {file.key}: {{sha256: {{{file.name}: …}}}}"
        ) from None


def check(path: Path, file: File) -> str:
    """SHA-256 of the file at the path, checked against the expected one if that is known."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise _Refused(f"expected {file.size:,} bytes, found {size:,}")
    digest = sha256_of(path)
    if file.sha256 is not None and not digest.startswith(file.sha256):
        raise _Refused(f"expected SHA-256 {file.digits}, found {digest}")
    return digest


def fetch(file: File, folder: Path, *, attempts: int = 5, pause: float = 1.0, timeout: float = 30.0) -> str:
    """SHA-256 of the file, now in the folder under its name, from the first mirror that has it.

    If another process is fetching it, this waits, and then uses its file, or resumes its transfer.

    Args:
        file: the expected file and its addresses: http, https, or file.
        folder: created if it is missing.
        attempts: per mirror, in a row without a new byte.
        pause: seconds before the second attempt, doubled with each further one.
        timeout: seconds to wait for an answer, or for the next byte.

    Raises:
        DownloadError: no mirror has it, another process put another file there, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    part = folder / f"{file.name}.part"
    reasons = []
    try:
        with _locked(part):
            if target.is_file():
                return _found(target, file)
            for url in file.urls:
                try:
                    _persist(url, part, file, attempts=attempts, pause=pause, timeout=timeout)
                    digest = check(part, file)
                except _Refused as reason:
                    reasons.append(f"  {url}: {reason}")
                    _discard(part)
                except _Transient as reason:  # the part is kept, so that the next call resumes
                    reasons.append(f"  {url}: {reason}")
                else:
                    part.replace(target)
                    _discard(part)
                    return digest
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"the disk of {folder.resolve()} is full. Make room and run this again: it resumes from {part.name}"
        ) from None
    reasons = reasons or ["  no address is known"]
    raise DownloadError(
        "\n".join(
            [
                f"{file.name} could not be fetched:",
                *reasons,
                f"Place {file} by hand at {target.resolve()},",
                f"or name its place in the study: {file.key}: {{path: FOLDER}} or "
                f"{file.key}: {{mirrors: [ADDRESS, …]}}",
            ]
        )
    )


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Lock the part for this process; the lock file beside it is removed with the lock."""
    path = part.with_name(f"{part.name}.lock")
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is fetching it; waiting", part)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            break
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                break
        os.close(handle)  # of a file that the process before removed: whoever comes next would not see this lock
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _persist(url: str, part: Path, file: File, *, attempts: int, pause: float, timeout: float) -> None:
    """Transfer with exponential back-off; an attempt that brought new bytes does not count."""
    failed, furthest = 0, 0
    while True:
        try:
            return _transfer(url, part, file, timeout)
        except urllib.error.HTTPError as error:
            if error.code not in _RETRIED_STATUS:
                raise _Refused(f"HTTP status {error.code}, {error.reason}") from None
            reason = f"HTTP status {error.code}, {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, _Transient) as error:
            if url.startswith("file:"):
                raise _Refused(str(getattr(error, "reason", error))) from None
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        arrived = part.stat().st_size if part.exists() else 0
        failed = failed + 1 if arrived <= furthest else 1
        furthest = max(furthest, arrived)
        if failed >= attempts:
            raise _Transient(f"{reason} (given up after {attempts} attempts)")
        log.info("%s: %s; trying again", url, reason)
        time.sleep(pause * 2 ** (failed - 1))


def _transfer(url: str, part: Path, file: File, timeout: float) -> None:
    """One attempt: resumes from the part if the server still has the same file, else starts again."""
    start, validator = _begun(part, url, file)
    if start and start == file.size:
        return
    headers = {"User-Agent": "nonnormal"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:  # the server sends all of a file that has changed since
            headers["If-Range"] = validator
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return  # complete already
        _discard(part)
        raise _Transient("the server has fewer bytes than were received before") from None
    with response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _Refused(f"asked for the bytes from {start:,} on, received others")
        if response.status != 206:
            start = 0
        length = response.headers.get("Content-Length")
        total = file.size if length is None else start + int(length)
        if None not in (total, file.size) and total != file.size:
            raise _Refused(f"expected {file.size:,} bytes, the server has {total:,}")
        _note(part).write_text(json.dumps({"url": url, "validator": _validator(response.headers)}), encoding="utf-8")
        bar = tqdm(desc=file.name, total=total, initial=start, unit="B", unit_scale=True, disable=None)
        with bar, part.open("ab" if start else "wb") as out:
            while chunk := response.read(CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
    arrived = part.stat().st_size
    if total is not None and arrived < total:
        raise _Transient(f"broke off after {arrived:,} of {total:,} bytes")


def _begun(part: Path, url: str, file: File) -> tuple[int, str | None]:
    """(bytes of an earlier attempt at the same address from which to resume, the file's validator then)."""
    try:
        begun = json.loads(_note(part).read_text(encoding="utf-8"))
        validator = begun["validator"]
        # Without a validator only the SHA-256 shows whether both parts belong together.
        known = begun["url"] == url and (validator or file.sha256)
        return (part.stat().st_size if known else 0), validator
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None


def _validator(headers: Mapping[str, str]) -> str | None:
    """Identifier of this version of the file on its server: a strong ETag, else the time of its last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _note(part: Path) -> Path:
    """File beside the part that holds its address."""
    return part.with_name(f"{part.name}.json")


def _discard(part: Path) -> None:
    """Remove an unfinished download."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
