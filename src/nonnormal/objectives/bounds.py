"""Likelihood: bounds on −log p(x0), as prior + diffusion + reconstruction, nats per image.

    −log p(x0) ≤ KL( q(x_1 | x0) ‖ prior ) + Σ_{k=1}^T E K_{q,p}(delta_k) + E −log p(x0 | x at t = 0)

The sum runs over all T steps (or over a stratified draw of them), with one draw of the state at each. States come from
one of two laws:

- `limit`: x_t from the Gaussian limit marginal N(alpha x0, sigma²), as in the paper; exact for a normal q.
- `bridge`: a walk from the prior to the data, x_s = mean_q(x_t, x0) + L z with z ~ q. Exact for every q: mean and
  covariance of x_s are the limit's, higher cumulants are the walk's own.

Several losses can be evaluated at the same states, so a network trained with any pair also gets its normal-limit bound.
For the normal pair the limit T → ∞ is an integral over time: `continuous_bound`. The chain ends at the process's t_min.
Its last state is a latent variable like all others, momentum included, so the sum bounds −log p(x0) alone.

Source: VDM (2107.00630) §4 for the three terms; the bridge walk and the losses are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, Basis
from nonnormal.denoisers import Denoiser, basis_of, pixels_of, predict_x0
from nonnormal.objectives.fitted_loss import FittedLoss
from nonnormal.objectives.losses import (
    Design,
    Loss,
    Marginals,
    marginal_state,
    need_design,
    need_marginals,
    need_numbers,
)
from nonnormal.processes import (
    LinearProcess,
    append_dims,
    apply,
    as_time,
    component_mean,
    lift,
    need_steps,
    project,
    state_shape,
    uniform_times,
)
from nonnormal.seeds import ImageNoise, one_seed_an_image
from nonnormal.steps import Normal, Step, get


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
    losses: Sequence[Loss | FittedLoss] | None = None,
    times: Tensor | None = None,
    n_evaluations: int | None = None,
    batch_size: int = 512,
) -> list[Bound]:
    """Upper bounds on −log p(x0) in T steps, nats per image: one `Bound` for each loss, from the same network calls.

    Args:
        denoiser: in VE coordinates.
        design: basis, process and step pair; the bridge walks with its q.
        x0: images (N, C, H, W) or points (N, C) in [−1, 1], on the grid of `levels` equally spaced grey levels.
        levels: number of grey levels, for the discrete reconstruction.
        n_steps: T.
        seeds: one an image; image i's terms depend on seed i alone.
        marginals: law of the states, see above.
        losses: what is summed over the steps; the design's own loss if None. A `FittedLoss` has a step for
            each of the T intervals.
        times: the T + 1 times of the chain, from the process's t_min to 1; uniform if None.
        n_evaluations: network calls per image. The T steps are divided into this many equal parts, and one step of each
            part is drawn for each image and weighted, so the sum stays unbiased. None: all T.
        batch_size: images per network call.

    Raises:
        ValueError: numbers of seeds and images differ; fewer than two levels, one step or one network call; images off
            the grid of levels; n_evaluations below T for a bridge walk or for a step for each interval; numbers of
            steps and intervals differ; times do not rise from t_min to 1; the denoiser needs another basis than the
            design's; marginals of another name; no design; a schedule for each of other components than the image's.

    Examples:
        >>> import torch
        >>> from nonnormal import VP, Design, GaussianMixtureDenoiser, Loss, bound
        >>> denoiser = GaussianMixtureDenoiser(torch.tensor([[[[-1.0]]], [[[1.0]]]]), torch.zeros(2))  # black or white
        >>> x0, design = torch.ones(200, 1, 1, 1), Design(VP(), Loss("normal", "normal"))
        >>> [terms] = bound(denoiser, design, x0, levels=2, n_steps=200, seeds=range(200))
        >>> bits = terms.total.mean() / torch.tensor(2.0).log()
        >>> bool(1 < bits < 1.2)  # one bit is the truth
        True
    """
    need_marginals(marginals)
    shape = state_shape(need_design(design).process, x0.shape[1:])
    need_grey_levels(x0, levels)
    need_steps(n_steps)
    n_evaluations = n_steps if n_evaluations is None else min(n_evaluations, n_steps)
    _some_evaluations(n_evaluations)
    times = _chain_times(design.process, n_steps, times)
    for loss in losses or ():
        if isinstance(loss, FittedLoss) and (len(loss.steps) != n_steps or n_evaluations < n_steps):
            raise ValueError(
                f"a step for each of {n_steps} intervals, all of which are visited, is needed; "
                f"found {len(loss.steps)} steps and n_evaluations = {n_evaluations}"
            )
    if marginals == "bridge" and n_evaluations < n_steps:
        raise ValueError(f"a bridge walk visits all its {n_steps} steps, found n_evaluations = {n_evaluations}")
    one_seed_an_image(seeds, x0)
    losses = [design.loss] if losses is None else list(losses)
    parts: list[list[Bound]] = [[] for _ in losses]
    for start in range(0, len(x0), batch_size):
        chunk = slice(start, start + batch_size)
        c0 = design.basis.forward(x0[chunk])
        noise = ImageNoise(seeds[chunk], shape, c0.dtype, c0.device)
        batch = _batch_bound(denoiser, design, c0, levels, (times, n_evaluations), noise, marginals, losses)
        for part, terms in zip(parts, batch, strict=True):
            part.append(terms)
    return [
        Bound(*(torch.cat([getattr(b, term) for b in part]) for term in ("prior", "diffusion", "reconstruction")))
        for part in parts
    ]


def _chain_times(process: LinearProcess, n_steps: int, times: Tensor | None) -> Tensor:
    """The n_steps + 1 times of a chain, float64; refuses others than those that rise from t_min to 1."""
    if times is None:
        return uniform_times(n_steps, process.t_min)
    times = as_time(times)
    ends = times.shape == (n_steps + 1,) and (times[0].item(), times[-1].item()) == (process.t_min, 1.0)
    if not (ends and (times.diff() > 0).all()):
        raise ValueError(
            f"{n_steps + 1} times that rise from {process.t_min:g} to 1 are needed, found {times.tolist()}"
        )
    return times


def _batch_bound(denoiser, design, c0, levels, chain, noise, marginals, losses) -> list[Bound]:
    process, basis, limit, (times, n_evaluations) = design.process, design.basis, Normal(), chain
    n_steps = len(times) - 1
    share = n_steps / n_evaluations
    offset = noise.uniform() if n_evaluations < n_steps else torch.zeros((), dtype=torch.float64)
    diffusion = [torch.zeros(len(c0), dtype=torch.float64, device=c0.device) for _ in losses]
    ct = marginal_state(process, c0, times[-1], noise.draw(limit)) if marginals == "bridge" else None
    for j in range(n_evaluations - 1, -1, -1):
        k = ((j + offset) * share).floor().long()
        s, t = times[k], times[k + 1]
        if marginals == "limit":
            ct = marginal_state(process, c0, t, noise.draw(limit))
        c0_hat = predict_x0(denoiser, process, ct, t, basis).double()
        errors = {}  # one for all exact losses, one for all printed ones
        for total, loss in zip(diffusion, losses, strict=True):
            kind = loss.convention == "exact"
            if kind not in errors:
                errors[kind] = loss.error(process, s, t, c0_hat, c0.double())
            if isinstance(loss, FittedLoss):
                total += loss.of_interval(int(k), *errors[kind], c0_hat).flatten(1).sum(1)
            else:
                total += share * loss.masked(*errors[kind]).flatten(1).sum(1)
        if marginals == "bridge":
            coef_xt, coef_x0, chol = process.posterior(s, t)
            ct = apply(coef_xt, ct) + apply(coef_x0, lift(c0, process.n)) + apply(chol, noise.draw(design.q))
    if marginals == "limit":
        ct = marginal_state(process, c0, times[0], noise.draw(limit))
    prior = prior_kl(process, c0).cpu()
    weights, sigma = process.observation(process.t_min)
    centre, scale, x0 = basis.inverse(project(weights, ct)), pixel_levels(basis, sigma, c0), basis.inverse(c0)
    return [
        Bound(prior, total.cpu(), -discretised_log_prob(loss.p, x0, centre, scale, levels).flatten(1).sum(1).cpu())
        for total, loss in zip(diffusion, losses, strict=True)
    ]


def pixel_levels(basis: Basis, sigma: Tensor, x: Tensor) -> Tensor:
    """Standard deviation of each pixel of U⁻¹(σ ⊙ eps), () or (C, H, W), float64, for images like x (B, C, H, W)."""
    sigma = sigma.to(x.device, torch.float64)
    if basis == PIXEL or (not sigma.dim() and basis.orthonormal):
        return sigma
    shape = x.shape[1:]
    columns = pixels_of(basis, shape, x[:0].double())
    return (columns.square() @ sigma.expand(shape).flatten().square()).sqrt().reshape(shape)


@torch.no_grad()
def continuous_bound(
    denoiser: Denoiser,
    process: LinearProcess,
    x0: Tensor,
    *,
    levels: int,
    n_evaluations: int,
    seeds: Sequence[int],
    basis: Basis | None = None,
    batch_size: int = 512,
) -> Bound:
    """The bound of the normal pair for T → ∞ (VDM's), nats per image.

    Prior KL + ½ ∫ Σ_i −SNR_i′(t) E(x̂0 − x0)_i² dt − E log p(x0 | y at t_min).

    SNR_i is that of component i's y, with or without momentum. The integral is estimated at one random time in each of
    `n_evaluations` parts, for each image separately. The parts are equal in the log-SNR averaged over components, so
    with one level for all components the result depends on the ends of the schedule only. Reconstruction is
    `categorical_log_prob`.

    Args:
        denoiser: in VE coordinates.
        process: any.
        x0: images (N, C, H, W) in [−1, 1], on the grid of `levels` equally spaced grey levels.
        levels: number of grey levels.
        n_evaluations: network calls an image.
        seeds: one an image; image i's terms depend on seed i alone.
        basis: of the state; the denoiser's own if None.
        batch_size: images per network call.

    Raises:
        ValueError: numbers of seeds and images differ; no network call; images off the grid of levels; the denoiser
            needs another basis.

    Source: VDM (2107.00630) Eq. 15 and 18, decoder App. B; a SNR for each component, of any linear process: derived.

    Examples:
        >>> import torch
        >>> from nonnormal import VP, GaussianMixtureDenoiser, continuous_bound
        >>> denoiser = GaussianMixtureDenoiser(torch.tensor([[[[-1.0]]], [[[1.0]]]]), torch.zeros(2))  # black or white
        >>> x0 = torch.ones(400, 1, 1, 1)
        >>> terms = continuous_bound(denoiser, VP(), x0, levels=2, n_evaluations=200, seeds=range(400))
        >>> bits = terms.total.mean() / torch.tensor(2.0).log()
        >>> bool(0.9 < bits < 1.1)  # one bit is the truth
        True
    """
    shape = state_shape(process, x0.shape[1:])
    need_grey_levels(x0, levels)
    one_seed_an_image(seeds, x0)
    _some_evaluations(n_evaluations)
    basis = basis_of(denoiser, basis)
    low, high = (process.mean_log_snr(t).item() for t in (1.0, process.t_min))
    parts = []
    width = (high - low) / n_evaluations
    for start in range(0, len(x0), batch_size):
        c0 = basis.forward(x0[start : start + batch_size])
        noise = ImageNoise(seeds[start : start + batch_size], shape, c0.dtype, c0.device)
        offset, diffusion = noise.uniform(), torch.zeros(len(c0), dtype=torch.float64)
        for j in range(n_evaluations):
            t = process.time_at(low + (j + offset) * width)
            ct = marginal_state(process, c0, t, noise.draw(Normal()))
            error = (predict_x0(denoiser, process, ct, t, basis) - c0).double()
            snr, fall = process.log_snr_rate(t)
            weight = snr * fall / component_mean(fall, t).reshape(-1, *(1,) * (fall.dim() - 1))
            diffusion += 0.5 * width * (append_dims(weight, error) * error.square()).flatten(1).sum(1).cpu()
        ct = marginal_state(process, c0, process.t_min, noise.draw(Normal()))
        weights, sigma = process.observation(process.t_min)
        y, scale = basis.inverse(project(weights, ct)), pixel_levels(basis, sigma, c0)
        log_prob = categorical_log_prob(x0[start : start + batch_size], y, scale, levels)
        parts.append((prior_kl(process, c0).cpu(), diffusion, -log_prob.flatten(1).sum(1).cpu()))
    return Bound(*(torch.cat(term) for term in zip(*parts, strict=True)))


def _some_evaluations(n: int) -> None:
    if n < 1:
        raise ValueError(f"n_evaluations must be 1 or more, found {n}")


def need_levels(levels: int) -> None:
    """Raises an error if `levels` is not a whole number of 2 or more."""
    if levels < 2:
        raise ValueError(f"levels must be 2 or more, found {levels}")
    if levels != int(levels):
        raise ValueError(f"levels must be a whole number, found {levels}")


_OFF_GRID = 0.01  # spacings of grey levels: more than float32 rounds by, less than any other grid differs by


def need_grey_levels(x0: Tensor, levels: int) -> None:
    """Raises an error for images off the grid of `levels` equally spaced grey levels of [−1, 1].

    Raises:
        ValueError: fewer than two levels; images of integers, or with a number between two levels or beyond the ends.
    """
    need_levels(levels)
    need_numbers(x0)
    place = (x0.double() + 1) * ((levels - 1) / 2)
    nearest = place.round().clamp(0, levels - 1)
    on_grid = (place - nearest).abs() <= _OFF_GRID
    if not on_grid.all():
        found = x0[~on_grid]
        raise ValueError(
            f"{len(found)} of {x0.numel()} numbers of the images are on none of {levels} equally spaced grey levels of "
            f"[−1, 1], the first is {found[0].item():.6g}; nonnormal.data has quantise, which rounds to "
            "levels, and scale, which makes images of them"
        )


def prior_kl(process: LinearProcess, c0: Tensor) -> Tensor:
    """KL( N(A (c0, 0), C) ‖ N(0, P) ) at t = 1 summed over coordinates, (B,), float64 nats; P is the prior covariance.

    Per component ½ (tr P⁻¹C − n + log det P/C + (A c0)ᵀ P⁻¹ A c0).
    """
    a, c = process.marginal(1.0)
    prior = process.prior_covariance()
    spread = torch.linalg.solve(prior, c).diagonal(dim1=-2, dim2=-1).sum(-1) - process.n
    spread = spread + torch.logdet(prior) - torch.logdet(c)
    mean = apply(
        torch.linalg.solve_triangular(torch.linalg.cholesky(prior), a, upper=False), lift(c0.double(), process.n)
    )
    components = c0[0].numel()
    total_spread = spread * components if spread.dim() == 0 else spread.sum()
    return 0.5 * (mean.square().flatten(1).sum(1) + total_spread)


def discretised_log_prob(p: Step | str, x0: Tensor, centre: Tensor, scale: float | Tensor, levels: int) -> Tensor:
    """Log-mass log P(x0) that centre + scale·z, z ~ p, puts on the bin of x0's grey level, nats, elementwise.

    The bins are those of `levels` equally spaced levels on [−1, 1], bounded half-way between them; the outermost take
    the tails, so the masses sum to 1. A mass below the smallest float64 is that of exp(−s u) at distance u from the
    bin's likelier edge e: log p(e) − log s + log(1 − exp(−s width)) with the slope s = |(log p)′(e)|, which is off by
    |(log p)″(e)|/s² nats: below 5e-3 for every family but student_t, whose mass does not fall so low within 1e60.
    """
    need_levels(levels)
    p = get(p)
    x0, centre, scale = x0.double(), centre.double(), torch.as_tensor(scale, dtype=torch.float64, device=x0.device)
    half = 1 / (levels - 1)
    upper = torch.where(x0 > 1 - half, math.inf, x0 + half)
    lower = torch.where(x0 < half - 1, -math.inf, x0 - half)
    high, low = (upper - centre) / scale, (lower - centre) / scale
    # From the tail on whose side the bin lies, where the difference keeps its digits.
    log_mass = torch.where(low > 0, p.sf(low) - p.sf(high), p.cdf(high) - p.cdf(low)).log()
    lost = log_mass == -math.inf
    if lost.any():
        log_mass[lost] = _far_log_mass(p, low[lost], high[lost])
    return log_mass


def _far_log_mass(p: Step, low: Tensor, high: Tensor) -> Tensor:
    """log ∫ p from low to high (N,), one of which may be infinite, far out in a tail of p."""
    at_low = high.isinf() | (low.isfinite() & (p.log_prob(low) >= p.log_prob(high)))
    with torch.inference_mode(False), torch.enable_grad():
        edge = torch.where(at_low, low, high).requires_grad_()
        log_p = p.log_prob(edge)
        (slope,) = torch.autograd.grad((log_p + 0 * edge).sum(), edge)  # on the graph even where p is flat
    log_p, fall, width = log_p.detach(), slope.abs(), high - low
    # log p + log width + log((1 − exp(−x))/x) with x = s width, whose last term is 0 at 0.
    narrow = log_p + width.log()
    wide = log_p - fall.log() + torch.log(-torch.expm1(-fall * width))
    return torch.where(log_p == -math.inf, log_p, torch.where(fall * width > 1e-12, wide, narrow))


def categorical_log_prob(x0: Tensor, y: Tensor, sigma: float | Tensor, levels: int) -> Tensor:
    """log softmax over grey levels v of −(y − v)²/(2σ²), at v = x0: log P(x0 | y) with a flat prior, nats, elementwise.

    Source: VDM (2107.00630) App. B.
    """
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64, device=y.device)
    x0, y = x0.double().unsqueeze(-1), y.double().unsqueeze(-1)
    width = -2 * torch.as_tensor(sigma, dtype=torch.float64, device=y.device).square().unsqueeze(-1)
    unnormalised = (y - grid).square() / width
    return ((y - x0).square() / width - unnormalised.logsumexp(-1, keepdim=True)).squeeze(-1)
