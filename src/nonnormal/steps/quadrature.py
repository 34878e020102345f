"""Quadrature against a step's law: nodes z_i and weights w_i with Σ_i w_i f(z_i) ≈ E f(z), z ~ q.

The line is cut where q's density or f is not smooth, and each piece is integrated by the double-exponential rule, which
stays accurate with singularities at the ends of a piece and covers half-lines. A family with a `quantile` is integrated
over its probabilities instead; this serves densities that are infinite at a point.

Source: Takahasi & Mori, Publ. RIMS 9 (1974) 721.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from nonnormal.steps.base import Step

_SPACING = 1 / 32
_REACH = 3.3  # of t on a finite piece: beyond it a node is an end of the piece to the last digit
_TAIL_REACH = 4.3  # of t on a half-line: from 1e-25 to 1e25
_TAIL = torch.arange(-_TAIL_REACH, _TAIL_REACH + _SPACING / 2, _SPACING, dtype=torch.float64)

LOG_LAST = math.pi / 2 * math.sinh(_TAIL[-1].item())
"""log |z| of the outermost node of a half-line."""


def expectation_nodes(step: Step, cuts: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of E f(z), z ~ step, for functions f that are smooth between their cuts.

    Args:
        step: a step with a density.
        cuts: (D, m), one row for each of D functions; the density's own breakpoints are added.

    Returns:
        (z, w), each (D, N), float64; the weights contain the density.
    """
    quantile = getattr(step, "quantile", None)
    breakpoints = torch.tensor([*step.breakpoints, 0.0], dtype=torch.float64).expand(len(cuts), -1)
    cuts = torch.cat([cuts.double(), breakpoints], dim=1)
    if quantile is not None:
        u, w = _nodes(step.cdf(cuts), 0.0, 1.0)
        return quantile(u), w
    z, w = _nodes(cuts, *step.support)
    return z, torch.where(w > 0, w * step.log_prob(z).exp(), 0.0)


def _nodes(cuts: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [low, high], cut at `cuts` (D, m)."""
    cuts = cuts.clamp(low, high).sort(dim=1).values
    first, last = cuts[:, 0], cuts[:, -1]
    pieces = [_finite(a, b) for a, b in zip(cuts.unbind(1)[:-1], cuts.unbind(1)[1:], strict=True)]
    pieces.append(_half_line(first, -1) if low == -math.inf else _finite(torch.full_like(first, low), first))
    pieces.append(_half_line(last, 1) if high == math.inf else _finite(last, torch.full_like(last, high)))
    z, w = (torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))
    return z, w


def _finite(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """z = (a + b)/2 + (b − a)/2 tanh(π/2 sinh t)."""
    t = torch.arange(-_REACH, _REACH + _SPACING / 2, _SPACING, dtype=torch.float64)
    inner, half = math.pi / 2 * torch.sinh(t), ((b - a) / 2).unsqueeze(1)
    weight = _SPACING * math.pi / 2 * torch.cosh(t) / torch.cosh(inner).square()
    return ((a + b) / 2).unsqueeze(1) + half * torch.tanh(inner), half * weight


def _half_line(end: Tensor, direction: int) -> tuple[Tensor, Tensor]:
    """z = end ± exp(π/2 sinh t)."""
    distance = torch.exp(math.pi / 2 * torch.sinh(_TAIL))
    weight = _SPACING * math.pi / 2 * torch.cosh(_TAIL) * distance
    return end.unsqueeze(1) + direction * distance, weight.expand(len(end), -1)


def beyond_last(log_last: float, fall: float) -> float:
    """Integral beyond the last node on a half-line, for f with |z f(z)| = exp(log_last − fall log |z/last|).

    The sum goes on in log |z|, far beyond the range of float64 itself, as a slow fall needs.
    """
    end = math.asinh(2 / math.pi * (LOG_LAST + 750 / fall))
    t = torch.arange(_TAIL[-1].item() + _SPACING, end, _SPACING, dtype=torch.float64)
    log_z = math.pi / 2 * torch.sinh(t)
    weight = _SPACING * math.pi / 2 * torch.cosh(t)
    return (weight * torch.exp(log_last - fall * (log_z - LOG_LAST))).sum().item()
