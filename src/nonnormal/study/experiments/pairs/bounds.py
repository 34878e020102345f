"""Bounds of one network on the held-out split, in bits/dim, and the cost of its choice of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from torch import Tensor

from nonnormal.data import ImageData, scale
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.metrics.intervals import Estimate, mean_interval, ratio_interval
from nonnormal.objectives.bounds import Bound, bits_per_dim, bound, continuous_bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.steps import get
from nonnormal.steps.conventions import CONVENTIONS, is_printed
from nonnormal.steps.divergence import curvature
from nonnormal.study.config.build import design
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.rows import bits_row, frame, row

_NORMAL = Loss(get("normal"), get("normal"))


def measured_bounds(
    study: Study, run: str, denoiser: NetworkDenoiser, data: ImageData, device: str = "cpu"
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Bits/dim of the test split: T-step bounds for each T of the study, the continuous-time bound, and the flow's.

    At every T, from the limit marginals: the pair's own bound ("native"; none if it is infinite or not defined) and
    the normal-limit bound of the same network ("normal"), which by the invariance principle is meaningful whatever pair
    it was trained with. At the T of training, also the native bound by the bridge walk, which is exact for any q. For
    pairs printed in the paper, also the bounds under each of its conventions, with constants counted never, once and at
    every step. "continuous" is the normal bound for T → ∞, "flow" the likelihood by the probability-flow equation.

    Returns:
        Rows of the summary; and bits/dim of each image (N,), float64, by "native/limit/100" (bound, marginals, T),
        "continuous" or "flow/uniform" (bound, dequantisation).
    """
    settings, measure = study.run(run), study.evaluation
    point = design(settings, denoiser.components)
    images = data.test.images[: measure.n_images]
    x0, dims = scale(images, data.levels).to(device), images[0].numel()
    seeds = study.image_seeds("bound", len(images))
    common = {"split": "test", "weighting": settings.training.weighting, "ema": settings.training.ema_decay}
    pair = {"native": Loss(point.q, point.p)} if settings.has_native_bound else {}
    rows, diffusion, of_images = [], {}, {}
    for n_steps in study.bound_steps(run):
        for marginals in ("limit", "bridge") if pair and n_steps == settings.training.timesteps else ("limit",):
            # States of the bridge walk of a non-normal step give no normal bound.
            losses = pair | ({"normal": _NORMAL} if marginals == "limit" else {})
            if is_printed(point.q, point.p) and point.process.n == 1:
                losses |= {name: Loss(point.q, point.p, name) for name in CONVENTIONS}
            calls = n_steps if marginals == "bridge" else min(n_steps, measure.n_evaluations)
            draws = dict(levels=data.levels, n_steps=n_steps, n_evaluations=calls, marginals=marginals, seeds=seeds)
            found = bound(denoiser, point, x0, losses=list(losses.values()), **draws)
            for (name, loss), terms in zip(losses.items(), found, strict=True):
                kind = name if name in ("native", "normal") else "convention"
                conditions = common | {
                    "bound": kind,
                    "T": n_steps,
                    "marginals": marginals,
                    "convention": loss.convention,
                }
                if kind == "convention":
                    owed = loss.constant_cost(point.process, n_steps, x0.shape[1:])
                    rows += _convention_rows(study, run, terms.total, owed, dims, n_steps, calls, conditions)
                    continue
                rows += _term_rows(study, run, terms, dims, calls, conditions)
                of_images[f"{kind}/{marginals}/{n_steps}"] = bits_per_dim(terms.total, dims)
                if marginals == "limit":
                    diffusion[name, n_steps] = terms.diffusion.numpy()
    if pair:
        rows += _cost_rows(study, run, point, x0.shape[1:], diffusion, common)
    shared = dict(levels=data.levels, seeds=seeds, basis=point.basis)
    terms = continuous_bound(denoiser, point.process, x0, n_evaluations=measure.n_evaluations, **shared)
    conditions = common | {"bound": "continuous", "marginals": "limit"}
    rows += _term_rows(study, run, terms, dims, measure.n_evaluations, conditions)
    of_images["continuous"] = bits_per_dim(terms.total, dims)
    tolerance = measure.flow_tolerance
    for dequantisation in ("uniform", "normal") if tolerance else ():
        nats, calls = flow_bound(
            denoiser,
            point.process,
            x0,
            **shared,
            dequantisation=dequantisation,
            rtol=tolerance,
            atol=tolerance,
        )
        conditions = common | {"bound": "flow", "dequantisation": dequantisation, "trace": "hutchinson"}
        conditions |= {"solver": "dopri5", "tolerance": tolerance}
        rows.append(bits_row(study, run, "bpd_total", nats, dims, calls, conditions))
        of_images[f"flow/{dequantisation}"] = bits_per_dim(nats, dims)
    return frame(rows), of_images


