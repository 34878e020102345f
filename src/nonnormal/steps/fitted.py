"""A fitted step: the model's step in one interval, with a scale and a shape fitted to residuals.

    z = U⁻¹ (s ⊙ w),   w ~ shape, independent and of unit variance,   s = scale · factor(x̂0)

Unlike a `Step` it is not of unit variance: s is its standard deviation in units of the true step's. It may differ from
component to component of an orthonormal basis U, and it may depend on the prediction x̂0, by bins of its components: x̂0
is fixed once x_t is known, so that bounds stay exact. `fitting` fits such steps, and `scaled_divergence` has
their cost.

`ResidualStep` draws whole vectors of residuals instead. It serves samples alone: its components depend on each other,
and a bound sums over independent ones.

Source: one scale: Analytic-DPM (2201.06503); one for each component: OCM (2406.10808), SN-DDPM (2206.07309); the factor
by the prediction, and the shape, are derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nonnormal.steps.base import Step, StepError


class Rotation(Protocol):
    """Interface of the basis that a fitted step uses (`nonnormal.bases.Basis`)."""

    orthonormal: bool

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients U x."""

    def inverse(self, c: Tensor) -> Tensor:
        """U⁻¹ c."""


@dataclass(frozen=True, eq=False)
class FittedStep:
    """The model's step of one interval: scale times shape, component by component.

    Attributes:
        shape: law of w, of unit variance.
        scale: standard deviation by component, () or of the state's shape (n·C, ...); float64, positive.
        edges: borders of the bins of x̂0's components, (b − 1,), float64, rising; None if s does not depend on x̂0.
        factors: factor of each bin, (b,), float64, positive; None likewise.
        basis: U, orthonormal, acts on the coordinates of the design; None leaves these as they are.

    Raises:
        StepError: a tensor has another shape, or numbers that are not positive, or edges that do not rise.
    """

    shape: Step
    scale: Tensor
    edges: Tensor | None = None
    factors: Tensor | None = None
    basis: Rotation | None = None

    def __post_init__(self):
        for name in ("scale", "factors"):
            value = getattr(self, name)
            if value is not None and not (value.numel() and value.isfinite().all() and (value > 0).all()):
                raise StepError(f"fitted step: {name} must be positive numbers, found {_range(value)}")
        if (self.edges is None) != (self.factors is None):
            raise StepError("fitted step: edges and factors of the bins of x̂0 come together, found one of them")
        if self.edges is not None:
            found = f"found edges {tuple(self.edges.shape)} and factors {tuple(self.factors.shape)}"
            if self.edges.dim() != 1 or self.factors.shape != (len(self.edges) + 1,):
                raise StepError(f"fitted step: b − 1 edges and b factors are needed, {found}")
            if not (self.edges.isfinite().all() and (self.edges.diff() > 0).all()):
                raise StepError("fitted step: edges must be finite and rise")
        if self.basis is not None and not self.basis.orthonormal:
            raise StepError(f"fitted step: an orthonormal basis is needed, found {type(self.basis).__name__}")

    def rotated(self, x: Tensor) -> Tensor:
        """U x: in the components in which the step's coordinates are independent."""
        return x if self.basis is None else self.basis.forward(x)

    def scale_at(self, x0_hat: Tensor) -> Tensor:
        """S by component, () or of the shape of x̂0 (B, C, ...), which is given in the coordinates of the design.

        Raises:
            StepError: the step was fitted for states of another shape.
        """
        _need_shape(tuple(self.scale.shape), x0_hat)
        scale = self.scale.to(x0_hat.device)
        if self.factors is None:
            return scale
        bins = torch.bucketize(self.rotated(x0_hat).double(), self.edges.to(x0_hat.device))
        return scale * self.factors.to(x0_hat.device)[bins]

    def noise(self, w: Tensor, x0_hat: Tensor) -> Tensor:
        """Z = U⁻¹ (s ⊙ w) in the dtype of w, for draws w of the shape, in the coordinates of the design."""
        z = self.scale_at(x0_hat).to(w.dtype) * w
        return z if self.basis is None else self.basis.inverse(z)


@dataclass(frozen=True, eq=False)
class ResidualStep:
    """A step that draws whole vectors of residuals: z = w − δ_j, w ~ q, j one of M errors with equal chance.

    Attributes:
        shape: q, law of w: the step of the true process.
        delta: whitened errors of a network (M, n·C, ...), float64, in the coordinates of the design.

    Raises:
        StepError: there are no errors, or some are not finite.
    """

    shape: Step
    delta: Tensor

    def __post_init__(self):
        if self.delta.dim() < 2 or not self.delta.numel() or not self.delta.isfinite().all():
            raise StepError(f"residual step: finite errors (M, C, ...) are needed, found {tuple(self.delta.shape)}")

    def noise(self, w: Tensor, u: Tensor) -> Tensor:
        """Z in the dtype of w (B, C, ...), for draws w of q and numbers u in [0, 1) by which j is chosen, (B,).

        Raises:
            StepError: the step was fitted for states of another shape.
        """
        _need_shape(tuple(self.delta.shape[1:]), w)
        return w - self.delta[(u * len(self.delta)).long()].to(w)


FITTED = (FittedStep, ResidualStep)


def shape_of(step: Step | FittedStep | ResidualStep) -> Step:
    """The law of unit variance that is drawn for a step: its shape, or the step itself."""
    return step.shape if isinstance(step, FITTED) else step


def _need_shape(shape: tuple[int, ...], x: Tensor) -> None:
    """Raises an error if a step for images of that shape is used for others; () serves all."""
    if shape not in ((), tuple(x.shape[1:])):
        raise StepError(f"steps were fitted for images {shape}; found {tuple(x.shape[1:])}")


def _range(value: Tensor) -> str:
    return f"{value.min():.6g} to {value.max():.6g}" if value.numel() else "none"
