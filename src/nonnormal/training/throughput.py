"""Throughput of a training, and its share of the device's peak.

FLOP/s are the operations of the network's forward and backward pass, counted from shapes, over wall-clock time. Loss,
optimiser and averaging are in the time but not in the operations.
"""

from __future__ import annotations

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from nonnormal.denoisers import NetworkDenoiser, StateDenoiser

# Dense peaks of the tensor cores in FLOP/s, (bfloat16, TF32), which is what torch's float32 convolutions run in;
# half of what NVIDIA prints "with sparsity". First match counts.
PEAKS = {
    "H200 NVL": (835.5e12, 417.5e12),  # data sheet of the H200, NVL column
    "H200": (989.5e12, 494.7e12),  # the same, SXM column
    "H100 NVL": (835.5e12, 417.5e12),  # data sheet of the H100, NVL column
    "H100 PCIe": (756.5e12, 378e12),  # data sheet of the H100, PCIe column
    "H100": (989.5e12, 494.7e12),  # the same, SXM column
    "A100": (312e12, 156e12),  # data sheet of the A100
    "L40S": (362e12, 183e12),  # data sheet of the L40S
    "RTX 4090": (165.2e12, 82.6e12),  # Ada white paper, appendix A; sums in float32
    "RTX 3090": (71e12, 35.6e12),  # GA102 white paper, appendix A; sums in float32
}


def peak(card: str, precision: str) -> float | None:
    """Dense peak of a card by its name, FLOP/s; None where it is not known."""
    known = next((peaks for name, peaks in PEAKS.items() if name in card), None)
    return known and known[precision != "bfloat16"]


def flops_per_image(denoiser: NetworkDenoiser, shape: tuple[int, int, int]) -> int:
    """Floating-point operations of forward and backward pass for one image (C, H, W); nothing is computed."""
    model, (channels, *size) = copy.deepcopy(denoiser).to("meta").train(), shape
    states = isinstance(denoiser, StateDenoiser)
    level = 0.5 if states else torch.ones(1, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, (1 + states) * channels, *size, device="meta"), level).sum().backward()
    return counter.get_total_flops()


def report(images_per_s: float, flops: float | None, device: torch.device, precision: str, processes: int) -> str:
    """Images/s, FLOP/s with their share of the peak, and memory, as far as they are known, in words.

    Args:
        images_per_s: of all processes.
        flops: an image; None where it was not counted.
        device: of this process; all others have the same kind.
        precision: of the network's matrix products.
        processes: their number.
    """
    parts = [f"{images_per_s:.0f} images/s"]
    cuda = device.type == "cuda"
    if flops is not None:
        known = peak(torch.cuda.get_device_name(device), precision) if cuda else None
        share = f" ({images_per_s * flops / (processes * known):.1%} of the peak)" if known else ""
        parts.append(f"{images_per_s * flops:.3g} FLOP/s{share}")
    if cuda:
        parts.append(f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB at most")
    return ", ".join(parts)
