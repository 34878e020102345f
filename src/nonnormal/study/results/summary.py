"""Summary: a tidy table of all numbers of a study, one number per row.

A row has a value with a 95 % interval, unit, sample size and network calls, and a column for each condition of the
measurement.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from nonnormal.files import atomic, track_input
from nonnormal.study.results.paths import remade

COLUMNS = {
    "study": "str",
    "run": "str",
    "q": "str",
    "p": "str",
    "train_seed": "Int64",
    "metric": "str",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "unit": "str",
    "n": "Int64",
    "nfe": "Int64",
}
"""Columns of every row, with their types."""
CONDITIONS = {
    "T": "Int64",
    "T_before": "Int64",
    "against": "str",
    "along": "str",
    "basis": "str",
    "bound": "str",
    "budget": "Int64",
    "choice": "str",
    "components": "Int64",
    "constant": "str",
    "convention": "str",
    "counted": "str",
    "data": "str",
    "delay": "float64",
    "dequantisation": "str",
    "dtype": "str",
    "ema": "float64",
    "factor": "float64",
    "families": "Int64",
    "features": "str",
    "fits": "Int64",
    "grid": "str",
    "grid_index": "Int64",
    "interval": "Int64",
    "interval_tool": "str",
    "labels": "str",
    "limit": "float64",
    "limit_law": "str",
    "log_snr_max": "float64",
    "log_snr_min": "float64",
    "marginals": "str",
    "mixture": "str",
    "n_levels": "Int64",
    "n_reference": "Int64",
    "n_steps": "Int64",
    "network": "str",
    "network_sha256": "str",
    "of": "str",
    "path": "str",
    "process": "str",
    "reference": "str",
    "sampler": "str",
    "schedule": "str",
    "seed": "Int64",
    "sigma": "float64",
    "softness": "float64",
    "solver": "str",
    "split": "str",
    "step": "str",
    "tolerance": "float64",
    "tool": "str",
    "trace": "str",
    "training_steps": "Int64",
    "weighting": "str",
    "weights_sha256": "str",
    "whitened": "boolean",
}
"""Conditions of this package's measurements, with their types; an experiment may have others."""


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with all `COLUMNS`, and all conditions sorted by name; a condition that does not apply is empty."""
    conditions = sorted({*CONDITIONS, *rows} - set(COLUMNS))
    rows, types = rows.reindex(columns=[*COLUMNS, *conditions]), COLUMNS | CONDITIONS
    return rows.astype({name: types[name] for name in rows if name in types})


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Write rows of `tidy` without the conditions that no row has; see `write_table`."""
    write_table(path, rows.drop(columns=[name for name in rows if name not in COLUMNS and rows[name].isna().all()]))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically, with all digits of a float64."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def read_rows(paths: Path | Iterable[Path]) -> pd.DataFrame:
    """Rows of one or several files of `write_rows`, as `tidy` has them.

    Raises:
        ValueError: a file is damaged.
        FileNotFoundError: there is no such file.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    return tidy(pd.concat([read_table(path, COLUMNS | CONDITIONS) for path in paths], ignore_index=True))


def read_table(path: Path, types: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a CSV file of ours; columns of type str stay texts, and only an empty cell counts as missing.

    Args:
        path: path of the file.
        types: types of columns that the file may have; pandas infers the types of other columns.

    Raises:
        ValueError: the file is damaged.
        FileNotFoundError: there is no such file.
    """
    content = track_input(path).read_bytes()
    try:
        if not content.endswith(b"\n"):
            raise ValueError("cut off within a row")
        return pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False, na_values=[""])
    except (ValueError, TypeError) as error:  # ValueError: also no UTF-8, no columns, rows of unequal lengths
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())}); {remade(path)}") from None
