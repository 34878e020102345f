"""Invariance: distance to the limit law against the number of steps, for every family."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.figures import theme
from nonnormal.tables import select


def invariance(summary: pd.DataFrame) -> Figure:
    """Wasserstein-1 of walk and sampler, Kolmogorov–Smirnov of the path's maximum; log-log, with theory lines.

    Args:
        summary: rows of a study with the metrics of `evaluation.invariance_rows`.
    """
    theme.apply()
    figure, axes = plt.subplots(1, 3, figsize=(theme.WIDTH, 3.5))
    panels = (
        ("w1_walk", "walk from data to prior", "Wasserstein-1 to the limit"),
        ("w1_sampler", "sampler, exact denoiser", "Wasserstein-1 to the limit"),
        ("ks_path_maximum", "maximum of a path", "Kolmogorov–Smirnov to the limit"),
    )
    for axis, (metric, title, label) in zip(axes, panels, strict=True):
        rows = select(summary, metric)
        for step, group in rows.groupby("q", sort=False):
            if metric == "w1_walk" and step == "normal":
                continue  # exact at every number of steps
            line = group.sort_values("nfe")
            steps = line.nfe.astype(float)
            style = theme.step_style(step)
            axis.plot(steps, line.value, lw=1.1, markersize=3, **style)
            axis.fill_between(steps, line.low.clip(lower=1e-12), line.high, color=style["color"], alpha=0.15, lw=0)
        _theory(axis, rows, {"w1_walk": (0.5, 1), "w1_sampler": (0.5, 1), "ks_path_maximum": (0.5,)}[metric])
        axis.set(xscale="log", yscale="log", xlabel="steps T", ylabel=label, title=title)
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7.5)
    return figure


def _theory(axis: Axes, rows: pd.DataFrame, orders: tuple[float, ...]) -> None:
    """Lines T^(−order) through the largest value at the fewest steps, with their names at their ends."""
    steps = np.array(sorted(rows.nfe.unique()), dtype=float)
    top = 1.6 * rows.value.max()
    for order in orders:
        values = top * (steps / steps[0]) ** -order
        axis.plot(steps, values, color="0.55", lw=0.8, ls="--", zorder=0)
        name = {0.5: "$T^{-1/2}$", 1: "$T^{-1}$"}[order]
        axis.annotate(name, (steps[-1], values[-1]), color="0.4", fontsize=7, ha="right", va="bottom")
