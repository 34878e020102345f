"""Normal map: draws of a symmetric law from normal numbers, |z| = T(|n|), with the rising T known at nodes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_A_UNIT = 4096  # nodes
_REACH = 7  # a normal number in float32 is below 5.8 on a CPU, 6.7 on a GPU
_CHUNK = 2**15  # numbers that stay in a processor's cache

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
