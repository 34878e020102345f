"""Bounds of a trained network with fitted steps on the held-out split, and the excess kurtosis of its residuals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nonnormal.data import scale
from nonnormal.metrics.intervals import Z95, Estimate
from nonnormal.objectives.bounds import bits_per_dim, bound
from nonnormal.objectives.fitted_loss import FittedLoss
from nonnormal.objectives.fitting import RESIDUALS, Residuals, residuals
from nonnormal.processes import uniform_times
from nonnormal.samplers.bound_grid import best_times
from nonnormal.seeds import derive
from nonnormal.steps import FittedStep, Normal
from nonnormal.study.config import Study
from nonnormal.study.experiments.few_steps.chains import (
    PIXEL,
    SEARCHED,
    UNIFORM,
    Chain,
    fit_chains,
    fit_images,
    interval_costs,
    kinds,
    normal_design,
    save_chains,
    unit_chain,
)
from nonnormal.study.results.context import Context
from nonnormal.study.results.rows import frame, row

_RESAMPLES = 200  # of the images, for the interval of a kurtosis
_SPREADS = ("scale", "diagonal", "conditional")  # by which residuals are divided before their kurtosis is taken


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary for one network; writes the steps of the first fit beside its weights.

    - `few_steps_bpd_total`: the whole bound of each choice, basis, grid and T. Its interval is over held-out images and
      over fits, the two variances added.
    - `few_steps_bpd_difference`: minus that of the unit step at equal steps of time, on the same images and noise.
    - `few_steps_calls`: the smallest number of searched times whose bound is no larger than that of the unit step at
      `reach` equal steps of time, by means over held-out images; n is the number of images.
    - `few_steps_kurtosis`: excess kurtosis of held-out residuals divided by the scale of a choice, in the interval of
      the chain where it is largest.
    """
    study, run, data = context.study, context.run, context.data
    section, denoiser = study.few_steps, context.network()
    point = normal_design(study, run, denoiser)
    train = scale(data.train.images, data.levels).to(context.device)
    held = scale(data.test.images[: section.n_bounds], data.levels).to(context.device)
    fits = [fit_images(study, train, fit) for fit in range(section.fits)]
    costs = {spread: its for spread, *its in interval_costs(study, denoiser, point, *fits[0])}
    rows, kept, means = [], [], {}
    for n_steps in sorted(set(section.timesteps)):
        times = uniform_times(n_steps, point.process.t_min)
        plans = [(UNIFORM, times, section.choices)]
        for spread, its in costs.items():
            own = [choice for choice in section.grid_choices if choice.partition("+")[0] == spread]
            plans.append((SEARCHED, best_times(*its, n_steps), own))
        unit = None
        for grid, its_times, choices in plans:
            wanted = kinds(study, choices)
            fitted = [
                fit_chains(denoiser, point, images, seeds, its_times, grid, wanted, section.draws)
                for images, seeds in fits
            ]
            if grid == UNIFORM or "unit" in choices:
                fitted[0].insert(0, unit_chain(its_times, grid))
            kept += fitted[0]
            nats = _bounds(study, denoiser, point, held, data.levels, [chain for chains in fitted for chain in chains])
            unit = nats["unit", PIXEL][0] if unit is None else unit
            rows += _bound_rows(study, run, fitted[0], nats, unit, held[0].numel())
            means |= {(choice, grid, n_steps): nats[choice, PIXEL][0].mean().item() for choice in choices}
            if grid == UNIFORM:
                rows += _kurtosis_rows(study, run, denoiser, point, held, fitted[0])
        if RESIDUALS in (section.sampled or ()) and n_steps in section.nfe:
            wanted = [(RESIDUALS, PIXEL)]
            kept += fit_chains(denoiser, point, *fits[0], times, UNIFORM, wanted, section.draws)
    save_chains(context, kept)

    def mean_nats(choice: str, grid: str, n_steps: int) -> float:
        """Mean over held-out images, of the first fit."""
        if (choice, grid, n_steps) not in means:
            times = uniform_times(n_steps, point.process.t_min)
            if grid == SEARCHED:
                times = best_times(*costs[choice.partition("+")[0]], n_steps)
            wanted = kinds(study, [choice])[:1]
            chains = fit_chains(denoiser, point, *fits[0], times, grid, wanted, section.draws)
            nats = _bounds(study, denoiser, point, held, data.levels, chains or [unit_chain(times, grid)])
            means[choice, grid, n_steps] = nats[choice, PIXEL][0].mean().item()
        return means[choice, grid, n_steps]

    for choice in section.grid_choices if section.reach else ():
        least = fewest(
            lambda n_steps, choice=choice: mean_nats(choice, SEARCHED, n_steps),
            mean_nats("unit", UNIFORM, section.reach),
            section.reach,
        )
        conditions = {"split": "test", "choice": choice, "basis": PIXEL, "grid": SEARCHED, "T": section.reach}
        exact = Estimate(least, least, least, len(held))
        rows.append(row(study, run, "few_steps_calls", exact, "timesteps", section.reach, conditions))
    return frame(rows)


