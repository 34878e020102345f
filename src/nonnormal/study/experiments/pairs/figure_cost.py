"""What the choice of steps costs: native bounds against the number of steps T, with what theory says of many."""

from __future__ import annotations

import json
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nonnormal.study.report import theme
from nonnormal.study.results.summary import select, with_condition


def cost(summary: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Left: native diffusion term without T K(0), over the normal one, → K″(0). Right: native bound, → T K(0)/ln 2.

    Args:
        summary: rows of a study with the metrics of `evaluation.bounds`.
        labels: what to call each run.
    """
    theme.apply()
    figure, (ratio, bound) = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.1))
    styles = theme.run_styles(summary, labels)
    ratios = with_condition(select(summary, "diffusion_ratio"), "T")
    for run, group in ratios.groupby("run", sort=False):
        line, style = group.sort_values("T"), styles[run]
        _line(ratio, line, style)
        limit = json.loads(line.conditions.iloc[0])["limit"]
        if np.isfinite(limit):
            ratio.axhline(limit, color=style["color"], lw=1, ls=":")
    totals = with_condition(select(summary, "bpd_total", bound="native", marginals="limit"), "T")
    for run, group in totals.groupby("run", sort=False):
        line, style = group.sort_values("T"), styles[run]
        _line(bound, line, style)
        for growth in select(summary, "bpd_growth", run=run).itertuples():
            owed = json.loads(growth.conditions)["limit"] * line["T"]
            if owed.max() > 0:
                bound.plot(line["T"], owed, color=style["color"], lw=1, ls=":")
    ratio.set(xscale="log", xlabel="steps T", ylabel="native − T K(0), over normal")
    ratio.set_title("diffusion term; dotted: K″(0)")
    bound.set(xscale="log", yscale="log", xlabel="steps T", ylabel="native bound (bits/dim)")
    bound.set_title("whole bound; dotted: T K(0)/ln 2")
    theme.legend_below(figure, bound, "pair q/p")
    return figure


def _line(axis, line: pd.DataFrame, style: dict) -> None:
    spread = [(line.value - line.low).clip(lower=0), line.high - line.value]
    axis.errorbar(line["T"].astype(float), line.value, yerr=spread, capsize=2, elinewidth=1, **style)
