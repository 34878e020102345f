"""Copies: are samples nearer to training images than held-out images are?"""

from __future__ import annotations

from torch import Tensor

from nonnormal.analysis.geometry import nearest_image
from nonnormal.metrics.intervals import Estimate, proportion_interval


def nearest_distances(images: Tensor, training: Tensor, levels: int) -> Tensor:
    """Distance of each image to the nearest training image, (N,), in units of √D, where D is its dimension.

    Args:
        images: in [−1, 1], (N, C, H, W).
        training: grey levels from 0 to levels − 1, uint8 (M, C, H, W).
    """
    return nearest_image(images, images=training, levels=levels)[1] / images[0].numel() ** 0.5


def copied_share(distances: Tensor, held_out: Tensor) -> Estimate:
    """Share of samples that are nearer to a training image than all but 1 % of the held-out images are.

    A sampler whose images are new has 1 %. Poor samples may have less: a small share does not show that they are good.

    Args:
        distances: of samples to their nearest training images, (N,).
        held_out: of held-out images, (M,).
    """
    share = (distances < held_out.double().quantile(0.01)).double().mean().item()
    return Estimate(share, *proportion_interval(share, len(distances)), len(distances))
