"""Moments of training images, computed part by part, so that no converted copy of a whole set is in memory.

Images may be grey levels of one byte each, with a function that converts them. The parts depend only on the shape of
the images, and are summed in order, in float64.

Source: merging of moments: Chan, Golub & LeVeque (1979), Updating formulae and a pairwise algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

Scale = Callable[[Tensor], Tensor]
PART = 1 << 22  # numbers at once, 32 MB


def parts(images: Tensor, scale: Scale | None = None) -> Iterator[Tensor]:
    """The images (N, C, H, W) in parts (n, C, H, W), float64, on the CPU.

    Args:
        images: numbers, or what `scale` makes numbers of, for example uint8 grey levels.
        scale: None of images that are numbers already.
    """
    for part in images.detach().split(max(1, PART // images[0].numel())):
        yield (part if scale is None else scale(part)).double().cpu()


def moments(found: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """(mean, variance) over all rows of tensors (n, *event), n ≥ 1, in order; the variance is E(x − E x)²."""
    total, mean, variance = 0, torch.zeros(()), torch.zeros(())
    for part in found:
        n, its_mean, its_variance = len(part), part.mean(0), part.var(0, correction=0)
        total, before = total + n, total
        if not before:
            mean, variance = its_mean, its_variance
            continue
        gap, share = its_mean - mean, n / total
        mean = mean + share * gap
        variance = (1 - share) * (variance + share * gap.square()) + share * its_variance
    return mean, variance


def covariance(images: Tensor, scale: Scale | None = None) -> Tensor:
    """E(x − E x)(x − E x)ᵀ over the images (N, C, H, W) as rows, (D, D), of `parts`."""
    mean, total = centre(images, scale), 0
    for part in parts(images, scale):
        rows = part.flatten(1) - mean
        total = total + rows.T @ rows
    return total / len(images)


def centre(images: Tensor, scale: Scale | None = None) -> Tensor:
    """E x over the images (N, C, H, W) as rows, (D,), of `parts`."""
    return sum(part.flatten(1).sum(0) for part in parts(images, scale)) / len(images)
