"""Networks of other representations and schedules, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from nonnormal.study.report.names import distance_name
from nonnormal.study.report.text import cell

_BOUNDS = ("normal", "native", "continuous", "flow")


def representations(summary: pd.DataFrame, fid: str, labels: Mapping[str, str]) -> pd.DataFrame:
    """One row a network: how many components are generated at once, bits/dim in several readings, and FID.

    Args:
        summary: rows of a study.
        fid: name of the distance in the study; taken at the largest number of steps.
        labels: label of each network, by run.
    """
    last, table = summary[summary.metric == f"representation_{fid}"].nfe.max(), []
    queries = {f"{kind}_bpd": f"metric == 'representation_bpd_total' and bound == '{kind}'" for kind in _BOUNDS}
    queries |= {
        "fid": f"metric == 'representation_{fid}' and nfe == {last}",
        "at_once": "metric == 'representation_effective_components'",
    }
    for run, label in labels.items():
        row: dict[str, object] = {"run": run, "design": label}
        rows = summary[summary.run == run]
        for column, query in queries.items():
            found = rows.query(query).to_dict("records")
            first = found[0] if found else {"value": None, "low": None, "high": None}
            row |= {column: first["value"], f"{column}_low": first["low"], f"{column}_high": first["high"]}
            row |= {key: first[key] for key in ("q", "p") if found}
        table.append(row)
    return pd.DataFrame(table)


def readable_representations(table: pd.DataFrame, fid: str) -> pd.DataFrame:
    """The table of `representations` for reading; the pair is a separate column, not a part of the name."""
    titles = {
        "normal_bpd": "normal-limit bits/dim",
        "native_bpd": "native (limit marginals)",
        "continuous_bpd": "T → ∞",
        "flow_bpd": "flow",
        "fid": distance_name(fid),
    }
    rows = table.to_dict("records")
    pairs = [f"{row['q']}/{row['p']}" for row in rows]
    columns = {"step": pairs}
    columns["at once"] = [f"{row['at_once']:.0f}" for row in rows]
    columns |= {
        title: [cell(row, column) for row in rows] for column, title in titles.items() if table[column].notna().any()
    }
    names = [row["design"].removesuffix(f", {pair}") for row, pair in zip(rows, pairs, strict=True)]
    return pd.DataFrame(columns, index=pd.Index(names, name="design"))
