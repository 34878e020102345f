"""Theme: one look for all figures, and one colour per step family everywhere.

A pair q/p has the colour and marker of q and the dash of p, so a pair is recognised from figure to figure.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from nonnormal.files import atomic

mpl.use("agg")

WIDTH = 6.9  # inches, the text width of the paper
_COLOURS = dict(zip(("normal", "laplace", "uniform"), sns.color_palette("colorblind"), strict=False))
_DASHES = {"normal": "-", "laplace": (0, (4, 1.5)), "uniform": ":"}
_MARKERS = {"normal": "o", "laplace": "s", "uniform": "^"}


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
    return {
        "color": _COLOURS.get(q, "0.3"),
        "linestyle": _DASHES.get(p, "-."),
        "marker": _MARKERS.get(q, "D"),
        "label": f"{q}/{p}",
    }


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the suffix, atomically and undated, so that equal figures are equal files."""
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata=metadata)
