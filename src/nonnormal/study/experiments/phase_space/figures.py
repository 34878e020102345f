"""The complete recipe: ways through phase space, FID against network calls, distance to the law against steps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from nonnormal.processes import LinearProcess, cholesky
from nonnormal.study.report import theme
from nonnormal.study.report.names import distance_name, process_name, sampler_name, step_name
from nonnormal.study.results.context import Context

SAMPLERS = {
    "ancestral": ("o", "C0"),
    "em": ("s", "C1"),
    "sscs": ("^", "C2"),
    "sscs_midpoint": ("P", "C6"),
    "flow_euler": ("v", "C3"),
    "flow_heun": ("D", "C4"),
    "flow_adaptive": ("*", "C5"),
}
_STARTS = {-0.8: ("-", "o"), 0.1: ("-.", "s"), 0.9: ("--", "^")}  # data, with the dash and marker of their paths
_APART = 1.25  # between the first and the last line at one number of calls
_DOWN = "outside lower center"


def paths(processes: Mapping[str, LinearProcess], n_paths: int = 1, n_times: int = 400, seed: int = 0) -> Figure:
    """Forward paths from three data: position over time above, position and momentum below, with the prior's ellipse.

    Args:
        processes: by name, of one or two variables.
        n_paths: paths from each start.
        n_times: points of a path, each drawn from the exact transition.
        seed: of the paths.
    """
    theme.apply()
    figure, axes = plt.subplots(
        2, len(processes), figsize=(theme.WIDTH, 3.9), sharex="row", sharey="row", squeeze=False
    )
    for (name, process), (above, below) in zip(processes.items(), axes.T, strict=True):
        times, paths = _paths(process, n_paths, n_times, seed)
        for k, path in enumerate(paths.transpose(1, 2, 0)):
            dash, marker = list(_STARTS.values())[k // n_paths]
            style = dict(
                lw=0.8, color=f"C{k // n_paths}", ls=dash, marker=marker, markersize=3, markevery=n_times // 8 or 1
            )
            above.plot(times, path[0], **style)
            if process.n == 2:
                below.plot(path[0], path[1], **style)
        above.set(title=theme.literal(process_name(name)), xlabel="t")
        if process.n != 2:
            below.set_axis_off()
            continue
        width, height = 4 * process.prior_covariance().diagonal().sqrt()
        below.add_patch(Ellipse((0, 0), width, height, fill=False, ls="--", color="0.4", lw=0.9))
        below.set(xlabel="position x")
    axes[0, 0].set_ylabel("position x")
    first = next((k for k, process in enumerate(processes.values()) if process.n == 2), 0)
    axes[1, first].set_ylabel("momentum m")
    axes[1, first].tick_params(labelleft=True)
    names = [f"datum {start:g}".replace("-", "−") for start in _STARTS]
    figure.legend(axes[0, 0].lines[::n_paths], names, loc=_DOWN, ncols=len(names))
    return figure


def _paths(process: LinearProcess, n_paths: int, n_times: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(times (T + 1,), states (T + 1, paths, n)) of the process from each start."""
    source, times = torch.Generator().manual_seed(seed), torch.linspace(0, 1, n_times + 1, dtype=torch.float64)
    mean, c0 = process.initial()
    starts = torch.tensor(list(_STARTS), dtype=torch.float64).repeat_interleave(n_paths)

    def noise():
        return torch.randn(len(starts), process.n, generator=source, dtype=torch.float64)

    states = [starts[:, None] * mean[:, 0] + noise() @ cholesky(c0).mT]
    for phi, sigma in zip(*process.transition(times[:-1], times[1:]), strict=True):
        states.append(states[-1] @ phi.mT + noise() @ cholesky(sigma).mT)
    return times.numpy(), torch.stack(states).numpy()


