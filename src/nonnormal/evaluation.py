"""Evaluation: from weights and samples of a run to rows of the summary, one number a row, with interval and conditions.

Source of the columns: `tables.COLUMNS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from nonnormal.data import ImageData, scale
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.likelihood import Bound, bits_per_dim, bound
from nonnormal.metrics.fidelity import Estimate, fidelity
from nonnormal.metrics.intervals import mean_interval, proportion_interval
from nonnormal.recipes import design
from nonnormal.seeds import derive
from nonnormal.steps import get
from nonnormal.study import Study
from nonnormal.tables import COLUMNS

_NORMAL = get("normal"), get("normal")


def bound_rows(study: Study, run: str, denoiser: NetworkDenoiser, data: ImageData, device: str = "cpu") -> pd.DataFrame:
    """Bits/dim of the test split, split in their terms, for each T of the study.

    At every T, from the limit marginals: the pair's own bound ("native") and the normal-limit bound of the same network
    ("normal"), which by the invariance principle is meaningful whatever pair it was trained with. At the T of training
    also the native bound by the bridge walk, which is exact for any q.
    """
    settings = study.run(run)
    point = design(settings)
    images = data.test.images[: study.evaluation.n_images]
    x0, dims = scale(images, data.levels).to(device), images[0].numel()
    seeds = study.image_seeds("bound", len(images))
    rows = []
    for n_steps in study.bound_steps(run):
        draws = dict(levels=data.levels, n_steps=n_steps, seeds=seeds)
        native = (point.q, point.p)
        limit = bound(denoiser, point, x0, pairs=[native, _NORMAL], **draws)
        found = [("native", "limit", limit[0]), ("normal", "limit", limit[1])]
        if n_steps == settings.training.n_steps:
            found.append(("native", "bridge", *bound(denoiser, point, x0, marginals="bridge", **draws)))
        for kind, marginals, terms in found:
            conditions = {
                "split": "test",
                "bound": kind,
                "marginals": marginals,
                "weighting": settings.training.weighting,
                "ema": settings.training.ema_decay,
            }
            rows += _bound_rows(study, run, terms, dims, n_steps, conditions)
    return _frame(rows)


def _bound_rows(study: Study, run: str, terms: Bound, dims: int, n_steps: int, conditions: Mapping) -> list[dict]:
    """One row for the total and one for each term."""
    rows = []
    for term in ("total", "prior", "diffusion", "reconstruction"):
        bits = bits_per_dim(getattr(terms, term), dims).numpy()
        mean, low, high = mean_interval(bits)
        estimate = Estimate(mean, low, high, len(bits))
        rows.append(_row(study, run, f"bpd_{term}", estimate, "bits/dim", n_steps, conditions))
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
