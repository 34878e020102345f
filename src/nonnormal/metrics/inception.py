"""Inception: the network of the FID that the field reports, as torch-fidelity has it.

Features are its 2048 activations before the last layer, of images scaled to 299×299 as the first implementation did.
torch-fidelity unpickles the weights, which can run code. So each time two checks come first: their SHA-256, of which
eight digits are published, and that the file can be read without running code.

Source: Heusel et al. (1706.08500); weights: `metrics.weights`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from nonnormal.data.download import DownloadError, obtain
from nonnormal.denoisers._torchvision import ensure_importable
from nonnormal.metrics.weights import INCEPTION

NAME, LAYER = "inception-v3-compat", "2048"


class Inception(nn.Module):
    """Features (B, 2048) of uint8 images (B, 3, H, W), or of grey ones (B, 1, H, W) as three equal channels.

    Args:
        path: file of the weights.
        sha256: what its SHA-256 must be.

    Raises:
        DownloadError: there is no such file, it is another one, or it holds more than tensors; nothing of it was run.
    """

    def __init__(self, path: Path, sha256: str):
        super().__init__()
        obtain(dataclasses.replace(INCEPTION, sha256=sha256), placed=path)
        _need_tensors(path)
        ensure_importable()  # torchvision, which torch-fidelity imports
        from torch_fidelity.utils import create_feature_extractor

        options = dict(feature_extractor_weights_path=str(path), cuda=False, verbose=False)
        self.extractor = create_feature_extractor(NAME, [LAYER], **options)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048), float32."""
        return self.extractor(images.expand(-1, 3, -1, -1))[0]


def _need_tensors(path: Path) -> None:
    """Raises an error unless torch's restricted unpickler, for tensors and plain containers, can read the file.

    Raises:
        DownloadError: it is damaged or asks for code; none was run.
    """
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, whose texts say how to run the code all the same
        raise DownloadError(
            f"{path.resolve()}: is damaged or holds more than tensors, which could be code. It was not run; put "
            f"{INCEPTION} in its place"
        ) from None
