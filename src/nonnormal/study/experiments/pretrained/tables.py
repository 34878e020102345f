"""A pretrained network: scores and style by step and number of steps."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from nonnormal.metrics import DISTANCES
from nonnormal.metrics.style import STATISTICS
from nonnormal.study.report.names import STYLE_NAMES, distance_name, step_name
from nonnormal.study.report.text import cell


def pretrained(summary: pd.DataFrame, name: Callable[[str], str]) -> pd.DataFrame:
    """One row a step and number of steps, in the order of the summary.

    Args:
        summary: rows of a study with those of `evaluation.pretrained`.
        name: name of a distance in the study, `Study.metric`.

    Returns:
        DataFrame with `step`, `nfe` and, for each distance and style statistic x, `x`, `x_low`, `x_high`.
    """
    titles = {f"pretrained_{name(x)}": x for x in DISTANCES} | {f"pretrained_style_{x}": x for x in STATISTICS}
    table: dict[tuple[str, int], dict[str, object]] = {}
    for metric, x in titles.items():
        for row in summary[summary.metric == metric].to_dict("records"):
            entry = table.setdefault((row["step"], row["nfe"]), {"step": row["step"], "nfe": row["nfe"]})
            entry |= {x: row["value"], f"{x}_low": row["low"], f"{x}_high": row["high"]}
    return pd.DataFrame(table.values())


def readable_pretrained(table: pd.DataFrame, name: Callable[[str], str]) -> pd.DataFrame:
    """The table of `pretrained` for reading."""
    rows = table.to_dict("records")
    found = [x for x in (*DISTANCES, *STATISTICS) if x in table]
    columns = {"network calls": [f"{row['nfe']}" for row in rows]}
    titles = {x: distance_name(name(x)) for x in DISTANCES} | STYLE_NAMES
    titles["kid"] += " × 1000"
    columns |= {titles[x]: [cell(row, x) for row in rows] for x in found}
    return pd.DataFrame(columns, index=pd.Index([step_name(row["step"]) for row in rows], name="step"))


def headline(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Distances by step at the most steps, for `dvc metrics show`."""
    most = table[table.nfe == table.nfe.max()].to_dict("records")
    return {"pretrained": {row["step"]: {x: row[x] for x in DISTANCES} for row in most}}
