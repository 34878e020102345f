"""Cost of the choice of steps: native bounds against the number of steps T, with the theoretical limits for large T."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nonnormal.study.report import theme


def cost(summary: pd.DataFrame, labels: Mapping[str, str], trainings: pd.DataFrame) -> Figure:
    """Left: native diffusion term without T K(0), over the normal one, → K″(0). Right: native bound, → T K(0)/ln 2.

    Args:
        summary: rows of a study with the metrics of `evaluation.bounds`.
        labels: label of each run.
        trainings: rows of each training, drawn as faint marks.
    """
    theme.apply()
    figure, (ratio, bound) = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.1))
    styles = theme.run_styles(summary, labels)
    ratios, native = (
        "metric == 'diffusion_ratio'",
        "metric == 'bpd_total' and bound == 'native' and marginals == 'limit'",
    )
    for run, group in summary.query(ratios).groupby("run", sort=False):
        line, style = group.sort_values("T"), styles[run]
        _line(ratio, line, style, trainings.query(ratios))
        limit = line.limit.iloc[0]
        if np.isfinite(limit):
            ratio.axhline(limit, color=style["color"], lw=1, ls=":")
    for run, group in summary.query(native).groupby("run", sort=False):
        line, style = group.sort_values("T"), styles[run]
        _line(bound, line, style, trainings.query(native))
        for growth in summary[(summary.metric == "bpd_growth") & (summary.run == run)].itertuples():
            n_steps = line["T"].astype(float)
            if growth.limit > 0:
                bound.plot(n_steps, growth.limit * n_steps, color=style["color"], lw=1, ls=":")
    ratio.set(xscale="log", xlabel="steps T", ylabel="native − T K(0), over normal")
    ratio.set_title("diffusion term; dotted: K″(0)")
    bound.set(xscale="log", yscale="log", xlabel="steps T", ylabel="native bound (bits/dim)")
    bound.set_title("whole bound; dotted: T K(0)/ln 2")
    theme.legend_below(figure, bound, "pair q/p")
    return figure


def _line(axis, line: pd.DataFrame, style: dict, trainings: pd.DataFrame) -> None:
    theme.errorbar(axis, line["T"].astype(float), line, capsize=2, elinewidth=1, **style)
    marks = trainings[trainings.run == line.run.iloc[0]]
    theme.faint(axis, marks["T"].astype(float), marks.value, style)
