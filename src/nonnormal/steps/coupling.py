"""Draws of several steps that differ as little as their laws do: all are maps of the same normal draws.

z = F⁻¹(Φ(n)) has the law F if n is normal, and of all pairs with these two laws (z, n) has the least E (z − n)². So if
images are compared that were sampled with different steps from the same seeds, this coupling leaves the least noise.

Source: comonotone coupling, textbook.
"""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cache

import torch
from torch import Tensor

from nonnormal.steps.base import Step, Symmetric
from nonnormal.steps.distributions import Normal, Rademacher
from nonnormal.steps.normal_map import NODES, mapped

_LARGEST = 1e6  # |z| beyond which no draw goes
_HALVINGS = 80


@cache
def coupled(step: Step) -> Step:
    """The same law, whose draws are F⁻¹(Φ(n)) of the draws n that `Normal` makes from the same generator, to 1e-6.

    Steps without symmetry are returned as they are.

    Examples:
        >>> import torch
        >>> from nonnormal.steps import coupled, get
        >>> n, z = (
        ...     each.sample((4,), generator=torch.Generator().manual_seed(0))
        ...     for each in (get("normal"), coupled(get("rademacher")))
        ... )
        >>> torch.equal(z, n.sign())
        True
    """
    if type(step) is Normal or not isinstance(step, (Symmetric, Rademacher)):
        return step

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        n = torch.randn(shape, generator=generator, dtype=dtype, device=device)
        return mapped(_sizes(step, n.device), n.float()).to(dtype)

    law = type(step)
    same = {field.name: getattr(step, field.name) for field in fields(step)}
    return type(f"Coupled{law.__name__}", (law,), {"sample": sample})(**same)


@cache
def _sizes(step: Step, device: torch.device) -> Tensor:
    """T at `NODES`: |z| that is exceeded as often as |n|, found by halving."""
    n = torch.as_tensor(NODES).clamp(min=1e-6)  # so that an atom's size is that of its first draws
    tail = 0.5 * torch.special.erfc(n / math.sqrt(2))
    low, high = torch.zeros_like(n), torch.full_like(n, min(step.support[1], _LARGEST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = step.sf(middle) > tail
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return high.float().to(device)
