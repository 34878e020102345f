"""Makes `import torchvision` work beside a torch build whose operators it does not match.

The package index has torchvision for CUDA only. Beside a CPU build of torch its compiled operators do not load, and
the import stops at the registration of a fake kernel for `torchvision::nms`. diffusers and torch-fidelity import
torchvision but never call those operators here, so declaring their schemas is enough. Where the builds match nothing
happens.
"""

from __future__ import annotations

import importlib
import sys

_library = None  # keeps the declared operators alive for the life of the process


def ensure_importable() -> None:
    """Imports torchvision, declaring its two missing operators first where its own do not load."""
    global _library
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        from torch.library import Library

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
