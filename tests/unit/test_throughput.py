"""Throughput: operations by hand, peaks by name, and what the log says of them."""

import pytest
import torch
from problems import small_denoiser
from torch import nn

from nonnormal.denoisers import NetworkDenoiser
from nonnormal.training.throughput import flops_per_image, peak, report


class TwoConvolutions(nn.Module):
    """Channels 2 → 5 → 2, with kernels of 3 × 3, then 1 × 1."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 2, 1)

    def forward(self, z, log_snr):
        return self.second(self.first(z))


def test_operations_of_two_convolutions_by_hand():
    first, second = 2 * 9 * 2 * 5 * 4 * 6, 2 * 5 * 2 * 4 * 6  # a multiplication and an addition a weight and pixel
    # Backward each asks for the gradient of its weights, and the second for that of its input.
    assert flops_per_image(NetworkDenoiser(TwoConvolutions()), (2, 4, 6)) == 2 * first + 3 * second


def test_counting_computes_nothing_and_changes_nothing():
    denoiser = small_denoiser(dropout=0.5)
    before, state = [p.clone() for p in denoiser.parameters()], torch.get_rng_state()
    small, large = (flops_per_image(denoiser, (1, size, size)) for size in (8, 16))
    assert 3.5 < large / small < 4
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, denoiser.parameters(), strict=True))


@pytest.mark.parametrize(
    ("card", "precision", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.5e12),
        ("NVIDIA H100 PCIe", "bfloat16", 756.5e12),
        ("NVIDIA H100 NVL", "bfloat16", 835.5e12),
        ("NVIDIA H200 NVL", "float32", 417.5e12),
        ("NVIDIA H200", "bfloat16", 989.5e12),
        ("NVIDIA A100-SXM4-80GB", "float32", 156e12),
        ("NVIDIA GeForce GTX 970", "float32", None),
    ],
)
def test_peaks_are_known_by_the_name_of_the_card(card, precision, expected):
    assert peak(card, precision) == expected


def test_on_a_cpu_the_log_tells_speed_without_a_share():
    assert report(120.0, 2e9, torch.device("cpu"), "float32", 1) == "120 images/s, 2.4e+11 FLOP/s"
    assert report(120.0, None, torch.device("cpu"), "float32", 1) == "120 images/s"


def test_on_a_known_card_the_log_tells_the_share_of_all_processes_peaks(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    found = report(1000.0, 156e9, torch.device("cuda"), "bfloat16", 2)
    assert found == "1000 images/s, 1.56e+14 FLOP/s (25.0% of the peak), 1.50 GiB at most"
