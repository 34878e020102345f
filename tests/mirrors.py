"""A web server on this machine that can misbehave, and small archives in exactly the formats of the real ones."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


@dataclass
class Mirror:
    """What the server holds, how it misbehaves, and what it was asked.

    Attributes:
        files: content by name.
        breaks: after how many bytes the next answers break off, one entry an answer.
        statuses: HTTP statuses of the next answers, before any content.
        ranges: whether parts of files are served.
        lengths: whether Content-Length is sent.
        etag: of all files; None sends none.
        asked: (path, Range) of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    lengths: bool = True
    etag: str | None = '"one"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serve():
    """A running mirror."""
    mirror = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            mirror.asked.append((self.path, wanted))
            name = self.path.lstrip("/")
            if mirror.statuses or name not in mirror.files:
                return self.send_error(mirror.statuses.pop(0) if mirror.statuses else 404)
            content, start = mirror.files[name], 0
            same = self.headers.get("If-Range") in (None, mirror.etag)
            if wanted and mirror.ranges and same:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if mirror.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            if mirror.etag:
                self.send_header("ETag", mirror.etag)
            self.end_headers()
            end = start + mirror.breaks.pop(0) if mirror.breaks else len(content)
            with contextlib.suppress(ConnectionError):  # who asked has hung up
                self.wfile.write(content[start:end])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tar(members: dict[str, bytes], mode: str = "w", extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """A tar of files, with further headers at its end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        for header in extra:
            archive.addfile(header)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """An npz file; arrays of objects are pickled into it."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def png(image: np.ndarray) -> bytes:
    """A PNG file of an image (H, W) or (H, W, C)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images (n, 3, 32, 32) and labels 0 … 9."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, n)


def cifar_records(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Records of one label byte and 3072 bytes of colour planes."""
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))
