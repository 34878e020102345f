"""Small file systems of their own, mounted for a test: full ones, read-only ones."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "1M") -> Iterator[Path]:
    """A disk of that size at the folder; the test is skipped where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder), capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount a disk here")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "--lazy", folder), check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Takes all room of the disk but so many bytes; the file to delete for having it back."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with filler.open("rb+") as file:
        file.truncate(max(0, filler.stat().st_size - leave))
    return filler


def make_read_only(folder: Path) -> None:
    """Remounts the disk at the folder."""
    subprocess.run(("mount", "-o", "remount,ro", folder), check=True)
