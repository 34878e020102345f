"""The complete recipe: ways through phase space, FID against network calls, distance to the law against steps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from nonnormal.figures import theme
from nonnormal.processes import LinearProcess, cholesky
from nonnormal.summary import select, with_condition

_SAMPLERS = {
    "ancestral": ("o", "C0"),
    "em": ("s", "C1"),
    "sscs": ("^", "C2"),
    "flow_euler": ("v", "C3"),
    "flow_heun": ("D", "C4"),
    "flow_adaptive": ("*", "C5"),
}
_STARTS = (-0.8, 0.1, 0.9)
_DOWN = "outside lower center"


def phase_space(processes: Mapping[str, LinearProcess], n_paths: int = 1, n_times: int = 400, seed: int = 0) -> Figure:
    """Forward paths from three data: position over time above, position and momentum below, with the prior's ellipse.

    Args:
        processes: by name, of one or two variables.
        n_paths: paths from each start.
        n_times: points of a path, each drawn from the exact transition.
        seed: of the paths.
    """
    theme.apply()
    figure, axes = plt.subplots(
        2, len(processes), figsize=(theme.WIDTH, 3.7), sharex="row", sharey="row", squeeze=False
    )
    for (name, process), (above, below) in zip(processes.items(), axes.T, strict=True):
        times, paths = _paths(process, n_paths, n_times, seed)
        for k, path in enumerate(paths.transpose(1, 2, 0)):
            style = dict(lw=0.8, color=f"C{k // n_paths}", alpha=0.85)
            above.plot(times, path[0], **style)
            if process.n == 2:
                below.plot(path[0], path[1], **style)
        above.set(title=name, xlabel="t")
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
    return figure


def _paths(process: LinearProcess, n_paths: int, n_times: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(times (T + 1,), states (T + 1, paths, n)) of the process from each start."""
    source, times = torch.Generator().manual_seed(seed), torch.linspace(0, 1, n_times + 1, dtype=torch.float64)
    mean, c0 = process.initial()
    starts = torch.tensor(_STARTS, dtype=torch.float64).repeat_interleave(n_paths)

    def noise():
        return torch.randn(len(starts), process.n, generator=source, dtype=torch.float64)

    states = [starts[:, None] * mean[:, 0] + noise() @ cholesky(c0).mT]
    for phi, sigma in zip(*process.transition(times[:-1], times[1:]), strict=True):
        states.append(states[-1] @ phi.mT + noise() @ cholesky(sigma).mT)
    return times.numpy(), torch.stack(states).numpy()


def recipe(summary: pd.DataFrame, fid: str) -> Figure:
    """FID against network calls by sampler, a panel a process; networks beside the first are drawn dashed."""
    theme.apply()
    rows = select(summary, f"recipe_{fid}", step="normal")
    for key in ("process", "sampler", "grid"):
        rows = with_condition(rows, key)
    names, runs, grids = (list(dict.fromkeys(rows[key].dropna())) for key in ("process", "run", "grid"))
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    size = (theme.WIDTH, 0.9 + 2.1 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    handles = {}
    for name, axis in zip(names, axes.flat, strict=False):
        for (run, sampler), group in rows[rows.process == name].groupby(["run", "sampler"], sort=False):
            for grid, line in group.groupby("grid", sort=False, dropna=False):
                marker, colour = _SAMPLERS[sampler]
                line = line.sort_values("nfe")
                style = dict(color=colour, marker=marker, markersize=3.5, lw=1.1, ls="-" if run == runs[0] else "--")
                label = sampler if run == runs[0] else f"{sampler}, {run}"
                if len(grids) > 1 and pd.notna(grid):
                    label, style["alpha"] = f"{label}, {grid}", 1 - 0.5 * grids.index(grid) / len(grids)
                (handles[label],) = axis.plot(line.nfe.astype(float), line.value, **style)
                axis.fill_between(line.nfe.astype(float), line.low, line.high, color=colour, alpha=0.15, lw=0)
        axis.set(xscale="log", yscale="log", title=name)
    for axis in list(axes.flat)[len(names) :]:
        axis.set_axis_off()
    theme.plain_ticks(axes[0, 0].xaxis, sorted(set(select(summary, f"recipe_{fid}", sampler="ancestral").nfe)))
    theme.plain_log(axes[0, 0].yaxis)
    for axis in axes[-1]:
        axis.set_xlabel("network calls")
    for axis in axes[:, 0]:
        axis.set_ylabel(fid)
    figure.legend(handles.values(), handles.keys(), loc=_DOWN, ncols=4, fontsize=7.5)
    return figure


def recipe_law(summary: pd.DataFrame) -> Figure:
    """Wasserstein-1 distance against steps: a panel a process, a colour a step, dashed the samplers after the first."""
    theme.apply()
    rows = with_condition(with_condition(select(summary, "recipe_w1"), "process"), "sampler")
    names = list(dict.fromkeys(rows.process))
    figure, axes = plt.subplots(1, len(names), figsize=(theme.WIDTH, 2.9), sharey=True, squeeze=False)
    dashes = {sampler: ("-", "--", ":")[i] for i, sampler in enumerate(dict.fromkeys(rows.sampler))}
    for name, axis in zip(names, axes[0], strict=True):
        for (step, sampler), group in rows[rows.process == name].groupby(["q", "sampler"], sort=False):
            line = group.sort_values("nfe")
            style = theme.step_style(step) | {"label": f"{step}, {sampler}"}
            axis.plot(line.nfe.astype(float), line.value, lw=1, markersize=3, ls=dashes[sampler], **style)
        [floor] = select(summary, "recipe_w1_floor", process=name).itertuples()
        axis.axhline(floor.value, color="0.6", lw=0.8, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="steps T", title=name)
        theme.plain_ticks(axis.xaxis, sorted(rows.nfe.unique()))
    axes[0, 0].set_ylabel("Wasserstein-1")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc=_DOWN, ncols=3, fontsize=7.5)
    return figure
