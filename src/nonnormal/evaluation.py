"""Evaluation: from weights and samples of a run to rows of the summary, one number a row, with interval and conditions.

Source of the columns: `tables.COLUMNS`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from nonnormal.conventions import CONVENTIONS, is_printed
from nonnormal.data import ImageData, scale
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.invariance import (
    MIXTURE,
    PROCESS,
    Grid,
    order,
    path_maximum_distance,
    sampler_distances,
    walk_distances,
)
from nonnormal.likelihood import Bound, bits_per_dim, bound
from nonnormal.metrics.fidelity import Estimate, fidelity
from nonnormal.metrics.intervals import mean_interval, proportion_interval
from nonnormal.objective import Loss
from nonnormal.recipes import design
from nonnormal.seeds import derive
from nonnormal.steps import get
from nonnormal.study import Study
from nonnormal.tables import COLUMNS

_NORMAL = Loss(get("normal"), get("normal"))


def bound_rows(study: Study, run: str, denoiser: NetworkDenoiser, data: ImageData, device: str = "cpu") -> pd.DataFrame:
    """Bits/dim of the test split, split in their terms, for each T of the study.

    At every T, from the limit marginals: the pair's own bound ("native") and the normal-limit bound of the same network
    ("normal"), which by the invariance principle is meaningful whatever pair it was trained with. At the T of training
    also the native bound by the bridge walk, which is exact for any q. Pairs that the paper prints are bounded under
    each of its conventions too, with constants counted never, once and at every step.
    """
    settings = study.run(run)
    point = design(settings)
    images = data.test.images[: study.evaluation.n_images]
    x0, dims = scale(images, data.levels).to(device), images[0].numel()
    seeds = study.image_seeds("bound", len(images))
    rows = []
    for n_steps in study.bound_steps(run):
        draws = dict(levels=data.levels, n_steps=n_steps, seeds=seeds)
        for marginals in ("limit", "bridge") if n_steps == settings.training.n_steps else ("limit",):
            # States of the bridge walk of another step than the normal make no normal bound.
            losses = {"native": Loss(point.q, point.p)} | ({"normal": _NORMAL} if marginals == "limit" else {})
            if is_printed(point.q, point.p):
                losses |= {name: Loss(point.q, point.p, name) for name in CONVENTIONS}
            bounds = bound(denoiser, point, x0, losses=list(losses.values()), marginals=marginals, **draws)
            for (name, loss), terms in zip(losses.items(), bounds, strict=True):
                conditions = {
                    "split": "test",
                    "bound": name if name in ("native", "normal") else "convention",
                    "marginals": marginals,
                    "convention": loss.convention,
                    "weighting": settings.training.weighting,
                    "ema": settings.training.ema_decay,
                }
                if name in ("native", "normal"):
                    rows += _bound_rows(study, run, terms, dims, n_steps, conditions)
                else:
                    rows += _convention_rows(study, run, terms.total, loss, dims, n_steps, conditions)
    return _frame(rows)


def _bound_rows(study: Study, run: str, terms: Bound, dims: int, n_steps: int, conditions: Mapping) -> list[dict]:
    """One row for the total and one for each term."""
    rows = []
    for term in ("total", "prior", "diffusion", "reconstruction"):
        bits = bits_per_dim(getattr(terms, term), dims).numpy()
        estimate = Estimate(*mean_interval(bits), len(bits))
        rows.append(_row(study, run, f"bpd_{term}", estimate, "bits/dim", n_steps, conditions))
    return rows


def _convention_rows(
    study: Study, run: str, nats: Tensor, loss: Loss, dims: int, n_steps: int, conditions: Mapping
) -> list[dict]:
    """The total with the loss's constant counted never, once, and at every step."""
    rows = []
    for counted, times in (("never", 0), ("once", 1), ("every step", n_steps)):
        bits = bits_per_dim(nats + (times - n_steps) * loss.constant * dims, dims).numpy()
        estimate = Estimate(*mean_interval(bits), len(bits))
        rows.append(_row(study, run, "bpd_total", estimate, "bits/dim", n_steps, {**conditions, "constant": counted}))
    return rows


