"""Imports diffusers' U-Net alone.

Its module stands in packages whose `__init__` imports every network that diffusers has, and with them torchvision and
scipy.stats; torch's compiler is imported for a mark on other networks, which diffusers does without where there is no
compiler. All of it takes two seconds, the U-Net a half.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import UNet2DModel

_PACKAGES = ("diffusers.models.transformers", "diffusers.models.unets")


@cache
def unet_2d_model() -> type[UNet2DModel]:
    """The class `diffusers.UNet2DModel`, which does not look through all its modules for its dtype at each call."""
    with _hidden():
        library_class = importlib.import_module("diffusers.models.unets.unet_2d").UNet2DModel

    class OwnUNet2DModel(library_class):
        @property
        def dtype(self):
            return self.conv_in.weight.dtype

    return OwnUNet2DModel


@contextmanager
def _hidden() -> Iterator[None]:
    """Inside, modules of `_PACKAGES` are imported without the packages' `__init__`, and torch._dynamo is absent.

    Afterwards all three can be imported as usual; modules that were imported before do not change.
    """
    root = Path(importlib.util.find_spec("diffusers").origin).parents[1]
    stand_ins: dict[str, ModuleType | None] = {name: ModuleType(name) for name in _PACKAGES}
    for name, package in stand_ins.items():
        package.__path__ = [str(root.joinpath(*name.split(".")))]
    stand_ins["torch._dynamo"] = None
    stand_ins = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
