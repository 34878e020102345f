"""Other representations and schedules: their order, their noise, their scores, and images continued by columns."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nonnormal.bases import Components
from nonnormal.figures import theme
from nonnormal.information import generated_at_once, information
from nonnormal.objective import Design, marginal_state
from nonnormal.summary import select, with_condition

_TIMES = torch.linspace(0, 1, 201, dtype=torch.float64)


def order(designs: Mapping[str, tuple[Design, Components]]) -> Figure:
    """SNR paths of the components of each design, and below what is known of each component at each time.

    Lines have the colour of the component's place in the order, light ones are generated last.
    """
    theme.apply()
    figure, axes = plt.subplots(
        2, len(designs), figsize=(theme.WIDTH, 3.6), sharex=True, sharey="row", squeeze=False, height_ratios=(1.2, 1)
    )
    for column, (name, (point, parts)) in zip(axes.T, designs.items(), strict=True):
        known, gain = (value.flatten(1) for value in information(point.process, parts.variance, _TIMES, parts.floor))
        late = (gain * _TIMES[:, None]).sum(0) / gain.sum(0)  # when a component is noised, on average
        ranks = late.argsort().argsort().double() / max(len(late) - 1, 1)
        snr, _ = point.process.log_snr_rate(_TIMES)
        log_snr = (parts.variance * (snr if snr.dim() > 1 else snr[:, None, None, None])).log().flatten(1)
        for line, rank in zip(log_snr.T, ranks, strict=True):
            column[0].plot(_TIMES.numpy(), line.numpy(), color=plt.cm.viridis(1 - rank.item()), lw=0.7)
        column[0].set_title(name.replace(", ", ",\n"), fontsize="medium")
        rows = (known / known[0])[:, late.argsort(descending=True)].T.numpy()
        picture = column[1].imshow(
            rows, aspect="auto", extent=(0, 1, len(late), 0), cmap="viridis", vmin=0, vmax=1, interpolation="nearest"
        )
        column[1].grid(False)
        at_once = generated_at_once(point.process, parts.variance, parts.floor)
        column[1].set_xlabel(f"t\n{at_once:.0f} of {len(late)} at once")
    axes[0, 0].set(ylabel="log-SNR of component", ylim=(-15, 20))
    axes[1, 0].set_ylabel("component,\nfirst generated on top")
    figure.colorbar(picture, ax=axes[1, :].tolist(), label="share known", pad=0.01)
    return figure


def corruption(designs: Mapping[str, tuple[Design, Components]], image: Tensor, n_columns: int = 9) -> Figure:
    """One image on its way to noise under each design: the state as an image, at equal times, from the same noise."""
    theme.apply()
    figure, axes = plt.subplots(
        len(designs), n_columns, figsize=(theme.WIDTH, 0.62 * len(designs) + 0.25), squeeze=False
    )
    for i, (row, (name, (point, _))) in enumerate(zip(axes, designs.items(), strict=True)):
        c0 = point.basis.forward(image.double().unsqueeze(0))
        noise = torch.randn(c0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for axis, t in zip(row, np.linspace(0, 1, n_columns), strict=True):
            shown = point.basis.inverse(marginal_state(point.process, c0, float(t), noise))[0]
            axis.imshow(_pixels(shown), cmap="gray_r", vmin=-1, vmax=1)
            _bare(axis)
            if i == 0:
                axis.set_title(f"t = {t:.3g}", fontsize="small")
        row[0].set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center", labelpad=6)
    return figure


def _pixels(x: Tensor) -> np.ndarray:
    """An image (C, H, W) for imshow: grey, or colours in [0, 1]."""
    return x[0].numpy() if x.shape[0] == 1 else ((x.permute(1, 2, 0) + 1) / 2).clamp(0, 1).numpy()


def designs(summary: pd.DataFrame, fid: str, labels: Mapping[str, str]) -> Figure:
    """Bits/dim and FID of each design with 95 % intervals; FID at the largest number of steps."""
    theme.apply()
    names = list(labels)
    figure, axes = plt.subplots(1, 2, figsize=(theme.WIDTH, 0.27 * len(names) + 0.9), sharey=True)
    bits = with_condition(select(summary, "design_bpd_total"), "bound")
    distance = select(summary, f"design_{fid}")
    panels = (
        (axes[0], bits[bits.bound == "normal"], "bits/dim, normal-limit bound"),
        (axes[1], distance[distance.nfe == distance.nfe.max()], f"{fid}, {distance.nfe.max()} steps"),
    )
    for axis, rows, label in panels:
        for row in rows.itertuples():
            style = theme.step_style(row.p) | {"label": None}
            y = len(names) - 1 - names.index(row.run)
            axis.errorbar(row.value, y, xerr=[[row.value - row.low], [row.high - row.value]], capsize=2, **style)
        axis.set_xlabel(label)
    axes[0].set_yticks(range(len(names)), [labels[name] for name in reversed(names)])
    return figure


def extension(images: Mapping[str, Tensor], levels: int) -> Figure:
    """Held-out images, the same with their right half sampled, and continued beyond the border."""
    theme.apply()
    given, completed, continued = (images[name].double() / (levels - 1) for name in ("given", "completed", "continued"))
    size = given.shape[-1]
    ratios = (size, size, continued.shape[-1])
    figure, axes = plt.subplots(
        len(given), 3, figsize=(theme.WIDTH * 0.7, 0.5 * len(given) + 0.3), width_ratios=ratios, squeeze=False
    )
    kept = {"held out": None, "right half sampled": size // 2, "continued to the right": size}
    for i, (row, trio) in enumerate(zip(axes, zip(given, completed, continued, strict=True), strict=True)):
        for axis, image, (title, edge) in zip(row, trio, kept.items(), strict=True):
            grey = image.shape[0] == 1
            shown = image[0] if grey else image.permute(1, 2, 0)
            axis.imshow(shown.numpy(), cmap="gray_r" if grey else None, vmin=0, vmax=1)
            if edge is not None:
                axis.axvline(edge - 0.5, color="#c8553d", lw=1)
            _bare(axis)
            if i == 0:
                axis.set_title(title, fontsize="small")
    return figure


def _bare(axis: Axes) -> None:
    """An image without frame, ticks and grid."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
