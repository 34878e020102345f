"""Rows of the summary: one number each, with interval, unit, sample size, network calls and conditions.

Source of the columns: `summary.COLUMNS`, and `summary.CONDITIONS` for the types of conditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from torch import Tensor

from nonnormal.metrics.intervals import Estimate, mean_interval
from nonnormal.objectives.bounds import bits_per_dim
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.results.summary import COLUMNS, CONDITIONS, tidy

_KINDS = {"str": str, "Int64": int, "float64": int | float, "boolean": bool}
_ANY = str | int | float | bool  # of a condition that is an experiment's own


def row(
    study: Study, run: str | None, metric: str, estimate: Estimate, unit: str, nfe: int | None, conditions: Mapping
) -> dict[str, Any]:
    """One row with one number; `run`, a training of a run, is None for a number without a network.

    Args:
        conditions: conditions of the measurement in addition to the study's data set and seed: texts or numbers, None
            for those that do not apply.

    Raises:
        ValueError: a condition is not a text or a number, has another type than elsewhere, or the name of a column.
    """
    _check(conditions)
    settings = study.run(run) if run else None
    return {
        "study": study.name,
        "run": run and run_of(run),
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
        "data": study.images_name,
        "seed": study.seed,
        **conditions,
    }


def _check(conditions: Mapping[str, Any]) -> None:
    for name, value in conditions.items():
        if name in COLUMNS:
            raise ValueError(f"condition {name}: is the name of a column that every row has")
        kind = _KINDS[CONDITIONS[name]] if name in CONDITIONS else _ANY
        if value is not None and not isinstance(value, kind):
            needed = f"of type {CONDITIONS[name]}" if name in CONDITIONS else "a text or a number"
            raise ValueError(f"condition {name}: found {value!r}, needs to be {needed}")


def bits_row(
    study: Study, run: str, metric: str, nats: Tensor, dims: int, nfe: int, conditions: Mapping
) -> dict[str, Any]:
    """The mean over images of nats (N,) of each, in bits/dim."""
    bits = bits_per_dim(nats, dims).numpy()
    return row(study, run, metric, Estimate(*mean_interval(bits), len(bits)), "bits/dim", nfe, conditions)


def frame(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table with the summary's columns, a column for each condition."""
    return tidy(pd.DataFrame(rows))
