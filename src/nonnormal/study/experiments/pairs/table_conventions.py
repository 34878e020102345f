"""Native bounds against the normal pair's, by convention."""

from __future__ import annotations

import math

import pandas as pd

from nonnormal.steps.conventions import CONVENTIONS
from nonnormal.study.report.text import cell
from nonnormal.study.results.published import cifar10


def differences(summary: pd.DataFrame, published: pd.DataFrame, runs: dict[str, int]) -> pd.DataFrame:
    """Native bits/dim of each printed pair minus that of its normal/normal, by convention and by how K(0) is counted.

    From limit marginals at the T of training. The intervals of both bounds are added in quadrature; the bounds share
    images and noise, so the true intervals are narrower.

    Args:
        summary: rows of a study.
        published: `paper/references/published.csv`.
        runs: T of the bound by run.

    Returns:
        DataFrame with `run`, `q`, `p`, `constant`, `printed` and, for each convention c, `c`, `c_low`, `c_high`; no
        rows if the study has no normal/normal run.
    """
    rows = summary.query("metric == 'bpd_total' and bound == 'convention' and marginals == 'limit'")
    rows = rows[rows["T"] == rows.run.map(runs)]
    normal = rows[(rows.q == "normal") & (rows.p == "normal")]
    # Only networks of one weighting are compared; the reference is the first normal pair of that weighting.
    normal = normal.drop_duplicates(keys := ["weighting", "convention", "constant"]).set_index(keys)
    table, rows = [], rows[rows.weighting.isin(normal.index.get_level_values(0))]
    others = rows[(rows.q != "normal") | (rows.p != "normal")]
    for (run, counted), group in others.groupby(["run", "constant"], sort=False):
        row: dict[str, object] = {"run": run, "q": group.q.iloc[0], "p": group.p.iloc[0], "constant": counted}
        figures = [cifar10(published, q, p, "bpd") for q, p in (("normal", "normal"), (row["q"], row["p"]))]
        row["printed"] = figures[1] - figures[0]
        for found in group.to_dict("records"):
            base = normal.loc[(found["weighting"], found["convention"], counted)]
            gap, half = found["value"] - base.value, math.hypot(found["high"] - found["value"], base.high - base.value)
            name = found["convention"]
            row |= {name: gap, f"{name}_low": gap - half, f"{name}_high": gap + half}
        table.append(row)
    columns = ["run", "q", "p", "constant", "printed"]
    columns += [f"{name}{suffix}" for name in CONVENTIONS for suffix in ("", "_low", "_high")]
    # If no convention has a constant, all three ways of counting it agree: one row.
    return pd.DataFrame(table, columns=columns).drop_duplicates(["run", *CONVENTIONS], ignore_index=True)


def readable_differences(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `differences` for reading: a row a pair and way of counting."""
    rows = table.to_dict("records")
    index = pd.Index([f"{row['q']}/{row['p']}, {row['constant']}" for row in rows], name="pair q/p, K(0) counted")
    columns = {"printed": [f"{row['printed']:+.2f}" for row in rows]}
    columns |= {name.replace("_", " "): [cell(row, name, sign="+") for row in rows] for name in CONVENTIONS}
    return pd.DataFrame(columns, index=index)
