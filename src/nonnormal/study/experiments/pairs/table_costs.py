"""Cost of a pair with many steps."""

from __future__ import annotations

import pandas as pd

from nonnormal.study.report.text import cell


def costs(summary: pd.DataFrame) -> pd.DataFrame:
    """Cost of each pair with many steps: one row for each run that has a native bound.

    Returns:
        DataFrame with `run`, `q`, `p`, T of the ratio, `ratio` of the native diffusion term without its constant to
        the normal one and its `curvature` K″(0), `growth` of the native bound a step in bits/dim and the `owed`
        K(0)/ln 2; intervals in `_low` and `_high`.
    """
    table = []
    for run, rows in summary[summary.metric == "diffusion_ratio"].groupby("run", sort=False):
        last = rows.loc[rows["T"].idxmax()]
        row = {"run": run, "q": last.q, "p": last.p, "T": last["T"], "curvature": last.limit}
        row |= {"ratio": last.value, "ratio_low": last.low, "ratio_high": last.high}
        for growth in summary[(summary.metric == "bpd_growth") & (summary.run == run)].itertuples():
            row |= {"owed": growth.limit}
            row |= {"growth": growth.value, "growth_low": growth.low, "growth_high": growth.high}
        table.append(row)
    columns = ["run", "q", "p", "T", "curvature", "owed"]
    columns += [f"{name}{suffix}" for name in ("ratio", "growth") for suffix in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=columns)


def readable_costs(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `costs` for reading: a row a pair."""
    rows = table.to_dict("records")
    columns = {
        "T": [f"{row['T']}" for row in rows],
        "K″(0)": [cell(row, "curvature", digits=3) for row in rows],
        "measured ratio": [cell(row, "ratio") for row in rows],
        "K(0)/ln 2": [cell(row, "owed", digits=4) for row in rows],
        "measured bits/dim a step": [cell(row, "growth") for row in rows],
    }
    return pd.DataFrame(columns, index=pd.Index([f"{row['q']}/{row['p']}" for row in rows], name="pair q/p"))
