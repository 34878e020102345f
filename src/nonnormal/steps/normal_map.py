"""Draws made from normal numbers: symmetric laws by |z| = T(|n|) with a rising T known at nodes; others by `polar`."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from nonnormal.steps.base import Step

_A_UNIT = 4096  # nodes
_REACH = 7  # a normal number in float32 is below 5.8 on a CPU, 6.7 on a GPU
_CHUNK = 2**15  # numbers that stay in a processor's cache
_LARGEST = 1e6  # |z| beyond which no draw goes
_HALVINGS = 80

NODES = np.arange(_REACH * _A_UNIT + 2) / _A_UNIT
"""|n| at which T is known, rising from 0."""


def mapped(sizes: Tensor, n: Tensor) -> Tensor:
    """sign(n) T(|n|), T interpolated between the nodes.

    Args:
        sizes: T at `NODES`, float32, where n is.
        n: normal numbers, any shape, float32.
    """
    found, chunk = torch.empty_like(n), _CHUNK if n.device.type == "cpu" else max(1, n.numel())
    for out, part in zip(found.view(-1).split(chunk), n.view(-1).split(chunk), strict=True):
        place = part.abs().mul_(_A_UNIT).clamp_(max=_REACH * _A_UNIT)
        left = place.to(torch.int32)
        low, high = sizes.index_select(0, left), sizes.index_select(0, left + 1)
        torch.lerp(low, high, place.sub_(left), out=out).copysign_(part)
    return found


@cache
def sizes(step: Step, device: torch.device, least: float = 0.0) -> Tensor:
    """T at `NODES`: |z| that is exceeded as often as |n|, at least `least`, found by halving; float32."""
    n = torch.as_tensor(NODES).clamp(min=least)
    tail = 0.5 * torch.special.erfc(n / math.sqrt(2))
    low, high = torch.zeros_like(n), torch.full_like(n, min(step.support[1], _LARGEST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = step.sf(middle) > tail
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.where(n > 0, high, 0.0).float().to(device)


def polar(shape, generator, dtype, device) -> tuple[Tensor, Tensor]:
    """(N, E): a standard normal draw N = √(2E) cos θ, and E of the unit exponential law, positive; each of `shape`.

    Two normals in the plane have a uniform angle θ and, apart from it, half their square E. It is several times as fast
    as `exponential_`, and with the sign of N it makes every law that is symmetric.
    """
    first, second = torch.randn((2, *shape), generator=generator, dtype=dtype, device=device)
    size = second.square_().addcmul_(first, first).mul_(0.5)
    return first, size.clamp_(min=torch.finfo(dtype).tiny)
