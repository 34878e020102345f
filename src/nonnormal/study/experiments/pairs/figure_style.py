"""Style of samples: differences to normal steps from the same seeds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.study.report import theme
from nonnormal.study.report.text import STYLE_NAMES


def style_differences(summary: pd.DataFrame, labels: Mapping[str, str], trainings: pd.DataFrame) -> Figure:
    """Top: each pair minus the normal pair. Bottom: each step minus the normal step, same network; 0 is no difference.

    Args:
        summary: rows of a study with the metrics of `samples`; without a step swap there is no bottom.
        labels: what to call each run.
        trainings: rows of each training, drawn as faint marks.
    """
    theme.apply()
    measured = set(summary.metric)
    found = [name for name in STYLE_NAMES if f"style_{name}" in measured]
    swapped = f"step_swap_style_{found[0]}_difference" in measured
    shape = (1 + swapped, len(found))
    figure, axes = plt.subplots(*shape, figsize=(theme.WIDTH, 2.6 * shape[0] + 0.4), squeeze=False)
    styles = theme.run_styles(summary, labels)
    for column, name in enumerate(found):
        trained, single = (
            rows[rows.metric == f"style_{name}_difference"].sort_values("nfe") for rows in (summary, trainings)
        )
        _marks(axes[0, column], trained, "nfe", styles, single)
        axes[0, column].set(title=STYLE_NAMES[name], xlabel="sampling steps")
        if swapped:
            rows, single = (rows[rows.metric == f"step_swap_style_{name}_difference"] for rows in (summary, trainings))
            rows, single = rows[rows.nfe == rows.nfe.min()], single[single.nfe == rows.nfe.min()]  # where it is largest
            _marks(axes[1, column], rows, "step", styles, single)
            axes[1, column].tick_params("x", rotation=40, labelsize=7)
            plt.setp(axes[1, column].get_xticklabels(), ha="right", rotation_mode="anchor")
    axes[0, 0].set_ylabel("pair − normal/normal")
    if swapped:
        axes[1, 0].set_ylabel("step − normal step,\nsame network")
    theme.legend_below(figure, axes[-1, 0], "network, by its pair q/p")
    return figure


def _marks(axis: Axes, rows: pd.DataFrame, key: str, styles: Mapping[str, dict], trainings: pd.DataFrame) -> None:
    """Differences with their intervals by the values of a column, a mark a run, and a faint one a training."""
    places, runs = list(dict.fromkeys(rows[key])), [run for run in styles if run in set(rows.run)]
    for i, run in enumerate(runs):
        line = rows[rows.run == run]
        x = [places.index(place) + theme.beside(i, len(runs)) for place in line[key]]
        spread = [(line.value - line.low).clip(lower=0), (line.high - line.value).clip(lower=0)]
        style = styles[run] | {"linestyle": "none", "linewidth": 1, "markersize": 4, "alpha": 1}
        axis.errorbar(x, line.value, yerr=spread, capsize=1.5, **style)
        marks = trainings[trainings.run == run]
        theme.faint(axis, [places.index(at) + theme.beside(i, len(runs)) for at in marks[key]], marks.value, style)
    axis.axhline(0, color="0.5", lw=0.8, zorder=0)
    axis.grid(False, axis="x")
    axis.set_xticks(range(len(places)), places)
