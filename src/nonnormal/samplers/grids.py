"""Grids: the falling noise levels sigma_0 > … > sigma_T on which an ODE is solved, T = n_steps, in VE coordinates.

Every grid is equally spaced in some w(sigma) between sigma_max and sigma_min, and differs from the others by w alone:

    polynomial  w = sigma^(1/rho)        uniform  w = sigma
    quadratic   w = sqrt(sigma)          log_snr  w = log sigma, as log_snr = −2 log sigma

With `to_zero`, the default, the last step goes from sigma_min to 0, so that n_steps levels are spaced; without it the
grid ends in sigma_min and n_steps + 1 levels are. Knows nothing of denoisers or solvers.

Source: EDM (2206.00364) Eq. 5 for polynomial; DPM-Solver (2206.00927) for log_snr; the others are special cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0  # EDM's, for images in [−1, 1]


def polynomial(
    n_steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = 7.0, *, to_zero: bool = True
) -> Tensor:
    """sigma_k = (sigma_max^(1/rho) + k/K (sigma_min^(1/rho) − sigma_max^(1/rho)))^rho, k = 0 … K.

    Args:
        n_steps: T; K is T − 1 with `to_zero`, else T.
        sigma_min: lowest positive level.
        sigma_max: first level.
        rho: 1 is uniform, 2 quadratic; steps near the data shrink as it grows, in the limit to log_snr.
        to_zero: whether a last level 0 is appended.

    Returns:
        (n_steps + 1,), float64, falling.

    Raises:
        ValueError: n_steps is under 1, rho is not positive, or not 0 < sigma_min < sigma_max < ∞.

    Source: EDM (2206.00364) Eq. 5.
    """
    if not 0 < rho < math.inf:
        raise ValueError(f"rho must be positive and finite, found {rho}")
    return _spaced(n_steps, sigma_min, sigma_max, to_zero, lambda sigma: sigma ** (1 / rho), lambda w: w**rho)


def uniform(
    n_steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, *, to_zero: bool = True
) -> Tensor:
    """sigma_k = sigma_max + k/K (sigma_min − sigma_max): `polynomial` with rho = 1."""
    return polynomial(n_steps, sigma_min, sigma_max, 1.0, to_zero=to_zero)


def quadratic(
    n_steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, *, to_zero: bool = True
) -> Tensor:
    """sigma_k = (√sigma_max + k/K (√sigma_min − √sigma_max))²: `polynomial` with rho = 2."""
    return polynomial(n_steps, sigma_min, sigma_max, 2.0, to_zero=to_zero)


def log_snr(
    n_steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, *, to_zero: bool = True
) -> Tensor:
    """sigma_k = sigma_max (sigma_min / sigma_max)^(k/K), geometric; arguments as in `polynomial`."""
    return _spaced(n_steps, sigma_min, sigma_max, to_zero, torch.log, torch.exp)


GRIDS: dict[str, Callable[..., Tensor]] = {
    "polynomial": polynomial,
    "uniform": uniform,
    "log_snr": log_snr,
    "quadratic": quadratic,
}


def _spaced(
    n_steps: int,
    sigma_min: float,
    sigma_max: float,
    to_zero: bool,
    w: Callable[[Tensor], Tensor],
    inverse: Callable[[Tensor], Tensor],
) -> Tensor:
    """Levels equally spaced in w(sigma), with a last 0 if `to_zero`."""
    if n_steps < 1:
        raise ValueError(f"a grid needs one step or more, found n_steps = {n_steps}")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"0 < sigma_min < sigma_max < ∞ must hold, found {sigma_min} and {sigma_max}")
    ends = torch.tensor([sigma_max, sigma_min], dtype=torch.float64)
    high, low = w(ends).tolist()
    levels = inverse(torch.linspace(high, low, n_steps + 1 - to_zero, dtype=torch.float64))
    levels[-1], levels[0] = ends[1], ends[0]  # free of rounding; of a single level the first is kept
    return torch.cat([levels, levels.new_zeros(1)]) if to_zero else levels
