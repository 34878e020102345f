"""Few network calls in numbers: bounds, kurtosis of residuals, the optimum, distances."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from nonnormal.study.report.text import cell

_CONDITIONS = ("choice", "basis", "grid", "T", "step", "factor", "mixture")


def few_steps(summary: pd.DataFrame, fid: str) -> pd.DataFrame:
    """One row a number.

    Args:
        summary: rows of a study with those of this experiment.
        fid: name of the distance.

    Returns:
        DataFrame with `measure` (bpd_total, bpd_difference, calls, kurtosis, optimum, fid, fid_difference), `run`,
        `choice`, `basis`, `grid`, `T`, `step` and `factor` of samples, `mixture` of the optimum, `value`, `low`,
        `high`, `n`.
    """
    measures = {name: name for name in ("bpd_total", "bpd_difference", "calls", "kurtosis", "optimum")}
    measures |= {fid: "fid", f"{fid}_difference": "fid_difference"}
    found = pd.concat(
        summary[summary.metric == f"few_steps_{metric}"].assign(measure=measure) for metric, measure in measures.items()
    )
    columns = ["measure", "run", *_CONDITIONS, "value", "low", "high", "n"]
    return found.reindex(columns=columns).reset_index(drop=True)


def readable_few_steps(table: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """The table of `few_steps` for reading: bounds, then distances; a row a choice, a column a number of timesteps."""
    bounds = _wide(table[table.measure == "bpd_total"], _digits, "T = ")
    normal = (table.measure == "fid") & (table.choice == "unit") & (table.step == "normal") & (table.factor == 1)
    distances = _wide(pd.concat([table[normal], table[table.measure == "fid_difference"]]), _distance, "", " calls")
    return tuple(part for part in (bounds, distances) if len(part))


def name_of(row: dict) -> str:
    """What the step of a row is called."""
    if row["choice"] == "unit" and isinstance(row["step"], str):
        return row["step"] + ("" if row["factor"] == 1 else f" × {row['factor']:g}")
    parts = [row["choice"], *([row["basis"]] if row["basis"] != "pixel" else [])]
    return ", ".join(parts + (["searched times"] if row["grid"] == "searched" else []))


def _wide(rows: pd.DataFrame, shown: Callable[[dict], str], before: str, after: str = "") -> pd.DataFrame:
    several = len(rows.run.unique()) > 1
    records = rows.to_dict("records")
    names = [f"{row['run']}: {name_of(row)}" if several else name_of(row) for row in records]
    named = rows.assign(name=names, text=[shown(row) for row in records])
    wide = named.pivot_table(index="name", columns="T", values="text", aggfunc="first").reindex(dict.fromkeys(names))
    return wide.fillna("–").rename(columns=lambda n: f"{before}{n:.0f}{after}").rename_axis(index="step", columns=None)


def _digits(row: dict) -> str:
    return cell({"v": row["value"], "v_low": row["low"], "v_high": row["high"]}, "v")


def _distance(row: dict) -> str:
    if row["measure"] == "fid":
        return f"{row['value']:.1f} ± {(row['high'] - row['low']) / 2:.1f}"
    star = "*" if row["low"] > 0 or row["high"] < 0 else ""
    return f"Δ {row['value']:+z.1f} ± {(row['high'] - row['low']) / 2:.1f}{star}"
