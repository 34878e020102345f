"""May the step of a network be changed after training? Networks against the steps that they are sampled with."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from nonnormal.study.report import theme

# White is what the intervals allow; pale beyond, so that numbers are read on every shade.
_SHADES = BoundaryNorm((-3, -2, -1, 1, 2, 3), 256, extend="both")


def step_swap(summary: pd.DataFrame, fid: str, labels: Mapping[str, str]) -> Figure:
    """FID with half of its 95 % interval: one block a number of steps, a row a network.

    The shade of a cell is its difference to the network's normal step, over both halves added in quadrature, which is
    wider than need be where samples share their seeds. Without a normal step there is no shade.

    Args:
        summary: rows of a study with the metrics of `measure.step_swap_rows`.
        fid: name of the distance, which says in whose features it is.
        labels: what to call each run.
    """
    theme.apply()
    rows = summary[summary.metric == f"step_swap_{fid}"]
    counts, runs, steps = (list(dict.fromkeys(rows[key])) for key in ("nfe", "run", "step"))
    height = 0.28 * len(runs) * len(counts) + 1.5
    figure, axes = plt.subplots(len(counts), 1, figsize=(theme.WIDTH, height), sharex=True, squeeze=False)
    for axis, n_steps in zip(axes[:, 0], counts, strict=True):
        cells = rows[rows.nfe == n_steps].set_index(["run", "step"])
        value = np.array([[cells.value[run, step] for step in steps] for run in runs])
        half = np.array([[(cells.high - cells.low)[run, step] / 2 for step in steps] for run in runs])
        normal = [steps.index("normal")] if "normal" in steps else slice(None)
        apart = (value - value[:, normal]) / np.hypot(half, half[:, normal])
        picture = axis.imshow(apart, cmap="RdBu_r", norm=_SHADES, aspect="auto", alpha=0.5)
        for (i, j), number in np.ndenumerate(value):
            axis.text(j, i, f"{number:.1f}\n±{half[i, j]:.1f}", ha="center", va="center", fontsize=6.5)
        axis.set_yticks(range(len(runs)), [theme.literal(labels[run]) for run in runs])
        axis.set_title(f"{fid}, {n_steps} steps")
        axis.grid(False)
    axes[-1, 0].set_xticks(range(len(steps)), steps, rotation=30, ha="right", rotation_mode="anchor", fontsize=7)
    label = "difference to the normal step\n(half-widths of its interval)"
    figure.colorbar(picture, ax=axes[:, 0].tolist(), pad=0.01, aspect=30).set_label(label, fontsize=8)
    axes[-1, 0].set_xlabel("step that the network (row, by its pair q/p) is sampled with")
    return figure
