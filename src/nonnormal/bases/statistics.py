"""BasisStatistics: a basis with mean and deviation of the training images in it, stored with the network.

A component-wise schedule uses the variance of each component, a preconditioned network its mean and deviation.

Source: GUD (2410.02667) §3 for Σ and S; the floor is derived here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases.base import PIXEL, Basis
from nonnormal.bases.fixed import DCT, Fourier, Haar
from nonnormal.bases.leading_pca import LeadingPCA
from nonnormal.bases.moments import Scale, moments, parts
from nonnormal.bases.own import named
from nonnormal.bases.pca import LARGEST_PCA, PCA, Whitened

KINDS = ("pixel", "pca", "dct", "fourier", "haar")


@dataclass(frozen=True, eq=False)
class BasisStatistics:
    """A basis U with mean and deviation of each component of U x over the training images.

    Attributes:
        basis: U.
        mean: (C, H, W), float64.
        std: (C, H, W), float64, positive.
        floor: what of each component the data resolve, as a deviation, (C, H, W), float64.
    """

    basis: Basis
    mean: Tensor
    std: Tensor
    floor: Tensor

    @classmethod
    def fit(
        cls,
        kind: str,
        images: Tensor,
        *,
        floor: float,
        levels: int = 1,
        whiten: bool = False,
        scale: Scale | None = None,
    ) -> BasisStatistics:
        """Statistics of the images (N, C, H, W) in a basis that is fitted to them where it has to be.

        Args:
            kind: one of `KINDS`, or module:NAME; pca of more than 4096 dimensions is a `LeadingPCA`.
            images: the training split.
            floor: least deviation of a component; the grey levels' spacing/√12 is what the data resolve.
            levels: of Haar wavelets.
            whiten: divide each component by its deviation, which is then 1.
            scale: makes numbers of the images, see `moments.parts`: uint8 grey levels then take no more memory.

        Raises:
            ValueError: an unknown kind, or one that does not fit the images.
        """
        basis, least = rotation(kind, images, levels=levels, scale=scale), torch.tensor(floor).double()
        if whiten:
            basis = Whitened.fit(basis, images, floor, scale=scale)
            least = floor / basis.std
        mean, variance = moments(map(basis.forward, parts(images, scale)))
        std = variance.sqrt().clamp(min=1.0 if whiten else floor)
        return cls(basis, mean, std, least.expand(std.shape).clone())

    @property
    def variance(self) -> Tensor:
        """Σ_i, (C, H, W)."""
        return self.std.square()

    def tensors(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        own = {"mean": self.mean, "std": self.std, "floor": self.floor}
        return {**own, **{f"basis.{k}": v for k, v in self.basis.tensors().items()}}

    @classmethod
    def from_tensors(
        cls,
        kind: str,
        tensors: Mapping[str, Tensor],
        *,
        levels: int = 1,
        whiten: bool = False,
        trusted: str | None = None,
    ) -> BasisStatistics:
        """The components whose `tensors` these are, of a basis fitted with these settings.

        Args:
            kind, levels, whiten: as in `fit`.
            tensors: from `BasisStatistics.tensors`.
            trusted: the one kind "module:NAME" whose module may be imported, which runs its code: a file that was
                fetched names any module.

        Raises:
            ValueError: the basis is the user's own and not trusted.
        """
        if ":" in kind and kind != trusted:
            raise ValueError(
                f"basis: {kind!r} is code, which a weight file may not import; if trusted, name it in trusted_basis"
            )
        fitted = {name.removeprefix("basis."): value for name, value in tensors.items()}
        basis = _fixed(kind, levels) or (LeadingPCA if "reflectors" in fitted else PCA).from_tensors(fitted)
        if whiten:
            basis = Whitened(basis, tensors["basis.std"])
        return cls(basis, tensors["mean"], tensors["std"], tensors["floor"])


def rotation(kind: str, images: Tensor, *, levels: int = 1, scale: Scale | None = None) -> Basis:
    """The orthonormal basis of that kind, fitted to the images (N, C, H, W) where it has to be; args as above.

    Raises:
        ValueError: an unknown kind, or a PCA that does not fit the images.
    """
    if kind not in KINDS and ":" not in kind:
        raise ValueError(f"unknown basis {kind!r}; known: {', '.join(KINDS)}")
    whole = images[0].numel() <= LARGEST_PCA
    return _fixed(kind, levels) or (PCA if whole else LeadingPCA).fit(images, scale=scale)


def _fixed(kind: str, levels: int) -> Basis | None:
    """The basis of this kind; None of one that is fitted."""
    if ":" in kind:
        return named(kind)
    return Haar(levels) if kind == "haar" else {"pixel": PIXEL, "dct": DCT(), "fourier": Fourier(), "pca": None}[kind]
