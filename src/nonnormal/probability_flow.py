"""Probability flow: the density of a diffusion model by its ordinary differential equation, nats per image.

In VE coordinates, with u = log σ and r the denoiser,

    dx/du = x − r(x, σ),    d log p/du = −(D − tr ∂r/∂x),

so that log p at the first noise level is the prior's log-density at the other end of the flow plus the integral of the
divergence. By the invariance principle this is a likelihood for a network trained with any pair of steps: none enters.

The data are discrete. A density becomes a bound on −log P(x0) by a law of y given x0 (dequantisation):

- `uniform`: y = x0 + (v − ½) spacing, −log P ≤ −E log p(y) − D log spacing. The flow starts where the model's noise has
  the standard deviation of this one, σ = spacing/√12, or at the process's first level where that is larger.
- `normal`: y = x0 + σ_0 eps at the process's first level, −log P ≤ E [log q(y | x0) − log p(y) − log P(x0 | y)].

Source: Song et al. (2011.13456) App. D.2; uniform dequantisation: Theis et al. (1511.01844) §3.1; the second bound and
the choice of the first level are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torchdiffeq import odeint

from nonnormal.denoisers import Denoiser, alpha_and_level
from nonnormal.likelihood import categorical_log_prob
from nonnormal.processes import LinearProcess
from nonnormal.seeds import ImageNoise, one_seed_an_image
from nonnormal.steps import Normal, Rademacher, Uniform

Dequantisation = Literal["uniform", "normal"]
Trace = Literal["hutchinson", "exact"]


def log_density(
    denoiser: Denoiser,
    y: Tensor,
    sigma: float,
    *,
    sigma_max: float,
    prior_std: float,
    probe: Tensor | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-4,
) -> tuple[Tensor, int]:
    """Log p(y) at noise level σ = log N(y_max; 0, prior_std² I) + ∫ (D − tr ∂r/∂x) d log σ, and the network calls.

    Args:
        denoiser: r, in VE coordinates.
        y: (N, ...), data plus noise of level sigma.
        sigma: noise level at which the density is asked, positive.
        sigma_max: level at which the flow ends.
        prior_std: standard deviation of the prior at sigma_max, in VE coordinates (for VP 1/alpha).
        probe: v (N, ...) with E v vᵀ = I: Hutchinson's trace v·(∂r/∂x)v. Where it is None the trace is exact, by one
            backward pass a coordinate.
        rtol, atol: tolerances of the adaptive solver (Dormand–Prince 5(4)), which chooses its steps for all of y.

    Returns:
        (N,) nats, float64, and the number of calls, each of them on all of y.
    """
    calls = 0

    def velocity(u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            denoised = denoiser(x, u.exp())
            trace = _exact_trace(denoised, x) if probe is None else _probed_trace(denoised, x, probe)
        return (x - denoised).detach(), x[0].numel() - trace

    ends = torch.tensor([sigma, sigma_max], dtype=torch.float64, device=y.device).log()
    start = (y.double(), torch.zeros(len(y), dtype=torch.float64, device=y.device))
    path, gathered = odeint(velocity, start, ends, rtol=rtol, atol=atol, method="dopri5")
    last = path[-1].flatten(1) / prior_std
    prior = -0.5 * (last.square() + math.log(2 * math.pi * prior_std**2)).sum(1)
    return prior + gathered[-1], calls


def _probed_trace(denoised: Tensor, x: Tensor, probe: Tensor) -> Tensor:
    (product,) = torch.autograd.grad((denoised * probe).sum(), x)
    return (product * probe).flatten(1).sum(1)


def _exact_trace(denoised: Tensor, x: Tensor) -> Tensor:
    flat, trace = denoised.flatten(1), torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for i in range(flat.shape[1]):
        (row,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=i + 1 < flat.shape[1])
        trace += row.flatten(1)[:, i]
    return trace


def flow_bound(
    denoiser: Denoiser,
    process: LinearProcess,
    x0: Tensor,
    *,
    levels: int,
    seeds: Sequence[int],
    dequantisation: Dequantisation = "uniform",
    trace: Trace = "hutchinson",
    rtol: float = 1e-4,
    atol: float = 1e-4,
) -> tuple[Tensor, int]:
    """One draw of the bound on −log P(x0) by the flow's density of dequantised images, and the network calls.

    Args:
        denoiser: in VE coordinates.
        process: of one variable per component and one schedule for all; its ends and its prior count.
        x0: images (N, C, H, W) in [−1, 1], on the grid of `levels` equally spaced grey levels.
        levels: number of grey levels.
        seeds: one an image, for its dequantisation and its probe.
        dequantisation: see above.
        trace: `hutchinson` with one Rademacher probe an image, or `exact`.
        rtol, atol: of the solver.

    Returns:
        (N,) nats, float64, and the number of calls, each of them on all images.

    Raises:
        ValueError: as many seeds as images are needed; another dequantisation or trace; the process has no single
            noise level.
    """
    one_seed_an_image(seeds, x0)
    for name, found, kind in (("dequantisation", dequantisation, Dequantisation), ("trace", trace, Trace)):
        if found not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, found {found!r}")
    (_, first), (alpha, last) = ([v.item() for v in alpha_and_level(process, t)] for t in (0.0, 1.0))
    spacing, dims = 2 / (levels - 1), x0[0].numel()
    noise = ImageNoise(seeds, x0.shape[1:], torch.float64, x0.device)
    probe = noise.draw(Rademacher()) if trace == "hutchinson" else None
    if dequantisation == "uniform":
        sigma = max(first, spacing / math.sqrt(12))
        y = x0.double() + noise.draw(Uniform()) * (spacing / math.sqrt(12))
        extra = torch.full((len(x0),), -dims * math.log(spacing), dtype=torch.float64, device=x0.device)
    else:
        sigma, eps = first, noise.draw(Normal())
        y = x0.double() + sigma * eps
        log_q = -0.5 * (eps.square() + math.log(2 * math.pi * sigma**2)).flatten(1).sum(1)
        extra = log_q - categorical_log_prob(x0, y, sigma, levels).flatten(1).sum(1)
    prior_std = process.prior_covariance().sqrt().item() / alpha
    options = dict(sigma_max=last, prior_std=prior_std, probe=probe, rtol=rtol, atol=atol)
    density, calls = log_density(denoiser, y, sigma, **options)
    return (extra - density).cpu(), calls
