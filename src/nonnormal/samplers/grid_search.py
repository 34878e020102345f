"""Grid search: the short grid out of a fine one on which Euler's method has the least total cost.

A teacher solves the ODE on a fine grid sigma_0 > … > sigma_N. The cost c[i, j] is the error of one Euler step from the
teacher's x_i to level j; a grid is a path 0 = k_0 < k_1 < … < k_T = N, and dynamic programming
finds the path with the least Σ_m c[k_m, k_{m+1}]. Sampling trajectories of one model have nearly one shape, so
a few hundred of them stand for all.

Knows denoisers by their call; not which solver will walk on the grid.

Source: GITS, in Chen et al. (2405.11326).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nonnormal.denoisers import Denoiser


@torch.no_grad()
def euler_costs(denoiser: Denoiser, states: Tensor, sigmas: Tensor) -> Tensor:
    """c[i, j] = mean over B of ‖x_i + (sigma_j − sigma_i) eps_i − x_j‖ for i < j, else ∞.

    Args:
        denoiser: in VE coordinates; N calls.
        states: the teacher's x_i, (N + 1, B, ...).
        sigmas: (N + 1,), falling; the last may be 0.

    Returns:
        (N + 1, N + 1), float64, in the units of the state.

    Raises:
        ValueError: not one level for each state.

    Source: GITS (2405.11326), "l2" of its public code.
    """
    sigmas = torch.as_tensor(sigmas, dtype=torch.float64)
    if sigmas.shape != states.shape[:1]:
        raise ValueError(f"one level for each state: found {tuple(sigmas.shape)} for {tuple(states.shape)}")
    n = len(states) - 1
    costs = torch.full((n + 1, n + 1), math.inf, dtype=torch.float64)
    for i, (x, sigma) in enumerate(zip(states[:-1], sigmas.to(states), strict=False)):
        eps = (x - denoiser(x, sigma)) / sigma
        hops = (sigmas[i + 1 :] - sigmas[i]).to(states)
        reached = x + hops.reshape(-1, *(1,) * x.dim()) * eps
        costs[i, i + 1 :] = (reached - states[i + 1 :]).flatten(2).norm(dim=-1).mean(1).to(costs)
    return costs


def best_grid(cost_matrix: Tensor, n_steps: int) -> Tensor:
    """The argmin over 0 = k_0 < k_1 < … < k_T = N of Σ_m c[k_m, k_{m+1}], by dynamic programming.

    Args:
        cost_matrix: c, (N + 1, N + 1); only i < j is read.
        n_steps: T, from 1 to N.

    Returns:
        k, (T + 1,), int64: the short grid is `sigmas[k]`.

    Raises:
        ValueError: the matrix is not square or has a NaN, n_steps is out of range.

    Source: GITS (2405.11326), without its weight gamma of later steps.
    """
    costs = torch.as_tensor(cost_matrix, dtype=torch.float64).cpu()
    n = costs.shape[-1] - 1
    if costs.shape != (n + 1, n + 1) or costs.triu(1).isnan().any():
        raise ValueError(f"cost_matrix must be square and without NaN, found {tuple(costs.shape)}")
    if not 1 <= n_steps <= n:
        raise ValueError(f"a grid of {n + 1} levels gives 1 to {n} steps, found n_steps = {n_steps}")
    costs = costs.masked_fill(torch.ones_like(costs, dtype=torch.bool).tril(), math.inf)
    # rest[j] is the least cost of going from j to the end, in a number of steps that rises by one a round.
    rest = costs.new_full((n + 1,), math.inf)
    rest[n] = 0.0
    following = []
    for _ in range(n_steps):
        rest, best = (costs + rest).min(1)
        following.append(best)
    path = [torch.tensor(0)]
    for best in reversed(following):
        path.append(best[path[-1]])
    return torch.stack(path)
