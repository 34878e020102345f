"""A device that is none: what a GPU would refuse, without a GPU.

Tensors elsewhere say that they lie on a device of their own; their numbers are computed on the CPU. A call that takes
such a tensor together with one of the CPU, draws from the other device's generator, or asks for a numpy array is
refused, as on a GPU. Numbers of no dimension may lie on the CPU, and so may indices and what is copied.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "lazy"  # a name that torch knows and asks nothing of
_MOVES = {"aten::_to_copy", "aten::copy_"}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_"}


@contextmanager
def pretended():
    """Where the device is there."""
    real, supported = torch.Generator, optimizer._get_fused_kernels_supported_devices
    torch.Generator = Generator
    optimizer._get_fused_kernels_supported_devices = lambda: [*supported(), DEVICE]
    try:
        with _Asked(), _Computed():
            yield
    finally:
        torch.Generator = real
        optimizer._get_fused_kernels_supported_devices = supported


class Elsewhere(Tensor):
    """A tensor on the device; `here` holds its numbers."""

    @staticmethod
    def __new__(cls, here: Tensor):
        layout = dict(strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype)
        return cls._make_wrapper_subclass(cls, here.size(), device=torch.device(DEVICE, 0), **layout)

    def __init__(self, here: Tensor):
        self.here = here

    def __repr__(self):
        return f"Elsewhere({self.here})"

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, **_):
        raise TypeError("a tensor elsewhere has no numpy array; copy it to the CPU first")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class Generator(torch.Generator):
    """A generator on the CPU or elsewhere."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.place = torch.device(device)

    @property
    def device(self):
        return self.place

    def manual_seed(self, seed):
        super().manual_seed(seed)
        return self


class _Asked(TorchFunctionMode):
    """Calls as they are written: with the generator that was given, before it is a bare one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if (generator := kwargs.get("generator")) is not None:
            first = next((leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)), None)
            place = torch.device(kwargs.get("device") or ("cpu" if first is None else first.device))
            if place.type != generator.device.type:
                raise RuntimeError(f"{func.__name__}: a generator on {generator.device} for numbers on {place}")
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type == DEVICE:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        return func(*args, **kwargs)


class _Computed(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


def _computed(func, args: tuple, kwargs: dict):
    """The call on the CPU, its results on the device where its tensors are, or where it says."""
    name, place = func._schema.name, kwargs.get("device")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    if there and name not in _MOVES:
        indexed = name in _INDEXING and isinstance(args[0], Elsewhere)
        others = [args[2]] if indexed and len(args) > 2 else [] if indexed else tensors
        if any(tensor.dim() and not isinstance(tensor, Elsewhere) for tensor in others):
            raise RuntimeError(f"{name}: tensors on two devices")
    elsewhere = torch.device(place).type == DEVICE if place is not None else bool(there)
    if name == "aten::copy_":
        elsewhere = isinstance(args[0], Elsewhere)
    here_args, here_kwargs = tree_map(lambda leaf: leaf.here if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))
    if place is not None:
        here_kwargs["device"] = torch.device("cpu")
    with torch._C.DisableTorchFunctionSubclass():
        found = func(*here_args, **here_kwargs)
    if not elsewhere:
        return found
    found = tree_map(lambda leaf: Elsewhere(leaf) if isinstance(leaf, Tensor) else leaf, found)
    return return_and_correct_aliasing(func, args, kwargs, found)
