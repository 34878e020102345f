"""Likelihood: the T-step bound on −log p(x0), as prior + diffusion + reconstruction, nats per image.

    −log p(x0) ≤ KL( q(x_1 | x0) ‖ prior ) + Σ_{k=1}^T E K_{q,p}(delta_k) + E −log p(x0 | x at t = 0)

The sum runs over all T steps, with one draw of the state at each. States come from one of two laws:

- `limit`: x_t from the Gaussian limit marginal N(alpha x0, sigma²). What the paper does; exact for a normal q.
- `bridge`: a walk from the prior to the data, x_s = mean_q(x_t, x0) + L z with z ~ q. Exact for every q: mean and
  covariance of x_s are the limit's, higher cumulants are the walk's own.

Several losses can be read off the same states, so a network trained with any pair also gets its normal-limit bound.

Source: VDM (2107.00630) §4 for the three terms; the bridge walk and the losses are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nonnormal.denoisers import Denoiser, predict_x0
from nonnormal.objective import Design, Loss, marginal_state
from nonnormal.processes import LinearProcess, apply, uniform_times
from nonnormal.seeds import ImageNoise
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
    batch_size: int = 512,
) -> list[Bound]:
    """T-step bounds of the images x0, one per loss, all read off the same T network calls an image.

    Args:
        denoiser: in VE coordinates.
        design: basis, process and step pair; the bridge walks with its q.
        x0: images (N, C, H, W) in [−1, 1], on the grid of `levels` equally spaced grey levels.
        levels: number of grey levels, for the discrete reconstruction.
        n_steps: T, uniform in t.
        seeds: one an image; image i's terms depend on seed i alone.
        marginals: law of the states, see above.
        losses: what is summed over the steps; the design's own loss where it is None.
        batch_size: images per network call.

    Raises:
        ValueError: as many seeds as images are needed.
    """
    if len(seeds) != len(x0):
        raise ValueError(f"one seed an image: found {len(seeds)} seeds for {len(x0)} images")
    losses = [design.loss] if losses is None else list(losses)
    parts: list[list[Bound]] = [[] for _ in losses]
    for start in range(0, len(x0), batch_size):
        chunk = slice(start, start + batch_size)
        c0 = design.basis.forward(x0[chunk])
        noise = ImageNoise(seeds[chunk], c0.shape[1:], c0.dtype, c0.device)
        batch = _batch_bound(denoiser, design, c0, levels, uniform_times(n_steps), noise, marginals, losses)
        for part, terms in zip(parts, batch, strict=True):
            part.append(terms)
    return [
        Bound(*(torch.cat([getattr(b, term) for b in part]) for term in ("prior", "diffusion", "reconstruction")))
        for part in parts
    ]


def _batch_bound(denoiser, design, c0, levels, times, noise, marginals, losses) -> list[Bound]:
    process, basis, limit = design.process, design.basis, Normal()
    diffusion = [torch.zeros(len(c0), dtype=torch.float64) for _ in losses]
    ct = marginal_state(process, c0, times[-1], noise.draw(limit))
    for k in range(len(times) - 1, 0, -1):
        s, t = times[k - 1], times[k]
        c0_hat = predict_x0(denoiser, process, ct, t, basis).double()
        for total, loss in zip(diffusion, losses, strict=True):
            total += loss(process, s, t, c0_hat, c0.double()).flatten(1).sum(1).cpu()
        if marginals == "bridge":
            coef_xt, coef_x0, chol = process.posterior(s, t)
            ct = apply(coef_xt, ct) + apply(coef_x0, c0) + apply(chol, noise.draw(design.q))
        else:
            ct = marginal_state(process, c0, s, noise.draw(limit))
    prior = prior_kl(process, c0).cpu()
    a, c = process.marginal(0.0)
    alpha, sigma = a[..., 0, 0].item(), c[..., 0, 0].sqrt().item()
    centre, x0 = basis.inverse(ct) / alpha, basis.inverse(c0)
    return [
        Bound(prior, total, -discretised_log_prob(loss.p, x0, centre, sigma / alpha, levels).flatten(1).sum(1).cpu())
        for total, loss in zip(diffusion, losses, strict=True)
    ]


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
