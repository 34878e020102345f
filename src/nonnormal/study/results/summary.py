"""Summary: the tidy form in which every number of a study is kept, one number a row.

A row has a value with a 95 % interval, unit, sample size, network calls and conditions.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from nonnormal.files import atomic, track_input
from nonnormal.study.results.paths import remade

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
_TEXTS = ("study", "run", "q", "p", "metric", "unit", "conditions")
_INTEGERS = {"train_seed": "Int64", "nfe": "Int64", "n": "Int64"}


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Writes rows of the summary, atomically, with all digits that a float64 has."""
    with atomic(path) as temporary:
        rows.to_csv(temporary, index=False)


def read_rows(paths: Path | Iterable[Path]) -> pd.DataFrame:
    """Rows of one or several files of `write_rows`, with `conditions` still as JSON text.

    Raises:
        ValueError: a file is damaged.
        FileNotFoundError: there is no such file.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    frames = [read_table(path, _TEXTS, _INTEGERS) for path in paths]
    return pd.concat(frames, ignore_index=True)


def read_table(path: Path, texts: Iterable[str] = (), others: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A CSV file of ours, whose columns of texts stay texts, whatever they look like; only an empty cell is missing.

    Args:
        path: of the file.
        texts: names of columns of texts, of which the file may have some.
        others: types of other columns; of those not named, pandas finds the type.

    Raises:
        ValueError: the file is damaged.
        FileNotFoundError: there is no such file.
    """
    content, types = track_input(path).read_bytes(), dict.fromkeys(texts, str) | dict(others or {})
    try:
        if not content.endswith(b"\n"):
            raise ValueError("cut off within a row")
        return pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False, na_values=[""])
    except (ValueError, TypeError) as error:  # ValueError: also no UTF-8, no columns, rows of unequal lengths
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())}); {remade(path)}") from None


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
