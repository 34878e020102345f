"""Distances by network and by the step it is sampled with; style by the step's kurtosis."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from nonnormal.metrics.intervals import t_half
from nonnormal.steps import get
from nonnormal.study.experiments.step_swap.measure import is_symmetric
from nonnormal.study.report import theme
from nonnormal.study.report.names import STYLE_NAMES, distance_name, step_name

_CELL = ["nfe", "run", "step"]
# White within the intervals; pale beyond, so that numbers are readable on every shade.
_SHADES = BoundaryNorm((-3, -2, -1, 1, 2, 3), 256, extend="both")


def step_swap(rows: pd.DataFrame, fid: str, labels: Mapping[str, str]) -> Figure:
    """FID, and below it the difference to the same network's normal step, by number of steps and network.

    The shade of a cell is the difference, from images paired by seed, in half-widths of its 95 % interval.

    Args:
        rows: of a study with the metrics of `measure.step_swap_rows`, of each training of a run.
        fid: name of the distance, which says in whose features it is.
        labels: label of each run.
    """
    theme.apply()
    values, gaps = (_over_trainings(rows[rows.metric == f"step_swap_{fid}{end}"]) for end in ("", "_difference"))
    counts, runs, steps = (list(dict.fromkeys(values.index.get_level_values(key))) for key in _CELL)
    height = (0.3 * len(runs) + 0.3) * len(counts) + 1.3
    figure, axes = plt.subplots(len(counts), 1, figsize=(theme.WIDTH, height), sharex=True, squeeze=False)
    for axis, n_steps in zip(axes[:, 0], counts, strict=True):
        shades = np.zeros((len(runs), len(steps)))
        for (i, run), (j, step) in itertools.product(enumerate(runs), enumerate(steps)):
            its = values.loc[n_steps, run, step]
            second = f"±{its.half:.1f}"
            if step != "normal":
                gap = gaps.loc[n_steps, run, step]
                shades[i, j], second = gap.value / gap.half, f"{gap.value:+.1f} ±{gap.half:.1f}"
            axis.text(j, i, f"{its.value:.1f}\n{second}", ha="center", va="center", fontsize=5.8)
        picture = axis.imshow(shades, cmap="RdBu_r", norm=_SHADES, aspect="auto", alpha=0.5)
        axis.set_yticks(range(len(runs)), [theme.literal(labels[run]) for run in runs])
        axis.set_title(f"{distance_name(fid)}, {n_steps} calls")
        axis.grid(False)
    titles = [theme.literal(step_name(step)) for step in steps]
    axes[-1, 0].set_xticks(range(len(steps)), titles, rotation=30, ha="right", rotation_mode="anchor", fontsize=7)
    label = "difference to the normal step\n(half-widths of its interval)"
    figure.colorbar(picture, ax=axes[:, 0].tolist(), pad=0.01, aspect=30).set_label(label, fontsize=8)
    axes[-1, 0].set_xlabel("step that the network (row, by its pair q/p) is sampled with")
    return figure


def _over_trainings(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean `value` and `half` of the 95 % interval by cell.

    Trainings share their image seeds, so averaging over them does not reduce the scatter of images. The interval adds
    the mean half-width over images and, for several trainings, Student's half-width over them in quadrature.
    """
    cells = rows.assign(image=(rows.high - rows.low) / 2).groupby(_CELL, sort=False)
    found = cells[["value", "image"]].mean()
    scatter = t_half(cells.value.std(), cells.value.count()).where(cells.value.count() > 1, 0)
    return found.assign(half=np.hypot(found.image, scatter))


def step_swap_style(rows: pd.DataFrame, fid: str) -> Figure:
    """Distance and style against the kurtosis that reaches the network; columns are numbers of calls, rows measures.

    Each mark is the mean over networks of a step's difference to the normal step, from the same seeds; small marks are
    single networks. Hollow: skewed steps, which are not part of the order. ρ is Spearman's, averaged over networks.

    Args:
        rows: of a study with the metrics of `measure.step_swap_rows`, of each network.
        fid: name of the distance, which says in whose features it is.
    """
    theme.apply()
    labels = {fid: distance_name(fid), **{f"style_{name}": label for name, label in STYLE_NAMES.items()}}
    names = [name for name in labels if f"step_swap_{name}_difference" in set(rows.metric)]
    shares = rows[rows.metric == "step_swap_kurtosis_share"]
    counts = sorted(shares.nfe.unique())
    size = (theme.WIDTH, 1.7 * len(names) + 1.2)
    figure, axes = plt.subplots(len(names), len(counts), figsize=size, sharex=True, sharey="row", squeeze=False)
    for line, name in zip(axes, names, strict=True):
        gaps = rows[rows.metric == f"step_swap_{name}_difference"]
        orders = rows[rows.metric == f"step_swap_{name}_order"]
        for axis, n_steps in zip(line, counts, strict=True):
            _against_kurtosis(axis, gaps[gaps.nfe == n_steps], shares[shares.nfe == n_steps])
            found = orders[orders.nfe == n_steps].value
            if len(found):
                text = f"ρ = {found.mean():.2f}".replace("-", "−")
                axis.annotate(text, (0.97, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=7.5)
        line[0].set_ylabel(f"{labels[name]},\nstep − normal step")
    for axis, n_steps in zip(axes[0], counts, strict=True):
        axis.set_title(f"{n_steps} calls")
    theme.legend_below(
        figure, axes[0, 0], "horizontally: excess kurtosis of the step × share of it that reaches the network"
    )
    return figure


def _against_kurtosis(axis: Axes, rows: pd.DataFrame, shares: pd.DataFrame) -> None:
    """One number of calls: the mean over networks by step, and each network."""
    share = shares.groupby(["run", "train_seed"], dropna=False).value.first()
    for step, its in rows.groupby("step", sort=False):
        keys = pd.MultiIndex.from_frame(its[["run", "train_seed"]])
        places = get(step).excess_kurtosis * share.reindex(keys).to_numpy()
        style = theme.step_style(step)
        face = style["color"] if is_symmetric(step) else "white"
        dots = {"ls": "none", "color": style["color"], "marker": style["marker"]}
        axis.plot(places, its.value, **dots, markersize=2.5, alpha=0.35)
        axis.plot(places.mean(), its.value.mean(), **dots, markersize=5.5, markerfacecolor=face, label=style["label"])
    axis.axhline(0, color="0.5", lw=0.8, zorder=0)
    axis.axvline(0, color="0.5", lw=0.8, zorder=0)
