"""Rows of a summary in tests: picked by what they are of, and held against the form that all have."""

import pandas as pd

from nonnormal.study.results.summary import COLUMNS, CONDITIONS


def select(rows: pd.DataFrame, metric: str, **where: object) -> pd.DataFrame:
    """The rows of a metric whose columns have the given values."""
    rows = rows[rows.metric == metric]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows


def only(rows: pd.DataFrame, metric: str, **where: object):
    """The one row of a metric with the given values."""
    [found] = select(rows, metric, **where).itertuples()
    return found


def assert_tidy(rows: pd.DataFrame) -> None:
    """One number a row, told apart by its conditions; for each a column of one type, in one order, without JSON."""
    assert list(rows.columns) == [*COLUMNS, *sorted(CONDITIONS)]
    assert {name: str(kind) for name, kind in rows.dtypes.items()} == COLUMNS | CONDITIONS
    assert not any(rows[name].str.startswith(("{", "[")).any() for name in rows.select_dtypes("str"))
    assert not rows.drop(columns=["value", "low", "high", "n"]).duplicated().any()
