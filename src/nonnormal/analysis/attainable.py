"""The least bound that a chain of T steps can have, in one dimension: law and entropy of its residuals, without
sampling.

In the interval from s to t the model's best step is the law of r = z − δ, δ = √(SNR_s − SNR_t) (x̂0 − x0), and the
remaining cost is h(r) − h(z). If x0 has the law of a normal mixture and the denoiser is exact, x0 | x_t is again a
normal mixture. So the law of −δ is an integral over x_t of normals, and that of r its convolution with q: no draws.
States x_t are those of the limit marginals, which the bridge walk of a normal q has too.

Laws are stored as probabilities of the cells of a grid in r. The error of a convolution is below the spacing, even if a
density jumps.

Source: derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import signal, special
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor

from nonnormal.analysis.convergence import Mixture
from nonnormal.processes import LinearProcess
from nonnormal.steps import FittedStep, Step
from nonnormal.steps.fitted import shape_of

_STATES = 601  # values of x_t about each normal of the mixture
_KNOTS = 2001  # of the distribution function of −δ
_CELL = 1 / 512  # width of a cell, in standard deviations of z
_TAIL = 40.0  # as far as z is followed: beyond it a Student's t with 5 degrees of freedom has 1e-6


@dataclass(frozen=True, eq=False)
class ResidualLaw:
    """Law of r = z − δ in one interval.

    Attributes:
        q: step of the true process.
        r: middles of the cells, (N,).
        probability: of each cell, (N,).
        error: E δ², in units of the true step's variance.
    """

    q: Step
    r: np.ndarray
    probability: np.ndarray
    error: float

    @property
    def entropy(self) -> float:
        """h(r), nats."""
        return float(-(self.probability * np.log(self.probability)).sum() + math.log(_CELL))

    @property
    def least_cost(self) -> float:
        """h(r) − h(z), nats: cost of the model's best step in this interval."""
        return self.entropy - self.q.entropy

    def cost(self, step: Step | FittedStep) -> float:
        """E −log p(r) − h(z), nats: cost of a unit step, or of a fitted one whose scale is one number."""
        scale = step.scale.item() if isinstance(step, FittedStep) else 1.0
        log_p = shape_of(step).log_prob(torch.from_numpy(self.r) / scale).numpy()
        return float(-(self.probability * log_p).sum() + math.log(scale) - self.q.entropy)


def residual_law(
    mixture: Mixture, process: LinearProcess, s: float | Tensor, t: float | Tensor, q: Step
) -> ResidualLaw:
    """Law of the residuals of the exact denoiser in the interval from s to t.

    Args:
        mixture: law of x0; its normals may not be points.
        process: of one variable, with one schedule.
        s, t: times, s < t.
        q: step of the true process; it has a density.
    """
    ours, n, error = _error_law(mixture, process, float(s), float(t))
    edges, m = _edges(_TAIL)
    probability = signal.fftconvolve(ours, q.cdf(torch.from_numpy(edges)).diff().numpy())
    r = _CELL * (np.arange(len(probability)) - (n + m))
    counted = probability > 1e-17
    return ResidualLaw(q, r[counted], probability[counted] / probability[counted].sum(), error)


@lru_cache(256)  # asked for with every q
def _error_law(mixture: Mixture, process: LinearProcess, s: float, t: float) -> tuple[np.ndarray, int, float]:
    """(probabilities of the 2n + 1 cells about 0 under the law of −δ, n, E δ²)."""
    centre, spread, share = _posterior(mixture, process, t)
    (a_s, c_s), (a_t, c_t) = (process.marginal(time) for time in (s, t))
    gain = math.sqrt((a_s**2 / c_s - a_t**2 / c_t).item())
    # −δ = gain (x0 − x̂0), a normal for each component of the mixture and state.
    shift, width = gain * (centre - (share * centre).sum(0) / share.sum(0)), gain * spread
    error = float((share * (shift**2 + width**2)).sum())
    reach = float(np.abs(shift[share > 1e-16]).max() + 9 * width.max())
    knots = reach * np.sinh(np.linspace(-5, 5, _KNOTS)) / math.sinh(5)
    cdf, density = np.empty_like(knots), np.empty_like(knots)
    for i, knot in enumerate(knots):
        u = (knot - shift) / width
        cdf[i] = (share * special.ndtr(u)).sum()
        density[i] = (share / width * np.exp(-0.5 * u**2)).sum() / math.sqrt(2 * math.pi)
    spline = CubicHermiteSpline(knots, cdf, density)
    edges, n = _edges(reach)
    return np.diff(np.where(abs(edges) <= reach, spline(np.clip(edges, -reach, reach)), edges > 0)), n, error


def _edges(reach: float) -> tuple[np.ndarray, int]:
    """Edges of the 2n + 1 cells about 0 that hold [−reach, reach], and n."""
    n = math.ceil(reach / _CELL)
    return _CELL * (np.arange(-n, n + 2) - 0.5), n


def _posterior(mixture: Mixture, process: LinearProcess, t: float | Tensor) -> tuple[np.ndarray, ...]:
    """(means, deviations, joint probabilities) of x0 | x_t by component (K, 1) and state (K, N); the last sum to 1."""
    a, c = (value.item() for value in process.marginal(t))
    means, stds, weights = (
        np.asarray(part, dtype=float)[:, None] for part in (mixture.means, mixture.stds, mixture.weights)
    )
    total = np.sqrt(a**2 * stds**2 + c)
    # States about each component, so that narrow ones are as well resolved as wide ones; each with its share.
    u = np.linspace(-9, 9, _STATES)
    x = (a * means + total * u).reshape(1, -1)
    weight = (weights * np.exp(-0.5 * u**2) * (u[1] - u[0]) / math.sqrt(2 * math.pi)).reshape(1, -1)
    log = np.log(weights) - 0.5 * ((x - a * means) / total) ** 2 - np.log(total)
    share = np.exp(log - special.logsumexp(log, axis=0)) * weight
    gain = a * stds**2 / total**2
    return means + gain * (x - a * means), stds * math.sqrt(c) / total, share / share.sum()
