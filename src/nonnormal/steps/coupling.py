"""Draws of several steps that differ as little as their laws do: all are maps of the same normal draws.

z = F⁻¹(Φ(n)) has the law F if n is normal, and of all pairs with these two laws (z, n) has the least E (z − n)². So if
images are compared that were sampled with different steps from the same seeds, this coupling leaves the least noise.

Source: comonotone coupling, textbook.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import torch

from nonnormal.steps.base import Step, Symmetric
from nonnormal.steps.distributions import Normal, Rademacher
from nonnormal.steps.normal_map import mapped, sizes


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
        # An atom's size is that of its first draws.
        return mapped(sizes(step, n.device, 1e-6), n.float()).to(dtype)

    law = type(step)
    same = {field.name: getattr(step, field.name) for field in fields(step)}
    return type(f"Coupled{law.__name__}", (law,), {"sample": sample})(**same)
