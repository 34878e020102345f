"""Sample rows: the same seeds, one row a pair, as the paper's Figure 1."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from nonnormal.study.report import theme


def sample_rows(samples: Mapping[str, np.ndarray], levels: int, n_columns: int = 14) -> Figure:
    """The first images of each run, one row a run; a column shares its seed.

    Args:
        samples: uint8 grey levels (N, C, H, W) by row label.
        levels: number of grey levels.
        n_columns: images a row.
    """
    theme.apply()
    width = theme.WIDTH
    margin = 1.25  # inches for the row labels
    *_, pixels_down, pixels_across = next(iter(samples.values())).shape
    cell = (width - margin) / n_columns * pixels_down / pixels_across
    figure, axes = plt.subplots(len(samples), 1, figsize=(width, cell * 1.12 * len(samples) + 0.05), squeeze=False)
    for axis, (label, images) in zip(axes[:, 0], samples.items(), strict=True):
        row = np.stack([_with_border(image, levels) for image in images[:n_columns]], axis=1)
        row = row.reshape(row.shape[0], -1, *row.shape[3:]) / (levels - 1)
        grey = row.shape[-1] == 1
        axis.imshow(row[..., 0] if grey else row, cmap="gray_r" if grey else None, vmin=0, vmax=1)
        # A pair of long names goes on two lines, so that the images keep their room.
        text = theme.literal(label if len(label) < 20 else label.replace("/", "/\n"))
        axis.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6)
        theme.bare(axis)
    return figure


def _with_border(image: np.ndarray, levels: int) -> np.ndarray:
    """(C, H, W) as (H + 1, W + 1, C), with a white line and column that set images apart."""
    white = 0 if len(image) == 1 else levels - 1  # grey images are drawn as ink on paper
    return np.pad(image.transpose(1, 2, 0), ((0, 1), (0, 1), (0, 0)), constant_values=white).astype(float)
