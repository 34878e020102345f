"""Tables for few network calls: bounds, kurtosis of residuals, the optimum, distances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from nonnormal.metrics.intervals import t_half
from nonnormal.study.config.settings import training_name
from nonnormal.study.report.names import basis_name, choice_name, step_name
from nonnormal.study.report.text import cell, difference, tenths

MEAN = "mean over networks"
_MEASURES = ("bpd_total", "bpd_difference", "calls", "kurtosis", "optimum", "copied_share")
_CONDITIONS = ("choice", "basis", "grid", "T", "step", "factor", "mixture")


def few_steps(rows: pd.DataFrame, fid: str) -> pd.DataFrame:
    """One row per number.

    Args:
        rows: of a study with those of this experiment, each training of a run by itself.
        fid: name of the distance.

    Returns:
        DataFrame with `measure` (bpd_total, bpd_difference, calls, kurtosis, optimum, copied_share, fid,
        fid_difference, and of three or more networks rule and rule_normal, see `rules`), `run`, the name of a network,
        `choice`, `basis`, `grid`, `T`, `step` and `factor` of samples, `mixture` of the optimum, `value`, `low`,
        `high`, `n`. Means over networks have the `run` `MEAN`; their interval is Student's and their n the number of
        networks.
    """
    measures = {name: name for name in _MEASURES}
    measures |= {fid: "fid", f"{fid}_difference": "fid_difference"}
    found = pd.concat(
        rows[rows.metric == f"few_steps_{metric}"].assign(measure=measure) for metric, measure in measures.items()
    )
    columns = ["measure", "run", *_CONDITIONS, "value", "low", "high", "n"]
    found = found.reindex(columns=[*columns, "train_seed"]).reset_index(drop=True)
    found = found.assign(run=_networks(found))[columns]
    parts = [found, over_networks(found), rules(found)]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _networks(rows: pd.DataFrame) -> pd.Series:
    """Name of each row's network, `training_name`; none for rows of no network."""
    numbers = (rows.train_seed - rows.groupby("run").train_seed.transform("min")).fillna(0).astype(int)
    return rows.run.where(rows.run.isna(), [*map(training_name, rows.run, numbers)])


def over_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Means over networks of the numbers that two or more have, with Student's interval over networks."""
    rows = []
    for key, group in table[table.run.notna()].groupby(["measure", *_CONDITIONS], dropna=False, sort=False):
        if len(group) > 1:
            conditions = dict(zip(_CONDITIONS, key[1:], strict=True))
            rows.append({"measure": key[0], "run": MEAN, **conditions} | _mean(group.value))
    return pd.DataFrame(rows, columns=table.columns)


def rules(table: pd.DataFrame) -> pd.DataFrame:
    """The best step for samples by number of calls: the one with the smallest mean distance over networks.

    Its gain over the normal unit step is free of selection bias: for each network, the step is chosen by the other
    networks, which draw from other seeds. `rule` chooses among all steps, `rule_normal` among factors on the normal
    one. Three networks are needed.
    """
    gaps = table[(table.measure == "fid_difference") & table.run.notna()].sort_values("run", kind="stable")
    n_runs, rows = gaps.run.nunique(), []
    if n_runs < 3:
        return table.iloc[:0]
    for n_calls, at in gaps.groupby("T"):
        for name, some in (("rule", at), ("rule_normal", at[at.step == "normal"])):
            base = {
                "choice": "unit",
                "basis": "pixel",
                "grid": "uniform",
                "T": n_calls,
                "step": "normal",
                "factor": 1.0,
            }
            candidates, values = [base], [np.zeros(n_runs)]
            for key, group in some.groupby(list(_CONDITIONS), dropna=False, sort=False):
                if len(group) == n_runs:
                    candidates.append(dict(zip(_CONDITIONS, key, strict=True)))
                    values.append(group.value.to_numpy())
            of_network = np.column_stack(values)
            others = of_network.sum(0) - of_network
            gained = of_network[np.arange(n_runs), others.argmin(1)]
            best = candidates[int(of_network.mean(0).argmin())]
            rows.append({"measure": name, "run": MEAN, **best} | _mean(pd.Series(gained)))
    return pd.DataFrame(rows, columns=table.columns)


def of_study(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that represent a study: means over networks, or those of its only network."""
    means = table[table.run == MEAN]
    return means if len(means) else table[table.run == table.run.dropna().iloc[0]]


def _mean(values: pd.Series) -> dict[str, float]:
    mean, half = float(values.mean()), float(t_half(values.std(), len(values)))
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def readable_few_steps(table: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """The table of `few_steps` for reading: the rule, if there is one, bounds, distances.

    Rows of the last two are choices, their columns numbers of timesteps.
    """
    table = of_study(table)
    bounds = _wide(table[table.measure == "bpd_total"], _digits, "T = ")
    normal = (table.measure == "fid") & (table.choice == "unit") & (table.step == "normal") & (table.factor == 1)
    distances = _wide(pd.concat([table[normal], table[table.measure == "fid_difference"]]), _distance, "", " calls")
    return tuple(part for part in (_rule(table), bounds, distances) if len(part))


def _rule(table: pd.DataFrame) -> pd.DataFrame:
    """The rule for samples: a row for each number of calls."""
    rows = table[table.measure == "rule"].sort_values("T").to_dict("records")
    found = [
        {"calls": f"{row['T']:.0f}", "take": name_of(row), "change of the distance": _distance(row)} for row in rows
    ]
    return pd.DataFrame(found, columns=["calls", "take", "change of the distance"]).set_index("calls")


def name_of(row: dict) -> str:
    """Name of a row's step."""
    if row["choice"] == "unit" and isinstance(row["step"], str):
        return step_name(row["step"]) + ("" if row["factor"] == 1 else f" × {row['factor']:g}")
    parts = [choice_name(row["choice"]), *([basis_name(row["basis"])] if row["basis"] != "pixel" else [])]
    return ", ".join(parts + (["searched times"] if row["grid"] == "searched" else []))


def _wide(rows: pd.DataFrame, shown: Callable[[dict], str], before: str, after: str = "") -> pd.DataFrame:
    records = rows.to_dict("records")
    names = [name_of(row) for row in records]
    named = rows.assign(name=names, text=[shown(row) for row in records])
    wide = named.pivot_table(index="name", columns="T", values="text", aggfunc="first").reindex(dict.fromkeys(names))
    return wide.fillna("–").rename(columns=lambda n: f"{before}{n:.0f}{after}").rename_axis(index="step", columns=None)


def _digits(row: dict) -> str:
    return cell(row, "value")


def _distance(row: dict) -> str:
    return tenths(row) if row["measure"] == "fid" else f"Δ {difference(row)}"
