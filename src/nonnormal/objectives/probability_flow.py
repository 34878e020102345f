"""Probability flow: the density of a diffusion model by its ordinary differential equation, nats per image.

For a linear process dz = F z dt + G dw with the score s of `denoisers.score`,

    dz/dt = v(z, t) = F z − ½ G Gᵀ s(z, t),    d log p/dt = −tr ∂v/∂z,

so that log p at an early time is the prior's log-density at the other end of the flow plus the integral of the
divergence. No step enters, so by the invariance principle this is a likelihood for a network trained with any pair.

The data are discrete and have no momentum. A law q(z | x0) of the state at the time where the flow starts turns the
density of states into a bound on −log P(x0):

- `uniform`: y = x0 + (v − ½) spacing, −log P ≤ −E log p(y, r) + E log q(r) − D log spacing. The flow starts where the
  model's noise has the same standard deviation, σ = spacing/√12, or at t_min if that is later. The rest of the state,
  such as a momentum, is r: z = U y ⊗ a + R r with R Rᵀ = C − σ² a aᵀ, r normal.
- `normal`: z at t_min from the process itself, −log P ≤ E [log q(z | x0) − log p(z) − log P(x0 | y)].

Both include the entropy of the momentum.

Source: Song et al. (2011.13456) App. D.2; uniform dequantisation: Theis et al. (1511.01844) §3.1; the second bound, the
choice of the first time, and what becomes of the momentum are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from nonnormal.bases import Basis
from nonnormal.denoisers import Denoiser, basis_of, score
from nonnormal.objectives.bounds import categorical_log_prob, need_grey_levels, pixel_levels
from nonnormal.processes import LinearProcess, apply, cholesky, lift, project, state_shape
from nonnormal.seeds import ImageNoise, one_seed_an_image
from nonnormal.steps import Normal, Rademacher, Uniform

Dequantisation = Literal["uniform", "normal"]
Trace = Literal["hutchinson", "exact"]


def velocity(
    denoiser: Denoiser, process: LinearProcess, z: Tensor, t: float | Tensor, basis: Basis | None = None
) -> Tensor:
    """v(z, t) = F z − ½ G Gᵀ ∇ log p(z), in z's shape. Args as in `denoisers.score`."""
    drift, noise = process.sde(t)
    return apply(drift, z) - 0.5 * apply(noise, score(denoiser, process, z, t, basis))


