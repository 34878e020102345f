"""ODE samplers: solve the probability-flow ODE from noise to data, in VE coordinates.

    dx/dsigma = eps(x, sigma) = (x − r(x, sigma)) / sigma,      r = denoiser, x = x0 + sigma·eps

Since d(eps)/dsigma = −(1/sigma) dr/dsigma along a solution, all solvers here are one update with different estimates
D of dr/dsigma. From t to s, h = s − t < 0, with r and eps at t:

    x_s = x_t + h eps − h²/(2t) D

    Euler          D = 0
    Heun           D = (t/s) (r(x̂_s, s) − r)/h                  x̂_s = x_t + h eps
    DPM-Solver-2   D = (2t/(s + m)) (r(x̂_m, m) − r)/(m − t)     m = √(st), x̂_m = x_t + (m − t) eps
    DPM++(2M)      D = (r − r_before)/(ρ h)                     ρ = last step over this one, both in log sigma
    iPNDM          D = −(2t/h) (Σ_j b_j eps_j − eps)            b Adams-Bashforth's; order 2: −t (eps − eps_before)/h

A step to sigma = 0 is Euler's for every solver, and returns r: D has no limit there, and Euler's step is exact if r is
constant. Coefficients are Python floats, so the state keeps the dtype of the given x. Nothing is random.

Knows denoisers only by their call; grids, processes and networks not at all.

Source: chen2023 (2305.19947) for the view of second-order solvers as finite differences of the denoising trajectory;
the estimates are derived here from each solver's textbook form.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nonnormal.denoisers import Denoiser
from nonnormal.denoisers.base import denoised
from nonnormal.samplers.ancestral import Callback

ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@dataclass(frozen=True, eq=False)
class Point:
    """A state x (B, ...) at level sigma whose r = denoised is known."""

    sigma: float
    x: Tensor
    denoised: Tensor

    @property
    def eps(self) -> Tensor:
        """(x − r)/sigma."""
        return (self.x - self.denoised) / self.sigma

    def carried(self, s: float, slope: Tensor | float = 0.0) -> Tensor:
        """State at level s: x + h eps − h²/(2 sigma) slope, h = s − sigma."""
        h = s - self.sigma
        return self.x + h / self.sigma * (self.x - self.denoised) - h * h / (2 * self.sigma) * slope


Slope = Callable[[deque[Point], float], Tensor | float]  # (points so far, newest last; next level > 0) -> D


def sample_euler(denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, callback: Callback | None = None) -> Tensor:
    """Euler's method for the probability-flow ODE, which is DDIM: x_s = x_t + h eps. Order 1, one network call a step.

    Args:
        denoiser: r(x, sigma), in VE coordinates; called with sigma as a 0-dimensional tensor of x's type.
        x: state at sigmas[0], images (B, ...). To start from noise, give sigmas[0] times standard normal numbers; for a
            denoiser with a whitened basis, `basis.inverse(…)` of them.
        sigmas: (T + 1,), falling and positive; the last may be 0.
        callback: called at each step with {"i", "sigma", "x", "denoised"}, after r is known and before x moves.

    Returns:
        The state at sigmas[-1], of x's shape and type; the last r where that is 0.

    Raises:
        ValueError: there are fewer than two levels, they do not fall, or one before the last is not positive and
            finite.

    Source: Song et al. (2010.02502) Eq. 13.

    Examples:
        >>> import torch
        >>> from nonnormal import GaussianMixtureDenoiser, sample_euler
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1), torch.ones(1))  # data from N(0, 1)
        >>> sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.0])
        >>> x = sample_euler(denoiser, 10 * torch.ones(1, 1), sigmas)
        >>> round(x.item(), 3)  # exact: 0.995
        0.769
    """
    return _solve(denoiser, x, sigmas, lambda past, s: 0.0, callback)


def sample_heun(denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, callback: Callback | None = None) -> Tensor:
    """Heun's method: x_s = x_t + h/2 (eps + eps(x̂_s, s)). Order 2, two network calls a step, one for a step to 0.

    Arguments, result and errors as in `sample_euler`.

    Source: EDM (2206.00364) Algorithm 1.

    Examples:
        >>> import torch
        >>> from nonnormal import GaussianMixtureDenoiser, sample_heun
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1), torch.ones(1))  # data from N(0, 1)
        >>> sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.0])
        >>> x = sample_heun(denoiser, 10 * torch.ones(1, 1), sigmas)
        >>> round(x.item(), 3)  # exact: 0.995
        0.97
    """

    def slope(past: deque[Point], s: float) -> Tensor:
        here = past[-1]
        ahead = _predict(denoiser, here.carried(s), s)
        return here.sigma / s * (ahead - here.denoised) / (s - here.sigma)

    return _solve(denoiser, x, sigmas, slope, callback)


def sample_dpm_2(denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, callback: Callback | None = None) -> Tensor:
    """DPM-Solver-2: x_s = x_t + h eps(x̂_m, m), m = √(st). Order 2, two network calls a step, one for a step to 0.

    Arguments, result and errors as in `sample_euler`.

    Source: DPM-Solver (2206.00927) Algorithm 1; m is the midpoint in log sigma.

    Examples:
        >>> import torch
        >>> from nonnormal import GaussianMixtureDenoiser, sample_dpm_2
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1), torch.ones(1))  # data from N(0, 1)
        >>> sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.0])
        >>> x = sample_dpm_2(denoiser, 10 * torch.ones(1, 1), sigmas)
        >>> round(x.item(), 3)  # exact: 0.995
        0.917
    """

    def slope(past: deque[Point], s: float) -> Tensor:
        here = past[-1]
        middle = math.sqrt(s * here.sigma)
        ahead = _predict(denoiser, here.carried(middle), middle)
        return 2 * here.sigma / (s + middle) * (ahead - here.denoised) / (middle - here.sigma)

    return _solve(denoiser, x, sigmas, slope, callback)


def sample_dpmpp_2m(denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, callback: Callback | None = None) -> Tensor:
    """DPM-Solver++(2M): x_s = (s/t) x_t + (1 − s/t) ((1 + 1/2ρ) r − r_before/2ρ). Order 2, one network call a step.

    The first step is Euler's. Arguments, result and errors as in `sample_euler`.

    Source: DPM-Solver++ (2211.01095) Algorithm 2.

    Examples:
        >>> import torch
        >>> from nonnormal import GaussianMixtureDenoiser, sample_dpmpp_2m
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1), torch.ones(1))  # data from N(0, 1)
        >>> sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.0])
        >>> x = sample_dpmpp_2m(denoiser, 10 * torch.ones(1, 1), sigmas)
        >>> round(x.item(), 3)  # exact: 0.995
        0.858
    """

    def slope(past: deque[Point], s: float) -> Tensor | float:
        if len(past) < 2:
            return 0.0
        before, here = past
        ratio = math.log(here.sigma / before.sigma) / math.log(s / here.sigma)
        return (here.denoised - before.denoised) / (ratio * (s - here.sigma))

    return _solve(denoiser, x, sigmas, slope, callback, memory=2)


def sample_ipndm(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, order: int = 4, callback: Callback | None = None
) -> Tensor:
    """iPNDM: x_s = x_t + h Σ_{j<order} b_j eps_j, where eps_0 is the newest. One network call a step.

    Step k = 1, 2, … uses the weights of order min(k, order) for equal steps, whatever the grid. The global order is 2
    for every `order`, because the first step is Euler's and its error, of order h², remains; also, on a smooth but
    uneven grid the weights are right to order 2 only. Higher orders reduce the constant. From exact starting values on
    a uniform grid the order is the nominal one.

    Args:
        order: 2, 3 or 4.

    Other arguments, result and errors as in `sample_euler`.

    Raises:
        ValueError: another order, or as in `sample_euler`.

    Source: Zhang & Chen (2204.13902), iPNDM; the orders are derived here and measured in the tests.

    Examples:
        >>> import torch
        >>> from nonnormal import GaussianMixtureDenoiser, sample_ipndm
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1), torch.ones(1))  # data from N(0, 1)
        >>> sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.0])
        >>> x = sample_ipndm(denoiser, 10 * torch.ones(1, 1), sigmas)
        >>> round(x.item(), 3)  # exact: 0.995
        0.875
    """
    if order not in (2, 3, 4):
        raise ValueError(f"iPNDM has order 2, 3 or 4, found {order}")

    def slope(past: deque[Point], s: float) -> Tensor | float:
        here = past[-1]
        weights = ADAMS_BASHFORTH[len(past)]
        mean = sum(weight * point.eps for weight, point in zip(weights, reversed(past), strict=True))
        return -2 * here.sigma / (s - here.sigma) * (mean - here.eps)

    return _solve(denoiser, x, sigmas, slope, callback, memory=order)


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "euler": sample_euler,
    "heun": sample_heun,
    "dpm_2": sample_dpm_2,
    "dpmpp_2m": sample_dpmpp_2m,
    "ipndm": sample_ipndm,
}


@torch.no_grad()
def sample_adaptive(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, rtol: float, atol: float, callback: Callback | None = None
) -> Tensor:
    """Adaptive Dormand-Prince 5(4) for the probability flow: dx/dλ = r(x, e^−λ) − x with λ = −log sigma.

    In λ the field is bounded and all levels count alike. Only the first and last levels matter for the result; states
    at the others, for the callback, are interpolated. A last level 0 is reached from the one before it by its r. The
    error is controlled over the batch as a whole, so image i depends, within the tolerance, on its batch.

    Args:
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step, in the units of x.
        callback: as in `sample_euler`; costs a network call at each level but the last.

    Other arguments, result and errors as in `sample_euler`.

    Source: torchdiffeq; the variable is derived here.
    """
    from torchdiffeq import odeint

    levels = _levels(sigmas)
    positive = [sigma for sigma in levels if sigma > 0]
    states = x.unsqueeze(0)
    if len(positive) > 1:
        times = -torch.tensor(positive, dtype=torch.float64, device=x.device).log()
        states = odeint(
            lambda time, state: _predict(denoiser, state, math.exp(-time.item())) - state,
            x,
            times,
            **dict(rtol=rtol, atol=atol, method="dopri5", options=dict(step_t=times[-1:])),  # ends on it, not past it
        )
    if callback is not None:
        for i, (sigma, state) in enumerate(zip(levels[:-1], states, strict=False)):
            denoised = _predict(denoiser, state, sigma)
            callback({"i": i, "sigma": sigma, "x": state, "denoised": denoised})
    return _predict(denoiser, states[-1], positive[-1]) if levels[-1] == 0 else states[-1]


@torch.no_grad()
def _solve(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, slope: Slope, callback: Callback | None, memory: int = 1
) -> Tensor:
    """Walks down the levels; `memory` is the number of points that `slope` is shown."""
    past: deque[Point] = deque(maxlen=memory)
    for i, (t, s) in enumerate(pairwise(_levels(sigmas))):
        here = Point(t, x, _predict(denoiser, x, t))
        past.append(here)
        if callback is not None:
            callback({"i": i, "sigma": t, "x": x, "denoised": here.denoised})
        x = here.carried(s, slope(past, s)) if s > 0 else here.denoised
    return x


def _predict(denoiser: Denoiser, x: Tensor, sigma: float) -> Tensor:
    return denoised(denoiser, x, torch.full((), sigma, dtype=x.dtype, device=x.device))


def _levels(sigmas: Tensor) -> list[float]:
    """The levels as numbers, refused where they are no grid."""
    levels = torch.as_tensor(sigmas, dtype=torch.float64).flatten().tolist()
    if len(levels) < 2 or not all(math.inf > t > s for t, s in pairwise(levels)) or levels[-1] < 0:
        raise ValueError(f"sigmas must be two or more finite levels that fall and end in 0 or above, found {levels}")
    return levels
