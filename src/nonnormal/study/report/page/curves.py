"""Training curve of a run as inline SVG, whose lines and letters have the colours of the page around it."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup

from nonnormal.study.experiments.pairs.figure_training import training_curves

_OF_THE_PAGE = {
    "#262626": "currentColor",
    "#000000": "currentColor",
    "#ebebeb": "var(--line)",
    "#595959": "var(--muted)",
}


def curve(run: str, q: str, p: str, log: pd.DataFrame) -> Markup:
    """Loss and gradient norm of a training as an <svg>; equal logs of a run give equal text.

    Args:
        run: name of the run, by which ids differ from those of other runs on the page.
        q: step of its true process, which has a colour.
        p: step of its model, which has a dash.
        log: with `training.LOG_COLUMNS`.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": run, "svg.fonttype": "none", "path.simplify_threshold": 0.5}):
        figure = training_curves({run: (q, p, [log])})
        for legend in figure.legends:
            legend.remove()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
        plt.close(figure)
    text = buffer.getvalue()
    text = re.sub('<g id="[^"]*"', "<g", text[text.index("<svg") :])  # of which no two on a page may be alike
    for ink, colour in _OF_THE_PAGE.items():
        text = text.replace(ink, colour)
    return Markup(text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1))
