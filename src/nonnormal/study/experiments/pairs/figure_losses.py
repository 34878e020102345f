"""Shapes of the losses: the divergence K(d) that each pair pays for an error d of the mean."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from nonnormal.steps.divergence import constant, shift_kl
from nonnormal.study.report import theme


def loss_shapes(pairs: Sequence[tuple[str, str]]) -> Figure:
    """K_{q,p}(d) with its constant K(0), and without it, where all training happens."""
    theme.apply()
    delta = torch.linspace(-4, 4, 801, dtype=torch.float64)
    small = torch.linspace(-1, 1, 401, dtype=torch.float64)
    figure, (whole, excess) = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.1))
    for q, p in pairs:
        style = theme.line_style(q, p) | {"marker": None}
        whole.plot(delta, shift_kl(q, p, delta), **style)
        excess.plot(small, shift_kl(q, p, small) - constant(q, p), **style)
    whole.set(xlabel="error of the mean d (step standard deviations)", ylabel="K(d)\n(nats per coordinate)")
    excess.set(xlabel="d (step standard deviations)", ylabel="K(d) − K(0)\n(nats per coordinate)")
    whole.set_title("what the bound pays")
    excess.set_title("what training sees")
    theme.legend_below(figure, whole, "pair q/p")
    return figure
