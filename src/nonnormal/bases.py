"""Bases: the orthonormal representation in which the coordinates of a step are counted.

A shift divergence is summed over coordinates and is not invariant under rotation unless the step is normal, so the
representation is part of the model. `forward` takes images (B, C, H, W) to coefficients of the same shape, `inverse`
takes them back; both are orthonormal. Knows nothing of processes or steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pixel:
    """c = x: each pixel of each channel is a coordinate."""

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients (B, C, H, W) of the images x (B, C, H, W)."""
        return x

    def inverse(self, c: Tensor) -> Tensor:
        """Images (B, C, H, W) of the coefficients c (B, C, H, W)."""
        return c


PIXEL = Pixel()
