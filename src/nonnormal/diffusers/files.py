"""Files of a pretrained pipeline that are read: weights, configuration, scheduler."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILES = [folder + name for folder in ("", "unet/", "scheduler/") for name in ("*.json", "*.safetensors")]


def network_files(folder: Path | str) -> list[Path]:
    """The files of a pretrained pipeline that are read, in the folder that holds it."""
    return sorted(path for pattern in NETWORK_FILES for path in Path(folder).expanduser().glob(pattern))
