"""Fitted bases: principal components of the training images, and whitening of any basis.

    PCA       c = V x, rows of V the eigenvectors of the images' covariance
    Whitened  chi = S⁻¹ U x, S the standard deviation of each component of U x

Both are linear: directions and deviations are taken about the mean image, but no mean is subtracted. All is fitted in
float64. What was fitted is stored by `files.write_tensors(path, basis.tensors())`.

Source: GUD (2410.02667), χ̂ = S⁻¹Uφ; what is done with components that do not vary is derived here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases.base import Basis, Shape, like
from nonnormal.bases.moments import Scale, covariance, moments, parts

LARGEST_PCA = 4096
# Deviations of this share of the largest are rounding, in float64, of a component that is constant.
CONSTANT = 1e-10


def need_images(images: Tensor) -> None:
    """Raises an error for images that have no covariance.

    Raises:
        ValueError: there are under two images (N, C, H, W), or one is not finite.
    """
    if images.dim() != 4 or len(images) < 2 or not images[0].numel():
        raise ValueError(f"PCA needs two or more images (N, C, H, W), found {tuple(images.shape)}")
    if images.is_floating_point() and not images.isfinite().all():
        raise ValueError("PCA needs finite images, found NaN or ∞")


def need_shape(x: Tensor, shape: Sequence[int]) -> None:
    """Raises an error for images of another shape (C, H, W) than those that were fitted."""
    if tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"this PCA was fitted to images {tuple(shape)}, found {tuple(x.shape[1:])}")


@dataclass(frozen=True, eq=False)
class PCA(Basis):
    """Principal components c = V x of whole images, over all C·H·W numbers jointly, largest variance first.

    Coefficient k stands at place k of (C, H, W) in row-major order; it belongs to no channel and no pixel.

    Attributes:
        directions: V, (D, C, H, W), float64, orthonormal: direction k is itself an image.
        variance: variance along each direction, (C, H, W), float64, falling.

    Examples:
        >>> import torch
        >>> from nonnormal import PCA
        >>> images = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1) * torch.ones(2, 1, 1, 2)  # both pixels move together
        >>> basis = PCA.fit(images)
        >>> basis.variance  # all of the variance lies along the first direction
        tensor([[[2., 0.]]], dtype=torch.float64)
    """

    directions: Tensor
    variance: Tensor

    @classmethod
    def fit(cls, images: Tensor, *, scale: Scale | None = None) -> PCA:
        """Principal components of the images (N, C, H, W), N ≥ 2: V from their covariance V diag(variance) Vᵀ.

        All D directions are kept, also those without variance, since an orthonormal map needs them; of larger images
        `LeadingPCA` finds the leading ones. The largest entry of each direction is positive.

        Args:
            images: the training split.
            scale: makes numbers of the images, see `moments.parts`.

        Raises:
            ValueError: D exceeds 4096, there are under two images, or one is not finite.
        """
        need_images(images)
        dims = images[0].numel()
        if dims > LARGEST_PCA:
            raise ValueError(
                f"PCA needs images of at most {LARGEST_PCA} numbers each, found {tuple(images.shape)}; LeadingPCA, "
                "DCT, Fourier and Haar have no such limit"
            )
        variance, vectors = torch.linalg.eigh(covariance(images, scale))
        directions = vectors.T.flip(0)
        largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
        return cls(
            (directions * largest.sign()).reshape(dims, *images.shape[1:]),
            variance.flip(0).clamp(min=0).reshape(images.shape[1:]),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> PCA:
        """The basis whose `tensors` these are."""
        return cls(tensors["directions"], tensors["variance"])

    def tensors(self):
        return {"directions": self.directions, "variance": self.variance}

    def forward(self, x):
        return (x.flatten(1) @ self._matrix(x).T).reshape(x.shape)

    def inverse(self, c):
        return (c.flatten(1) @ self._matrix(c)).reshape(c.shape)

    def _matrix(self, x: Tensor) -> Tensor:
        """V as (D, D), in the dtype and on the device of x."""
        need_shape(x, self.directions.shape[1:])
        return like(self.directions, x.dtype, x.device).flatten(1)


@dataclass(frozen=True, eq=False)
class Whitened(Basis):
    """chi = S⁻¹ U x: every component has variance 1 on the training images. Not orthonormal.

    White noise on chi has the covariance Uᵀ S² U on pixels, which becomes the prior of the process. This noise has no
    single sigma, so a denoiser of pixels needs S. A density of chi is one of x by
    log p(x) = log p(chi) + log_det.

    Attributes:
        basis: U.
        std: diagonal of S, (C, H, W), float64, positive.
    """

    basis: Basis
    std: Tensor

    def __post_init__(self):
        if not (self.std.isfinite().all() and (self.std > 0).all()):
            raise ValueError(f"whitening needs positive deviations, found {self.std.min():.3g} to {self.std.max():.3g}")

    @classmethod
    def fit(cls, basis: Basis, images: Tensor, floor: float = 0.0, *, scale: Scale | None = None) -> Whitened:
        """S = max(std of U x, floor) over the training images (N, C, H, W), about their mean.

        A component that never varies has no scale, and the data do not say which scale the prior should have there. So
        such a component raises an error unless `floor` is positive. A natural floor is the standard deviation of
        rounding to grey levels, spacing/√12.

        Args:
            basis: U.
            images: the training split.
            floor: least deviation, in the units of the images.
            scale: makes numbers of the images, see `moments.parts`.

        Raises:
            ValueError: a component does not vary and floor is 0.
        """
        std = moments(map(basis.forward, parts(images, scale)))[1].sqrt()
        constant = int((std <= CONSTANT * std.max()).sum())
        if constant and not floor > 0:
            raise ValueError(
                f"{constant} of {std.numel()} components of {type(basis).__name__} do not vary over the images and "
                "have no scale: give a floor, such as the grey levels' spacing/√12"
            )
        return cls(basis, std.clamp(min=floor))

    def tensors(self):
        return {**self.basis.tensors(), "std": self.std}

    def forward(self, x):
        return self.basis.forward(x) / like(self.std, x.dtype, x.device)

    def inverse(self, c):
        return self.basis.inverse(c * like(self.std, c.dtype, c.device))

    @property
    def rotation(self):
        return self.basis.rotation

    @property
    def log_det(self):
        """−Σ log S, plus the basis's own."""
        return self.basis.log_det - self.std.log().sum().item()

    def frequency(self, shape: Shape) -> Tensor:
        """That of U."""
        return self.basis.frequency(shape)
