"""Invariance: distance to the limit law against the number of steps, for every family."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.steps import get
from nonnormal.study.report import theme
from nonnormal.study.report.names import step_name

_ORDERS = {0.5: {"ls": "--", "label": "$T^{-1/2}$"}, 1: {"ls": ":", "label": "$T^{-1}$"}}


def convergence(summary: pd.DataFrame) -> Figure:
    """Distance to the limit law against T, log-log, with theory lines: on the line, of a path's maximum, in the plane.

    Args:
        summary: rows of a study with the metrics of `measure`.
    """
    theme.apply()
    figure, axes = plt.subplots(2, 3, figsize=(theme.WIDTH, 5.6))
    half, both = (0.5,), (0.5, 1)
    panels = (
        (axes[0, 0], "w1_walk", "walk, line", "Wasserstein-1", both),
        (axes[0, 1], "w1_sampler", "sampler, line: Wasserstein", "Wasserstein-1", both),
        (axes[0, 2], "ks_path_maximum", "maximum of a path", "Kolmogorov–Smirnov", half),
        (axes[1, 0], "sliced_w1_walk", "walk, plane", "sliced Wasserstein-1", both),
        (axes[1, 1], "sliced_w1_sampler", "sampler, plane", "sliced Wasserstein-1", both),
        (axes[1, 2], "ks_sampler", "sampler, line: Kolmogorov", "Kolmogorov–Smirnov", both),
    )
    for axis, metric, title, label, orders in panels:
        rows = summary[summary.metric == metric]
        for step, group in rows.groupby("q", sort=False):
            if metric == "w1_walk" and step == "normal":
                continue  # exact at every number of steps
            line = group.sort_values("nfe")
            steps = line.nfe.astype(float)
            style = theme.step_style(step)
            axis.plot(steps, line.value, lw=1.1, markersize=3, **style)
            if metric == "ks_path_maximum":
                axis.fill_between(steps, line.low.clip(lower=1e-12), line.high, color=style["color"], alpha=0.15, lw=0)
            elif not metric.startswith("sliced"):
                axis.vlines(steps, line.low, line.high, color=style["color"], lw=1)
        for floor in summary[summary.metric == f"{metric}_floor"].itertuples():
            axis.axhspan(floor.low, floor.high, color="0.88", zorder=0)
            axis.axhline(floor.value, color="0.6", lw=0.8, zorder=0)
        _theory(axis, rows, orders)
        axis.set(xscale="log", yscale="log", xlabel="steps T", ylabel=label, title=title)
        axis.set_ylim(bottom=0.5 * rows.value[rows.value > 1e-9].min())  # an interval may reach down to 0
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7.5)
    return figure


def boundary(summary: pd.DataFrame) -> Figure:
    """Left: distance of each walk's end to its limits against T; right: its order by degrees of freedom.

    Args:
        summary: rows of a study with those of `measure.boundary_rows`.
    """
    theme.apply()
    figure, (left, right) = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.2))
    rows = summary[summary.metric == "boundary_ks"]
    names = list(dict.fromkeys(rows.step))
    colours = dict(zip(names, sns.color_palette("viridis", len(names)), strict=True))
    for name in names:
        for limit, line in rows[rows.step == name].groupby("limit_law", sort=False):
            heavy = name.startswith("student_t")
            style = {"ls": "-" if heavy else {"normal": "--", "stable": ":"}[limit], "marker": "o" if heavy else "s"}
            label = step_name(name) + ("" if heavy else f", to the {limit} limit")
            line = line.sort_values("nfe")
            left.plot(line.nfe.astype(float), line.value, color=colours[name], lw=1.1, ms=3, label=label, **style)
    left.set(xscale="log", yscale="log", xlabel="steps T", ylabel="Kolmogorov–Smirnov")
    left.set_ylim(bottom=rows.value.min() / 40)  # room for the legend
    left.legend(fontsize=6.5, loc="lower left")
    orders = summary[(summary.metric == "boundary_order") & summary.step.str.startswith("student_t", na=False)]
    df = np.array([get(name).df for name in orders.step])
    right.axvspan(2, 4, color="0.93", zorder=0)
    for at, text in ((2, "finite variance →"), (4, "$E z^4 < \\infty$, the theorem's condition →")):
        right.axvline(at, color="0.4", lw=0.9, zorder=1)
        right.text(at + 0.06, 0.04, text, fontsize=6.8, rotation=90, va="bottom")
    theory = np.linspace(2, max(6.0, *df) if len(df) else 6.0, 200)
    right.plot(theory, np.minimum(1, (theory - 2) / 2), color="0.35", lw=1, ls=":", label="min(1, (df − 2)/2)")
    theme.errorbar(right, df, orders, fmt="o", ms=4, capsize=2, color="C0", label="fitted, T ≥ 64")
    right.set(xlabel="degrees of freedom of Student's t", ylabel="order in T", ylim=(0, 1.25))
    right.legend(fontsize=6.8, loc="upper left")
    return figure


def _theory(axis: Axes, rows: pd.DataFrame, orders: tuple[float, ...]) -> None:
    """Lines T^(−order) from above the largest value at the fewest steps."""
    steps = np.array(sorted(rows.nfe.unique()), dtype=float)
    top = 1.6 * rows.value.max()
    for order in orders:
        values = top * (steps / steps[0]) ** -order
        axis.plot(steps, values, color="0.35", lw=1, zorder=0, **_ORDERS[order])
