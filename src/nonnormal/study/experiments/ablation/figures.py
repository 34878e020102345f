"""One network, every axis: distance, remaining share of the step's kurtosis, and bounds by basis, process and grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from torch import Tensor

from nonnormal.steps import get
from nonnormal.study.experiments.ablation.tables import AXES
from nonnormal.study.experiments.ablation.tables import ablation as numbers
from nonnormal.study.report import theme
from nonnormal.study.report.names import SOLVER_NAMES, basis_name, distance_name, step_name
from nonnormal.study.results.context import Context

_MARKERS = {"euler": "P", "dpmpp_2m": "X"}  # of solvers
_TITLES = {
    "basis": "basis in which the step is independent",
    "process": "process",
    "grid": "grid of times",
}
_LARGEST = 4.0  # deviations of the step that are drawn in the strongest colour
_WIDTH = 0.62  # of the marks that belong to one name of an axis


def ablation(summary: pd.DataFrame, fid: str) -> Figure:
    """A column an axis, base first. Top: distance at the fewest steps. Middle: kurtosis share. Bottom: bounds.

    Args:
        summary: rows of a study with those of `measure`.
        fid: name of the distance, which says in whose features it is.
    """
    theme.apply()
    table = numbers(summary, fid)
    names = {axis: list(dict.fromkeys(table[table.axis.isin(("base", axis))][axis])) for axis in AXES}
    ticks = {axis: [AXES[axis](name).replace(" ", "\n") for name in found] for axis, found in names.items()}
    ratios = [1 + max(len(found), 0.17 * sum(map(len, found))) for found in names.values()]  # room for the names
    figure, axes = plt.subplots(3, 3, figsize=(theme.WIDTH, 5.6), width_ratios=ratios, height_ratios=(1.5, 0.8, 1.2))
    for column, axis in zip(axes.T, AXES, strict=True):
        of_axis = table[table.axis.isin(("base", axis))]
        _distances(column[0], of_axis, axis, names[axis])
        _shares(column[1], of_axis, axis, names[axis])
        if axis == "basis":  # bounds have times of their own, and other processes spend them otherwise
            _bounds(column[2], of_axis, axis, names[axis])
        column[0].set_title(_TITLES[axis], fontsize="small")
        for panel in column:
            panel.set_xticks(range(len(names[axis])), ticks[axis], fontsize=7)
            panel.set_xlim(-0.6, len(names[axis]) - 0.4)
            panel.grid(False, axis="x")
        for panel, first in zip(column[:2], axes[:2, 0], strict=True):
            if panel is not first:
                panel.sharey(first)
                panel.tick_params(labelleft=False)
    few = table[table.measure == "fid"].nfe.min()
    axes[0, 0].set(ylabel=f"{distance_name(fid)},\n{few} calls", yscale="log")
    theme.plain_log(axes[0, 0].yaxis)
    axes[1, 0].set(ylabel="share of the step's\nkurtosis left", ylim=(0, 1))
    axes[2, 0].set_ylabel("own bound − normal step's,\nbits/dim")
    shown = table[(table.against == "normal step") & (table.measure == "bpd_difference") & (table.axis != "process")]
    axes[2, 1].set_axis_off()
    axes[2, 2].set_axis_off()
    handles, labels = axes[0, 2].get_legend_handles_labels()
    bounds = sorted(table[table.measure == "bpd_total"]["T"].unique()) if len(shown) else []
    for n_steps, face in zip(bounds, ({}, {"markerfacecolor": "white"}), strict=False):
        looks = [theme.step_style(step) | {"ls": "none", "markersize": 3.5} | face for step in shown.step.unique()]
        handles.append(tuple(Line2D([], [], **look) for look in looks))
        labels.append(f"bound, T = {n_steps:.0f}")
    each = HandlerTuple(ndivide=None)
    legend = axes[2, 1].legend(handles, labels, loc="center left", ncols=2, fontsize=6.8, handler_map={tuple: each})
    legend.set_in_layout(False)  # it may be wider than the panel, whose neighbour is empty
    return figure


def _distances(panel: Axes, table: pd.DataFrame, axis: str, names: list[str]) -> None:
    """Distance by step and solver."""
    rows = table[(table.measure == "fid") & (table.nfe == table[table.measure == "fid"].nfe.min())]
    kinds = [*rows.step.dropna().unique(), *rows[rows.step.isna()].sampler.unique()]
    for i, kind in enumerate(kinds):
        if kind in SOLVER_NAMES:
            label = f"no noise, {SOLVER_NAMES[kind]}"
            style = {"color": "black", "marker": _MARKERS[kind], "markersize": 4.5, "label": label}
            found = rows[rows.step.isna() & (rows.sampler == kind)]
        else:
            style, found = theme.step_style(kind), rows[rows.step == kind]
        _marks(panel, found, axis, names, (i + 0.5) / len(kinds) - 0.5, style)


def _shares(panel: Axes, table: pd.DataFrame, axis: str, names: list[str]) -> None:
    """Kurtosis share, a mark a number of steps."""
    rows = table[table.measure == "kurtosis_share"]
    for i, (nfe, found) in enumerate(rows.groupby("nfe")):
        style = {"color": ("0.25", "0.6")[i % 2], "marker": "ov^s"[i % 4], "label": f"{nfe} calls"}
        _marks(panel, found, axis, names, 0, style)
    if axis == "basis":
        panel.legend(fontsize=6.8)


def _bounds(panel: Axes, table: pd.DataFrame, axis: str, names: list[str]) -> None:
    """Own bound of each step minus the normal step's on the same states; hollow at the most steps."""
    rows = table[(table.measure == "bpd_difference") & (table.against == "normal step")]
    kinds = list(rows.step.unique())
    for j, (_, part) in enumerate(rows.groupby("T")):
        for i, kind in enumerate(kinds):
            style = theme.step_style(kind) | ({"markerfacecolor": "white"} if j else {})
            place = (i + 0.5 + 0.35 * (j - 0.5)) / len(kinds) - 0.5
            _marks(panel, part[part.step == kind], axis, names, place, style)
    panel.axhline(0, color="0.5", lw=0.8, zorder=0)


