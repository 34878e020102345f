"""Style of samples: differences to normal steps from the same seeds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.figures import theme
from nonnormal.summary import select, with_condition

NAMES = {"total_variation": "total variation", "high_frequency": "high-frequency share", "saturation": "saturation"}


def style_differences(summary: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Top: each pair minus the normal pair. Bottom: each step minus the normal step, same network; 0 is no difference.

    Args:
        summary: rows of a study with the metrics of `evaluation.samples`; without its exchange there is no bottom.
        labels: what to call each run.
    """
    theme.apply()
    found = [name for name in NAMES if len(select(summary, f"style_{name}"))]
    exchanged = len(select(summary, f"exchange_style_{found[0]}_difference")) > 0
    shape = (1 + exchanged, len(found))
    figure, axes = plt.subplots(*shape, figsize=(theme.WIDTH, 2.6 * shape[0] + 0.4), squeeze=False)
    styles = theme.run_styles(summary, labels)
    for column, name in enumerate(found):
        _trained(axes[0, column], select(summary, f"style_{name}_difference"), styles)
        axes[0, column].set_title(NAMES[name])
        if exchanged:
            _exchanged(axes[1, column], select(summary, f"exchange_style_{name}_difference"), styles)
    axes[0, 0].set_ylabel("pair − normal/normal")
    if exchanged:
        axes[1, 0].set_ylabel("step − normal step,\nsame network")
    theme.legend_below(figure, axes[-1, 0], "network, by its pair q/p")
    return figure


def _trained(axis: Axes, rows: pd.DataFrame, styles: Mapping[str, dict]) -> None:
    """Difference against the number of sampling steps, a line a pair."""
    for run, group in rows.groupby("run", sort=False):
        line = group.sort_values("nfe")
        _bars(axis, line.nfe.astype(float), line, styles[run])
    axis.axhline(0, color="0.5", lw=0.8, zorder=0)
    axis.set(xscale="log", xlabel="sampling steps")
    theme.plain_ticks(axis.xaxis, sorted(rows.nfe.unique()))


def _exchanged(axis: Axes, rows: pd.DataFrame, styles: Mapping[str, dict]) -> None:
    """Difference by step at the fewest sampling steps, where it is largest; a mark a network."""
    rows = with_condition(rows[rows.nfe == rows.nfe.min()], "step")
    steps, runs = (list(dict.fromkeys(rows[key])) for key in ("step", "run"))
    for i, (run, group) in enumerate(rows.groupby("run", sort=False)):
        places = [steps.index(step) + 0.64 / len(runs) * (i - (len(runs) - 1) / 2) for step in group.step]
        _bars(axis, places, group, styles[run] | {"linestyle": "none"})
    axis.axhline(0, color="0.5", lw=0.8, zorder=0)
    axis.set_xticks(range(len(steps)), steps, rotation=40, ha="right", rotation_mode="anchor", fontsize=6.5)


def _bars(axis: Axes, x, line: pd.DataFrame, style: dict) -> None:
    spread = [(line.value - line.low).clip(lower=0), (line.high - line.value).clip(lower=0)]
    axis.errorbar(x, line.value, yerr=spread, capsize=1.5, markersize=3, lw=1, **style)