def phase_space(summary: pd.DataFrame, fid: str) -> Figure:
    """FID against network calls by sampler, a panel a process; networks beside the first are dashed and hollow."""
    theme.apply()
    rows = summary[(summary.metric == f"phase_space_{fid}") & (summary.step == "normal")]
    names, runs, grids = (list(dict.fromkeys(rows[key].dropna())) for key in ("process", "run", "grid"))
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    size = (theme.WIDTH, 0.9 + 2.1 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    named = [
        ", ".join(
            [
                sampler_name(sampler),
                *([f"network {process_name(run)}"] if run != runs[0] else []),
                *([grid] if len(grids) > 1 and pd.notna(grid) else []),
            ]
        )
        for sampler, run, grid in zip(rows.sampler, rows.run, rows.grid, strict=True)
    ]
    places = {label: i for i, label in enumerate(dict.fromkeys(named))}
    handles = {}
    for name, axis in zip(names, axes.flat, strict=False):
        for label, line in rows.assign(label=named)[rows.process == name].groupby("label", sort=False):
            line = line.sort_values("nfe")
            first = line.iloc[0]
            marker, colour = SAMPLERS[first.sampler]
            style = dict(color=colour, marker=marker, markersize=4, lw=1.1)
            if first.run != runs[0]:
                style |= dict(ls="--", markerfacecolor="white")
            if len(grids) > 1 and pd.notna(first.grid):
                style["alpha"] = 1 - 0.5 * grids.index(first.grid) / len(grids)
            calls = line.nfe.astype(float) * _APART ** theme.beside(places[label], len(places), 1)
            handles[label] = theme.errorbar(axis, calls, line, capsize=1.5, elinewidth=0.8, label=label, **style)
        axis.set(xscale="log", yscale="log", title=theme.literal(process_name(name)))
    for axis in list(axes.flat)[len(names) :]:
        axis.set_axis_off()
    theme.plain_ticks(axes[0, 0].xaxis, sorted(set(rows[rows.sampler == "ancestral"].nfe)))
    theme.plain_log(axes[0, 0].yaxis)
    for axis in axes[-1]:
        axis.set_xlabel("network calls")
    for axis in axes[:, 0]:
        axis.set_ylabel(distance_name(fid))
    figure.legend(handles.values(), handles.keys(), loc=_DOWN, ncols=3, fontsize=7)
    return figure


def phase_space_law(summary: pd.DataFrame) -> Figure:
    """Wasserstein-1 distance against steps: a panel a process, a colour a step, dashed the samplers after the first."""
    theme.apply()
    rows = summary[summary.metric == "phase_space_w1"]
    names = list(dict.fromkeys(rows.process))
    figure, axes = plt.subplots(1, len(names), figsize=(theme.WIDTH, 2.9), sharey=True, squeeze=False)
    dashes = {sampler: ("-", "--", ":", "-.")[i] for i, sampler in enumerate(dict.fromkeys(rows.sampler))}
    for name, axis in zip(names, axes[0], strict=True):
        for (step, sampler), group in rows[rows.process == name].groupby(["q", "sampler"], sort=False):
            line = group.sort_values("nfe")
            style = theme.step_style(step) | {"label": theme.literal(f"{step_name(step)}, {sampler_name(sampler)}")}
            axis.plot(line.nfe.astype(float), line.value, lw=1, markersize=3, ls=dashes[sampler], **style)
        [floor] = summary[(summary.metric == "phase_space_w1_floor") & (summary.process == name)].itertuples()
        axis.axhline(floor.value, color="0.6", lw=0.8, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="steps T", title=theme.literal(process_name(name)))
        theme.plain_ticks(axis.xaxis, sorted(rows.nfe.unique()))
    axes[0, 0].set_ylabel("Wasserstein-1 distance\n(units of the data)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc=_DOWN, ncols=3, fontsize=7.5)
    return figure


def drawn_paths(context: Context) -> Figure:
    """Forward paths under the study's processes."""
    return paths({name: chosen.build() for name, chosen in context.study.phase_space.processes.items()})
