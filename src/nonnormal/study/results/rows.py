"""Rows of the summary: one number each, with interval, unit, sample size, network calls and conditions.

Source of the columns: `summary.COLUMNS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from torch import Tensor

from nonnormal.metrics.intervals import Estimate, mean_interval
from nonnormal.objectives.bounds import bits_per_dim
from nonnormal.study.config.study import Study
from nonnormal.study.results.summary import COLUMNS


def row(
    study: Study, run: str | None, metric: str, estimate: Estimate, unit: str, nfe: int | None, conditions: Mapping
) -> dict[str, Any]:
    """One number; `run` is None where it belongs to no network."""
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


def bits_row(
    study: Study, run: str, metric: str, nats: Tensor, dims: int, nfe: int, conditions: Mapping
) -> dict[str, Any]:
    """The mean over images of nats (N,) of each, in bits/dim."""
    bits = bits_per_dim(nats, dims).numpy()
    return row(study, run, metric, Estimate(*mean_interval(bits), len(bits)), "bits/dim", nfe, conditions)


def frame(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table with the summary's columns."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"nfe": "Int64", "train_seed": "Int64"})
