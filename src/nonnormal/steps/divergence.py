"""Shift divergence K_{q,p}(d) = KL( q(z) ‖ p(z − d) ): cost per coordinate if the model's mean is off by d.

q is the law of the step in the true process, p in the model, d = `delta` the model's mean minus the true mean in units
of the step's standard deviation; both laws have variance 1. The sign of d matters for skewed steps. K is in nats.

A pair with a closed form uses it (`closed_forms`). Every other pair is integrated numerically once and tabulated
(`divergence_table`). Where q(z) reaches outside the support of p(z − d), K is ∞. This module depends on steps only.

Source: derived here for unit variances; li2024 Table 1 prints four pairs for other scales (and L/L with +1 for −1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nonnormal.steps.base import Step, StepError, get
from nonnormal.steps.closed_forms import CLOSED_FORMS, any_normal
from nonnormal.steps.distributions import Normal
from nonnormal.steps.divergence_table import integrate_slope, tabulated
from nonnormal.steps.tails import beyond_nodes, tails_allow


def shift_kl(q: Step | str, p: Step | str, delta: Tensor | float) -> Tensor:
    """Shift divergence of a pair of steps, in nats: the cost of missing the mean by d standard deviations.

    K_{q,p}(d) = ∫ q(z) log( q(z) / p(z − d) ) dz, elementwise and twice differentiable in d.

    Args:
        q: step of the true process, or its family's name.
        p: step of the model, or its family's name.
        delta: d, any shape, floating point; the result has its shape and dtype. Numbers are float64.

    Raises:
        StepError: an unknown step, a step without a density, or a pair for which it cannot be decided whether the
            divergence is finite (`is_finite`).
        ValueError: d is a tensor of integers, which cannot hold the result.

    Source: derived here, checked against 30-digit quadrature (`tests/golden/shift_kl.csv`).

    Examples:
        >>> import torch
        >>> from nonnormal import shift_kl
        >>> d = torch.tensor([0.0, 1.0, 3.0])
        >>> shift_kl("normal", "normal", d)  # d²/2
        tensor([0.0000, 0.5000, 4.5000])
        >>> shift_kl("laplace", "laplace", d)
        tensor([0.0000, 0.6573, 3.2570])
    """
    delta = delta if isinstance(delta, Tensor) else torch.as_tensor(delta, dtype=torch.float64)
    if not delta.is_floating_point():
        raise ValueError(f"delta must be floating point, found {delta.dtype}; use delta.double()")
    q, p = get(q), get(p)
    _need_densities(q, p)
    formula = CLOSED_FORMS.get((type(q), type(p))) or (any_normal if type(p) is Normal else tabulated)
    return formula(q, p, delta)


def constant(q: Step | str, p: Step | str) -> float:
    """K_{q,p}(0), nats: the cost per coordinate and step of a model whose mean is perfect."""
    return shift_kl(q, p, torch.zeros((), dtype=torch.float64)).item()


def curvature(q: Step | str, p: Step | str) -> float:
    """K″(0): with many steps the cost is T K(0) + ½ K″(0) Σ d². For q = p it is the Fisher information of location.

    ∞ where K is.
    """
    q, p = get(q), get(p)
    if not is_finite(q, p):
        return math.inf
    if q == p:
        return q.fisher_information
    return integrate_slope(q, p, torch.zeros(1, dtype=torch.float64))[1].item()


def is_finite(q: Step | str, p: Step | str) -> bool:
    """Whether K_{q,p}(d) < ∞ for every shift d: p reaches everywhere, and q's tails are lighter than −log p grows.

    Raises:
        StepError: a step has no density, or the pair is so near to the border of finite K that K cannot be computed, or
            that it cannot be decided whether K is finite.
    """
    q, p = get(q), get(p)
    _need_densities(q, p)
    finite = p.support == (-math.inf, math.inf) and tails_allow(q, p)
    if finite and type(p) is not Normal:
        beyond_nodes(q, p)
    return finite


def with_itself_finite(step: Step | str) -> bool:
    """Whether K of the step with itself is finite for every shift; False for a law without a density."""
    step = get(step)
    return step.has_density and is_finite(step, step)


def _need_densities(q: Step, p: Step) -> None:
    for step in (q, p):
        if not step.has_density:
            raise StepError(f"{step} has no density: it samples, but the divergence of the pair {q}/{p} is not defined")
