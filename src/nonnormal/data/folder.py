"""`folder`: any folder of images, cropped to the central square and scaled to one size.

The SHA-256 of an image's relative path decides its split (one in ten is for testing) and its place in it: adding or
removing images moves no other from one split to the other. Labels are the subfolders with images in them, in
alphabetical order, if every image lies in one. The workflow does not watch the folder: delete the data set's file when
its images change.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from nonnormal.data.images import ImageData, Split
from nonnormal.data.source import Source

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TEST_SHARE = 0.1
PIXEL_LIMIT = 50_000_000
_EIGHT_BITS = {"1", "CMYK", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr"}


def load_folder(source: Source) -> ImageData:
    """The images of source.path as (N, 3, size, size).

    Raises:
        ValueError: there is no such folder, an image is damaged or too large, or a split would be empty.
    """
    folder = Path(source.path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"source.path: there is no folder {folder.resolve()}")
    names = [file.relative_to(folder).as_posix() for file in _images(folder)]
    places = {name: hashlib.sha256(name.encode()).digest() for name in names}
    names.sort(key=places.__getitem__)
    tested = {name for name in names if int.from_bytes(places[name][:8], "big") < TEST_SHARE * 2**64}
    if not 0 < len(tested) < len(names):
        raise ValueError(f"{folder}: of {len(names)} images {len(tested)} fall to the test split; add more images")
    images = torch.empty(len(names), 3, source.size, source.size, dtype=torch.uint8)
    contents = hashlib.sha256()
    for row, name in zip(images, tqdm(names, str(folder), disable=None), strict=True):
        content = (folder / name).read_bytes()
        contents.update(places[name] + hashlib.sha256(content).digest())
        row.copy_(decode(content, source.size, label=str(folder / name)))
    known = {label: number for number, label in enumerate(labels_of(folder))}
    labels = torch.tensor([known[name.partition("/")[0]] for name in names] if known else [], dtype=torch.int64)
    test = torch.tensor([name in tested for name in names])
    train, test = (Split(images[rows], labels[rows] if len(labels) else labels) for rows in (~test, test))
    return ImageData(train, test, 256, {"folder": contents.hexdigest()})


def labels_of(folder: Path) -> list[str]:
    """The subfolders with an image in them, at any depth, in alphabetical order; none where an image lies in none.

    Of each subfolder no more is looked at than up to its first image.
    """
    with os.scandir(folder) as entries:
        found = list(entries)
    if any(not entry.is_dir() and _is_image(entry.name) for entry in found):
        return []
    subfolders = sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
    return [name for name in subfolders if any(True for _ in _images(folder / name))]


def decode(content: bytes, size: int, *, label: str) -> torch.Tensor:
    """(3, size, size) grey levels of an image file: upright, without transparency, its central square scaled.

    Raises:
        ValueError: the file is damaged, has more pixels than the limit, or more than 8 bits per channel.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
        with image:
            if image.width * image.height > PIXEL_LIMIT:  # from the header: nothing has been decoded yet
                raise ValueError(f"{image.width}×{image.height} pixels are more than the {PIXEL_LIMIT:,} allowed")
            if image.mode not in _EIGHT_BITS:
                raise ValueError(f"has mode {image.mode}; allowed are 8 bits per channel")
            upright = ImageOps.exif_transpose(image).convert("RGB")
        square = ImageOps.fit(upright, (size, size), method=Image.Resampling.LANCZOS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{label}: {error}") from None
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _images(folder: Path) -> Iterator[Path]:
    """Image files in the folder, at any depth."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names if _is_image(name))


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES
