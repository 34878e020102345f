"""Files: written whole or not at all, and read without running anything that they contain.

Tensors are stored as safetensors (no pickle) with a JSON header. Every writer goes through `atomic`: the bytes go to a
temporary name beside the target and are renamed when they are complete and on disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which replaces `path` on success and vanishes on any error.

    The suffix is kept, since writers often choose the format by it. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` to `path`, atomically, in UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_tensors(path: Path | str, tensors: dict[str, torch.Tensor], header: dict[str, Any] | None = None) -> None:
    """Writes named tensors and a JSON-serialisable header as one safetensors file, atomically.

    Equal content gives equal bytes.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        temporary.write_bytes(save(stored, {"header": json.dumps(header or {}, sort_keys=True)}))


def read_tensors(
    path: Path | str, device: torch.device | str = "cpu"
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors, header) of a file made by `write_tensors`.

    Raises:
        ValueError: the file is not a complete safetensors file.
        FileNotFoundError: there is no such file.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({error}); delete it to have it made again"
        ) from None
