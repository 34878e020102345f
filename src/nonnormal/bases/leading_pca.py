"""Principal components of images too large for the whole decomposition: the leading ones, completed to a basis.

    c = Qᵀ x with Q = Π_j (I − factor_j v_j v_jᵀ)

The first k columns of Q are the leading directions, up to sign, and the rest complete them to an orthonormal basis. As
a product of k Householder reflections Q takes D·k numbers in place of D².

Source: the randomised solver is that of Halko et al. (0909.4061); Q is LAPACK's, by `torch.geqrf` and `torch.ormqr`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases.base import Basis, like
from nonnormal.bases.moments import Scale, centre, parts
from nonnormal.bases.pca import need_images, need_shape

LEADING = 512
_SPARE, _POWERS = 32, 7  # directions that are dropped again, and powers of the covariance


@dataclass(frozen=True, eq=False)
class LeadingPCA(Basis):
    """c = Qᵀ x over all C·H·W numbers of an image jointly, the k leading directions first, largest variance first.

    The directions after them complete the basis; they have no order.

    Attributes:
        reflectors: v_j below the diagonal of column j, as `torch.geqrf` returns them, (D, k), float64.
        factors: (k,), float64.
        variance: variance along each of the k leading directions, (k,), float64, falling.
        shape: (C, H, W), whole numbers.
    """

    reflectors: Tensor
    factors: Tensor
    variance: Tensor
    shape: Tensor

    @classmethod
    def fit(cls, images: Tensor, k: int = LEADING, *, scale: Scale | None = None) -> LeadingPCA:
        """The k leading directions of the images (N, C, H, W), of which there are N − 1 or fewer.

        Randomised solver: powers of the covariance are applied to random directions, and the principal axes of their
        span are taken. Each power is one pass over the images. Memory is D·k numbers.

        Args:
            images: the training split.
            k: number of directions.
            scale: makes numbers of the images, see `moments.parts`.

        Raises:
            ValueError: there are under two images, or one is not finite.
        """
        need_images(images)
        n, dims = len(images), images[0].numel()
        k, mean = min(k, n - 1, dims), centre(images, scale)

        def centred() -> Iterator[Tensor]:
            return (part.flatten(1) - mean for part in parts(images, scale))

        generator = torch.Generator().manual_seed(0)
        q = torch.randn(dims, min(k + _SPARE, n, dims), dtype=torch.float64, generator=generator)
        for _ in range(_POWERS):
            q = torch.linalg.qr(sum(rows.T @ (rows @ q) for rows in centred())).Q
        within = sum((along := rows @ q).T @ along for rows in centred()) / n
        variance, axes = (found.flip(-1)[..., :k] for found in torch.linalg.eigh(within))
        # Products of orthonormal factors are not orthonormal to the last digit: the reflections are.
        reflectors, factors = torch.geqrf(q @ axes)
        return cls(reflectors.tril(-1), factors, variance.clamp(min=0), torch.tensor(images.shape[1:]))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LeadingPCA:
        """The basis whose `tensors` these are."""
        return cls(*(tensors[name] for name in ("reflectors", "factors", "variance", "shape")))

    def tensors(self):
        names = ("reflectors", "factors", "variance", "shape")
        return {name: getattr(self, name) for name in names}

    def forward(self, x):
        return self._reflected(x, inverse=False)

    def inverse(self, c):
        return self._reflected(c, inverse=True)

    def _reflected(self, x: Tensor, inverse: bool) -> Tensor:
        """x Q of images as rows, or X Qᵀ."""
        need_shape(x, self.shape.tolist())
        reflectors, factors = (like(part, x.dtype, x.device) for part in (self.reflectors, self.factors))
        return torch.ormqr(reflectors, factors, x.flatten(1), left=False, transpose=inverse).reshape(x.shape)
