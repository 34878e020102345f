"""The table of the paper: bounds, distances and style of each run, beside published figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from nonnormal.metrics import DISTANCES
from nonnormal.study.report.names import HELD_OUT, distance_name, source_name
from nonnormal.study.report.text import cell
from nonnormal.study.results.published import cifar10

_PAIR_COLUMNS = {
    "normal_bpd": "bits/dim, normal-limit bound",
    "prior": "– prior",
    "diffusion": "– diffusion",
    "reconstruction": "– reconstruction",
    "native_limit": "native bits/dim, limit marginals",
    "native_bridge": "native bits/dim, bridge walk",
    "continuous": "bits/dim, normal bound for T → ∞",
    "flow_uniform": "bits/dim, probability flow, uniform dequantisation",
    "flow_normal": "bits/dim, probability flow, normal dequantisation",
    "fid": "{fid}",
    "kid": "{kid} × 1000",
    "precision": "{precision}",
    "recall": "{recall}",
    "total_variation": "total variation",
    "high_frequency": "high-frequency share of power",
    "saturation": "saturation",
    "published_bpd": f"bits/dim, CIFAR-10 ({source_name('li2024')})",
    "published_fid": f"FID, CIFAR-10 ({source_name('li2024')})",
}
Naming = Callable[[str], str]
_OPTIONAL = {"native_limit", "native_bridge", "flow_uniform", "flow_normal", "saturation"}
_SHORT = {
    "normal_bpd": "normal-limit bits/dim",
    "native_bridge": "native (bridge walk)",
    "continuous": "T → ∞",
    "flow_uniform": "flow",
    "fid": "{fid}",
    "kid": "{kid} × 1000",
    "total_variation": "total variation",
    "high_frequency": "high-frequency share",
    "saturation": "saturation",
}


def pairs(summary: pd.DataFrame, published: pd.DataFrame, name: Naming, runs: dict[str, int], sample_steps: int):
    """One row for each run: bounds of several kinds, FID and its relatives, style, and published figures.

    Args:
        summary: rows of a study.
        published: `paper/references/published.csv`.
        name: name of a distance in the study, `Study.metric`.
        runs: T of the headline bound by run.
        sample_steps: sampling steps of the headline FID.

    Returns:
        DataFrame with `run`, `q`, `p` and, for each number x, `x`, `x_low`, `x_high`; None if a run has no such number
        (no native bound, no flow, no colours). The last row, whose run is None, has distances and style of held-out
        images.

    Raises:
        ValueError: any other number is missing, or occurs twice.
    """
    looks, table = ("total_variation", "high_frequency", "saturation"), []
    for run, n_steps in runs.items():
        normal, native = (f"T == {n_steps} and bound == '{kind}'" for kind in ("normal", "native"))
        queries = {
            "normal_bpd": f"metric == 'bpd_total' and {normal}",
            "prior": f"metric == 'bpd_prior' and {normal}",
            "diffusion": f"metric == 'bpd_diffusion' and {normal}",
            "reconstruction": f"metric == 'bpd_reconstruction' and {normal}",
            "native_limit": f"metric == 'bpd_total' and {native} and marginals == 'limit'",
            "native_bridge": f"metric == 'bpd_total' and {native} and marginals == 'bridge'",
            "continuous": "metric == 'bpd_total' and bound == 'continuous'",
            "flow_uniform": "metric == 'bpd_total' and bound == 'flow' and dequantisation == 'uniform'",
            "flow_normal": "metric == 'bpd_total' and bound == 'flow' and dequantisation == 'normal'",
            **{metric: f"metric == '{name(metric)}' and nfe == {sample_steps}" for metric in DISTANCES},
            **{look: f"metric == 'style_{look}' and nfe == {sample_steps}" for look in looks},
        }
        row: dict[str, object] = {"run": run}
        rows = summary[summary.run == run]
        for column, query in queries.items():
            found = rows.query(query).to_dict("records")
            if len(found) != 1 and not (not found and column in _OPTIONAL):
                raise ValueError(f"run {run!r}: found {len(found)} rows with {query}, expected one")
            first = found[0] if found else {"value": None, "low": None, "high": None}
            row |= {key: first[key] for key in ("q", "p") if found}
            row |= {column: first["value"], f"{column}_low": first["low"], f"{column}_high": first["high"]}
        for metric in ("bpd", "fid"):
            row[f"published_{metric}"] = cifar10(published, row["q"], row["p"], metric)
        table.append(row)
    return pd.DataFrame([*table, *_held_out(summary, name, looks)])


def _held_out(summary: pd.DataFrame, name: Naming, looks: Iterable[str]) -> list[dict[str, object]]:
    """The row of held-out images; None for an older study that has only their style."""
    rows, row = summary[summary.run.isna() & (summary.split == "test")], {}
    for column, metric in {**{its: name(its) for its in DISTANCES}, **{its: f"style_{its}" for its in looks}}.items():
        for found in rows[rows.metric == metric].itertuples():
            row |= {column: found.value, f"{column}_low": found.low, f"{column}_high": found.high}
    return [row] if "fid" in row else []


def headline(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The headline numbers by run, for `dvc metrics show`."""
    names = {"normal_bpd": "bpd_normal", "native_bridge": "bpd_native", "fid": "fid", "kid": "kid"}
    names |= {"precision": "precision", "recall": "recall"}
    table = table[table.run.notna()]
    found = table.astype(object).where(table.notna(), None)
    return {row["run"]: {name: row[column] for column, name in names.items()} for row in found.to_dict("records")}


def readable_pairs(table: pd.DataFrame, name: Naming, labels: dict[str, str]) -> pd.DataFrame:
    """The table of `pairs` for reading, with runs as columns and numbers as rows, so that it fits a page.

    With more than five runs, runs are the rows, and the columns are only those numbers that tell runs apart.
    """
    rows, names = table.to_dict("records"), {metric: distance_name(name(metric)) for metric in DISTANCES}
    heads = [HELD_OUT if pd.isna(row["run"]) else labels[row["run"]] for row in rows]
    if table.run.notna().sum() > 5:
        found = [column for column in _SHORT if table[column].notna().any()]
        columns = {_SHORT[column].format(**names): [cell(row, column) for row in rows] for column in found}
        title = "run" if all(labels[run] == run for run in table.run.dropna()) else "q/p"
        return pd.DataFrame(columns, index=pd.Index(heads, name=title))
    titles = {column: title.format(**names) for column, title in _PAIR_COLUMNS.items() if table[column].notna().any()}
    columns = {head: [cell(row, column) for column in titles] for head, row in zip(heads, rows, strict=True)}
    return pd.DataFrame(columns, index=[*titles.values()])
