"""`folder`: any folder of images, cropped about the centre and scaled to one height and width.

The SHA-256 of an image's relative path decides its split (one in ten is for testing) and its place in it: adding or
removing images moves no other from one split to the other. Labels are the subfolders with images in them, in
alphabetical order, if every image lies in one. The workflow does not watch the folder: delete the data set's file when
its images change.

Links are followed; a folder that is reached twice is refused, since its images would be in both splits. Hidden files
and folders and those of operating systems (`ignored`) are left out.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from nonnormal.data.decoding import FORMATS, has_more_than_8_bits, opened
from nonnormal.data.ignored import ignored
from nonnormal.data.images import ImageData, Split, need_enough
from nonnormal.data.source import Source, local

TEST_SHARE = 0.1
PIXEL_LIMIT = 50_000_000
FILE_LIMIT = 1 << 29  # bytes: more than the pixels allowed take without compression
BACKGROUND = "white"
"""Grey level behind transparent pixels."""
_EIGHT_BITS = {"1", "CMYK", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr"}

log = logging.getLogger(__name__)


def load_folder(source: Source) -> ImageData:
    """The images of source.path as (N, *source.shape).

    Raises:
        ValueError: there is no such folder, an image is damaged or too large, or a split has too few images.
    """
    folder, places = local(source.path), places_of(source)
    images = torch.empty(len(places), *source.shape, dtype=torch.uint8)
    contents, digests = hashlib.sha256(), {True: set(), False: set()}
    for row, (name, place) in zip(images, tqdm(places.items(), str(folder), disable=None), strict=True):
        content = _content(folder / name)
        digest = hashlib.sha256(content).digest()
        contents.update(place + digest)
        digests[_is_test(place)].add(digest)
        row.copy_(decode(content, source.shape, label=str(folder / name)))
    if shared := len(digests[True] & digests[False]):
        log.warning("%s: %d of the test images are copies of training images, byte by byte", folder, shared)
    known = {label: number for number, label in enumerate(labels_of(folder))}
    labels = torch.tensor([known[name.partition("/")[0]] for name in places] if known else [], dtype=torch.int64)
    test = torch.tensor([_is_test(place) for place in places.values()])
    train, test = (Split(images[rows], labels[rows] if len(labels) else labels) for rows in (~test, test))
    return ImageData(train, test, 256, {"folder": contents.hexdigest()})


def places_of(source: Source) -> dict[str, bytes]:
    """SHA-256 of each image's relative path, by that path, in rising order; no file is opened.

    Raises:
        ValueError: source.path is no folder, cannot be read, reaches a folder twice, or has too few images.
    """
    folder = local(source.path)
    names = [Path(place, name).relative_to(folder).as_posix() for place, _, images in _walk(folder) for name in images]
    places = sorted((hashlib.sha256(os.fsencode(name)).digest(), name) for name in names)
    tested = sum(_is_test(place) for place, _ in places)
    need_enough(
        len(places) - tested, tested, f"source.path: {folder.absolute()} (one image in ten is for testing, by its name)"
    )
    return {name: place for place, name in places}


def labels_of(folder: Path) -> list[str]:
    """The subfolders with an image in them, at any depth, in alphabetical order; none if an image lies in no subfolder.

    Each subfolder is read only up to its first image.

    Raises:
        ValueError: a folder cannot be read.
    """
    _, subfolders, images = next(_walk(folder))
    return [] if images else [name for name in sorted(subfolders) if any(found for *_, found in _walk(folder / name))]


def decode(content: bytes, shape: tuple[int, int, int], *, label: str) -> torch.Tensor:
    """Levels (C, H, W) of an image file: upright, transparency on white, its largest central part of H:W scaled.

    With one channel, colours become Y = 0.299 R + 0.587 G + 0.114 B before scaling; with three, grey ones R = G = B.

    Args:
        content: of the file.
        shape: (C, H, W), C = 1 or 3.
        label: name of the file in messages.

    Raises:
        ValueError: the file is damaged, has more pixels than the limit, or more than 8 bits per channel.
    """
    with opened(io.BytesIO(content), label=label) as image:
        if image.width * image.height > PIXEL_LIMIT:  # from the header: nothing has been decoded yet
            raise ValueError(f"{image.width}×{image.height} pixels are more than the {PIXEL_LIMIT:,} allowed")
        if image.mode not in _EIGHT_BITS:
            raise ValueError(f"has mode {image.mode}; allowed are 8 bits per channel")
        if has_more_than_8_bits(image):
            raise ValueError("has more than 8 bits per channel; allowed are 8")
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, BACKGROUND), upright)
        channels, height, width = shape
        image = upright.convert("L" if channels == 1 else "RGB")
        fitted = ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1)


def _is_test(place: bytes) -> bool:
    """Whether an image is for testing, from the SHA-256 of its path."""
    return int.from_bytes(place[:8], "big") < TEST_SHARE * 2**64


def _content(path: Path) -> bytes:
    """Content of an image file.

    Raises:
        ValueError: it is not a regular file (reading a pipe would never end), is too large, or cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path}: is not a regular file; remove or rename it")
        if found.st_size > FILE_LIMIT:
            raise ValueError(f"{path}: has {found.st_size:,} bytes, more than the {FILE_LIMIT:,} allowed")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """(path, subfolders, image files) of the folder and of each below it, without `ignored` names.

    Raises:
        ValueError: a folder cannot be read or is reached twice, or a link leads nowhere.
    """
    reached: dict[str, str] = {}
    for place, subfolders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        if (before := reached.setdefault(os.path.realpath(place), place)) != place:
            raise ValueError(f"{place}: leads to the same folder as {before}; remove one, or the link that leads there")
        subfolders[:] = [name for name in subfolders if not ignored(name)]
        names = [name for name in names if not ignored(name)]
        for path in (Path(place, name) for name in names if not _is_image(name)):
            if path.is_symlink() and not path.exists():
                raise ValueError(f"{path}: is a link that leads nowhere; mend or remove it")
        yield place, subfolders, [name for name in names if _is_image(name)]


def _unreadable(error: OSError) -> None:
    raise ValueError(f"source.path: {Path(error.filename).absolute()}: cannot be read as a folder ({error.strerror})")


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in FORMATS