def log_density(
    denoiser: Denoiser,
    process: LinearProcess,
    z: Tensor,
    t: float,
    *,
    basis: Basis | None = None,
    probe: Tensor | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-4,
) -> tuple[Tensor, int]:
    """log p_t(z) = log N(z_1; 0, prior) + ∫ₜ¹ tr ∂v/∂z dt, and the network calls.

    Args:
        denoiser: in VE coordinates.
        process: any.
        z: states (N, n·C, ...), coefficients in `basis`.
        t: time at which the density is asked, at least t_min.
        basis: of the state; the denoiser's own if None.
        probe: v (N, n·C, ...) with E v vᵀ = I: Hutchinson's trace v·(∂v/∂z)v. Where it is None the trace is exact, by
            one backward pass a coordinate.
        rtol, atol: tolerances of the adaptive solver (Dormand–Prince 5(4)), which chooses its steps for all of z.

    Returns:
        (N,) nats, float64, and the number of calls, each of them on all of z.

    Raises:
        ValueError: t is below the process's t_min, or 1 or above.
    """
    from torchdiffeq import odeint

    if not process.t_min <= t < 1:
        raise ValueError(f"t must be in [{process.t_min:g}, 1), found {t:g}")
    calls = 0

    def rate(time: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        with torch.enable_grad():
            at = state[0].detach().requires_grad_()
            v = velocity(denoiser, process, at, time.clamp(t, 1.0).cpu(), basis)
            trace = _exact_trace(v, at) if probe is None else _probed_trace(v, at, probe)
        return v.detach(), trace

    ends = torch.tensor([t, 1.0], dtype=torch.float64, device=z.device)
    start = (z.double(), torch.zeros(len(z), dtype=torch.float64, device=z.device))
    path, gathered = odeint(rate, start, ends, rtol=rtol, atol=atol, method="dopri5", options=step_limit(process))
    return normal_log_prob(process.prior_covariance(), path[-1]) + gathered[-1], calls


def step_limit(process: LinearProcess) -> dict[str, float]:
    """Option of an adaptive solver: a maximum step size, so that it cannot skip a component's active interval.

    While no component changes, the flow is constant, the estimated error is 0, and the solver's steps grow beyond the
    next interval. Two steps per interval are enough for the error estimate.
    """
    return {"max_step": process.shortest_window / 2} if process.shortest_window < 1 else {}


def normal_log_prob(covariance: Tensor, z: Tensor) -> Tensor:
    """log N(z; 0, covariance), (N,), nats, float64; covariance (n, n) or (*components, n, n), z (N, n·C, ...)."""
    factor, n = cholesky(covariance), covariance.shape[-1]
    log_scale = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    white = apply(torch.linalg.inv(factor), z.double()).flatten(1)
    size = white.shape[1]
    log_det = log_scale.sum() if log_scale.dim() else log_scale * (size // n)
    return -0.5 * (white.square().sum(1) + size * math.log(2 * math.pi)) - log_det.to(white)


def _probed_trace(v: Tensor, z: Tensor, probe: Tensor) -> Tensor:
    (product,) = torch.autograd.grad((v * probe).sum(), z)
    return (product * probe).flatten(1).sum(1)


def _exact_trace(v: Tensor, z: Tensor) -> Tensor:
    flat, trace = v.flatten(1), torch.zeros(len(z), dtype=z.dtype, device=z.device)
    for i in range(flat.shape[1]):
        (row,) = torch.autograd.grad(flat[:, i].sum(), z, retain_graph=i + 1 < flat.shape[1])
        trace += row.flatten(1)[:, i]
    return trace


def flow_bound(
    denoiser: Denoiser,
    process: LinearProcess,
    x0: Tensor,
    *,
    levels: int,
    seeds: Sequence[int],
    basis: Basis | None = None,
    dequantisation: Dequantisation = "uniform",
    trace: Trace = "hutchinson",
    rtol: float = 1e-4,
    atol: float = 1e-4,
    batch_size: int = 512,
) -> tuple[Tensor, int]:
    """Upper bound on −log P(x0) by the probability flow: one draw per image, and the number of network calls.

    Args:
        denoiser: in VE coordinates.
        process: any; its prior counts.
        x0: images (N, C, H, W) in [−1, 1], on the grid of `levels` equally spaced grey levels.
        levels: number of grey levels.
        seeds: one an image, for its dequantisation and its probe.
        basis: of the state; the denoiser's own if None.
        dequantisation: see above.
        trace: `hutchinson` with one Rademacher probe an image, or `exact`.
        rtol, atol: of the solver.
        batch_size: images per network call; the solver chooses its steps for them together, so that within the
            tolerances an image depends on its batch.

    Returns:
        (N,) nats, float64, and the network calls an image, of the batch that took most.

    Raises:
        ValueError: numbers of seeds and images differ; images off the grid of levels; an unknown dequantisation or
            trace; the denoiser needs another basis.

    Examples:
        >>> import torch
        >>> from nonnormal import VP, GaussianMixtureDenoiser, flow_bound
        >>> denoiser = GaussianMixtureDenoiser(torch.tensor([[[[-1.0]]], [[[1.0]]]]), torch.full((2,), 0.5))
        >>> x0 = torch.ones(100, 1, 1, 1)
        >>> nats, calls = flow_bound(denoiser, VP(), x0, levels=2, seeds=range(100), trace="exact")
        >>> nats.shape
        torch.Size([100])
    """
    shape = state_shape(process, x0.shape[1:])
    need_grey_levels(x0, levels)
    one_seed_an_image(seeds, x0)
    basis = basis_of(denoiser, basis)
    for name, found, kind in (("dequantisation", dequantisation, Dequantisation), ("trace", trace, Trace)):
        if found not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, found {found!r}")
    state = _uniform_state if dequantisation == "uniform" else _normal_state
    nats, calls = [], []
    for start in range(0, len(x0), batch_size):
        chunk = slice(start, start + batch_size)
        noise = ImageNoise(seeds[chunk], shape, torch.float64, x0.device)
        probe = noise.draw(Rademacher()) if trace == "hutchinson" else None
        z, t, extra = state(process, x0[chunk].double(), levels, noise, basis)
        density, taken = log_density(denoiser, process, z, t, basis=basis, probe=probe, rtol=rtol, atol=atol)
        nats.append((extra - density).cpu())
        calls.append(taken)
    return torch.cat(nats), max(calls)


def _normal_state(process, x0, levels, noise, basis) -> tuple[Tensor, float, Tensor]:
    """(z, t, log q(z | x0) − log P(x0 | y)) of the normal dequantisation."""
    t, eps = process.t_min, noise.draw(Normal())
    a, c = process.marginal(t)
    added = apply(cholesky(c), eps)
    z = apply(a, lift(basis.forward(x0), process.n)) + added
    weights, sigma = process.observation(t)
    log_prob = categorical_log_prob(x0, basis.inverse(project(weights, z)), pixel_levels(basis, sigma, x0), levels)
    return z, t, normal_log_prob(c, added) - log_prob.flatten(1).sum(1)


def _uniform_state(process, x0, levels, noise, basis) -> tuple[Tensor, float, Tensor]:
    """(z, t, log q(r) − log abs(∂z/∂(y, r)) − D log spacing) of the uniform dequantisation."""
    spacing, dims, n = 2 / (levels - 1), x0[0].numel(), process.n
    t = process.time_at(-2 * math.log(spacing / math.sqrt(12))).item()
    y = x0 + noise.draw(Uniform())[:, : x0.shape[1]] * (spacing / math.sqrt(12))
    c0, (mean, c), (_, sigma) = basis.forward(y), process.marginal(t), process.observation(t)
    a = mean[..., :1]
    values, vectors = torch.linalg.eigh(c - sigma[..., None, None].square() * a @ a.mT)  # the first value is 0
    rest = (vectors * values.clamp(min=0).sqrt().unsqueeze(-2))[..., 1:]
    z = apply(mean, lift(c0, n))
    log_q = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    if n > 1:
        r = noise.draw(Normal())[:, c0.shape[1] :]
        padded = torch.cat([torch.zeros_like(a), rest], -1)
        z = z + apply(padded, torch.cat([torch.zeros_like(c0), r], 1))
        log_q = -0.5 * (r.square() + math.log(2 * math.pi)).flatten(1).sum(1)
    log_scale = torch.linalg.det(torch.cat([a, rest], -1)).abs().log()
    log_det = (log_scale.sum() if log_scale.dim() else log_scale * dims) + basis.log_det
    return z, t, log_q - log_det - dims * math.log(spacing)
