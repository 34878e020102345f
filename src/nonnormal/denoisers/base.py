"""Denoisers and the states of a process: prediction, score, and counting of network calls."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, Basis
from nonnormal.processes import LinearProcess, apply, lift, project

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""x̂0 of (x, σ), k-diffusion's convention. A bare network is taken for one too: wrap it by `NetworkDenoiser`."""


class StateDenoiser(ABC):
    """Base class of denoisers that take the whole state of one process, instead of its observation y."""

    @abstractmethod
    def predict_x0(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis | None = None) -> Tensor:
        """Coefficients of x̂0, (B, C, ...)."""

    @abstractmethod
    def score(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis | None = None) -> Tensor:
        """∇ log p(x_t), in x_t's shape, as far as noise moves the state."""


def own_basis(denoiser: Denoiser | StateDenoiser) -> Basis | None:
    """The basis that a denoiser, or the module that it wraps (DistributedDataParallel), names as its own; else None."""
    return getattr(denoiser, "basis", None) or getattr(getattr(denoiser, "module", None), "basis", None)


def basis_of(denoiser: Denoiser | StateDenoiser, basis: Basis | None = None) -> Basis:
    """The given basis; if None, the denoiser's own, which is pixels for a denoiser without a `basis`."""
    if basis is None:
        basis = own_basis(denoiser)
    if not isinstance(basis, Basis | None):
        raise ValueError(f"a basis is an object of Basis, as Haar(levels=2); found {basis!r}")
    return PIXEL if basis is None else basis


