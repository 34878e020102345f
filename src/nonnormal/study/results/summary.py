"""Summary: the tidy form in which every number of a study is kept, one number a row.

A row has a value with a 95 % interval, unit, sample size, network calls and conditions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nonnormal.files import atomic, reading

COLUMNS = (
    "study",
    "run",
    "q",
    "p",
    "train_seed",
    "metric",
    "value",
    "low",
    "high",
    "unit",
    "n",
    "nfe",
    "conditions",
)
_INTEGERS = {"train_seed": "Int64", "nfe": "Int64", "n": "Int64"}


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Writes rows of the summary, atomically, with all digits that a float64 has."""
    with atomic(path) as temporary:
        rows.to_csv(temporary, index=False)


def read_rows(paths: Path | Iterable[Path]) -> pd.DataFrame:
    """Rows of one or several files of `write_rows`, with `conditions` still as JSON text."""
    paths = [paths] if isinstance(paths, Path) else list(paths)
    frames = [pd.read_csv(reading(path), dtype=_INTEGERS) for path in paths]
    return pd.concat(frames, ignore_index=True)


def select(rows: pd.DataFrame, metric: str, **conditions: object) -> pd.DataFrame:
    """The rows of a metric whose columns or conditions have the given values."""
    rows = rows[rows.metric == metric]
    keep = pd.Series(True, index=rows.index)
    for key, value in conditions.items():
        keep &= (rows[key] if key in rows else condition(rows, key)) == value
    return rows[keep]


def with_condition(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """The rows with one entry of their conditions as a column."""
    return rows.assign(**{key: condition(rows, key)})


def condition(rows: pd.DataFrame, key: str) -> pd.Series:
    """One entry of the rows' conditions, None where a row has none."""
    return rows.conditions.map(lambda text: json.loads(text).get(key))
