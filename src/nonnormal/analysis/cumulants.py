"""Cumulants: how much of the step's excess kurtosis remains in the noise that the denoiser sees.

A chain x_s = G x_t + H x_0 + L z, with G, H, L of the process's posterior, contains the noise of all its steps so far.
The denoiser gets y = x_0 + σ e with

    e = Σ_j c_j z_j + a normal part, the prior's,      Σ_j c_j² + its variance = 1,

where j runs over the steps so far and the variables of a component. Fourth cumulants add up, so for a step of excess
kurtosis κ the noise e has κ Σ_j c_j⁴: the more steps contribute, the more normal it is. A pixel is
a sum over the components of the basis, Σ_i (U⁻¹)_pi e_i, and has Σ_i (U⁻¹)_pi⁴ of that: the more components a pixel is
made of, the more normal it is, too. So the invariance principle works along the chain and across the basis.

Exact for the bridge walk, in which x_0 is known; a sampler's x̂0 depends on the noise. Knows processes and bases, but no
networks.

Source: derived here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, Basis
from nonnormal.processes import LinearProcess, as_time

_AT_ONCE = 256  # components whose images are held in memory


def kurtosis_share(process: LinearProcess, times: Tensor) -> Tensor:
    """Σ_j c_j⁴ at each time of a grid but the last, where the network is called: (T,), float64, in [0, 1].

    0 at the prior, which is normal for every step; 1 where all noise is that of one step and one variable.

    Args:
        process: one schedule for all components.
        times: the T + 1 times of the grid, in either order.

    Raises:
        ValueError: each component has a schedule of its own.
    """
    times = as_time(times).sort(descending=True).values
    weights, sigma = process.observation(times)
    if sigma.dim() > 1:
        raise ValueError(f"one schedule for all components is needed, found one for each of {tuple(sigma.shape[1:])}")
    gains, _, factors = process.posterior(times[1:], times[:-1])
    carried = torch.zeros(process.n, 0, dtype=torch.float64)  # noise of the state by step and variable so far
    shares = [torch.zeros((), dtype=torch.float64)]
    for k in range(1, len(times) - 1):
        carried = torch.cat([gains[k - 1] @ carried, factors[k - 1]], dim=1)
        shares.append((weights[k] @ carried / sigma[k]).pow(4).sum())
    return torch.stack(shares)


def pixel_share(basis: Basis, shape: tuple[int, int, int]) -> float:
    """Mean over pixels p of Σ_i (U⁻¹)_pi⁴: 1 of pixels, near 0 where each pixel is made of many components alike.

    Args:
        basis: orthonormal.
        shape: (C, H, W) of an image.

    Raises:
        ValueError: the basis is not orthonormal, so a pixel's noise is not of unit variance.
    """
    if not basis.orthonormal:
        raise ValueError(f"an orthonormal basis is needed, found {type(basis).__name__}")
    if basis == PIXEL:
        return 1.0
    dims = torch.Size(shape).numel()
    total = torch.zeros(shape, dtype=torch.float64)
    for start in range(0, dims, _AT_ONCE):
        units = torch.zeros(min(_AT_ONCE, dims - start), dims, dtype=torch.float64)
        units.diagonal(start).fill_(1)
        total += basis.inverse(units.reshape(-1, *shape)).pow(4).sum(0)
    return total.mean().item()
