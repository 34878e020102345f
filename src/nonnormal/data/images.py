"""Images as grey levels on disk and as numbers in [−1, 1] in models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nonnormal.files import read_tensors, write_tensors


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), uint8 grey levels, and labels (N,), int64; labels are empty if there are none."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ImageData:
    """A data set: two splits whose images take the grey levels 0 … levels − 1, and SHA-256 of the files behind it."""

    train: Split
    test: Split
    levels: int
    files: Mapping[str, str] = field(default_factory=dict)


FEWEST = {"train": 4, "test": 2}
"""Fewest images of each split for a study: precision and recall use the fourth nearest training image, and the standard
error of a mean over test images needs two."""


def need_enough(train: int, test: int, label: str) -> None:
    """Refuse a data set with too few images for a study.

    Args:
        train, test: images of each split.
        label: name of the data set in messages.

    Raises:
        ValueError: a split has fewer than `FEWEST`.
    """
    if train < FEWEST["train"] or test < FEWEST["test"]:
        raise ValueError(
            f"{label}: found {train} training and {test} test images; needs at least {FEWEST['train']} and "
            f"{FEWEST['test']}"
        )


def one_number(sides: Sequence[int]) -> int | list[int]:
    """Height of square images, [height, width] of others."""
    height, width = sides
    return height if height == width else [height, width]


def scale(images: Tensor, levels: int) -> Tensor:
    """x0 = 2 v/(levels − 1) − 1 in [−1, 1], float32, for grey levels v."""
    return images.float() * (2 / (levels - 1)) - 1


def std(images: Tensor, levels: int) -> float:
    """Standard deviation of `scale(images, levels)`, rounded to float32, from the counts of the levels alone."""
    counts = torch.bincount(images.flatten(), minlength=levels).double()
    x0 = scale(torch.arange(levels), levels).double()
    mean = counts @ x0 / counts.sum()
    return (counts @ (x0 - mean).square() / (counts.sum() - 1)).sqrt().float().item()


def quantise(x: Tensor, levels: int) -> Tensor:
    """Nearest grey levels, uint8, of images x (N, ...) in [−1, 1]; values outside are clipped to the ends.

    Raises:
        ValueError: a number is NaN or infinite, which would otherwise become a grey level.
    """
    finite = x.isfinite()
    if not finite.all():
        broken = int((~finite.reshape(len(x), -1).all(1)).sum())
        raise ValueError(f"{broken} of {len(x)} images have NaN or ∞ and no grey levels: their sampler diverged")
    return ((x.double() + 1) * ((levels - 1) / 2)).round().clamp(0, levels - 1).to(torch.uint8)


def write(path: Path, data: ImageData, name: str) -> None:
    """Write the data set as one safetensors file, atomically."""
    tensors = {
        "train.images": data.train.images,
        "train.labels": data.train.labels,
        "test.images": data.test.images,
        "test.labels": data.test.labels,
    }
    write_tensors(path, tensors, {"data": name, "levels": data.levels, "files": dict(data.files)})


def read(path: Path) -> ImageData:
    """Read a data set written by `write`."""
    tensors, header = read_tensors(path)
    split = {name: Split(tensors[f"{name}.images"], tensors[f"{name}.labels"]) for name in ("train", "test")}
    return ImageData(**split, levels=header["levels"], files=header.get("files", {}))
