"""`photos`: crops of seven colour photographs that lie inside the wheels of scikit-learn and scikit-image.

Each photograph is cut into ten vertical bands of equal width; the third and the eighth are for testing, so that no
pixel is in both splits and both cover the whole scene. A crop is 32×32 pixels of a photograph, reduced to the size in
the source by averaging square blocks. Crops overlap within a split. Labels are the numbers of the photographs.

Files are read from the installed wheels: scikit-image's own functions would fetch missing files from the web. The last
bit of a pixel depends on the decoder of JPEG, so the SHA-256 of the files does not determine the crops; together with
Pillow's version it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nonnormal.data.decoding import opened
from nonnormal.data.images import ImageData, Split
from nonnormal.data.source import Source
from nonnormal.files import sha256_of

WINDOW = 32  # pixels of a photograph along the side of a crop
SIZES = (4, 8, 16, 32)
STRIDE = 8
BANDS = 10
TEST_BANDS = (2, 7)
# Labels are positions in this list. Not included: photographs that are mostly black (Hubble, retina), a micrograph, and
# the right image of the motorcycle, which shows nearly the same as the left one.
PHOTOS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


def load_photos(source: Source) -> ImageData:
    """18,053 training and 3,086 test crops, each split in a fixed random order."""
    parts, files = [], {}
    for file, photo in photographs():
        parts.append(crops(photo, source.size))
        files[file.name] = sha256_of(file)
    train, test = (_shuffled(list(split), seed) for seed, split in enumerate(zip(*parts, strict=True)))
    return ImageData(train, test, 256, files)


def photographs() -> Iterator[tuple[Path, Tensor]]:
    """(file, grey levels uint8 (H, W, 3)) of each of `PHOTOS`."""
    for file in [_locate(package, name) for package, name in PHOTOS]:
        with file.open("rb") as content, opened(content, label=str(file), formats=("JPEG", "PNG")) as photo:
            yield file, torch.from_numpy(np.array(photo.convert("RGB")))


def regions(photo: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """(train, test) parts (H, w, 3) of a photograph (H, W, 3), which share no pixel."""
    edges = [round(band * photo.shape[1] / BANDS) for band in range(BANDS + 1)]
    first, second = TEST_BANDS
    train = [(0, first), (first + 1, second), (second + 1, BANDS)]
    test = [(first, first + 1), (second, second + 1)]
    train, test = ([photo[:, edges[low] : edges[high]] for low, high in split] for split in (train, test))
    return train, test


def crops(photo: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(train, test) crops (N, 3, size, size) of a photograph (H, W, 3), from regions that share no pixel."""
    train, test = (_reduced(torch.cat([_grid(region) for region in split]), size) for split in regions(photo))
    return train, test


def _grid(region: Tensor) -> Tensor:
    """All crops (N, 3, 32, 32) of a region (H, W, 3) on a square grid."""
    windows = region.unfold(0, WINDOW, STRIDE).unfold(1, WINDOW, STRIDE)  # (rows, columns, 3, 32, 32)
    return windows.flatten(0, 1).contiguous()


def _reduced(images: Tensor, size: int) -> Tensor:
    """Images (N, C, size, size): means of the grey levels of square blocks, rounded half to even; uint8."""
    side = images.shape[-1] // size
    return images if side == 1 else avg_pool2d(images.double(), side).round().to(torch.uint8)


def _shuffled(parts: list[Tensor], seed: int) -> Split:
    """The crops of all photographs with their labels, in random order."""
    images = torch.cat(parts)
    labels = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts]))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return Split(images[order], labels[order])


def _locate(package: str, name: str) -> Path:
    """A file inside an installed package, which is not imported."""
    path = Path(find_spec(package).origin).parent / name
    if not path.is_file():
        raise ValueError(
            f"photos: this version of {package} has no {name} in its wheel; "
            "constraints.txt names versions of scikit-learn and scikit-image that have it"
        )
    return path