def denoised(denoiser: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """x̂0 of images x with noise of level sigma, in x's shape.

    Raises:
        ValueError: the denoiser returns another shape.
    """
    x0_hat = denoiser(x, sigma)
    if getattr(x0_hat, "shape", None) != x.shape:  # which broadcasting could hide
        found = tuple(x0_hat.shape) if isinstance(x0_hat, Tensor) else type(x0_hat).__name__
        raise ValueError(f"the denoiser returns {found} for {tuple(x.shape)}; the shapes must be equal")
    return x0_hat


def predict_x0(
    denoiser: Denoiser | StateDenoiser,
    process: LinearProcess,
    xt: Tensor,
    t: float | Tensor,
    basis: Basis | None = None,
) -> Tensor:
    """Prediction of x_0 from a state of any linear process: U denoiser(U⁻¹ y, σ) with y = wᵀ x_t = x_0 + σ eps.

    Args:
        denoiser: in VE coordinates, on images; or of the states of this process.
        process: gives w and σ by `observation`.
        xt: state (B, n·C, ...), coefficients in `basis`.
        t: time, a number or (B,).
        basis: U, the denoiser's own if None. If U and the denoiser's own basis are orthonormal and σ is one
            level an image, white noise on coefficients is white noise on pixels, and any denoiser serves; else the
            denoiser must name this basis as its own.

    Returns:
        Coefficients of x̂0, (B, C, ...).

    Raises:
        ValueError: the noise is not white, or not white where the denoiser expects it, and the bases differ.
    """
    if isinstance(denoiser, StateDenoiser):
        return denoiser.predict_x0(process, xt, t, basis)
    return predict_x0_observed(denoiser, *process.observation(t), xt, basis, axes=torch.as_tensor(t).dim())


def predict_x0_observed(
    denoiser: Denoiser, weights: Tensor, sigma: Tensor, xt: Tensor, basis: Basis | None = None, *, axes: int = 0
) -> Tensor:
    """`predict_x0` for w and σ of `LinearProcess.observation`, where they are known already.

    Args:
        weights, sigma: w and σ.
        axes: of time in them, which come before the components: 0 where it is a number, 1 where it is (B,).
    """
    basis, components = basis_of(denoiser, basis), sigma.shape[axes:]
    if components or not (basis.orthonormal and basis_of(denoiser).orthonormal):
        _same_basis(denoiser, basis, components)
    x = basis.inverse(project(weights, xt))
    return basis.forward(denoised(denoiser, x, sigma.to(xt)))


def _same_basis(denoiser: Denoiser, basis: Basis, components: tuple[int, ...]) -> None:
    """Raises an error if the denoiser has no basis, or another one than the noise."""
    found = own_basis(denoiser)
    if found is not None and basis.matches(found):
        return
    name = f"{type(denoiser).__name__} of {'no basis' if found is None else type(found).__name__}"
    if not components and basis.orthonormal:
        raise ValueError(
            f"white noise of the basis {type(basis).__name__} is not the noise that {name} expects; "
            "give basis=denoiser.basis"
        )
    noise = f"a noise level for each of {tuple(components)} components" if components else "noise that is not white"
    raise ValueError(f"{noise} of the basis {type(basis).__name__} needs a denoiser of that basis, found {name}")


def score(
    denoiser: Denoiser | StateDenoiser,
    process: LinearProcess,
    xt: Tensor,
    t: float | Tensor,
    basis: Basis | None = None,
) -> Tensor:
    """Score ∇ log p(x_t) = C⁻¹ (A (x̂0, 0) − x_t), in x_t's shape: Tweedie's formula, exact for an exact denoiser.

    Args, errors: as in `predict_x0`; t above 0 where C is singular there.

    Source: Tweedie; that y alone decides the score of position and momentum is derived here.
    """
    if isinstance(denoiser, StateDenoiser):
        return denoiser.score(process, xt, t, basis)
    a, c = process.marginal(t)
    residual = apply(a, lift(predict_x0(denoiser, process, xt, t, basis), process.n)) - xt
    return apply(torch.linalg.inv(c), residual)


def alpha_and_level(process: LinearProcess, t: float | Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma/alpha) at time t, float64: x_t/alpha is the state in VE coordinates, sigma/alpha its noise level.

    Args:
        process: a process of one variable per component and one schedule for all.
        t: time, a number or any shape, which the results have.

    Raises:
        ValueError: the process has more than one variable per component, or a noise level of its own for each.
    """
    if process.n != 1:
        raise ValueError(f"VE coordinates need one variable per component, {type(process).__name__} has {process.n}")
    a, c = process.marginal(t)
    if components := tuple(a.shape[torch.as_tensor(t).dim() : -2]):
        raise ValueError(f"VE coordinates need one noise level an image, found one for each of {components}")
    alpha = a[..., 0, 0]
    return alpha, c[..., 0, 0].sqrt() / alpha


class NFECounter:
    """The same denoiser and basis, with `nfe`, the number of its calls, whatever the size of their batches."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser, self.basis, self.nfe = denoiser, own_basis(denoiser), 0

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """x̂0 (B, ...), counted once."""
        self.nfe += 1
        return self.denoiser(x, sigma)


class StateNFECounter(StateDenoiser):
    """The same for what predicts from whole states."""

    def __init__(self, denoiser: StateDenoiser):
        self.denoiser, self.nfe = denoiser, 0

    def predict_x0(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis | None = None) -> Tensor:
        """x̂0 (B, C, ...), counted once."""
        self.nfe += 1
        return self.denoiser.predict_x0(process, xt, t, basis)

    def score(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis | None = None) -> Tensor:
        """The score, counted once."""
        self.nfe += 1
        return self.denoiser.score(process, xt, t, basis)


def counted(denoiser: Denoiser | StateDenoiser) -> NFECounter | StateNFECounter:
    """The same denoiser with its calls counted, whichever it is."""
    return StateNFECounter(denoiser) if isinstance(denoiser, StateDenoiser) else NFECounter(denoiser)


def pixels_of(basis: Basis, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """U⁻¹ as a matrix (D, D) in like's dtype and on its device: column i is the image, flattened, of component i."""
    dims = math.prod(shape)
    units = torch.eye(dims, dtype=like.dtype, device=like.device).reshape(dims, *shape)
    return basis.inverse(units).flatten(1).T
