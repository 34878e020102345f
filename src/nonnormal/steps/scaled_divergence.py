"""Shift divergence for a model step whose scale is not 1.

    K_{q,p}(d; s) = KL( q(z) ‖ p((z − d)/s)/s ) = E_q[−log p((z − d)/s)] + log s − h(q),    K(d; 1) = shift_kl(q, p, d)

q and p are of unit variance, s is the standard deviation of the model's step in units of the true one's. Closed form:
p normal, (1 + d²)/(2s²) − ½ + log s + K(0; 1), for every q. A scale mixture of normals is integrated over q at once
for all d and s: of its log density the quadratic part of the widest normal has a closed form, and what is left is
bounded and smooth. Any other p is integrated for each pair (d, s).

Source: derived here; checked against 30-digit quadrature (`tests/golden/scaled_kl.csv`).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from nonnormal.steps import Normal, ScaleMixture, Step, get
from nonnormal.steps.divergence import constant, is_finite
from nonnormal.steps.quadrature import expectation_nodes

_CHUNK = 2048  # pairs (d, s) that are integrated at once


def scaled_kl(q: Step | str, p: Step | str, delta: Tensor | float, scale: Tensor | float) -> Tensor:
    """K_{q,p}(d; s) = E_q[−log p((z − d)/s)] + log s − h(q), nats, elementwise.

    Args:
        q: step of the true process, or its family's name.
        p: shape of the model's step, of unit variance, or its family's name.
        delta: d, any shape.
        scale: s, positive; it broadcasts against delta.

    Returns:
        Float64, of the shape of both; where p is normal it is differentiable in both.

    Raises:
        StepError: a step has no density.
        ValueError: a scale is not positive, or the divergence is infinite for some shift.
    """
    q, p = get(q), get(p)
    delta, scale = (torch.as_tensor(value, dtype=torch.float64) for value in (delta, scale))
    delta, scale = torch.broadcast_tensors(delta, scale.to(delta.device))
    if not (scale > 0).all():
        raise ValueError(f"scales must be positive, found {scale.min():.6g}")
    if type(p) is Normal:
        return 0.5 * ((1 + delta.square()) / scale.square() - 1) + scale.log() + constant(q, p)
    if not is_finite(q, p):
        raise ValueError(f"the divergence of {q}/{p} is infinite for some shift, and for some scale")
    if not delta.numel():
        return delta.clone()
    integrate = _mixture_cost if isinstance(p, ScaleMixture) else _any_cost
    cost = torch.cat(
        [
            integrate(q, p, d, s)
            for d, s in zip(delta.reshape(-1).split(_CHUNK), scale.reshape(-1).split(_CHUNK), strict=True)
        ]
    )
    return cost.reshape(delta.shape) + scale.log() - q.entropy


def _mixture_cost(q: Step, p: ScaleMixture, d: Tensor, s: Tensor) -> Tensor:
    """E_q[−log p((z − d)/s)] at d, s (N,), for p = Σ_j w_j N(0, v_j).

    With the widest part W, log p(x) = log N(x; 0, v_W) + log Σ_j a_j exp(−b_j x²), where b_W = 0.
    """
    weights, variances = (torch.tensor(part, dtype=torch.float64, device=d.device) for part in p.parts)
    widest = variances.max()
    factors = weights * (widest / variances).sqrt()
    rates = 0.5 * (1 / variances - 1 / widest)
    quadratic = 0.5 * (1 + d.square()) / (s.square() * widest) + 0.5 * (2 * math.pi * widest).log()
    feature = (s.min() * variances.min().sqrt()).item()
    z, w = (part.to(d.device) for part in _nodes(q, min(-2, math.floor(math.log2(0.25 * feature)))))
    square = ((z - d.unsqueeze(1)) / s.unsqueeze(1)).square_()
    total = torch.zeros_like(square)
    for factor, rate in zip(factors.tolist(), rates.tolist(), strict=True):
        total += factor if rate == 0 else factor * torch.exp(-rate * square)
    return quadratic - total.log_() @ w


@cache
def _nodes(q: Step, octave: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights (N,) of E f(z), z ~ q, for bounded f that vary over 4 · 2^octave or more."""
    if type(q) is Normal:  # equally spaced nodes err by exp(−2πa/spacing) for f with its poles a from the axis
        spacing = 2.0**octave
        z = spacing * torch.arange(-int(9 / spacing), int(9 / spacing) + 1, dtype=torch.float64)
        return z, spacing * q.log_prob(z).exp()
    z, w = (part[0] for part in expectation_nodes(q, torch.tensor([[-8.0, -5.0, -2.5, 2.5, 5.0, 8.0]])))
    counted = w > 1e-18
    return z[counted].contiguous(), w[counted].contiguous()


def _any_cost(q: Step, p: Step, d: Tensor, s: Tensor) -> Tensor:
    """E_q[−log p((z − d)/s)] at d, s (N,), each cut where p is not smooth."""
    breakpoints = torch.tensor(p.breakpoints, dtype=torch.float64)
    found = []
    for shift, width in zip(d.cpu().split(256), s.cpu().split(256), strict=True):
        column, by = shift.unsqueeze(1), width.unsqueeze(1)
        z, w = expectation_nodes(q, torch.cat([column + by * breakpoints, column - by, column + by], 1))
        log_p = p.log_prob((z - column) / by)
        found.append(-torch.where((w > 0) & log_p.isfinite(), w * log_p, 0.0).sum(1))
    return torch.cat(found).to(d.device)
