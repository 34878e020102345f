"""Bases of the user's own: a `Basis` that a study names as "module:NAME", and whether it is what a basis must be.

Random images decide, in single and double precision: a linear map that keeps their lengths is orthonormal, as a
quadratic form that vanishes at as many independent normal vectors as it has entries is zero, and one that vanishes at
a few is zero with probability 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from nonnormal.bases.base import Basis, Shape
from nonnormal.files import own

_N = 8
TOLERANCE = 1e-5


def named(kind: str) -> Basis:
    """The basis that "module:NAME" names, an object or a class without arguments; its module is imported.

    Raises:
        ValueError: it cannot be loaded, or is no `Basis`.
    """
    return own.loaded(kind, Basis, "basis")


def source_files(kind: str) -> tuple[Path, ...]:
    """Source files of a basis of the user's own and of its base classes, without those of this package."""
    if ":" not in kind:
        return ()
    return own.files_of({kind.partition(":")[0], *own.modules_of(type(named(kind)), Basis)})


def check(basis: Basis, shape: Shape) -> None:
    """Refuse a basis that is not linear and orthonormal on images (C, H, W), to 1e-5.

    Raises:
        ValueError: what is wrong, what was found, what it must be.
    """
    try:
        wrong = next(_mistakes(basis, shape), None)
    except (Exception, SystemExit) as error:  # whatever the user's code does
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        raise ValueError(f"basis {type(basis).__name__} on images {tuple(shape)}: {wrong}")


def _mistakes(basis: Basis, shape: Shape) -> Iterator[str]:
    if basis.tensors() or not basis.orthonormal:
        yield "tensors, rotation: must be the base class's; a basis of your own is fixed and orthonormal"
    generator = torch.Generator().manual_seed(20)
    for dtype in (torch.float64, torch.float32):
        x, y = torch.randn(2, _N, *shape, generator=generator, dtype=dtype)
        for name, call in (("forward", basis.forward), ("inverse", basis.inverse)):
            kept, found = x.clone(), call(x)
            if not isinstance(found, Tensor) or (found.shape, found.dtype) != (x.shape, x.dtype):
                said = f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
                yield f"{name}: returns {said}; must be {tuple(x.shape)} of {x.dtype}"
                return
            if not x.equal(kept):
                yield f"{name}: changes the images that it is given; must leave them"
                return
        c = basis.forward(x)
        yield from _differs("inverse(forward(x)) − x", basis.inverse(c), x)
        yield from _differs("forward(inverse(x)) − x", basis.forward(basis.inverse(x)), x)
        both = 2 * c + basis.forward(y)
        yield from _differs("forward(2x + y) − 2 forward(x) − forward(y)", basis.forward(2 * x + y), both)
        yield from _differs("forward(x)[:1] − forward(x[:1])", c[:1], basis.forward(x[:1]))
        lengths = c.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1)
        yield from _differs("|forward(x)| / |x| − 1", lengths[0] / lengths[1], torch.ones_like(lengths[0]))


def _differs(name: str, found: Tensor, expected: Tensor) -> Iterator[str]:
    worst = (found - expected).abs().max().item()
    if not worst <= TOLERANCE * max(1.0, expected.abs().max().item()):
        yield f"{name} is {worst:.3g} in {found.dtype}; must be 0 to {TOLERANCE:g}"
