"""Theme: one look for all figures, and one colour per step family everywhere.

A pair q/p has the colour and marker of q and the dash of p, and a hollow marker where p is not the normal, so a pair is
recognised from figure to figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from nonnormal.files import atomic
from nonnormal.steps import families, get

mpl.use("agg")

WIDTH = 6.9  # inches, the text width of the paper
_COLOURS = dict(zip(families(), [*sns.color_palette("colorblind"), "0.35"], strict=False))
_STEP_MARKERS = dict(zip(families(), "os^vDPX<>*.", strict=False))
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


def line_style(q: str, p: str) -> dict:
    """Colour, dash and marker of the pair q/p."""
    colour = _COLOURS.get(get(q).name, "0.6")
    return {
        "color": colour,
        "markerfacecolor": colour if p == "normal" else "white",
        "linestyle": _DASHES.get(p, "-."),
        "marker": _STEP_MARKERS.get(get(q).name, "D"),
        "label": f"{q}/{p}",
    }


def step_style(step: str) -> dict:
    """Colour and marker of a single step."""
    name = get(step).name
    return {"color": _COLOURS.get(name, "0.6"), "marker": _STEP_MARKERS.get(name, "D"), "label": step}


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
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata=metadata)
