"""A basis: an invertible linear map c = U x between images and coefficients of the same shape.

A shift divergence is summed over coordinates and is not invariant under rotation unless the step is normal, so the
representation is part of the model. Every basis but `Whitened` is orthonormal: white noise on coefficients is white
noise on pixels, distances and densities are the same on both sides. Knows nothing of processes or steps.

Source: GUD (2410.02667), in which the representation is one of three choices that make a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Shape = tuple[int, int, int]


class Basis(ABC):
    """Base class: an invertible linear map from images x to coefficients c = U x of the same shape, and back.

    Results have the dtype and device of the argument, and are differentiable. A basis acts on the whole image or on
    each channel separately; its docstring says which. A basis that is fitted to images returns what it learnt as
    `tensors`.

    Examples:
        >>> import torch
        >>> from nonnormal import Haar
        >>> x = torch.rand(2, 1, 4, 4)
        >>> basis = Haar(levels=1)
        >>> torch.allclose(basis.inverse(basis.forward(x)), x, atol=1e-6)
        True
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Coefficients (B, C, H, W) of the images x (B, C, H, W)."""

    @abstractmethod
    def inverse(self, c: Tensor) -> Tensor:
        """Images (B, C, H, W) of the coefficients c (B, C, H, W)."""

    @property
    def orthonormal(self) -> bool:
        """Whether white noise on coefficients is white noise on pixels."""
        return self.rotation is self

    @property
    def rotation(self) -> Basis:
        """The orthonormal part of U: U itself, or the basis that a whitening scales."""
        return self

    def matches(self, other: Basis) -> bool:
        """Whether both are the same map: the same object, equal settings, or equal fitted tensors."""
        if self is other or self == other:
            return True
        mine, its = self.tensors(), other.tensors()
        if type(self) is not type(other) or not mine or any(not mine[name].equal(its[name]) for name in mine):
            return False
        return self.rotation is self or self.rotation.matches(other.rotation)

    @property
    def log_det(self) -> float:
        """log abs(det U), nats per image: log p(x) = log p(c) + log_det. Zero for an orthonormal basis."""
        return 0.0

    def frequency(self, shape: Shape) -> Tensor:
        """Frequency of each component, (C, H, W), float64, 0 for the coarsest: labels for a component-wise schedule.

        Raises:
            ValueError: the components of this basis have no frequency.
        """
        raise ValueError(f"the components of {type(self).__name__} have no frequency; DCT, Fourier and Haar order them")

    def tensors(self) -> dict[str, Tensor]:
        """Fitted tensors by name, which are stored with a run; empty for a fixed basis."""
        return {}


@dataclass(frozen=True)
class Pixel(Basis):
    """The pixel basis, c = x: each pixel of each channel is a coordinate.

    Examples:
        >>> import torch
        >>> from nonnormal import Pixel
        >>> x = torch.rand(2, 1, 4, 4)
        >>> torch.equal(Pixel().forward(x), x)
        True
    """

    def forward(self, x):
        return x

    def inverse(self, c):
        return c


PIXEL = Pixel()


@lru_cache(maxsize=32)
def like(matrix: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix in another dtype and place: converted once, as a PCA of 3072 dimensions has 75 MB."""
    with torch.inference_mode(False):  # what is kept must serve a later call with gradients, and so be a true copy
        return matrix.to(device, dtype, copy=True)