def fewest(value: Callable[[int], float], target: float, most: int) -> int:
    """The smallest n from 1 to `most` with value(n) ≤ target, for values that fall with n; `most` if there is none."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if value(middle) <= target else (middle, high)
    return high


def _bounds(study, denoiser, point, held, levels, chains: Sequence[Chain]) -> dict[tuple[str, str], list[Tensor]]:
    """Nats of each held-out image by choice and basis, one tensor a fit; all from the same network calls."""
    found = defaultdict(list)
    terms = bound(
        denoiser,
        point,
        held,
        levels=levels,
        n_steps=len(chains[0].steps),
        times=chains[0].times,
        seeds=study.image_seeds("few-steps bound", len(held)),
        losses=[FittedLoss(Normal(), chain.steps) for chain in chains],
    )
    for chain, its in zip(chains, terms, strict=True):
        found[chain.choice, chain.basis].append(its.total.cpu())
    return found


def _bound_rows(
    study: Study, run: str, chains: Iterable[Chain], nats: dict[tuple[str, str], list[Tensor]], unit: Tensor, dims: int
) -> list[dict]:
    rows = []
    for chain in chains:
        values = torch.stack(nats[chain.choice, chain.basis])
        conditions = {"split": "test", "marginals": "limit", **chain.conditions, "fits": len(values)}
        measures = {"total": values, "difference": values - unit}
        for name, each in measures.items():
            if name == "difference" and chain.choice == "unit" and chain.grid == UNIFORM:
                continue
            estimate = crossed_interval(bits_per_dim(each, dims).numpy())
            add = conditions | ({"against": "unit step"} if name == "difference" else {})
            rows.append(row(study, run, f"few_steps_bpd_{name}", estimate, "bits/dim", len(chain.steps), add))
    return rows


def crossed_interval(values: np.ndarray) -> Estimate:
    """The mean of values (F, N) of F fits and N images, each fit on the same images; n is N.

    ± 1.96 √(v/N + w/F), v the variance over images of the means over fits, w that over fits of the means over images.
    """
    fits, n = values.shape
    variance = values.mean(0).var(ddof=1) / n
    if fits > 1:
        variance += values.mean(1).var(ddof=1) / fits
    mean, half = float(values.mean()), Z95 * math.sqrt(variance)
    return Estimate(mean, mean - half, mean + half, n)


def _kurtosis_rows(study, run, denoiser, point, held, chains: Sequence[Chain]) -> list[dict]:
    """Kurtosis of r/s, r = z − δ, for each spread that was fitted without a shape, in the pixels."""
    picked = [chain for chain in chains if chain.choice in _SPREADS and chain.basis == PIXEL]
    if not picked:
        return []
    n_steps, times = len(chains[0].steps), chains[0].times
    found: dict[str, list[Estimate]] = {chain.choice: [] for chain in picked}
    seeds = study.image_seeds("few-steps residuals", len(held))
    options = dict(seeds=seeds, n_draws=study.few_steps.draws)
    for k, errors in zip(reversed(range(n_steps)), residuals(denoiser, point, held, times, **options), strict=True):
        for chain in picked:
            found[chain.choice].append(excess_kurtosis(errors, chain.steps[k], seed=derive(study.seed, "kurtosis")))
    rows = []
    for chain in picked:
        largest = max(found[chain.choice], key=lambda estimate: estimate.value)
        place = n_steps - 1 - found[chain.choice].index(largest)
        conditions = {"split": "test", **chain.conditions, "interval": place}
        rows.append(row(study, run, "few_steps_kurtosis", largest, "1", n_steps, conditions))
    return rows


def excess_kurtosis(errors: Residuals, step: FittedStep, *, seed: int) -> Estimate:
    """E (r/s)⁴ / (E (r/s)²)² − 3, over pixels, draws and images, with an interval by resampling images.

    Given δ, r is normal about −δ with variance 1: E r² = 1 + δ² and E r⁴ = 3 + 6 δ² + δ⁴, so that no z is drawn.
    """
    square = errors.delta.square()
    variance = step.scale_at(errors.x0_hat).square().expand(square.shape)
    second = ((1 + square) / variance).flatten(1).mean(1)
    fourth = ((3 + 6 * square + square.square()) / variance.square()).flatten(1).mean(1)
    n = errors.n_images
    sums = [torch.zeros(n, dtype=torch.float64).index_add_(0, errors.image, part).numpy() for part in (second, fourth)]
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    draws = len(errors.delta) / n
    value, *resampled = (
        (weights @ sums[1]) / (n * draws) / ((weights @ sums[0]) / (n * draws)) ** 2 - 3
        for weights in (np.ones(n), *counts)
    )
    half = Z95 * float(np.std(resampled, ddof=1))
    return Estimate(float(value), float(value) - half, float(value) + half, n)
