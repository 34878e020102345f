"""Likelihood: bounds on −log p(x0), as prior + diffusion + reconstruction, nats per image.

    −log p(x0) ≤ KL( q(x_1 | x0) ‖ prior ) + Σ_{k=1}^T E K_{q,p}(delta_k) + E −log p(x0 | x at t = 0)

The sum runs over all T steps (or over a stratified draw of them), with one draw of the state at each. States come from
one of two laws:

- `limit`: x_t from the Gaussian limit marginal N(alpha x0, sigma²). What the paper does; exact for a normal q.
- `bridge`: a walk from the prior to the data, x_s = mean_q(x_t, x0) + L z with z ~ q. Exact for every q: mean and
  covariance of x_s are the limit's, higher cumulants are the walk's own.

Several losses can be read off the same states, so a network trained with any pair also gets its normal-limit bound.
For the normal pair the limit T → ∞ is an integral over log-SNR: `continuous_bound`.

Source: VDM (2107.00630) §4 for the three terms; the bridge walk and the losses are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, Pixel
from nonnormal.denoisers import Denoiser, alpha_and_level, predict_x0
from nonnormal.objective import Design, Loss, marginal_state
from nonnormal.processes import LinearProcess, apply, uniform_times
from nonnormal.seeds import ImageNoise, one_seed_an_image
from nonnormal.steps import Normal, Step

Marginals = Literal["limit", "bridge"]


@dataclass(frozen=True)
class Bound:
    """The three terms of the bound, each (N,), float64, nats per image."""

    prior: Tensor
    diffusion: Tensor
    reconstruction: Tensor

    @property
    def total(self) -> Tensor:
        """Prior + diffusion + reconstruction, (N,)."""
        return self.prior + self.diffusion + self.reconstruction


def bits_per_dim(nats: Tensor, dims: int) -> Tensor:
    """Nats / (D ln 2)."""
    return nats / (dims * math.log(2))


@torch.no_grad()
def bound(
    denoiser: Denoiser,
    design: Design,
    x0: Tensor,
    *,
    levels: int,
    n_steps: int,
    seeds: Sequence[int],
    marginals: Marginals = "limit",
    losses: Sequence[Loss] | None = None,
    n_evaluations: int | None = None,
    batch_size: int = 512,
) -> list[Bound]:
    """T-step bounds of the images x0, one per loss, all read off the same network calls.

    Args:
        denoiser: in VE coordinates.
        design: basis, process and step pair; the bridge walks with its q.
        x0: images (N, C, H, W) in [−1, 1], on the grid of `levels` equally spaced grey levels.
        levels: number of grey levels, for the discrete reconstruction.
        n_steps: T, uniform in t.
        seeds: one an image; image i's terms depend on seed i alone.
        marginals: law of the states, see above.
        losses: what is summed over the steps; the design's own loss where it is None.
        n_evaluations: network calls an image: one step out of each of so many equal parts of the T, drawn for each
            image by itself and weighted, which leaves the sum unbiased. All T where it is None or larger.
        batch_size: images per network call.

    Raises:
        ValueError: as many seeds as images are needed, and one network call or more; a bridge walk is asked to leave
            out steps.
    """
    n_evaluations = n_steps if n_evaluations is None else min(n_evaluations, n_steps)
    _some_evaluations(n_evaluations)
    if marginals == "bridge" and n_evaluations < n_steps:
        raise ValueError(f"a bridge walk visits all its {n_steps} steps, found n_evaluations = {n_evaluations}")
    one_seed_an_image(seeds, x0)
    losses = [design.loss] if losses is None else list(losses)
    parts: list[list[Bound]] = [[] for _ in losses]
    for start in range(0, len(x0), batch_size):
        chunk = slice(start, start + batch_size)
        c0 = design.basis.forward(x0[chunk])
        noise = ImageNoise(seeds[chunk], c0.shape[1:], c0.dtype, c0.device)
        batch = _batch_bound(denoiser, design, c0, levels, (n_steps, n_evaluations), noise, marginals, losses)
        for part, terms in zip(parts, batch, strict=True):
            part.append(terms)
    return [
        Bound(*(torch.cat([getattr(b, term) for b in part]) for term in ("prior", "diffusion", "reconstruction")))
        for part in parts
    ]


def _batch_bound(denoiser, design, c0, levels, counts, noise, marginals, losses) -> list[Bound]:
    process, basis, limit, (n_steps, n_evaluations) = design.process, design.basis, Normal(), counts
    times, share = uniform_times(n_steps), n_steps / n_evaluations
    offset = noise.uniform() if n_evaluations < n_steps else torch.zeros((), dtype=torch.float64)
    diffusion = [torch.zeros(len(c0), dtype=torch.float64) for _ in losses]
    ct = marginal_state(process, c0, times[-1], noise.draw(limit)) if marginals == "bridge" else None
    for j in range(n_evaluations - 1, -1, -1):
        k = ((j + offset) * share).floor().long()
        s, t = times[k], times[k + 1]
        if marginals == "limit":
            ct = marginal_state(process, c0, t, noise.draw(limit))
        c0_hat = predict_x0(denoiser, process, ct, t, basis).double()
        for total, loss in zip(diffusion, losses, strict=True):
            total += share * loss(process, s, t, c0_hat, c0.double()).flatten(1).sum(1).cpu()
        if marginals == "bridge":
            coef_xt, coef_x0, chol = process.posterior(s, t)
            ct = apply(coef_xt, ct) + apply(coef_x0, c0) + apply(chol, noise.draw(design.q))
    if marginals == "limit":
        ct = marginal_state(process, c0, times[0], noise.draw(limit))
    prior = prior_kl(process, c0).cpu()
    alpha, sigma = (value.item() for value in alpha_and_level(process, 0.0))
    centre, x0 = basis.inverse(ct) / alpha, basis.inverse(c0)
    return [
        Bound(prior, total, -discretised_log_prob(loss.p, x0, centre, sigma, levels).flatten(1).sum(1).cpu())
        for total, loss in zip(diffusion, losses, strict=True)
    ]


@torch.no_grad()
def continuous_bound(
    denoiser: Denoiser,
    process: LinearProcess,
    x0: Tensor,
    *,
    levels: int,
    n_evaluations: int,
    seeds: Sequence[int],
    basis: Pixel = PIXEL,
    batch_size: int = 512,
) -> Bound:
    """Prior KL + ½ ∫ e^λ E‖x̂0 − x0‖² dλ − E log p(x0 | y_0), λ = log-SNR: the normal bound in the limit T → ∞.

    In VE coordinates y = x0 + σ·eps, σ = exp(−λ/2), so of the process nothing counts but the ends of λ. The integral
    is drawn at one λ in each of `n_evaluations` equal parts, for each image by itself. Reconstruction is
    `categorical_log_prob`.

    Args:
        denoiser: in VE coordinates.
        process: of one variable per component and one schedule for all.
        x0: images (N, C, H, W) in [−1, 1], on the grid of `levels` equally spaced grey levels.
        levels: number of grey levels.
        n_evaluations: network calls an image.
        seeds: one an image; image i's terms depend on seed i alone.
        basis: of the state, for the prior.
        batch_size: images per network call.

    Raises:
        ValueError: as many seeds as images are needed, and one network call or more; the process has no single log-SNR.

    Source: VDM (2107.00630) Eq. 15 and 18, decoder App. B.
    """
    one_seed_an_image(seeds, x0)
    _some_evaluations(n_evaluations)
    low, high = (-2 * alpha_and_level(process, t)[1].log().item() for t in (1.0, 0.0))
    parts = []
    width = (high - low) / n_evaluations
    for start in range(0, len(x0), batch_size):
        x = x0[start : start + batch_size]
        noise = ImageNoise(seeds[start : start + batch_size], x.shape[1:], x.dtype, x.device)
        offset, diffusion = noise.uniform(), torch.zeros(len(x), dtype=torch.float64)
        for j in range(n_evaluations):
            log_snr = low + (j + offset) * width
            sigma = (-log_snr / 2).exp().to(x)
            y = x + sigma.reshape(-1, *(1,) * (x.dim() - 1)) * noise.draw(Normal())
            square = (denoiser(y, sigma) - x).double().square().flatten(1).sum(1).cpu()
            diffusion += 0.5 * width * log_snr.exp() * square
        sigma = math.exp(-high / 2)
        y = x + sigma * noise.draw(Normal())
        reconstruction = -categorical_log_prob(x, y, sigma, levels).flatten(1).sum(1).cpu()
        parts.append((prior_kl(process, basis.forward(x)).cpu(), diffusion, reconstruction))
    return Bound(*(torch.cat(term) for term in zip(*parts, strict=True)))


def _some_evaluations(n: int) -> None:
    if n < 1:
        raise ValueError(f"n_evaluations must be 1 or more, found {n}")


def prior_kl(process: LinearProcess, c0: Tensor) -> Tensor:
    """KL( N(A c0, C) ‖ N(0, P) ) at t = 1 summed over coordinates, (B,), float64 nats; P is the prior covariance.

    Per component ½ (tr P⁻¹C − n + log det P/C + (A c0)ᵀ P⁻¹ A c0).
    """
    a, c = process.marginal(1.0)
    prior = process.prior_covariance()
    spread = torch.linalg.solve(prior, c).diagonal(dim1=-2, dim2=-1).sum(-1) - process.n
    spread = spread + torch.logdet(prior) - torch.logdet(c)
    mean = apply(torch.linalg.solve_triangular(torch.linalg.cholesky(prior), a, upper=False), c0.double())
    components = c0[0].numel() // process.n
    total_spread = spread * components if spread.dim() == 0 else spread.sum()
    return 0.5 * (mean.square().flatten(1).sum(1) + total_spread)


def discretised_log_prob(p: Step, x0: Tensor, centre: Tensor, scale: float, levels: int) -> Tensor:
    """Log P(x0): the mass that centre + scale·z, z ~ p, puts on the bin of x0's grey level, nats, elementwise.

    The bins are those of `levels` equally spaced levels on [−1, 1], bounded half-way between them; the outermost take
    the tails, so the masses sum to 1.
    """
    x0, centre = x0.double(), centre.double()
    half = 1 / (levels - 1)
    upper = torch.where(x0 > 1 - half, math.inf, x0 + half)
    lower = torch.where(x0 < half - 1, -math.inf, x0 - half)
    high, low = (upper - centre) / scale, (lower - centre) / scale
    # From the tail on whose side the bin lies, where the difference keeps its digits.
    log_mass = torch.where(low > 0, p.sf(low) - p.sf(high), p.cdf(high) - p.cdf(low)).log()
    # Where the mass is below the smallest float64: the density at the middle, of an outermost bin next to its edge.
    middle = torch.where(low.isinf(), high - half / scale, (low + high) / 2)
    middle = torch.where(high.isinf(), low + half / scale, middle)
    return torch.where(log_mass > -math.inf, log_mass, p.log_prob(middle) + math.log(2 * half / scale))


def categorical_log_prob(x0: Tensor, y: Tensor, sigma: float, levels: int) -> Tensor:
    """Log softmax over grey levels v of −(y − v)²/(2σ²), at v = x0: log P(x0 | y) with a flat prior, nats, elementwise.

    Source: VDM (2107.00630) App. B.
    """
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64, device=y.device)
    x0, y = x0.double().unsqueeze(-1), y.double().unsqueeze(-1)
    unnormalised = (y - grid).square() / (-2 * sigma**2)
    return (y - x0).squeeze(-1).square() / (-2 * sigma**2) - unnormalised.logsumexp(-1)
