"""A pretrained network, sampled with other steps: distance and style against the number of steps."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.study.report import theme
from nonnormal.study.report.names import STYLE_NAMES, distance_name, step_name
from nonnormal.study.report.sample_grid import sample_rows
from nonnormal.study.results.context import Context


def pretrained(summary: pd.DataFrame, fid: str) -> Figure:
    """Distance, and each style statistic minus the normal step's from the same seeds; one line per step.

    Args:
        summary: rows of a study with those of `evaluation.pretrained`.
        fid: name of the distance, which says in whose features it is.
    """
    theme.apply()
    differences = {f"pretrained_style_{name}_difference": title for name, title in STYLE_NAMES.items()}
    found = {metric: title for metric, title in differences.items() if metric in set(summary.metric)}
    lines = -(-(1 + len(found)) // 2)
    figure, axes = plt.subplots(lines, 2, figsize=(theme.WIDTH, 2.4 * lines + 0.5), squeeze=False)
    axes = axes.flatten()
    _lines(axes[0], summary[summary.metric == f"pretrained_{fid}"])
    axes[0].set(ylabel=distance_name(fid), yscale="log")
    theme.plain_log(axes[0].yaxis)
    for axis, (metric, title) in zip(axes[1:], found.items(), strict=False):
        _lines(axis, summary[summary.metric == metric])
        axis.axhline(0, color="0.5", lw=0.8, zorder=0)
        axis.set_ylabel(f"{title},\nstep − normal step")
    for axis in axes[1 + len(found) :]:
        axis.set_visible(False)
    theme.legend_below(figure, axes[0], "step that the network is sampled with")
    return figure


def _lines(axis: Axes, rows: pd.DataFrame) -> None:
    """Values with their intervals against the number of network calls, a line a step."""
    for step, group in rows.groupby("step", sort=False):
        line = group.sort_values("nfe")
        style = theme.step_style(step)
        theme.errorbar(axis, line.nfe.astype(float), line, capsize=2, markersize=3.5, lw=1.2, **style)
    axis.set(xscale="log", xlabel="network calls")
    theme.plain_ticks(axis.xaxis, sorted(rows.nfe.unique()))


def pretrained_samples(context: Context) -> Figure:
    """Samples of the pretrained network, a row for each step and number of calls."""
    images, settings = context.arrays("pretrained"), context.study.pretrained
    rows = {
        f"{step_name(step)}, {n} calls": images[f"{n}/{step}"].numpy()
        for n in sorted(set(settings.nfe))
        for step in settings.step_families
    }
    return sample_rows(rows, context.levels)
