"""Style of samples: differences to normal steps from the same seeds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.study.report import theme
from nonnormal.study.report.names import STYLE_NAMES


def style_differences(summary: pd.DataFrame, labels: Mapping[str, str], trainings: pd.DataFrame) -> Figure:
    """Style of each pair minus that of the normal pair; 0 means no difference.

    Args:
        summary: rows of a study with the metrics of `samples`.
        labels: label of each run.
        trainings: rows of each training, drawn as faint marks.
    """
    theme.apply()
    measured = set(summary.metric)
    found = [name for name in STYLE_NAMES if f"style_{name}" in measured]
    figure, axes = plt.subplots(1, len(found), figsize=(theme.WIDTH, 3.0), squeeze=False)
    styles = theme.run_styles(summary, labels)
    for axis, name in zip(axes[0], found, strict=True):
        trained, single = (
            rows[rows.metric == f"style_{name}_difference"].sort_values("nfe") for rows in (summary, trainings)
        )
        _marks(axis, trained, styles, single)
        axis.set(title=STYLE_NAMES[name], xlabel="network calls")
    axes[0, 0].set_ylabel("pair − normal/normal")
    theme.legend_below(figure, axes[0, 0], "network, by its pair q/p")
    return figure


def _marks(axis: Axes, rows: pd.DataFrame, styles: Mapping[str, dict], trainings: pd.DataFrame) -> None:
    """Differences with their intervals by the number of steps, a mark a run, and a faint one a training."""
    places, runs = list(dict.fromkeys(rows.nfe)), [run for run in styles if run in set(rows.run)]
    for i, run in enumerate(runs):
        line = rows[rows.run == run]
        x = [places.index(place) + theme.beside(i, len(runs)) for place in line.nfe]
        style = styles[run] | {"linestyle": "none", "linewidth": 1, "markersize": 4, "alpha": 1}
        theme.errorbar(axis, x, line, capsize=1.5, **style)
        marks = trainings[trainings.run == run]
        theme.faint(axis, [places.index(at) + theme.beside(i, len(runs)) for at in marks.nfe], marks.value, style)
    axis.axhline(0, color="0.5", lw=0.8, zorder=0)
    axis.grid(False, axis="x")
    axis.set_xticks(range(len(places)), places)
