"""Theme: one look for all figures, and one colour per step family everywhere.

A pair q/p has the colour of q, and the marker and dash of p, hollow if p is not normal, so a pair is recognised from
figure to figure. normal/normal is drawn wide, pale and below the others, since some lines coincide with it. If several
runs have the same pair, each after the first has a lighter shade and its own marker.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from nonnormal.files import write_bytes
from nonnormal.steps import families, get
from nonnormal.study.report.names import HELD_OUT, step_name

mpl.use("agg")

WIDTH = 6.9  # inches, the text width of the paper
_COLOURS = dict(zip(families(), [*sns.color_palette("colorblind"), "0.35", "#6b4c2a"], strict=False))
_MARKERS = "os^vDPX<>*dh"
_STEP_MARKERS = dict(zip(families(), _MARKERS, strict=False))
_DASHES = {"normal": "-", "laplace": (0, (4, 1.5)), "uniform": ":"}


def apply() -> None:
    """Sets the theme for all figures made from now on."""
    sns.set_theme(context="paper", style="ticks", font_scale=0.95)
    mpl.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "0.92",
            "legend.frameon": False,
            "font.family": "DejaVu Sans",
            "pdf.fonttype": 42,
            "savefig.dpi": 200,
        }
    )


def literal(text: str) -> str:
    """The text, escaped so that matplotlib reads nothing as mathematics: names of a user's steps are arbitrary."""
    return text.replace("$", r"\$")


def line_style(q: str, p: str, again: int = 0) -> dict:
    """Colour, dash, marker and width of the pair q/p, in the first run that has it or in one after that."""
    colour = tuple(1 - 0.65**again * (1 - part) for part in mpl.colors.to_rgb(_COLOURS.get(get(q).name, "0.6")))
    place = _MARKERS.index(_STEP_MARKERS.get(get(p).name, "D")) + 5 * again  # past the steps of most runs
    reference = get(q).name == get(p).name == "normal"
    return {
        "color": colour,
        "markerfacecolor": colour if p == "normal" else "white",
        "linestyle": _DASHES.get(p, "-."),
        "marker": _MARKERS[place % len(_MARKERS)],
        "linewidth": 3 if reference else 1.2,
        "markersize": 6 if reference else 3.5,
        "alpha": 0.55 if reference else 1,
        "zorder": 1.9 if reference else 2,
        "label": literal(f"{get(q)}/{get(p)}"),
    }


def line_styles(pairs: Mapping[str, tuple[str, str]]) -> dict[str, dict]:
    """`line_style` of each label's pair (q, p), with the label; no two are alike."""
    seen: Counter[tuple[str, str]] = Counter()
    styles = {}
    for label, pair in pairs.items():
        styles[label] = line_style(*pair, again=seen[pair]) | {"label": literal(label)}
        seen[pair] += 1
    return styles


def run_styles(summary: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, dict]:
    """`line_styles` by run, for the runs of a summary that have a label, in the labels' order."""
    found = summary.dropna(subset=["run"]).drop_duplicates("run").set_index("run")
    styles = line_styles({labels[run]: (found.q[run], found.p[run]) for run in labels if run in found.index})
    return {run: styles[label] for run, label in labels.items() if label in styles}


def floor_line(axis: Axes, summary: pd.DataFrame, distance: str) -> None:
    """Draw a line at the distance of held-out images, if the study has it."""
    for floor in summary[(summary.metric == distance) & (summary.of == "held_out")].itertuples():
        axis.axhline(floor.value, color="0.4", lw=0.9, ls="-.", label=HELD_OUT)


def legend_below(figure: Figure, axis: Axes, title: str) -> None:
    """Put the axis's legend under the figure, which grows by its lines; at most six columns, if there is room."""
    handles, names = axis.get_legend_handles_labels()
    if not handles:
        return

    def width(columns: int) -> float:  # inches, about 0.065 a letter, and 0.55 for line and gap
        return sum(0.065 * max(map(len, part)) + 0.55 for part in np.array_split(names, columns))

    columns = next((n for n in range(min(6, len(names)), 1, -1) if width(n) <= WIDTH), 1)
    figure.set_figheight(figure.get_figheight() + 0.18 * (math.ceil(len(names) / columns) - 1))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, title=title)


def faint(axis: Axes, x: Sequence[float], y: Sequence[float], style: Mapping, marker: str = "_") -> None:
    """A faint dash for each training, across the bar of the mean that has the style."""
    axis.scatter(x, y, s=36, marker=marker, color=style["color"], alpha=0.45, linewidths=1, zorder=1.8)


def step_style(step: str) -> dict:
    """Colour and marker of a single step."""
    name = get(step).name
    return {
        "color": _COLOURS.get(name, "0.6"),
        "marker": _STEP_MARKERS.get(name, "D"),
        "label": literal(step_name(str(get(step)))),
    }


def errorbar(axis: Axes, x: Sequence[float], rows: pd.DataFrame, **style) -> ErrorbarContainer:
    """Values of the rows over x with their intervals, whose ends rounding may have put beyond the value."""
    ends = [(rows.value - rows.low).clip(lower=0), (rows.high - rows.value).clip(lower=0)]
    return axis.errorbar(x, rows.value, yerr=ends, **style)


def bare(axis: Axes) -> None:
    """Leave a picture without ticks, grid and frame."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def beside(i: int, n: int, width: float = 0.64) -> float:
    """Offset of the i-th of n marks at one place from its middle; together the marks take up the width."""
    return width * ((i + 0.5) / n - 0.5)


def plain_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Ticks at these places of a logarithmic axis and nowhere else, written as plain numbers."""
    axis.set_ticks(ticks)
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())


def plain_log(axis: Axis) -> None:
    """Ticks at 1, 2, 5 of each decade of a logarithmic axis, written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the suffix, atomically and undated, so that equal figures are equal files."""
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    drawn = BytesIO()  # on a full disk, matplotlib's writers fail with errors of several kinds
    figure.savefig(drawn, format=path.suffix[1:], metadata=metadata)
    write_bytes(path, drawn.getvalue())
