"""Any number of images, outside a study: a folder of PNG files, or one .npz.

Image i depends only on the seed and i. Beside the images, generate.json records the settings, with its own SHA-256;
only the same settings may add images to the folder. An image gets its name when it is complete, and images are drawn in
fixed batches, so a command that was killed and is run again makes the same files. An .npz is packed from such a folder
beside it, which is then removed; its record is the array `generate`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nonnormal.files import atomic, read_json, tracking, write_json
from nonnormal.seeds import derive
from nonnormal.study.results import provenance
from nonnormal.study.results.paths import records_folder
from nonnormal.study.results.records import SEAL, relative, sealed
from nonnormal.training.checkpoints import changes

RECORD = "generate.json"
Draw = Callable[[Sequence[int]], Tensor]


def generate(out: Path, n: int, batch_size: int, settings: Mapping[str, Any], draw: Draw, channels: int) -> None:
    """Draw the images of `out` that are missing, up to n.

    Args:
        out: folder of PNG files, or a file that ends in .npz with `arr_0`, uint8 (n, H, W, C).
        n: number of images.
        batch_size: images drawn at a time.
        settings: all that images depend on, as JSON values, the "seed" among them.
        draw: from seeds to images in 0 … 255, uint8 (B, C, H, W).
        channels: C.

    Raises:
        ValueError: the folder or file has other settings, more images or other files, is in use, or its record is
            damaged; it lies in the pipeline's folders; PNG does not support the number of channels.
    """
    if records_folder(relative(out.absolute() / RECORD)):
        raise ValueError(f"{out}: the pipeline keeps its results there; give a folder elsewhere")
    if out.suffix == ".npz":
        _generate_npz(out, n, batch_size, settings, draw)
        return
    if channels not in (1, 3):
        raise ValueError(f"{out}: PNG files have 1 or 3 channels, and these images have {channels}; give a file .npz")
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        _begin(out, n, settings)
        for image, path in _drawn(out, n, batch_size, settings["seed"], draw):
            _write_png(path, image)


def _generate_npz(out: Path, n: int, batch_size: int, settings: Mapping[str, Any], draw: Draw) -> None:
    if out.exists():
        with np.load(out, allow_pickle=False) as found:
            if RECORD.removesuffix(".json") not in found:
                raise ValueError(f"{out}: was made by another command; give another name")
            record = json.loads(str(found["generate"]))
            _same(out, record, settings)
            if (count := len(found["arr_0"])) != n:
                raise ValueError(f"{out}: holds {count} images, asked for {n}; delete it, or give another name")
        return
    folder = out.with_name(f".{out.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        record = _begin(folder, n, settings, suffix=".npy")
        for image, path in _drawn(folder, n, batch_size, settings["seed"], draw, suffix=".npy"):
            _replace(path, lambda file, image=image: np.save(file, image, allow_pickle=False))
        images = np.stack([np.load(folder / _name(i, ".npy"), allow_pickle=False) for i in range(n)])
        with atomic(out) as temporary, temporary.open("wb") as file:
            np.savez(file, arr_0=images, generate=np.array(json.dumps(record)))
        shutil.rmtree(folder)


def _drawn(
    folder: Path, n: int, batch_size: int, seed: int, draw: Draw, suffix: str = ".png"
) -> Iterator[tuple[np.ndarray, Path]]:
    """(image (H, W, C), its file) for all images missing in the folder.

    A batch with a missing image is drawn as a whole: the last bits of a network's sums may depend on the batch size.
    """
    for start in tqdm(range(0, n, batch_size), unit="batch", dynamic_ncols=True):
        numbers = range(start, min(start + batch_size, n))
        paths = [folder / _name(i, suffix) for i in numbers]
        if all(path.is_file() for path in paths):
            continue
        images = draw([derive(seed, "generate", i) for i in numbers]).cpu().permute(0, 2, 3, 1).numpy()
        yield from ((image, path) for image, path in zip(images, paths, strict=True) if not path.is_file())


def _name(i: int, suffix: str) -> str:
    return f"{i:06d}{suffix}"


def _write_png(path: Path, image: np.ndarray) -> None:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    _replace(path, lambda file: picture.save(file, format="png"))


def _replace(path: Path, write: Callable[[Any], None]) -> None:
    """Writes a file, which takes its name when it is complete and on disk.

    `files.atomic` would list the whole folder for each image, to find what killed writers left; here the next command
    draws the same image again.
    """
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _begin(folder: Path, n: int, settings: Mapping[str, Any], suffix: str = ".png") -> dict[str, Any]:
    """The record of a folder, which is written where the folder is empty."""
    place = folder / RECORD
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {RECORD}
    if not place.is_file():
        if found:
            raise ValueError(f"{folder}: holds {min(found)} of another command; give an empty folder, or a new one")
        record = sealed({"settings": dict(settings), **provenance.describe()})
        write_json(place, record)
        return record
    with tracking(None):
        record = read_json(place, "give another folder")
    _same(folder, record, settings)
    if more := found - {_name(i, suffix) for i in range(n)}:
        raise ValueError(
            f"{folder}: holds {max(more)} beside the {n} images asked for; give a larger --n or a new folder"
        )
    return record


def _same(out: Path, record: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse images whose record is damaged or has other settings."""
    if record.get(SEAL) != sealed(dict(record))[SEAL]:
        raise ValueError(f"{out}: its record ({RECORD}) is damaged, or was edited; give another name")
    known = record["settings"]
    # Keys that the settings lack count, too: a run and a pipeline have different ones.
    if found := changes(known, {**dict.fromkeys(known), **settings}):
        raise ValueError(f"{out}: holds images of other settings: {'; '.join(found)}; give another name")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a folder that another process is filling.

    Raises:
        ValueError: another process is filling it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another command is filling it at this moment") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def to_bytes(images: Tensor, levels: int) -> Tensor:
    """Grey levels 0 … levels − 1 as 0 … 255, uint8."""
    return (images.double() * (255 / (levels - 1))).round().to(torch.uint8)
