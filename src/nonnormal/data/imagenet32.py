"""ImageNet at 32×32. Two versions exist, with different bits/dim, so the version is always part of the name.

`imagenet32_old`: PNG files in tars, 1,281,149 and 49,999 images without labels, made by van den Oord et al., Pixel
Recurrent Neural Networks (1601.06759). Papers before about 2021 report on it. image-net.org no longer serves it.

`imagenet32_new`: npz files in zips, 1,281,167 and 50,000 images with labels, scaled by a box filter, made by Chrabaszcz
et al. (1707.08819). image-net.org serves it to those who have agreed to its terms.

Neither can be downloaded automatically: place the files by hand, or name a mirror.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from nonnormal.data.archives import count_tar_members, npz_array, tar_members, zip_members
from nonnormal.data.decoding import has_more_than_8_bits, opened
from nonnormal.data.download import DownloadError, File
from nonnormal.data.images import ImageData, Split
from nonnormal.data.source import Source

PIXELS = 3 * 32 * 32
# Second-hand: sizes and hashes recorded by TensorFlow Datasets (downsampled_imagenet) when the tars were available.
OLD = {
    "train": File("train_32x32.tar", 4_113_018_880, "244a323d48f8d72f65ad8b54658c01fed68d2d7bdc77ccb43da58c11e94224e5"),
    "test": File("valid_32x32.tar", 161_474_560, "862e559462b24cf736212a19f6b0d47b55c2dc8ebdaa95ccecfe71260124c8f7"),
}
# No SHA-256 of the zips: they were packed more than once around the same npz files.
NEW = {"train": File("Imagenet32_train_npz.zip"), "test": File("Imagenet32_val_npz.zip")}
NEW_IMAGES = {"train": 1_281_167, "test": 50_000}
PNG_LIMIT = 1 << 16
NPZ_LIMIT = 1 << 29  # a tenth of the training images has 394 MB
LABELS_LIMIT = 1 << 21  # eight bytes for each image that NPZ_LIMIT has room for are less


def load_imagenet32_old(source: Source) -> ImageData:
    """The two splits in the order of the tars, without labels."""
    splits, hashes = {}, {}
    for split, file in OLD.items():
        path, hashes[file.name] = source.obtain(file)
        images = torch.empty(count_tar_members(path, limit=PNG_LIMIT), 3, 32, 32, dtype=torch.uint8)
        members = tar_members(path, limit=PNG_LIMIT)
        for row, (name, content) in zip(images, tqdm(members, file.name, len(images), disable=None), strict=True):
            row.copy_(_png(content, f"{path}: {name}"))
        splits[split] = Split(images, torch.empty(0, dtype=torch.int64))
    return ImageData(**splits, levels=256, files=hashes)


def load_imagenet32_new(source: Source) -> ImageData:
    """The two splits in the order of the numbered npz files, with labels 0 … 999.

    Raises:
        ValueError: a file has other contents than expected; without a given SHA-256, also if images are missing.
    """
    splits, hashes = {}, {}
    for split, file in NEW.items():
        path, hashes[file.name] = source.obtain(file)
        splits[split] = _npz_split(path, NEW_IMAGES[split])
        found = len(splits[split].images)
        if found != NEW_IMAGES[split] and file.name not in source.sha256:
            raise DownloadError(
                f"{path}: expected {NEW_IMAGES[split]:,} images, found {found:,}. If this is what you want, give the "
                f"file's SHA-256: source: {{sha256: {{{file.name}: {hashes[file.name]}}}}}"
            )
    return ImageData(**splits, levels=256, files=hashes)


def _png(content: bytes, label: str) -> torch.Tensor:
    """(3, 32, 32) grey levels of a PNG file."""
    with opened(io.BytesIO(content), label=label, formats=("PNG",)) as image:
        if (image.size, image.mode) != ((32, 32), "RGB"):
            raise ValueError(f"expected 32×32 RGB, found {image.width}×{image.height} {image.mode}")
        if has_more_than_8_bits(image):
            raise ValueError("has more than 8 bits per channel")
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _npz_split(path: Path, most: int) -> Split:
    """Images and labels of the npz files in a zip, ordered by the number in their names."""
    # Labels first, which are small: their number says how large a tensor the images need, allocated once.
    labels = dict(_arrays(path, "labels", LABELS_LIMIT))
    if not labels:
        raise ValueError(f"{path}: has no npz file")
    order = sorted(labels, key=lambda name: (len(name), name))
    ends = np.cumsum([len(labels[name]) for name in order])
    rows = {name: slice(end - len(labels[name]), end) for name, end in zip(order, ends, strict=True)}
    if ends[-1] > most:
        raise ValueError(f"{path}: has {ends[-1]:,} labels; ImageNet has {most:,} images")
    images = torch.empty(ends[-1], 3, 32, 32, dtype=torch.uint8)
    for name, data in _arrays(path, "data", NPZ_LIMIT):
        expected = (len(labels[name]), PIXELS)
        if data.dtype != np.uint8 or data.shape != expected:
            raise ValueError(f"{path}: {name}: expected uint8 {expected}, found {data.dtype} {data.shape}")
        images[rows[name]] = torch.from_numpy(data).view(-1, 3, 32, 32)
    classes = np.concatenate([labels[name] for name in order]).astype(np.int64)
    if classes.min() < 1 or classes.max() > 1000:
        raise ValueError(f"{path}: labels are {classes.min()} to {classes.max()}; expected 1 to 1000")
    return Split(images, torch.from_numpy(classes - 1))


def _arrays(path: Path, array: str, limit: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of each npz file in a zip."""
    for name, content in zip_members(path, limit=NPZ_LIMIT):
        if name.endswith(".npz"):
            yield name, npz_array(content, array, limit=limit, label=f"{path}: {name}")
