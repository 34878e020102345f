"""Scores against the number of steps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.study.report import theme

_APART = 1.25  # between the first and the last pair at one number of steps, so that bars stand beside one another


def number_of_steps(summary: pd.DataFrame, fid: str, labels: Mapping[str, str]) -> Figure:
    """FID, normal-limit bits/dim and native bits/dim of each pair against the number of steps, with intervals.

    Over the numbers of steps at which samples were drawn; `cost` shows the bounds at more.

    Args:
        summary: rows of a study.
        fid: name of the distance, which says in whose features it is.
        labels: what to call each run.
    """
    theme.apply()
    figure, axes = plt.subplots(1, 3, figsize=(theme.WIDTH, 3.2))
    distances = summary[(summary.metric == fid) & summary.run.notna()]
    distances = distances.assign(T=distances.nfe)
    bounds = summary[(summary.metric == "bpd_total") & (summary.marginals == "limit")]
    bounds = bounds[bounds["T"].isin(set(distances.nfe))]
    panels = (
        (axes[0], distances, fid),
        (axes[1], bounds[bounds.bound == "normal"], "bits/dim, normal-limit bound"),
        (axes[2], bounds[bounds.bound == "native"], "bits/dim, native bound"),
    )
    styles = theme.run_styles(summary, labels)
    for axis, rows, label in panels:
        for i, (run, group) in enumerate(rows.groupby("run", sort=False)):
            line = group.sort_values("T")
            spread = [line.value - line.low, line.high - line.value]
            steps = line["T"].astype(float) * _APART ** theme.beside(i, rows.run.nunique(), 1)
            axis.errorbar(steps, line.value, yerr=spread, capsize=2, elinewidth=1, **styles[run])
        _step_axis(axis, sorted(distances.nfe.unique()))
        axis.set_ylabel(label)
    theme.floor_line(axes[0], summary, fid)
    axes[2].set_yscale("log")
    theme.plain_log(axes[2].yaxis)
    theme.legend_below(figure, axes[0], "pair q/p")
    return figure


def _step_axis(axis: Axes, ticks: list[int]) -> None:
    """Logarithmic axis with the measured numbers of steps as ticks."""
    axis.set_xscale("log")
    axis.set_xlabel("steps = network calls")
    theme.plain_ticks(axis.xaxis, ticks)
