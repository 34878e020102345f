"""Training curves: loss against optimiser steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from nonnormal.study.report import theme


def training_curves(logs: Mapping[str, tuple[str, str, Sequence[pd.DataFrame]]]) -> Figure:
    """Loss T·(K(delta) − K(0)) and gradient norm of each training, running means over 5 rows of the log.

    Args:
        logs: (q, p, a log with `training.LOG_COLUMNS` for each training) by label; those after the first are faint.
    """
    theme.apply()
    figure, (loss, norm) = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.1))
    styles = theme.line_styles({label: (q, p) for label, (q, p, _) in logs.items()})
    for label, (_, _, trainings) in logs.items():
        style = styles[label] | {"marker": None}
        for log in trainings:
            smooth = log.set_index("step").rolling(5, min_periods=1).mean()
            loss.plot(smooth.index, smooth.loss_nats_per_dim, **style)
            norm.plot(smooth.index, smooth.gradient_norm, **style)
            style |= {"label": None, "alpha": 0.25, "linewidth": 0.8, "zorder": 1.8}
    loss.set(xlabel="optimiser step", ylabel="loss without its constant\n(nats per dimension)", yscale="log")
    norm.set(xlabel="optimiser step", ylabel="gradient norm before clipping", yscale="log")
    for axis in (loss, norm):
        theme.plain_log(axis.yaxis)
    theme.legend_below(figure, loss, "pair q/p")
    return figure
