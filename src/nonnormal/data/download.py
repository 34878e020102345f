"""Files from the web or from disk: resumed where a transfer broke off, and used only when they are what was expected.

A file arrives as `<name>.part` and takes its name when size and SHA-256 are right. One process at a time fetches it;
those that waited take what it brought. What a user placed by hand is read where it lies, and never changed or deleted.
Knows nothing of images.
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
    """A file is not to be had, or is not the one that was expected; the message says what to do."""


class _Transient(Exception):
    """A transfer broke off in a way that another attempt may mend."""


class _Refused(Exception):
    """A mirror has not got what was asked of it."""


@dataclass(frozen=True)
class File:
    """What is known of a file before it is there.

    Attributes:
        name: file name.
        size: in bytes, None where it is not known.
        sha256: in hex, its first digits where no more are known, None where nothing is.
        urls: addresses, tried in this order.
        key: of a study, under which it says where its files come from.
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
        """What is known of the SHA-256, for messages."""
        return self.sha256 and self.sha256 + "…" * (len(self.sha256) < 64)


def obtain(file: File, *, placed: Path | None = None, folder: Path = DOWNLOADS) -> tuple[Path, str]:
    """(path, SHA-256) of the file: as it was placed by hand, else as it lies in the folder, else fetched to there.

    Args:
        file: what is expected.
        placed: the file, or the folder that it lies in; nothing is looked for elsewhere.
        folder: where downloads go.

    Raises:
        DownloadError: it is not where it was said to be, is another file, or cannot be fetched.
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
        log.info("%s: nobody states its SHA-256; found %s", target, digest)
    return track_input(target), digest


def _found(target: Path, file: File) -> str:
    """SHA-256 of the file that is there already.

    Raises:
        DownloadError: it is another one.
    """
    try:
        return check(target, file)
    except _Refused as reason:
        raise DownloadError(
            f"{target.resolve()}: {reason}. It was left as it is: put {file} in its place, or, if this is a file "
            f"that you trust, give its SHA-256 in the study: {file.key}: {{sha256: {{{file.name}: …}}}}"
        ) from None


def check(path: Path, file: File) -> str:
    """SHA-256 of what lies at the path, which is the expected one where that is known."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise _Refused(f"expected {file.size:,} bytes, found {size:,}")
    digest = sha256_of(path)
    if file.sha256 is not None and not digest.startswith(file.sha256):
        raise _Refused(f"expected SHA-256 {file.digits}, found {digest}")
    return digest


def fetch(file: File, folder: Path, *, attempts: int = 5, pause: float = 1.0, timeout: float = 30.0) -> str:
    """SHA-256 of the file, now in the folder under its name, from the first mirror that has it.

    Where another process is fetching it, this waits, and then takes what has come, or goes on from there.

    Args:
        file: what is expected, and its addresses: http, https, or file.
        folder: made where it is missing.
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
                except _Transient as reason:  # what came is kept, to be gone on from
                    reasons.append(f"  {url}: {reason}")
                else:
                    part.replace(target)
                    _discard(part)
                    return digest
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"the disk of {folder.resolve()} is full. Make room and run this again: it goes on from {part.name}"
        ) from None
    reasons = reasons or ["  no address of it is known here"]
    raise DownloadError(
        "\n".join(
            [
                f"{file.name} could not be had:",
                *reasons,
                f"Place {file} by hand at {target.resolve()},",
                f"or say in the study where it is: {file.key}: {{path: FOLDER}} or "
                f"{file.key}: {{mirrors: [ADDRESS, …]}}",
            ]
        )
    )


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Inside, no other process works on the part; its lock file beside the part goes with the lock."""
    path = part.with_name(f"{part.name}.lock")
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is at it; waiting", part)
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
    """Transfers with exponential back-off; an attempt that brought new bytes does not count."""
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
    """One attempt: goes on from what the part holds if the server still has the same file, else starts again."""
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
        raise _Transient("the server has less than what came before") from None
    with response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _Refused(f"asked for the bytes from {start:,} on, answered with others")
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
    """(bytes of an earlier attempt at the same address that can be gone on from, the file's validator then)."""
    try:
        begun = json.loads(_note(part).read_text(encoding="utf-8"))
        validator = begun["validator"]
        # Without a validator nothing but the SHA-256 tells whether both ends belong together.
        known = begun["url"] == url and (validator or file.sha256)
        return (part.stat().st_size if known else 0), validator
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None


def _validator(headers: Mapping[str, str]) -> str | None:
    """What identifies this version of the file to its server: a strong ETag, else the time of its last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _note(part: Path) -> Path:
    """File beside the part that says where it comes from."""
    return part.with_name(f"{part.name}.json")


def _discard(part: Path) -> None:
    """Removes an unfinished download."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
