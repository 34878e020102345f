"""Measurements of a pretrained network: its samples with each step, compared with the data and the normal step."""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from nonnormal.data import ImageData, quantise
from nonnormal.diffusers.pretrained import Pretrained, read
from nonnormal.metrics.reference import Reference
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import difference_rows, distance_rows, mean_rows, with_each_step
from nonnormal.study.results.rows import frame

SHOWN = 16  # images that are kept for the figure


def pretrained_rows(
    study: Study, network: Pretrained, data: ImageData, reference: Reference, device: str = "cpu"
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Distances, style, and style against the normal step, for each step and number of steps of the study's section.

    Image i has the same seed for every step, and the prior draw is the same.

    Args:
        network: on the device.
        reference: feature network and training split.

    Returns:
        (rows, the first `SHOWN` images of each, uint8 (SHOWN, C, H, W), by "n_steps/step").
    """

    def draw(step: str, n_steps: int, seeds: list[int]) -> Tensor:
        return quantise(network.sample(step, n_steps, seeds, batch_size=study.sampling.batch_size), data.levels)

    rows, shown, common = [], {}, {"network": network.origin, "network_sha256": network.sha256}
    section = study.pretrained
    n_images = dict.fromkeys(section.nfe, section.n_images)
    for step, n_steps, images, normal in with_each_step(study, "", section.step_families, n_images, "pretrained", draw):
        shown[f"{n_steps}/{step}"] = images[:SHOWN].clone()
        conditions = {"sampler": "NonNormalScheduler", "step": step, "dtype": "float32", **common}
        rows += distance_rows(study, None, images, reference, n_steps, conditions, device, "pretrained_")
        rows += mean_rows(study, None, images, data.levels, n_steps, conditions, "pretrained_")
        if step != "normal":
            against = {**conditions, "against": "normal step"}
            rows += difference_rows(study, None, images, normal, data, n_steps, against, "pretrained_")
    return frame(rows), shown


def measure(context: Context) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Rows of the summary, and the first samples by step and number of steps."""
    network = read(context.layout.pretrained_network, context.device)
    return pretrained_rows(context.study, network, context.data, context.reference, context.device)