def _term_rows(study: Study, run: str, terms: Bound, dims: int, nfe: int, conditions: Mapping) -> list[dict]:
    """One row for the total and one for each term."""
    return [
        bits_row(study, run, f"bpd_{term}", getattr(terms, term), dims, nfe, conditions)
        for term in ("total", "prior", "diffusion", "reconstruction")
    ]


def _convention_rows(
    study: Study, run: str, nats: Tensor, owed: float, dims: int, n_steps: int, nfe: int, conditions: Mapping
) -> list[dict]:
    """The total, which includes the constant `owed`, with this constant counted never, once, and at every step."""
    return [
        bits_row(
            study,
            run,
            "bpd_total",
            nats + (times / n_steps - 1) * owed,
            dims,
            nfe,
            {**conditions, "constant": counted},
        )
        for counted, times in (("never", 0), ("once", 1), ("every step", n_steps))
    ]


def _cost_rows(
    study: Study,
    run: str,
    point: Design,
    shape: tuple[int, ...],
    diffusion: Mapping[tuple[str, int], np.ndarray],
    common: Mapping,
) -> list[dict]:
    """Cost of the pair compared with the normal one on the same states, and its limits for many steps.

    Even with a perfect mean, the bound contains a constant: K(0) for every moving coordinate at each of T steps.

    - `diffusion_ratio`: (native diffusion term − constant) / normal diffusion term, → K″(0), for q = p the Fisher
      information.
    - `bpd_growth`: (native diffusion term at T₂ − at T₁) / (T₂ − T₁) for the two largest T, → the constant per step;
      K(0)/ln 2 for a process of one variable whose components always move.
    """
    counts, dims, rows = study.bound_steps(run), math.prod(shape), []
    owed = {n_steps: Loss(point.q, point.p).constant_cost(point.process, n_steps, shape) for n_steps in counts}
    for n_steps in counts:
        above = diffusion["native", n_steps] - owed[n_steps]
        ratio = Estimate(*ratio_interval(above, diffusion["normal", n_steps]), len(above))
        conditions = {**common, "T": n_steps, "marginals": "limit", "limit": curvature(point.q, point.p)}
        calls = min(n_steps, study.evaluation.n_evaluations)
        rows.append(row(study, run, "diffusion_ratio", ratio, "1", calls, conditions))
    if len(counts) > 1:
        few, many = counts[-2:]
        scale = (many - few) * dims * math.log(2)
        bits = (diffusion["native", many] - diffusion["native", few]) / scale
        conditions = {**common, "T_before": few, "T": many, "marginals": "limit"}
        conditions |= {"limit": (owed[many] - owed[few]) / scale}
        growth = Estimate(*mean_interval(bits), len(bits))
        rows.append(row(study, run, "bpd_growth", growth, "bits/dim/step", None, conditions))
    return rows


def measure(context: Context) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Rows of the summary for one run, and bits/dim of each image."""
    return measured_bounds(context.study, context.run, context.network(), context.data, context.device)
