"""Scores against the number of steps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.study.report import theme
from nonnormal.study.report.names import distance_name

_APART = 1.25  # between the first and the last pair at one number of steps, so that bars stand beside one another


def number_of_steps(summary: pd.DataFrame, fid: str, labels: Mapping[str, str], trainings: pd.DataFrame) -> Figure:
    """FID, normal-limit bits/dim and native bits/dim of each pair against the number of steps, with intervals.

    Over the numbers of steps at which samples were drawn; `cost` shows the bounds at more.

    Args:
        summary: rows of a study.
        fid: name of the distance, which says in whose features it is.
        labels: label of each run.
        trainings: rows of each training, drawn as faint marks.
    """
    theme.apply()
    figure, axes = plt.subplots(1, 3, figsize=(theme.WIDTH, 3.2))
    counts = sorted(summary[(summary.metric == fid) & summary.run.notna()].nfe.unique())
    names = (distance_name(fid), "bits/dim, normal-limit bound", "bits/dim, native bound")
    styles = theme.run_styles(summary, labels)
    for axis, rows, single, label in zip(
        axes, _panels(summary, fid, counts), _panels(trainings, fid, counts), names, strict=True
    ):
        for i, (run, group) in enumerate(rows.groupby("run", sort=False)):
            line, apart = group.sort_values("T"), _APART ** theme.beside(i, rows.run.nunique(), 1)
            theme.errorbar(axis, line["T"].astype(float) * apart, line, capsize=2, elinewidth=1, **styles[run])
            marks = single[single.run == run]
            theme.faint(axis, marks["T"].astype(float) * apart, marks.value, styles[run])
        _step_axis(axis, counts)
        axis.set_ylabel(label)
    theme.floor_line(axes[0], summary, fid)
    axes[2].set_yscale("log")
    theme.plain_log(axes[2].yaxis)
    theme.legend_below(figure, axes[0], "pair q/p")
    return figure


def _panels(rows: pd.DataFrame, fid: str, counts: list[int]) -> tuple[pd.DataFrame, ...]:
    """Distances, normal-limit and native bounds at these numbers of steps T."""
    distances = rows[(rows.metric == fid) & rows.run.notna()]
    bounds = rows[(rows.metric == "bpd_total") & (rows.marginals == "limit") & rows["T"].isin(counts)]
    return distances.assign(T=distances.nfe), bounds[bounds.bound == "normal"], bounds[bounds.bound == "native"]


def _step_axis(axis: Axes, ticks: list[int]) -> None:
    """Logarithmic axis with the measured numbers of steps as ticks."""
    axis.set_xscale("log")
    axis.set_xlabel("steps = network calls")
    theme.plain_ticks(axis.xaxis, ticks)
