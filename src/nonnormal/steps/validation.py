"""Checks of a step of your own: do its statements agree with its density and its draws?

The density is compared with moments, cdf and Fisher information by quadrature. Draws of one seed are compared with
moments and cdf, at a level at which a correct step fails once in 1e9.

Source: Kolmogorov distance: Massart, Ann. Probab. 18 (1990) 1269; bound of the information by Hellinger distance:
Cauchy-Schwarz, derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nonnormal.steps.quadrature import expectation_nodes

if TYPE_CHECKING:
    from nonnormal.steps.base import Step

_STATED = ("name", "skewness", "excess_kurtosis", "fisher_information", "support", "breakpoints", "has_density")
_PLACES = (-2.5, -1.0, -0.3, 0.0, 0.3, 1.0, 2.5)  # at which the cdf is held against the density
_H = 1e-5  # of a difference for a slope
_SLOPE = 1e-2  # relative to the slope, or to 1: a density in float32 rounds by less
_CELLS = 100_000  # to either side, for the moments of a law without density
_N = 20_000
_DEVIATIONS = 6.1  # of a normal number, beyond which there is 1e-9
_DISTANCE = math.sqrt(math.log(2 / 1e-9) / 2 / _N)  # of Kolmogorov, beyond which there is 1e-9


def mistakes(step: Step, tolerance: float) -> Iterator[str]:
    """Errors of a step, one text each: attribute, value found, value that it must have."""
    for name in _STATED:
        try:
            getattr(step, name)
        except AttributeError:
            yield f"{name}: missing"
            return
    z = torch.tensor(_PLACES, dtype=torch.float64)
    for name in ("cdf", "sf", "log_prob") if step.has_density else ("cdf", "sf"):
        if wrong := _answers(name, lambda name=name: getattr(step, name)(z), tuple(z.shape), z.dtype):
            yield wrong
            return
    if step.has_density:
        if wrong := _not_standardised(step, tolerance):
            yield wrong
            return
        yield from _of_density(step, tolerance)
    else:
        yield from _of_atoms(step)
    yield from _of_draws(step)


def _not_standardised(step: Step, tolerance: float) -> str | None:
    """Errors in ∫q = 1, E z = 0, Var z = 1."""
    z, w = (nodes[0] for nodes in expectation_nodes(step, torch.zeros(1, 0)))
    found = {"total probability": (w.sum(), 1), "mean": ((w * z).sum(), 0), "variance": ((w * z.square()).sum(), 1)}
    wrong = [
        f"{name} {value:.6g} (must be {must})"
        for name, (value, must) in found.items()
        if not abs(value - must) < tolerance
    ]
    return f"is not standardised: {', '.join(wrong)}" if wrong else None


def _of_density(step: Step, tolerance: float) -> Iterator[str]:
    """Statements of the step that its density contradicts."""
    z, w = (nodes[0] for nodes in expectation_nodes(step, torch.zeros(1, 0)))
    third, fourth = ((w * z**power).sum().item() for power in (3, 4))
    # What quadrature leaves out lies far out and is positive: it excuses a statement that is larger than what is found.
    far = (w * z**4)[z.abs() > 1e12].sum().item() > 1e-9 * fourth
    stated = step.excess_kurtosis + 3
    if not (abs(fourth - stated) <= 1e-4 * max(1.0, stated) or (far and fourth < stated)):
        yield f"excess_kurtosis {step.excess_kurtosis:.6g} (log_prob has {fourth - 3:.6g})"
    if not abs(third - step.skewness) <= 1e-4 * max(1.0, fourth):
        yield f"skewness {step.skewness:.6g} (log_prob has {third:.6g})"
    low, high = step.support
    places = torch.tensor([place for place in _PLACES if low < place < high], dtype=torch.float64)
    z, w = expectation_nodes(step, places.unsqueeze(1))
    below = (w * (z < places.unsqueeze(1))).sum(1)
    for name, found, must in (("cdf", step.cdf(places), below), ("sf", step.sf(places), 1 - below)):
        if (worst := (found - must).abs()).max() > 10 * tolerance:
            i = int(worst.argmax())
            yield f"{name}({places[i]:g}) is {found[i]:.6g} (log_prob has {must[i]:.6g})"
    yield from _of_slope(step)
    yield from _of_information(step)


def _of_slope(step: Step) -> Iterator[str]:
    """Whether autograd finds the slope of log q, by which networks are trained: it sees no code but torch's."""
    breaks = torch.tensor([*step.breakpoints, *step.support], dtype=torch.float64)
    z = torch.tensor(_PLACES, dtype=torch.float64)
    z = z[((z[:, None] - breaks).abs() > 2 * _H).all(1) & (step.log_prob(z) > -math.inf)]
    must = (step.log_prob(z + _H) - step.log_prob(z - _H)) / (2 * _H)
    try:
        with torch.enable_grad():
            at = z.clone().requires_grad_()
            (found,) = torch.autograd.grad((step.log_prob(at) + 0 * at).sum(), at)
    except RuntimeError as error:
        yield f"log_prob cannot be differentiated: {error} (write it in torch)"
        return
    off = (found - must).abs() / must.abs().clamp(min=1)
    if len(z) and not (off <= _SLOPE).all():
        i = int(off.argmax())
        said = f"(differences give {must[i]:.6g}: write it in torch)"
        yield f"log_prob: autograd finds the slope {found[i]:.6g} at {z[i]:g} {said}"


