"""The pictures of README.md and of docs/: one network of the default study, sampled with steps other than its own.

`make pictures` trains the network if it is missing and calls this module. The images shown are the first of those that
the experiment step_swap measures; the numbers are its rows over five trainings, kept from config/kurtosis.yaml.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nonnormal.steps import coupled, get
from nonnormal.study.config import load
from nonnormal.study.report import theme
from nonnormal.study.results.context import Context
from nonnormal.study.results.drawing import ancestral
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.summary import read_rows
from nonnormal.study.results.trainings import over_trainings

STUDY, RUN = "config/digits.yaml", "normal-normal"
MEASURED = Path("results/kurtosis/summary.csv")
SHOWN = ("normal", "laplace", "rademacher")
LABELS = {  # places of the names, in points from the mark, where the usual one is taken
    "arcsine": (-5, -3),
    "rademacher": (5, -3),
    "uniform": (5, -8),
    "student_t": (-6, -2),
    "generalized_normal": (6, -2),
    "laplace": (-6, -2),
    "triangular": (-5, 3),
    "logistic": (6, -2),
    "normal": (5, -9),
}
NAMES = {"generalized_normal": "gen. normal", "student_t": "Student's t"}
METRIC = "step_swap_fid_digits_difference"


def tiled(images: Tensor, columns: int) -> np.ndarray:
    """One picture of images (N, 1, H, W), `columns` in a row, with a line of one pixel between them."""
    n, _, height, width = images.shape
    framed = np.full((n, height + 1, width + 1), np.nan)
    framed[:, :height, :width] = images[:, 0]
    rows = framed.reshape(n // columns, columns, height + 1, width + 1).swapaxes(1, 2)
    return rows.reshape(n // columns * (height + 1), columns * (width + 1))[:-1, :-1]


def show(axis: Axes, images: Tensor, columns: int, levels: int) -> None:
    """Draw grey images (N, 1, H, W) as one picture without ticks and frame."""
    axis.imshow(tiled(images, columns), cmap="gray", vmin=0, vmax=levels - 1)
    theme.bare(axis)


def kurtosis_and_distance(axis: Axes, rows: pd.DataFrame, nfe: int) -> None:
    """Fréchet distance of each step's images minus that of the normal step's, against its excess kurtosis."""
    axis.axhline(0, color="0.7", linewidth=0.8)
    rows = rows[(rows.metric == METRIC) & (rows.nfe == nfe)]
    normal = ("normal", 0, 0, 0)
    for step, value, low, high in [normal, *rows[["step", "value", "low", "high"]].itertuples(index=False)]:
        style = {key: look for key, look in theme.step_style(step).items() if key != "label"}
        law, face = get(step), style["color"] if get(step).skewness == 0 else "white"
        error = [[value - low], [high - value]]
        axis.errorbar(law.excess_kurtosis, value, error, linestyle="", mfc=face, markersize=5, **style)
        place = {"xy": (law.excess_kurtosis, value), "xytext": LABELS.get(law.name, (5, -8)), "fontsize": 6.5}
        side = "left" if place["xytext"][0] > 0 else "right"
        axis.annotate(NAMES.get(law.name, law.name), textcoords="offset points", ha=side, **place)
    axis.set_xlim(left=-3.4)
    axis.set_xlabel("excess kurtosis of the step", fontsize=8)
    axis.set_ylabel("Fréchet distance of the images,\nminus that with the normal step", fontsize=8)
    axis.tick_params(labelsize=7)


def few_calls(images: dict[str, Tensor], rows: pd.DataFrame, levels: int, nfe: int) -> Figure:
    """Images of each step, one block of two rows a step, and `kurtosis_and_distance` beside."""
    figure = plt.figure(figsize=(theme.WIDTH, 2.7))
    left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    axes = left.subplots(len(images), 1)
    for axis, (step, each) in zip(axes, images.items(), strict=True):
        show(axis, each, len(each) // 2, levels)
        axis.set_ylabel(step, fontsize=8)
    left.suptitle(f"one network, {nfe} calls an image", fontsize=9)
    kurtosis_and_distance(right.subplots(), rows, nfe)
    return figure


def by_calls(images: dict[tuple[str, int], Tensor], levels: int) -> Figure:
    """Images of each step (row) for each number of calls (column)."""
    steps, counts = (list(dict.fromkeys(keys)) for keys in zip(*images, strict=True))
    figure, axes = plt.subplots(len(steps), len(counts), figsize=(theme.WIDTH, 0.85 * len(steps) + 0.25))
    for (step, nfe), each in images.items():
        axis = axes[steps.index(step), counts.index(nfe)]
        show(axis, each, len(each) // 2, levels)
        if step == steps[0]:
            axis.set_title(f"{nfe} calls", fontsize=9)
        if nfe == counts[0]:
            axis.set_ylabel(step, fontsize=8)
    return figure


def main() -> None:
    """Write docs/images/few-calls.png and docs/images/by-calls.png."""
    study = load(STUDY)
    layout = Layout(study.name, study.data_name, study.headline)
    context = Context(study, layout, RUN)
    network, levels = context.network(), context.levels
    rows = over_trainings(read_rows(MEASURED))
    seeds = study.image_seeds("exchange", 16)
    fewest = min(study.step_swap.nfe)
    theme.apply()

    def draw(step: str, nfe: int) -> Tensor:
        return ancestral(study, RUN, network, nfe, seeds, coupled(get(step)))

    folder = Path("docs/images")
    figure = few_calls({step: draw(step, fewest) for step in SHOWN}, rows, levels, fewest)
    theme.save(figure, folder / "few-calls.png")
    figure = by_calls({(step, nfe): draw(step, nfe)[:10] for step in SHOWN for nfe in (5, 10, 50)}, levels)
    theme.save(figure, folder / "by-calls.png")


if __name__ == "__main__":
    main()
