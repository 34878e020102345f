"""Shift divergence K_{q,p}(d) = KL( q(z) ‖ p(z − d) ): what a model pays, per coordinate, for missing the mean by d.

q is the law of the step in the true process, p in the model, d = `delta` the model's mean minus the true mean in units
of the step's standard deviation; both laws have variance 1. The sign of d matters for skewed steps. K is in nats.

Closed forms are entered per pair of families with `closed_form`; a pair without one is refused. This room knows steps
and nothing else.

Source: derived here for unit variances; li2024 Table 1 prints them for other scales (and L/L with +1 for −1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nonnormal.steps import Laplace, Normal, Step, Uniform, get

_CLOSED_FORMS: dict[tuple[type[Step], type[Step]], Callable[[Step, Step, Tensor], Tensor]] = {}


def closed_form(q: type[Step], p: type[Step]):
    """Decorator that enters K(q, p, delta) -> nats as the shift divergence of the families q and p."""

    def enter(formula):
        _CLOSED_FORMS[q, p] = formula
        return formula

    return enter


def shift_kl(q: Step | str, p: Step | str, delta: Tensor) -> Tensor:
    """K_{q,p}(d) = ∫ q(z) log( q(z) / p(z − d) ) dz, nats, elementwise and differentiable in d.

    Args:
        q: step of the true process, or its family's name.
        p: step of the model, or its family's name.
        delta: d, any shape, floating point; the result has its shape and dtype.

    Raises:
        ValueError: no closed form is known for the pair.

    Source: derived here, checked against 30-digit quadrature (`tests/golden/shift_kl.csv`).
    """
    q, p = get(q), get(p)
    formula = _CLOSED_FORMS.get((type(q), type(p)))
    if formula is None:
        known = ", ".join(f"{a.name}/{b.name}" for a, b in _CLOSED_FORMS)
        raise ValueError(f"no shift divergence is known for the pair {q}/{p}; known pairs (q/p): {known}")
    return formula(q, p, delta)


def constant(q: Step | str, p: Step | str) -> float:
    """K_{q,p}(0), nats: owed per coordinate at every step by a model whose mean is perfect."""
    return shift_kl(q, p, torch.zeros((), dtype=torch.float64)).item()


def is_finite(q: Step | str, p: Step | str) -> bool:
    """Whether K_{q,p}(d) < ∞ for every shift d: p must reach wherever a shifted q can be, that is everywhere."""
    del q
    return get(p).support == (-math.inf, math.inf)


def is_known(q: Step | str, p: Step | str) -> bool:
    """Whether `shift_kl` can evaluate the pair."""
    return (type(get(q)), type(get(p))) in _CLOSED_FORMS


# ---- closed forms ----------------------------------------------------------------------------------------------------


@closed_form(Normal, Normal)
def _normal_normal(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = d²/2."""
    return 0.5 * delta.square()


@closed_form(Laplace, Laplace)
def _laplace_laplace(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = a + exp(−a) − 1 with a = √2 |d|."""
    return _exp_excess(math.sqrt(2) * delta.abs())


@closed_form(Uniform, Normal)
def _uniform_normal(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = d²/2 + ½ (1 + log(π/6))."""
    return 0.5 * delta.square() + 0.5 * (1 + math.log(math.pi / 6))


@closed_form(Uniform, Laplace)
def _uniform_laplace(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = (d² + 3)/√6 − ½ log 6 for |d| ≤ √3, √2 |d| − ½ log 6 beyond; once differentiable at √3."""
    size = delta.abs()
    inside = (delta.square() + 3) / math.sqrt(6)
    return torch.where(size <= math.sqrt(3), inside, math.sqrt(2) * size) - 0.5 * math.log(6)


def _exp_excess(a: Tensor) -> Tensor:
    """exp(−a) − 1 + a for a ≥ 0, without the cancellation that leaves no digit of a²/2 at small a."""
    # The series is exact to float64 below 1/16 (next term a⁸/8! relative to a²/2) and cheaper than a special function.
    small = a.clamp(max=1 / 16)
    series = small.square() * _horner(small, [1 / math.factorial(k) * (-1) ** k for k in range(2, 11)])
    return torch.where(a < 1 / 16, series, torch.expm1(-a) + a)


def _horner(x: Tensor, coefficients: list[float]) -> Tensor:
    """Σ_k c_k x^k."""
    result = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + coefficient
    return result
