"""Best times for the bound: the T + 1 times out of a fine grid with the least bound.

With a normal q the diffusion term of an interval from s to t depends on the network at t alone, through its squared
errors e = (x̂0 − x0)², and on the interval by g = SNR(s) − SNR(t). So one pass over the fine grid gives the cost of
every interval between two of its times, for a chain with unit steps and for the fitted normal ones of `fitting`:

    unit          ½ g Σ_i E e_i
    scale         ½ D log(1 + g ē),  ē the mean of all errors
    diagonal      ½ Σ_i log(1 + g E e_i)
    conditional   ½ Σ_b n_b log(1 + g ē_b) over bins b of the prediction x̂0, with n_b coordinates each

and `grid_search.best_grid` finds the path.

Source: Watson et al. (2106.03802) for unit steps; fitted steps: derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nonnormal.denoisers import Denoiser, predict_x0
from nonnormal.objectives.fitting import N_BINS
from nonnormal.objectives.losses import Design, marginal_state
from nonnormal.processes import as_time
from nonnormal.samplers.grid_search import best_grid
from nonnormal.seeds import ImageNoise, one_seed_an_image
from nonnormal.steps import Normal

GRID_CHOICES = ("unit", "scale", "diagonal", "conditional")


@torch.no_grad()
def bound_costs(
    denoiser: Denoiser,
    design: Design,
    images: Tensor,
    times: Tensor,
    *,
    choice: str,
    seeds: Sequence[int],
    batch_size: int = 512,
) -> Tensor:
    """Cost matrix c[i, j]: diffusion term of the interval between times i < j, nats per image; else ∞.

    Args:
        denoiser: in VE coordinates; N network calls an image.
        design: basis and process, of one variable with one schedule; its q is normal.
        images: (M, C, ...), in [−1, 1].
        times: the N + 1 times of the fine grid, rising.
        choice: one of `GRID_CHOICES`.
        seeds: one an image.
        batch_size: images per network call.

    Returns:
        (N + 1, N + 1), float64.

    Raises:
        ValueError: an unknown choice, another q, process or order of times, or not as many seeds as images.
    """
    one_seed_an_image(seeds, images)
    times, process = as_time(times), design.process
    if choice not in GRID_CHOICES:
        raise ValueError(f"unknown choice {choice!r}; known: {', '.join(GRID_CHOICES)}")
    if type(design.q) is not Normal:
        raise ValueError(f"a grid for the bound needs a normal q, found {design.q}")
    if len(times) < 2 or not (times.diff() > 0).all():
        raise ValueError(f"a grid needs two or more times that rise, found {times.tolist()}")
    _, sigma = process.observation(times)
    if sigma.dim() > 1:
        raise ValueError(f"one schedule for all components is needed, found one for each of {tuple(sigma.shape[1:])}")
    snr = sigma**-2
    c0 = design.basis.forward(images)
    noise = ImageNoise(seeds, (process.n * c0.shape[1], *c0.shape[2:]), c0.dtype, c0.device)
    costs = torch.full((len(times), len(times)), math.inf, dtype=torch.float64)
    for j in range(1, len(times)):
        ct = marginal_state(process, c0, times[j], noise.draw(Normal()))
        parts = [predict_x0(denoiser, process, part, times[j], design.basis) for part in ct.split(batch_size)]
        x0_hat = torch.cat(parts).double().flatten(1).cpu()
        square, count = _grouped((x0_hat - c0.double().flatten(1).cpu()).square(), x0_hat, choice)
        gain = (snr[:j] - snr[j]).unsqueeze(1) * square
        costs[:j, j] = 0.5 * (count * (gain if choice == "unit" else gain.log1p())).sum(1)
    return costs


def _grouped(square: Tensor, x0_hat: Tensor, choice: str) -> tuple[Tensor, Tensor]:
    """(mean squared error of each group of coordinates, how many of an image's coordinates it has), (G,) both."""
    dims = square.shape[1]
    if choice == "diagonal":
        return square.mean(0), torch.ones(dims, dtype=torch.float64)
    if choice != "conditional":
        return square.mean().reshape(1), torch.tensor([float(dims)], dtype=torch.float64)
    flat = x0_hat.flatten()
    edges = flat.sort().values[torch.arange(1, N_BINS) * len(flat) // N_BINS].unique()
    bins = torch.bucketize(flat, edges)
    count = torch.bincount(bins, minlength=len(edges) + 1).double()
    total = torch.bincount(bins, square.flatten(), minlength=len(edges) + 1)
    counted = count > 0
    return (total / count)[counted], count[counted] / len(square)


def best_times(costs: Tensor, times: Tensor, n_steps: int) -> Tensor:
    """The n_steps + 1 times of the fine grid, both of its ends among them, along which the costs sum to the least."""
    return as_time(times)[best_grid(costs, n_steps)]
