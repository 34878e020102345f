"""One network, every axis: what a step changes in each basis, process and grid of times."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from nonnormal.study.report.names import SOLVER_NAMES, basis_name, grid_name, process_name, step_name
from nonnormal.study.report.text import cell, difference, tenths

AXES = {"basis": basis_name, "process": process_name, "grid": grid_name}
"""The names of the values of each axis."""
_CONDITIONS = (*AXES, "sampler", "step", "T", "against")


def ablation(summary: pd.DataFrame, fid: str) -> pd.DataFrame:
    """One row per number: for a cell, the base or a change of it along one axis, and a step or solver in the cell.

    Args:
        summary: rows of a study with those of `measure`.
        fid: name of the distance.

    Returns:
        DataFrame with `measure` (kurtosis_share, fid, fid_difference, style differences, bpd_total, bpd_difference),
        `axis` ("base" of the first cell), `basis`, `process`, `grid`, `sampler`, `step`, `T`, `against`, `name` of the
        sampler where it is a solver, `nfe`,
        `value`, `low`, `high`, `n`.
    """
    measures = {"kurtosis_share": "kurtosis_share", fid: "fid", f"{fid}_difference": "fid_difference"}
    measures |= {f"style_{name}_difference": f"{name}_difference" for name in ("total_variation", "high_frequency")}
    measures |= {name: name for name in ("bpd_total", "bpd_difference")}
    found = pd.concat(
        summary[summary.metric == f"ablation_{metric}"].assign(measure=measure) for metric, measure in measures.items()
    )
    base = found.iloc[0]
    axes = [next((axis for axis in AXES if its[axis] != base[axis]), "base") for its in found.to_dict("records")]
    columns = ["measure", "axis", *_CONDITIONS, "name", "nfe", "value", "low", "high", "n"]
    return found.assign(axis=axes, name=found.sampler.map(SOLVER_NAMES))[columns].reset_index(drop=True)


def readable_ablation(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of `ablation` for reading, one row per cell: samples at the fewest steps; and bounds by basis.

    Bounds of other processes are left out: with few steps equal in time they say how the process spends its log-SNR.
    """
    few = table[table.nfe == table[table.measure == "fid"].nfe.min()]
    samples = few[few.measure.isin(("kurtosis_share", "fid", "fid_difference"))]
    normal = samples[(samples.measure == "fid") & (samples.step == "normal")]
    gaps = samples[samples.measure == "fid_difference"]
    columns = [_column(samples[samples.measure == "kurtosis_share"], "kurtosis left", _exact)]
    columns.append(_column(normal, "normal", tenths))
    columns += [
        _column(gaps[gaps.step == step], f"Δ {step_name(step)}", difference) for step in gaps.step.dropna().unique()
    ]
    solvers = gaps[gaps.step.isna()]
    for name in solvers.sampler.unique():
        columns.append(_column(solvers[solvers.sampler == name], f"Δ {SOLVER_NAMES[name]}", difference))
    first, totals = pd.concat(columns, axis=1), table[(table.measure == "bpd_total") & (table.axis != "process")]
    gaps = table[(table.measure == "bpd_difference") & (table.against == "normal step") & (table.axis != "process")]
    columns = []
    for n_steps in sorted(totals["T"].unique()):
        at = totals[(totals["T"] == n_steps) & (totals.step == "normal")]
        columns.append(_column(at, f"T = {n_steps:.0f}: normal", _digits))
        at = gaps[gaps["T"] == n_steps]
        columns += [_column(at[at.step == step], f"Δ {step_name(step)}", _signed) for step in at.step.unique()]
    second = pd.concat(columns, axis=1)
    return tuple(part.fillna("–").rename_axis(index="cell") for part in (first, second))


def cell_name(row: dict) -> str:
    """Label of a cell: the name in which it differs from the base."""
    if row["axis"] == "base":
        return ", ".join(name(row[axis]) for axis, name in AXES.items())
    return f"{row['axis']}: {AXES[row['axis']](row[row['axis']])}"


def _column(rows: pd.DataFrame, title: str, shown: Callable[[dict], str]) -> pd.Series:
    """Texts of a column by the name of their row."""
    records = rows.to_dict("records")
    return pd.Series([shown(row) for row in records], [cell_name(row) for row in records], name=title, dtype=object)


def _exact(row: dict) -> str:
    return f"{row['value']:.2f}"


def _digits(row: dict) -> str:
    return cell(row, "value")


def _signed(row: dict) -> str:
    return cell(row, "value", "+")
