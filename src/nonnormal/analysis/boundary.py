"""Where invariance ends: walks whose step has no fourth moment, or no variance, without training and without sampling.

The walk is x_{k+1} = (1 − Δ/2) x_k + Δ^(1/α) z_k from 0 to time 1 in T steps, Δ = 1/T, with α = 2 where the step has a
variance. Its limit is the Ornstein–Uhlenbeck process dx = −x/2 dt + dz driven by Brownian motion, or by the symmetric
stable process of index α. Both laws have a known characteristic function, and so the difference of their distribution
functions at x is one integral,

    F_T(x) − F(x) = (1/π) ∫_0^∞ sin(ωx) [φ_T(ω) − φ(ω)] dω/ω,

whose largest size is the Kolmogorov–Smirnov distance. A finite variance is all that Lindeberg's theorem asks for, so a
Student's t with 2 < df ≤ 4 converges to the diffusion, by order (df − 2)/2 where that is below 1. Stable steps of
α < 2 have no variance: with the interquartile range of a normal one they go to the stable process, and stay away from
the diffusion.

Source: derived here; heavy tails as a choice of marginals: DLPM (2407.18609), t-EDM (2410.14171).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import optimize, special

from nonnormal.analysis.convergence import characteristic
from nonnormal.steps import Step

_LARGEST = 60.0  # ω
_PANELS, _NODES = 400, 16
_X = np.linspace(0.02, 8, 400)
_QUARTILE = float(special.ndtri(0.75))  # of the standard normal law

Transform = Callable[[np.ndarray], np.ndarray]


@cache
def _frequencies() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ω, weights of ∫ dω/ω, sin(ωx)), crowded towards 0, where transforms of heavy tails have a cusp."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(0, 1, _PANELS + 1)
    v = (edges[:-1, None] + (nodes + 1) / (2 * _PANELS)).ravel()
    omega = _LARGEST * v**3
    return omega, np.tile(weights / (2 * _PANELS), _PANELS) * 3 / v, np.sin(_X[:, None] * omega)


def stable(alpha: float) -> Transform:
    """φ(ω) = exp(−|cω|^α), the symmetric stable law with the quartiles of the standard normal one.

    Args:
        alpha: index in (1, 2].
    """
    scale = _QUARTILE / _unit_quartile(alpha)
    return lambda omega: np.exp(-(np.abs(scale * omega) ** alpha))


@cache
def _unit_quartile(alpha: float) -> float:
    omega, weights, _ = _frequencies()

    def above(x: float) -> float:
        return float((weights * np.sin(omega * x) * np.exp(-(omega**alpha))).sum()) / math.pi - 0.25

    return float(optimize.brentq(above, 0.5, 1.5))


def boundary_distances(step: Step | float, n_steps: int) -> dict[str, float]:
    """Kolmogorov–Smirnov distance of the walk's end in n_steps steps to each limit, "normal", and "stable" for α.

    Args:
        step: a symmetric step of finite variance, or the index α of the stable step.
        n_steps: T.
    """
    omega, weights, sines = _frequencies()
    alpha = step if isinstance(step, float) else 2.0
    own = stable(step) if isinstance(step, float) else lambda omega: characteristic(step, omega).real
    walked = np.ones_like(omega)
    for k in range(n_steps):
        walked = walked * own((1 - 0.5 / n_steps) ** k * n_steps ** (-1 / alpha) * omega)
    limits: dict[str, np.ndarray] = {"normal": np.exp(-0.5 * -math.expm1(-1) * omega**2)}
    if isinstance(step, float):
        # ∫_0^1 e^(−α(1 − t)/2) dt, the α-th power of the limit's scale in that of a step.
        limits["stable"] = own((-math.expm1(-alpha / 2) / (alpha / 2)) ** (1 / alpha) * omega)
    return {name: float(np.abs(sines @ (weights * (walked - limit))).max() / math.pi) for name, limit in limits.items()}
