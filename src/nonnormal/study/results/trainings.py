"""Trainings as replicates: rows of a summary with one number for all trainings of a run, and differences between runs.

The unit of an interval is the training where a run has several: its interval is Student's over their values, all on the
same held-out images, each with samples from seeds of its own (`Study.image_seeds`). A run that was trained once keeps
the interval of its row, whose unit is the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nonnormal.metrics.intervals import Estimate, clustered_difference, t_difference, t_half

if TYPE_CHECKING:
    from nonnormal.study.results.context import Context

_MEASURED = ("train_seed", "value", "low", "high", "n", "nfe")  # columns in which trainings of one run may differ
_OF_RUNS = ("run", "q", "p", "step", "against", "limit")  # further columns in which compared runs may differ


def over_trainings(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the trainings of each run averaged: their mean, with Student's 95 % interval over trainings.

    The number of trainings is in the column `trainings`; if it is above 1, `train_seed` is empty, and `n` stays the
    sample size of each. A row of a single training, or of no run, stays as it is.

    Args:
        rows: of a summary, `summary.tidy`.
    """
    rows = rows.reset_index(drop=True)
    alike = _alike(rows, set(_MEASURED) - {"nfe"})
    counts = rows.groupby(alike, sort=False)["train_seed"].transform("nunique")
    found = rows.assign(trainings=counts.where(rows.run.notna()).astype("Int64"))
    if (counts < 2).all():
        return found
    several = found[counts > 1].groupby(alike[counts > 1], sort=False)
    mean = several.value.transform("mean")
    half = t_half(several.value.transform("std"), several.value.transform("count"))
    measured = {"value": mean, "low": mean - half, "high": mean + half, "nfe": several.nfe.transform("mean").round()}
    for name, values in measured.items():
        found.loc[values.index, name] = values
    found.loc[counts > 1, "train_seed"] = pd.NA
    return found[~alike.duplicated() | (counts < 2)].reset_index(drop=True)


def differences(rows: pd.DataFrame, run: str, other: str) -> pd.DataFrame:
    """Differences between two runs over their trainings, for each number that both have.

    The interval is Welch's where both have several trainings; else that of two independent intervals over images.

    Args:
        rows: of a summary, `summary.tidy`, with a row a training.

    Returns:
        The rows of the run's first training with the difference as `value`, `low` and `high`, the fewer of both numbers
        of trainings as `trainings`, `other` as `against`, and both means as `of_run` and `of_other`. They have a `step`
        only where a network is sampled with several.
    """
    rows = rows[rows.run.isin((run, other)) & rows.against.isna()]
    table, several = [], rows.groupby(["run", "metric"]).step.transform("nunique") > 1
    # A network that is sampled with several steps is compared step by step; else its step is the run's own.
    steps = rows.step.where(several.groupby(rows.metric).transform("any"))
    rows = rows.assign(step=steps)
    keys = _alike(rows, {*_MEASURED, *_OF_RUNS} - {"nfe", "step"})
    for _, group in rows.groupby(keys, sort=False):
        first, second = (group[group.run == name] for name in (run, other))
        if first.empty or second.empty:
            continue
        count = min(len(first), len(second))
        if count > 1:
            value, low, high = t_difference(first.value.to_numpy(), second.value.to_numpy())
        else:
            a, b = (over_trainings(each).iloc[0] if len(each) > 1 else each.iloc[0] for each in (first, second))
            value = a.value - b.value
            low = value - np.hypot(a.value - a.low, b.high - b.value)
            high = value + np.hypot(a.high - a.value, b.value - b.low)
        changed = {"value": value, "low": low, "high": high, "against": other, "trainings": count}
        changed |= {"of_run": first.value.mean(), "of_other": second.value.mean()}
        table.append(first.iloc[0].to_dict() | changed)
    return pd.DataFrame(table, columns=[*rows.columns, "trainings", "of_run", "of_other"]).astype(rows.dtypes.to_dict())


def bounds_difference(context: Context, run: str, other: str, bound: str) -> Estimate:
    """Bits/dim of the run minus that of another, paired by image, trainings as clusters; n is the number of images.

    Args:
        context: of a study whose bounds are measured.
        bound: name of an array of the job `bounds`, e.g. "normal/limit/100", "continuous" or "flow/uniform".
    """
    of_images = [_of_images(context, context.study.trainings([name]), bound) for name in (run, other)]
    return Estimate(*clustered_difference(*of_images), of_images[0].shape[1])


def _of_images(context: Context, trainings: Iterable[str], bound: str) -> np.ndarray:
    """Bits/dim (K, N) of K trainings on N images."""
    return np.stack([context.arrays("bounds", name)[bound].numpy() for name in trainings])


def _alike(rows: pd.DataFrame, apart: set[str]) -> pd.Series:
    """A number for each row, the same for rows that differ in these columns alone.

    Calls of an adaptive solver, which has a tolerance, are measured and so are no condition.
    """
    keys = rows.drop(columns=list(apart)).dropna(axis="columns", how="all")
    keys = keys.assign(nfe=rows.nfe.mask(rows.tolerance.notna(), -1))
    return keys.groupby(list(keys), dropna=False, sort=False).ngroup()