def fidelity_rows(
    study: Study, run: str, samples: Mapping[int, Tensor], data: ImageData, features: Path
) -> pd.DataFrame:
    """FID, KID, precision and recall of the run's samples for each number of steps, against the training split.

    Args:
        samples: uint8 images (N, C, H, W) by number of sampling steps.
        features: file of the feature network; its data set's name is part of every metric's name.
    """
    settings, rows = study.run(run), []
    for n_steps, images in samples.items():
        seed = derive(study.seed, "fidelity")
        found = fidelity(images, data.train.images, features, resamples=study.evaluation.bootstrap, seed=seed)
        conditions = {
            "reference": "train",
            "n_reference": len(data.train.images),
            "features": f"classifier of {study.data}",
            "sampler": "ancestral",
            "step": settings.p,
            "weighting": settings.training.weighting,
            "ema": settings.training.ema_decay,
            "dtype": study.sampling.dtype,
        }
        for metric, estimate in found.items():
            unit = "share" if metric in ("precision", "recall") else "squared feature distance"
            rows.append(_row(study, run, f"{metric}_{study.data}", estimate, unit, n_steps, conditions))
    return _frame(rows)


def invariance_rows(study: Study) -> pd.DataFrame:
    """Distances of walks and samplers with each step to the limit's law, and their orders in the number of steps.

    Densities are carried forward on a grid; the interval of a distance is its difference to a grid of half as many
    points. The path's maximum is sampled; its interval is the 95 % Dvoretzky–Kiefer–Wolfowitz band.
    """
    settings = study.invariance
    counts = sorted(set(settings.n_steps))
    fine, coarse = Grid(settings.points), Grid(settings.points // 2)
    band = math.sqrt(math.log(2 / 0.05) / (2 * settings.n_paths))
    rows = []
    for name in settings.steps:
        step = get(name)
        for walker, distances in (("walk", walk_distances), ("sampler", sampler_distances)):
            found: dict[str, list[float]] = {f"w1_{walker}": [], f"ks_{walker}": []}
            for n_steps in counts:
                values, rough = (distances(step, n_steps, grid) for grid in (fine, coarse))
                for (metric, series), value, other in zip(found.items(), values, rough, strict=True):
                    series.append(value)
                    estimate = _not_negative(value, abs(value - other), fine.points)
                    rows.append(_invariance_row(study, name, metric, estimate, "distance", n_steps, "grid points"))
            late = [i for i, n_steps in enumerate(counts) if n_steps >= 64]
            if len(late) >= 3 and not (step.name == "normal" and walker == "walk"):
                for metric, series in found.items():
                    fit = Estimate(*order([counts[i] for i in late], [series[i] for i in late]), len(late))
                    rows.append(_invariance_row(study, name, f"order_{metric}", fit, "1", None, "numbers of steps"))
        for n_steps in counts:
            seed = derive(study.seed, "path maximum", name, n_steps)
            value = path_maximum_distance(step, n_steps, settings.n_paths, seed)
            estimate = _not_negative(value, band, settings.n_paths)
            rows.append(_invariance_row(study, name, "ks_path_maximum", estimate, "distance", n_steps, "paths"))
    return _frame(rows)


def _not_negative(value: float, half: float, n: int) -> Estimate:
    """Value ± half, cut at 0."""
    return Estimate(value, max(value - half, 0.0), value + half, n)


def _invariance_row(
    study: Study, step: str, metric: str, estimate: Estimate, unit: str, n_steps: int | None, counted: str
) -> dict[str, Any]:
    """A row that belongs to a step instead of a run; `counted` says what n is the number of."""
    conditions = {
        "mixture": asdict(MIXTURE),
        "log_snr": [PROCESS.schedule.log_snr_max, PROCESS.schedule.log_snr_min],
        "n": counted,
    }
    row = _row(study, None, metric, estimate, unit, n_steps, conditions)
    return {**row, "q": step, "p": step, "conditions": json.dumps(conditions)}


def feature_rows(study: Study, header: Mapping[str, Any], data: ImageData) -> pd.DataFrame:
    """Held-out accuracy of the feature network."""
    share, n = header["held_out_accuracy"], len(data.test.images)
    estimate = Estimate(share, *proportion_interval(share, n), n)
    row = _row(study, None, "feature_accuracy", estimate, "share", None, {"split": "test"})
    return _frame([row])


def _row(
    study: Study, run: str | None, metric: str, estimate: Estimate, unit: str, nfe: int | None, conditions: Mapping
) -> dict[str, Any]:
    """One number as a row of the summary."""
    settings = study.run(run) if run else None
    return {
        "study": study.name,
        "run": run,
        "q": settings and settings.q,
        "p": settings and settings.p,
        "train_seed": settings and settings.training.seed,
        "metric": metric,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "unit": unit,
        "n": estimate.n,
        "nfe": nfe,
        "conditions": json.dumps({"data": study.data, "seed": study.seed, **conditions}),
    }


def _frame(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"nfe": "Int64", "train_seed": "Int64"})