def _marks(panel: Axes, rows: pd.DataFrame, axis: str, names: list[str], place: float, style: Mapping) -> None:
    """Values with their intervals at the names of an axis, beside its middle by a part of the width."""
    x = [names.index(name) + _WIDTH * place for name in rows[axis]]
    theme.errorbar(panel, x, rows, **{"ls": "none", "markersize": 3.5, "capsize": 1.5, "lw": 1, **style})


def ablation_samples(
    shown: Mapping[str, Tensor], bases: Sequence[str], steps: Sequence[str], levels: int, n_columns: int = 6
) -> Figure:
    """The noise of one step, the state that it leads to, and the image in the end; a column shares its seed.

    A row for the normal step in the base, then one for each basis, of the steps of greatest and of least kurtosis.

    Args:
        shown: "basis/step/noise" and "basis/step/state" (N, C, H, W), "basis/step/image" uint8 (N, C, H, W).
        bases: names of the bases, the base first.
        steps: step families.
        levels: number of grey levels.
        n_columns: images a block.
    """
    theme.apply()
    others = sorted((step for step in steps if step != "normal"), key=lambda step: get(step).excess_kurtosis)
    picked = dict.fromkeys((*others[-1:], *others[:1]))
    rows = [(bases[0], "normal"), *((basis, step) for step in picked for basis in bases)]
    figure, axes = plt.subplots(len(rows), 3, figsize=(theme.WIDTH, 0.37 * len(rows) + 0.3), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.01, hspace=0, wspace=0.02)
    for trio, (basis, step) in zip(axes, rows, strict=True):
        noise, state, image = (shown[f"{basis}/{step}/{part}"].double() for part in ("noise", "state", "image"))
        blocks = ((noise / _LARGEST + 1) / 2, (state + 1) / 2, image / (levels - 1))
        for panel, images in zip(trio, blocks, strict=True):
            _strip(panel, images[:n_columns].clamp(0, 1).numpy(), diverging=panel is trio[0])
        trio[0].set_ylabel(
            theme.literal(f"{step_name(str(get(step)))}, {basis_name(basis)}"),
            rotation=0,
            ha="right",
            va="center",
            labelpad=6,
            fontsize=7,
        )
    for panel, title in zip(
        axes[0], ("noise of one step", "state after it, with the noise", "image in the end"), strict=True
    ):
        panel.set_title(title, fontsize="small")
    return figure


def _strip(panel: Axes, images: np.ndarray, diverging: bool) -> None:
    """Images (N, C, H, W) in [0, 1] side by side; ½ is zero for signed values."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=0.5 if diverging else 0.0)
    row = np.concatenate(list(padded), axis=-1).transpose(1, 2, 0)
    grey = row.shape[-1] == 1
    colours = {"cmap": "RdBu_r" if diverging else "gray_r"} if grey else {}
    panel.imshow(row[..., 0] if grey else row, vmin=0, vmax=1, **colours)
    theme.bare(panel)


def drawn_samples(context: Context) -> Figure:
    """The first images of each step in each of the study's bases."""
    study = context.study
    names = study.run(study.ablation.network(study)).basis.kind, *study.ablation.bases
    return ablation_samples(context.arrays("ablation"), names, study.ablation.step_families, context.levels)
