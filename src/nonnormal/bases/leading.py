"""Principal components of images too large for the whole decomposition: the leading ones, completed to a basis.

    c = Qᵀ x with Q = I − V T Vᵀ

The first k columns of Q are the leading directions, up to sign, and the rest complete them to an orthonormal basis. As
a product of k Householder reflections in compact form Q takes D·k numbers in place of D².

Source: the randomised solver is torch's (Halko et al., 0909.4061); Q: Schreiber & Van Loan, SIAM J. Sci. Stat. Comput.
10 (1989), 53.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases.base import Basis, like
from nonnormal.bases.fitted import need_shape, rows_of

LEADING = 512
_SPARE, _ITERATIONS = 32, 6  # directions that are dropped again, and power iterations, of the randomised solver


@dataclass(frozen=True, eq=False)
class LeadingPCA(Basis):
    """c = Qᵀ x over all C·H·W numbers of an image jointly, the k leading directions first, largest variance first.

    Behind them stand directions without an order, which have what variance is left.

    Attributes:
        reflectors: V, (D, k), float64.
        triangle: T, (k, k), float64, upper triangular.
        variance: variance along each of the k leading directions, (k,), float64, falling.
        shape: (C, H, W), whole numbers.
    """

    reflectors: Tensor
    triangle: Tensor
    variance: Tensor
    shape: Tensor

    @classmethod
    def fit(cls, images: Tensor, k: int = LEADING) -> LeadingPCA:
        """The k leading directions of the images (N, C, H, W), of which there are N − 1 or fewer.

        Raises:
            ValueError: there are under two images, or one is not finite.
        """
        rows = rows_of(images)
        k = min(k, len(rows) - 1, rows.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, scale, directions = torch.pca_lowrank(rows, min(k + _SPARE, *rows.shape), niter=_ITERATIONS)
        # Of directions without variance the solver's are not orthonormal to the last digit: the factor's are.
        packed, factors = torch.geqrf(directions[:, :k])
        reflectors = packed.tril(-1)
        reflectors.diagonal().fill_(1)
        triangle = _triangle(reflectors, factors)
        return cls(reflectors, triangle, scale[:k].square() / len(rows), torch.tensor(images.shape[1:]))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LeadingPCA:
        """The basis whose `tensors` these are."""
        return cls(*(tensors[name] for name in ("reflectors", "triangle", "variance", "shape")))

    def tensors(self):
        names = ("reflectors", "triangle", "variance", "shape")
        return {name: getattr(self, name) for name in names}

    def forward(self, x):
        return self._reflected(x, inverse=False)

    def inverse(self, c):
        return self._reflected(c, inverse=True)

    def _reflected(self, x: Tensor, inverse: bool) -> Tensor:
        """X Q of images as rows, or X Qᵀ."""
        need_shape(x, self.shape.tolist())
        v, triangle = (like(part, x.dtype, x.device) for part in (self.reflectors, self.triangle))
        rows = x.flatten(1)
        return (rows - rows @ v @ (triangle.mT if inverse else triangle) @ v.mT).reshape(x.shape)


def _triangle(v: Tensor, factors: Tensor) -> Tensor:
    """T (k, k) with Π_j (I − factor_j v_j v_jᵀ) = I − V T Vᵀ, for V (D, k)."""
    products, k = v.mT @ v, len(factors)
    triangle = torch.zeros(k, k, dtype=v.dtype)
    for j in range(k):
        triangle[:j, j] = -factors[j] * (triangle[:j, :j] @ products[:j, j])
        triangle[j, j] = factors[j]
    return triangle
