"""Tails of a pair: whether the shift divergence K_{q,p} is finite, and its integral beyond the quadrature nodes.

K is finite for every shift if p reaches everywhere and q falls faster than −log p grows. See `divergence`.

Source: derived here.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from nonnormal.steps.base import Step, StepError
from nonnormal.steps.quadrature import LOG_LAST, beyond_last, expectation_nodes

_STRAIGHT = 1e-3  # the change of a fall from octave to octave below which it goes on as it is
_SPAN = 16  # points over which the slope of a tail is taken: a factor of 5 in z


def tails_allow(q: Step, p: Step) -> bool:
    """Whether q |log p| falls faster than 1/|z| where both reach to infinity: by more than 1e-4 in an octave.

    The answer is no if the fall ends, or slows down more and more.

    Raises:
        StepError: it falls by less, or slows down, so that it cannot be decided.
    """
    far = 60.0 * 2.0 ** torch.arange(20, dtype=torch.float64)
    for end, side in zip(q.support, (-far, far), strict=True):
        if math.isinf(end):
            # In logarithms, since both factors may leave the range of float64; as far out as these do not.
            tail = q.log_prob(side) + (-p.log_prob(side)).log() + far.log()
            falls = tail[tail.isfinite()].diff()
            slower = falls.diff()
            if len(falls) < 3 or falls[-1] > -1e-9 or (slower[-1] > _STRAIGHT and slower[-1] > slower[-2]):
                return False
            if falls[-1] > -1e-4 or slower[-1] > _STRAIGHT:
                raise StepError(
                    f"{q}/{p}: the tails are so near to where the divergence of the pair becomes infinite that it "
                    "cannot be told on which side; choose parameters that are farther apart"
                )
    return True


@cache
def beyond_nodes(q: Step, p: Step) -> float:
    """Part of −E_q[log p(z − d)], for any d, beyond the quadrature nodes, nats.

    There |z q log p| is a power of z for heavy tails, and the power is integrated; for other tails the part is small.

    Raises:
        StepError: it is not small, but q or log p leaves float64 before the nodes end, or the sum over the nodes does.
    """
    refusal = StepError(
        f"{q}/{p}: the divergence of the pair is finite, but comes from so far out in the tails that it cannot be "
        "computed; choose parameters that are farther apart"
    )
    z, w = (nodes[0] for nodes in expectation_nodes(q, torch.zeros(1, 0)))
    log_p = p.log_prob(z.clamp(*p.support))
    if p.support == (-math.inf, math.inf) and not weighted(w, log_p).isfinite():
        raise refusal
    within, total = weighted(w, torch.where(log_p.isfinite(), log_p, 0.0)).abs(), 0.0
    log_z = torch.linspace(4, LOG_LAST, 2**9, dtype=torch.float64)
    for end, side in zip(q.support, (-log_z.exp(), log_z.exp()), strict=True):
        log_q, growth = q.log_prob(side), -p.log_prob(side)
        kept = int(((log_q > -690) & growth.isfinite()).cummin(0).values.sum())
        if math.isfinite(end) or kept < 2 * _SPAN:
            continue
        tail = (log_q + growth.log() + log_z)[:kept]
        falls = (tail[:-_SPAN] - tail[_SPAN:]) / (log_z[_SPAN] - log_z[0])
        fall = falls[-1].item()
        if fall > 0 and math.exp(tail[-1]) / fall < 1e-9 * within:
            continue
        if kept < len(log_z) or fall <= 0 or abs(falls[-1] - falls[-_SPAN]) > 1e-7 * fall:
            raise refusal
        total += beyond_last(tail[-1].item(), fall)
    return total


def weighted(w: Tensor, f: Tensor) -> Tensor:
    """Σ w f over the last axis, where nodes without weight count nothing whatever f is there."""
    return torch.where(w > 0, w * f, 0.0).sum(-1)
