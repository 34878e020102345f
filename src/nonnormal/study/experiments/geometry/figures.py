"""Geometry of sampling: the shape of trajectories, solvers, the optimal denoiser, and the paths of other steps.

All but `projection` are drawn from the rows of `evaluation.geometry`; noise levels fall from left to right, as in
sampling.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nonnormal.analysis import geometry
from nonnormal.analysis.recorder import Trajectories
from nonnormal.study.report import theme
from nonnormal.study.report.names import SOLVER_NAMES, distance_name, step_name
from nonnormal.study.results.context import Context

_STATE, _DENOISED = "#1f6f8b", "#c8553d"  # x_t and r_t, in every figure
_BELOW = "outside lower center"
_SOLVERS = {"euler": "o", "heun": "s", "dpm_2": "^", "dpmpp_2m": "D", "ipndm": "v"}


def linearity(summary: pd.DataFrame) -> Figure:
    """Distance of x_t and r_t from the chord, norms, and cosine of noise and remaining way, against sigma."""
    theme.apply()
    figure, axes = plt.subplots(1, 3, figsize=(theme.WIDTH, 2.9))
    for axis, kind, label in (
        (axes[0], "chord_distance", "distance from the chord\n(chord lengths)"),
        (axes[1], "norm", "norm (grey range −1 to 1)"),
    ):
        _line(axis, summary[summary.metric == f"path_{kind}"], "sigma", color=_STATE, label="state $x_t$")
        denoised = {"color": _DENOISED, "ls": "--", "label": "denoised $r_t$"}
        _line(axis, summary[summary.metric == f"path_denoised_{kind}"], "sigma", **denoised)
        axis.set_ylabel(label)
    axes[1].set_yscale("log")
    _line(axes[2], summary[summary.metric == "path_remaining_cosine"], "sigma", color=_STATE, label="state $x_t$")
    axes[2].set_ylabel("cosine of noise\nand remaining way")
    for axis in axes:
        _noise_axis(axis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc=_BELOW, ncols=2)
    return figure


def denoising(summary: pd.DataFrame, fid: str) -> Figure:
    """FID of states and of denoised states along the way, against sigma; the image at the end is the last state."""
    theme.apply()
    figure, axis = plt.subplots(figsize=(0.62 * theme.WIDTH, 3.0))
    states = summary[summary.metric == f"path_{fid}"]
    _line(axis, states[states.sigma > 0], "sigma", color=_STATE, marker="o", label="state $x_t$")
    denoised = summary[summary.metric == f"path_denoised_{fid}"]
    _line(axis, denoised, "sigma", color=_DENOISED, marker="s", label="denoised $r_t$")
    for end in states[states.sigma == 0].itertuples():
        axis.axhline(end.value, color="0.5", lw=0.8, ls=":", label="images at the end")
    theme.floor_line(axis, summary, fid)
    _noise_axis(axis)
    axis.set(yscale="log", ylabel=distance_name(fid))
    theme.plain_log(axis.yaxis)
    figure.legend(*axis.get_legend_handles_labels(), loc=_BELOW, ncols=2)
    return figure


def solvers(summary: pd.DataFrame, fid: str) -> Figure:
    """FID, and distance to the adaptive solution from the same noise, against network calls."""
    theme.apply()
    figure, axes = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.1))
    panels = (
        (f"solver_{fid}", distance_name(fid)),
        ("solver_distance", "RMS to the adaptive solution\n(grey range −1 to 1)"),
    )
    for axis, (metric, label) in zip(axes, panels, strict=True):
        rows = summary[summary.metric == metric]
        for (solver, grid), group in rows.groupby(["solver", "grid"], sort=False):
            colour = f"C{list(_SOLVERS).index(solver)}"
            style = {"marker": _SOLVERS[solver], "color": colour, "ls": "-" if grid == "polynomial" else "--"}
            name = SOLVER_NAMES[solver] if grid == "polynomial" else f"{SOLVER_NAMES[solver]}, {grid} grid"
            _line(axis, group.sort_values("nfe"), "nfe", label=name, **style)
        axis.set(xscale="log", yscale="log", xlabel="network calls", ylabel=label)
        theme.plain_ticks(axis.xaxis, sorted(rows.nfe.unique()))
        theme.plain_log(axis.yaxis)
    theme.floor_line(axes[0], summary, fid)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc=_BELOW, ncols=6 if len(names) <= 6 else 4)
    return figure


def deviation(summary: pd.DataFrame) -> Figure:
    """‖r − r*‖/√D along the learnt trajectories and along those of the optimal denoiser, against sigma."""
    theme.apply()
    figure, axis = plt.subplots(figsize=(0.62 * theme.WIDTH, 3.4))
    rows = summary[summary.metric == "score_deviation"]
    looks = {"color": _STATE, "ls": "-"}, {"color": _DENOISED, "ls": (0, (5, 1.5))}
    for (along, group), look in zip(rows.groupby("along", sort=False), looks, strict=False):
        _line(axis, group, "sigma", label=f"deviation along the {along} denoiser's path", **look)
    near = summary[summary.metric == "nearest_train_distance"]
    for (name, group), style in zip(near.groupby("of", sort=False), (":", "-."), strict=False):
        label = f"distance, {name} to nearest training image"
        axis.axhline(group.value.iloc[0], color="0.5", lw=0.9, ls=style, label=label)
    _noise_axis(axis)
    axis.set(ylabel="deviation ‖r − r*‖/√D\n(grey range −1 to 1)", ylim=(0, None))
    figure.legend(loc=_BELOW, fontsize=7.5)
    return figure


def projection(recorded: Trajectories, n_paths: int = 12) -> Figure:
    """Trajectories in their principal dimensions: each component across the chord against the place along it."""
    theme.apply()
    figure, axes = plt.subplots(1, 2, figsize=(theme.WIDTH, 2.9), sharex=True)
    curves = geometry.project(recorded.states[:, :n_paths].double()).numpy()
    for axis, side, name in zip(axes, (1, 2), ("first", "second"), strict=True):
        for path in curves.transpose(1, 0, 2):
            axis.plot(path[:, 0], path[:, side], lw=1, alpha=0.8)
            axis.plot(path[-1, 0], path[-1, side], "o", markersize=3.5, color="black")
        axis.plot(0, 0, "s", markersize=5, color="black", markerfacecolor="white", zorder=3)
        axis.set(xlabel="along the chord (units of the state)", ylabel=f"{name} component across\n(units of the state)")
    ends = [
        Line2D([], [], ls="none", marker="s", markersize=5, color="black", markerfacecolor="white"),
        Line2D([], [], ls="none", marker="o", markersize=3.5, color="black"),
    ]
    names = ["noise, where all begin", f"images, the ends of {curves.shape[1]} trajectories"]
    figure.legend(ends, names, loc=_BELOW, ncols=2)
    return figure


def ancestral(summary: pd.DataFrame) -> Figure:
    """Roughness, distance to the ODE's path, and displacement at the end: one row per step, one mark per NFE."""
    theme.apply()
    panels = {
        "arc_chord_ratio": "arc length\n(chord lengths)",
        "ode_distance": "RMS to the ODE's path\n(standard deviations)",
        "end_displacement": "RMS to its end\n(standard deviations)",
    }
    found = {metric: summary[summary.metric == f"ancestral_{metric}"] for metric in panels}
    steps = list(dict.fromkeys(found["arc_chord_ratio"].step))
    size = (theme.WIDTH, 0.2 * len(steps) + 1.1)
    figure, axes = plt.subplots(1, 3, figsize=size, sharey=True)
    for axis, (metric, rows) in zip(axes, found.items(), strict=True):
        counts = sorted(rows.nfe.unique())
        for i, n_steps in enumerate(counts):
            group = rows[rows.nfe == n_steps]
            places = [steps.index(step) + theme.beside(i, len(counts), 0.5) for step in group.step]
            style = dict(marker="osD^v"[i % 5], color=(_STATE, _DENOISED)[i] if i < 2 else f"C{i}")
            style |= dict(markersize=3.5, ls="none", capsize=1.5, lw=1, label=f"{n_steps} calls")
            axis.errorbar(group.value, places, xerr=[group.value - group.low, group.high - group.value], **style)
        axis.set_xlabel(panels[metric])
        axis.grid(False, axis="y")
    axes[0].set_xscale("log")
    axes[0].set_yticks(range(len(steps)), [theme.literal(step_name(step)) for step in steps])
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc=_BELOW, ncols=6)
    return figure


def _line(axis: Axes, rows: pd.DataFrame, key: str, **style) -> None:
    """Values with their interval as a band, against a column."""
    x = rows[key].astype(float)
    axis.plot(x, rows.value, lw=1.2, markersize=3.5, **style)
    axis.fill_between(x, rows.low.clip(lower=1e-9), rows.high, color=style["color"], alpha=0.2, lw=0)


def _noise_axis(axis: Axes) -> None:
    axis.set(xscale="log", xlabel="noise level σ")
    axis.invert_xaxis()


def drawn_projection(context: Context) -> Figure:
    """The projection of the study's recorded trajectories."""
    return projection(Trajectories(**context.arrays("geometry")))
