"""Optimal denoiser: 256 noisy images against a training set, beside bare matrix products and the naive formula."""

import pytest
import torch
from torch.nn.functional import interpolate

from nonnormal.denoisers import OptimalDenoiser

B, C, SHAPE = 256, 1000, (3, 32, 32)
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def on(device, call):
    """The call, waited for: a GPU's time is then the processor's, which spins."""
    return call if device == "cpu" else lambda: (call(), torch.cuda.synchronize())


def problem(n, sigma, device):
    """n images of smooth shapes with some noise, as grey levels, and the first of them with noise on top."""
    draws, parts = torch.Generator().manual_seed(0), []
    for _ in range(n // C):
        shapes = interpolate(torch.randn(C, 3, 4, 4, generator=draws), SHAPE[1:], mode="bilinear")
        grey = 128 + 90 * shapes + 9 * torch.randn(C, *SHAPE, generator=draws)
        parts.append(grey.clamp(0, 255).to(torch.uint8))
    images = torch.cat(parts).to(device)
    noise = sigma * torch.randn(B, *SHAPE, generator=draws).to(device)
    return images, 2 * images[:B].float() / 255 - 1 + noise


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sigma", [0.02, 7.0, 80.0])
def test_against_products(compare, sigma, device):
    """The weights of one image at the least sigma, of many at the last, between them of some: the hardest."""
    n = 50_000
    images, x = problem(n, sigma, device)
    flat, chunk = x.flatten(1), torch.randn(C, x[0].numel(), device=device)

    def products():
        for _ in range(n // C):
            (flat @ chunk.T) @ chunk

    denoiser = OptimalDenoiser(images, levels=256)
    compare(
        on(device, lambda: denoiser(x, sigma)),
        on(device, products),
        what=f"256 × 50,000 images of 3×32×32, uint8, σ = {sigma:g}, {device}",
        to="x @ y.T and w @ y, float32",
        rounds=2,
        count=True,
    )


@pytest.mark.parametrize("device", DEVICES)
def test_against_the_naive_formula(compare, device):
    sigma = 1.0
    images, x = problem(2_000, sigma, device)
    flat, pixels = x.flatten(1), 2 * images.flatten(1).float() / 255 - 1

    def naive():
        distances = torch.stack([(image - pixels).square().sum(1) for image in flat])
        return torch.softmax(-distances / (2 * sigma**2), dim=1) @ pixels

    denoiser = OptimalDenoiser(images, levels=256)
    compare(
        on(device, lambda: denoiser(x, sigma)),
        on(device, naive),
        what=f"256 × 2,000 images of 3×32×32, uint8, σ = {sigma:g}, {device}",
        to="differences, squares, softmax, float32",
        rounds=3,
        count=True,
    )
