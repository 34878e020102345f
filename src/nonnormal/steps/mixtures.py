"""Mixtures of normals as steps: symmetric laws of unit variance whose shape can be chosen, or fitted.

Both are of the form z = ±m + √V u with a fair sign, u standard normal, and V one of a few variances: `NormalMixture` is
a family with two parameters, `ScaleMixture` has m = 0 and any weights and variances, as fits to residuals find them.

Source: normal mixtures as steps of few-step samplers: GMS (2311.00941), moment-matched mixtures in DDIM (2311.04938);
the parametrisation by kurtosis and separation is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from nonnormal.steps.base import Step, StepError, Symmetric, register
from nonnormal.steps.quadrature import expectation_nodes

_LARGEST_KURTOSIS = 100.0
_LARGEST_SEPARATION = 0.95
_ROUNDING = 1e-12  # below which a kurtosis is taken to be the smallest of its separation


class _Mixture(Symmetric):
    """q(z) = Σ_j w_j [N(z; m, v_j) + N(z; −m, v_j)] / 2: `centre` is m, `parts` the tuples w and v."""

    support = (-math.inf, math.inf)
    centre: float
    parts: tuple[tuple[float, ...], tuple[float, ...]]

    @property
    def fisher_information(self):
        """E (log q)′², by quadrature."""
        return _information(self)

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        weights, variances = (torch.tensor(part, dtype=dtype, device=device) for part in self.parts)
        z = torch.randn(shape, generator=generator, dtype=dtype, device=device)
        u = torch.rand(shape, generator=generator, dtype=dtype, device=device)
        z.mul_(variances.sqrt()[torch.bucketize(u, weights.cumsum(0)[:-1])])
        if self.centre:
            sign = torch.randint(2, shape, generator=generator, dtype=dtype, device=device) * 2 - 1
            z.add_(sign, alpha=self.centre)
        return z

    def log_prob(self, z):
        m, size = self.centre, z.abs()
        terms = []
        for weight, variance in zip(*self.parts, strict=True):
            near = -0.5 * (size - m).square() / variance + math.log(weight / math.sqrt(2 * math.pi * variance))
            # The other of the two centres, as a factor that cannot overflow.
            terms.append(near + torch.log1p(torch.exp(-2 * m / variance * size)) - math.log(2) if m else near)
        return torch.stack(terms).logsumexp(0)

    def cdf(self, z):
        total = torch.zeros_like(z)
        for weight, variance in zip(*self.parts, strict=True):
            for centre in (-self.centre, self.centre):
                total = total + 0.25 * weight * torch.special.erfc((centre - z) / math.sqrt(2 * variance))
        return total

    def characteristic(self, omega):
        parts = zip(*self.parts, strict=True)
        spread = sum(weight * torch.exp(-0.5 * variance * omega.square()) for weight, variance in parts)
        return (torch.cos(self.centre * omega) * spread).to(torch.complex128)


@register
@dataclass(frozen=True)
class NormalMixture(_Mixture):
    """z = ±m + √V u of excess kurtosis k: two modes where the separation m is large, heavy tails where k is positive.

    V has the mean v = 1 − m² and, so that the kurtosis is k, the variance c v² with c = (k + 2m⁴)/(3v²): it is
    v (1 − √(c/(1 + 2c))) with probability (1 + 2c)/(2 + 2c), else v (1 + √(c (1 + 2c))). The least kurtosis, −2m⁴,
    leaves two normals at ±m; m = 0 is a scale mixture of two normals about 0; in between there are four.

    Attributes:
        kurtosis: k, excess kurtosis, at least −2m⁴ and at most 100.
        separation: m, the distance of both centres from 0, in [0, 0.95].
    """

    kurtosis: float
    separation: float = 0.0

    name = "normal_mixture"

    def __post_init__(self):
        if not 0 <= self.separation <= _LARGEST_SEPARATION:
            raise StepError(
                f"normal_mixture: found separation = {self.separation:g}; it must lie in [0, {_LARGEST_SEPARATION}]"
            )
        least = -2 * self.separation**4
        if not least - _ROUNDING <= self.kurtosis <= _LARGEST_KURTOSIS:
            raise StepError(
                f"normal_mixture: found kurtosis = {self.kurtosis:g}; with separation = {self.separation:g} it must "
                f"lie in [{least:.6g}, {_LARGEST_KURTOSIS:g}], where the least is -2 separation^4"
            )

    @property
    def excess_kurtosis(self):
        return self.kurtosis

    @property
    def centre(self):
        return self.separation

    @property
    def parts(self):
        mean = 1 - self.separation**2
        c = max(0.0, self.kurtosis + 2 * self.separation**4) / (3 * mean**2)
        if c <= _ROUNDING:
            return (1.0,), (mean,)
        narrow = mean * (1 - math.sqrt(c / (1 + 2 * c)))
        wide = mean * (1 + math.sqrt(c * (1 + 2 * c)))
        return ((1 + 2 * c) / (2 + 2 * c), 1 / (2 + 2 * c)), (narrow, wide)

    @property
    def breakpoints(self):
        """No kinks, but centres of narrow parts, about which quadrature needs a cut."""
        return (-self.separation, self.separation) if self.separation > 0.8 else ()


@dataclass(frozen=True)
class ScaleMixture(_Mixture):
    """q(z) = Σ_j w_j N(z; 0, v_j) with Σ w_j v_j = 1: the shape that is fitted to residuals.

    It is no registered family: its parameters are as many as its parts.

    Attributes:
        weights: w, positive, of sum 1.
        variances: v, positive.
    """

    weights: tuple[float, ...]
    variances: tuple[float, ...]

    name = "scale_mixture"
    centre = 0.0

    def __post_init__(self):
        numbers = (*self.weights, *self.variances)
        if not self.weights or len(self.weights) != len(self.variances) or not all(0 < x < math.inf for x in numbers):
            raise StepError(
                "scale_mixture: as many positive weights as positive variances are needed, found "
                f"{self.weights} and {self.variances}"
            )
        variance = sum(w * v for w, v in zip(self.weights, self.variances, strict=True))
        if not (abs(sum(self.weights) - 1) < 1e-9 and abs(variance - 1) < 1e-9):
            raise StepError(
                f"scale_mixture: weights must sum to 1, found {sum(self.weights):.9g}, and the variance must be 1, "
                f"found {variance:.9g}"
            )

    @classmethod
    def standardised(cls, weights: Sequence[float], variances: Sequence[float]) -> tuple[ScaleMixture, float]:
        """(the mixture divided by its standard deviation, that deviation)."""
        total = sum(weights)
        weights = [w / total for w in weights]
        variance = sum(w * v for w, v in zip(weights, variances, strict=True))
        return cls(tuple(weights), tuple(v / variance for v in variances)), math.sqrt(variance)

    @property
    def parts(self):
        return self.weights, self.variances

    @property
    def excess_kurtosis(self):
        return 3 * sum(w * v**2 for w, v in zip(*self.parts, strict=True)) - 3

    def __str__(self) -> str:
        return f"scale_mixture({', '.join(f'{w:.4g} × {v:.4g}' for w, v in zip(*self.parts, strict=True))})"


@cache
def _information(step: Step) -> float:
    z, w = (nodes[0] for nodes in expectation_nodes(step, torch.zeros(1, 0)))
    with torch.inference_mode(False), torch.enable_grad():
        at: Tensor = z.clone().requires_grad_()
        (score,) = torch.autograd.grad(step.log_prob(at).sum(), at)
    return torch.where(w > 0, w * score.square(), 0.0).sum().item()


# ---- fitted to numbers -----------------------------------------------------------------------------------------------


def scale_mixture(
    squares: Tensor, *, n_parts: int = 4, least: float = 1e-4, rounds: int = 400
) -> tuple[list[float], list[float]]:
    """(weights, variances) of the zero-mean scale mixture of normals that is likeliest for numbers x, by EM.

    The mixture sees x² alone, which is counted in 1,000 bins of equal ratio, each with its mean.

    Args:
        squares: x², (N,).
        n_parts: normals of the mixture.
        least: smallest variance of a part.
        rounds: of EM.
    """
    squares = squares.double()
    edges = torch.logspace(-4, 8, 1000, dtype=torch.float64) * squares.mean()
    place = torch.bucketize(squares, edges)
    count = torch.bincount(place, minlength=1001).double()
    total = torch.bincount(place, squares, minlength=1001)
    square, share = (total / count)[count > 0], count[count > 0] / len(squares)
    mean = (square * share).sum()
    variances = (mean * torch.logspace(-0.7, 0.9, n_parts, dtype=torch.float64)).clamp(min=least)
    weights = torch.full_like(variances, 1 / n_parts)
    for _ in range(rounds):
        log = weights.log() - 0.5 * variances.log() - 0.5 * square.unsqueeze(1) / variances
        belongs = log.softmax(1) * share.unsqueeze(1)
        weights = belongs.sum(0).clamp(min=1e-9)
        variances = ((belongs * square.unsqueeze(1)).sum(0) / weights).clamp(min=least)
    return (weights / weights.sum()).tolist(), variances.tolist()


def excess_cost(squares: Tensor, weights: list[float], variances: list[float]) -> float:
    """Mean of −log density of the mixture minus that of the normal of variance 1, nats."""
    w, v = (torch.tensor(part, dtype=torch.float64) for part in (weights, variances))
    total = torch.zeros_like(squares)
    for weight, variance in zip(w, v, strict=True):
        total += weight / variance.sqrt() * torch.exp(-0.5 * squares / variance)
    return (-total.clamp(min=1e-300).log() - 0.5 * squares).mean().item()
