"""Fixed bases: cosines, waves and wavelets, on each channel by itself.

Each is a product of orthonormal matrices on rows and columns, c = M_H x M_Wᵀ, Haar's one level after the other.
Matrices are made in float64. Frequencies are in cycles per pixel (0 to ½ along an axis), Haar's in octaves.

Source: GUD (2410.02667) names Fourier and wavelets; separable real forms are textbook (Strang, The Discrete Cosine
Transform, 1999; Mallat, A Wavelet Tour of Signal Processing, §7.7).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from nonnormal.bases.base import Basis, Shape, like


class Separable(Basis):
    """c = M_H x M_Wᵀ with an orthonormal matrix for each length of an axis."""

    @staticmethod
    @abstractmethod
    def matrix(n: int) -> Tensor:
        """M, (n, n), float64: row k is the k-th basis vector."""

    @staticmethod
    @abstractmethod
    def frequencies(n: int) -> Tensor:
        """Frequency of each row of M, (n,), cycles per pixel."""

    def forward(self, x):
        return analyse(self.matrix(x.shape[-2]), self.matrix(x.shape[-1]), x)

    def inverse(self, c):
        return synthesise(self.matrix(c.shape[-2]), self.matrix(c.shape[-1]), c)

    def frequency(self, shape: Shape) -> Tensor:
        """√(f_H² + f_W²), cycles per pixel, (C, H, W)."""
        return torch.hypot(self.frequencies(shape[1])[:, None], self.frequencies(shape[2])).expand(shape)


@dataclass(frozen=True)
class DCT(Separable):
    """Orthonormal cosine transform of type II, along both axes of each channel.

    c_k = √(2/n) Σ_j x_j cos(πk(2j + 1)/2n), with √(1/n) for c_0.

    Row k has frequency k/2n cycles per pixel. The transform continues the image by reflection, so a border is no edge.

    Examples:
        >>> import torch
        >>> from nonnormal import DCT
        >>> DCT().forward(torch.ones(1, 1, 2, 2))  # a constant image has one coefficient
        tensor([[[[2.0000, 0.0000],
                  [0.0000, 0.0000]]]])
    """

    @staticmethod
    @cache
    def matrix(n):
        from scipy.fft import dct

        return torch.tensor(dct(torch.eye(n, dtype=torch.float64).numpy(), axis=0, norm="ortho"))

    @staticmethod
    def frequencies(n):
        return torch.arange(n, dtype=torch.float64) / (2 * n)


@dataclass(frozen=True)
class Fourier(Separable):
    """Real orthonormal Fourier transform, along both axes of each channel.

    c = √(2/n) Σ_j x_j (cos, sin)(2πkj/n), with √(1/n) for the constant and the alternating row.

    Rows are 1, cos 1, sin 1, cos 2, sin 2, …, and for even n end with the alternating one; row r has frequency
    ⌈r/2⌉/n. In two dimensions this is the separable real basis: its products of cosines and sines are combinations of
    the plane waves (k, l) and (k, −l), which have one radial frequency. The transform continues the image periodically.

    Examples:
        >>> import torch
        >>> from nonnormal import Fourier
        >>> x = torch.rand(1, 1, 8, 8)
        >>> c = Fourier().forward(x)
        >>> torch.allclose(c.norm(), x.norm())  # orthonormal
        True
    """

    @staticmethod
    @cache
    def matrix(n):
        row, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
        k = torch.ceil(row / 2)
        sine, alone = (row > 0) & (row % 2 == 0), (row == 0) | (2 * k == n)  # the constant and the alternating row
        angle = 2 * math.pi / n * (k * j % n)  # modulo n is exact, so that large angles lose no digits
        return torch.where(sine, angle.sin(), angle.cos()) * ((2 - alone.double()) / n).sqrt()

    @staticmethod
    def frequencies(n):
        return torch.ceil(torch.arange(n, dtype=torch.float64) / 2) / n


@dataclass(frozen=True)
class Haar(Basis):
    """Orthonormal Haar wavelets of `levels` levels, on each channel.

    (a, d) = (x_2j + x_2j+1, x_2j − x_2j+1)/√2 along both axes, and again on the block of averages.

    The coefficients form a pyramid: the averages of the last level lie in the corner (0, 0), and the three blocks of
    details of each level lie around them (right: along W, below: along H, diagonal).

    Attributes:
        levels: how often the averages are split, 1 or more; H and W must be divisible by 2^levels.

    Examples:
        >>> import torch
        >>> from nonnormal import Haar
        >>> Haar(levels=1).forward(torch.tensor([[[[1.0, 1.0], [3.0, 3.0]]]]))
        tensor([[[[ 4.0000,  0.0000],
                  [-2.0000,  0.0000]]]])
    """

    levels: int

    def __post_init__(self):
        if self.levels < 1:
            raise ValueError(f"Haar wavelets need levels ≥ 1, found {self.levels}")

    def forward(self, x):
        c = x.clone()
        for h, w in self._blocks(x.shape):
            c[..., :h, :w] = analyse(haar(h), haar(w), c[..., :h, :w])
        return c

    def inverse(self, c):
        x = c.clone()
        for h, w in reversed(self._blocks(c.shape)):
            x[..., :h, :w] = synthesise(haar(h), haar(w), x[..., :h, :w])
        return x

    def frequency(self, shape: Shape) -> Tensor:
        """Octave, (C, H, W): 0 of the averages, 1 of the coarsest details, …, `levels` of the finest."""
        octave = torch.empty(shape, dtype=torch.float64)
        for level, (h, w) in enumerate(self._blocks(shape)):
            octave[..., :h, :w] = self.levels - level
        octave[..., : h // 2, : w // 2] = 0
        return octave

    def _blocks(self, shape) -> list[tuple[int, int]]:
        """(height, width) of the block that each level splits, the whole image first."""
        h, w = shape[-2:]
        if h % 2**self.levels or w % 2**self.levels:
            raise ValueError(
                f"Haar wavelets of {self.levels} levels need sides divisible by {2**self.levels}, found {h}×{w}"
            )
        return [(h >> level, w >> level) for level in range(self.levels)]


@cache
def haar(n: int) -> Tensor:
    """One level on n numbers, (n, n), float64: averages in the first n/2 rows, differences in the rest."""
    pairs = torch.eye(n // 2, dtype=torch.float64)
    rows = [torch.kron(pairs, torch.tensor([[1.0, sign]], dtype=torch.float64)) for sign in (1.0, -1.0)]
    return torch.cat(rows) / math.sqrt(2)


def analyse(rows: Tensor, columns: Tensor, x: Tensor) -> Tensor:
    """M_H x M_Wᵀ of each channel, in the dtype and on the device of x.

    Raises:
        ValueError: x is no batch of images.
    """
    _need_images(x)
    return like(rows, x.dtype, x.device) @ x @ like(columns, x.dtype, x.device).mT


def synthesise(rows: Tensor, columns: Tensor, c: Tensor) -> Tensor:
    """M_Hᵀ c M_W of each channel, in the dtype and on the device of c.

    Raises:
        ValueError: c is no batch of images.
    """
    _need_images(c)
    return like(rows, c.dtype, c.device).mT @ c @ like(columns, c.dtype, c.device)


def _need_images(x: Tensor) -> None:
    """Raises an error for points (B, C), whose batch would be taken for an axis."""
    if x.dim() < 3:
        raise ValueError(f"this basis transforms images (B, C, H, W), found {tuple(x.shape)}")