def _of_atoms(step: Step) -> Iterator[str]:
    """Moments of a law without density, held against what it states.

    E z^k is the sum of ∫ k z^(k−1) P(Z > z) dz and (−1)^k ∫ k z^(k−1) P(Z ≤ −z) dz over z > 0.
    """
    moments = torch.zeros(4, dtype=torch.float64)
    for sign, tail in ((1, step.sf), (-1, step.cdf)):
        edges = _end(step, sign) * torch.linspace(0, 1, _CELLS + 1, dtype=torch.float64).pow(3)  # narrow near 0
        share = tail(sign * (edges[1:] + edges[:-1]) / 2)
        moments += torch.stack([sign**k * (edges.pow(k).diff() * share).sum() for k in range(1, 5)])
    mean, variance, third, fourth = moments.tolist()
    allowed = 1e-3 * max(1.0, fourth)
    stated = {"mean": (mean, 0), "variance": (variance, 1), "skewness": (third, step.skewness)}
    for name, (found, must) in stated.items():
        if not abs(found - must) <= (allowed if name == "skewness" else 1e-3):
            yield f"{name} {must:.6g} (cdf has {found:.6g})"
    excess = step.excess_kurtosis
    # What lies beyond the ends is positive: it excuses a statement that is larger than what is found.
    far = not all(map(math.isfinite, step.support)) and excess > fourth - 3
    if not (far or abs(fourth - 3 - excess) <= allowed):
        yield f"excess_kurtosis {excess:.6g} (cdf has {fourth - 3:.6g})"


def _end(step: Step, sign: int) -> float:
    """How far the support reaches to one side; if that is infinite, a number beyond which there is less than 1e-12."""
    end = sign * step.support[sign > 0]
    if math.isfinite(end):
        return max(end, 0.0)
    tail, end = (step.sf if sign > 0 else step.cdf), 1.0
    while tail(torch.tensor(sign * end, dtype=torch.float64)) > 1e-12 and end < 1e4:
        end *= 2
    return end


def _of_information(step: Step) -> Iterator[str]:
    """What J(h) = 4/h² ∫ (√q(z − h) − √q(z))² dz says: it is at most the Fisher information, and tends to it.

    Its errors at h and 10 h, in a constant ratio, are extrapolated; where they hardly shrink, as at a cusp or where the
    information is infinite, only the bound is held.
    """
    coarse, middle, fine = (_hellinger(step, h) for h in (1e-2, 1e-3, 1e-4))
    stated, change, before = step.fisher_information, fine - middle, middle - coarse
    ratio = change / before if before else 0.0
    settled = abs(change) < 1e-4 * fine
    if settled or 0 < ratio < 0.8:
        found = fine if settled else fine + change * ratio / (1 - ratio)
        if not abs(stated - found) <= 1e-2 * found + abs(change):
            yield f"fisher_information {stated:.6g} (log_prob has {found:.6g})"
    elif stated < fine * (1 - 1e-3):
        yield f"fisher_information {stated:.6g} (log_prob has {fine:.6g} or more, or infinity)"


def _hellinger(step: Step, h: float) -> float:
    """J(h)."""
    cuts = torch.tensor([[h, *(kink + h for kink in step.breakpoints)]], dtype=torch.float64)
    z, w = (nodes[0] for nodes in expectation_nodes(step, cuts))
    z, w = z[w > 0], w[w > 0]
    rise = torch.expm1(0.5 * (step.log_prob(z - h) - step.log_prob(z)))
    high = step.support[1]
    beyond = step.sf(torch.tensor(high - h, dtype=torch.float64)).item() if high < math.inf else 0.0
    return 4 / h**2 * ((w * rise.square()).nansum().item() + beyond)


def _of_draws(step: Step) -> Iterator[str]:
    """Statements of the step that 20,000 draws contradict."""

    def draw(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return step.sample(shape, generator=torch.Generator().manual_seed(20), dtype=dtype, device="cpu")

    for shape, dtype in (((2, 1, 3), torch.float64), ((_N // 100, 100), torch.float32)):
        if wrong := _answers("sample", lambda shape=shape, dtype=dtype: draw(shape, dtype), shape, dtype):
            yield wrong
            return
    drawn = draw(shape, dtype)
    if not torch.equal(drawn, draw(shape, dtype)):
        yield "sample: two draws from generators of one seed differ (must be equal: draw from `generator` alone)"
        return
    z = drawn.double().flatten().sort().values
    if not z.isfinite().all():
        yield "sample: found numbers that are not finite"
        return
    variance = z.square().mean().item()
    for name, found, must, deviation in (
        ("mean", z.mean().item(), 0.0, 1.0),
        ("variance", variance, 1.0, math.sqrt(max(0.0, step.excess_kurtosis + 2))),
    ):
        allowed = _DEVIATIONS * deviation / math.sqrt(_N) + 1e-6
        if not abs(found - must) <= allowed:
            yield f"sample: {name} of {_N:,} draws {found:.6g} (must be {must:g} ± {allowed:.2g})"
    share, rounding = torch.searchsorted(z, z, right=True) / _N, torch.finfo(dtype).eps * z.abs()
    # An atom lies above or below its number in the type that was drawn.
    excess = torch.maximum(share - step.cdf(z + rounding), step.cdf(z - rounding) - share)
    if not (distance := excess.max().item()) <= _DISTANCE:
        yield f"sample: {_N:,} draws are {distance:.3g} away from cdf (must be within {_DISTANCE:.2g})"


def _answers(name: str, call: Callable[[], Any], shape: tuple[int, ...], dtype: torch.dtype) -> str | None:
    """Errors in the type or shape of a method's result."""
    try:
        found = call()
    except (Exception, SystemExit) as error:  # whatever the user's code does
        return f"{name} raises {type(error).__name__}: {error}"
    if not isinstance(found, Tensor):
        return f"{name} returns a {type(found).__name__} (must be a tensor)"
    if (tuple(found.shape), found.dtype) != (shape, dtype):
        return f"{name} returns {tuple(found.shape)} of {found.dtype} (must be {shape} of {dtype})"
    return None
