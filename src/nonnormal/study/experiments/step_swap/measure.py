"""One network sampled with each step: distances, and style against the normal step."""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from nonnormal.data import ImageData
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.metrics.reference import Reference
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import difference_rows, distance_rows, sampled_with, with_each_step
from nonnormal.study.results.drawing import ancestral
from nonnormal.study.results.rows import frame


def step_swap_rows(
    study: Study, run: str, denoiser: NetworkDenoiser, data: ImageData, reference: Reference, device: str = "cpu"
) -> pd.DataFrame:
    """One network sampled with every step of the study's section: distances, and style against the normal step.

    Image i has the same seed for every step, and the prior draw is the same.
    """

    def draw(step: str, n_steps: int, seeds: list[int]) -> Tensor:
        return ancestral(study, run, denoiser, n_steps, seeds, step, device)

    rows = []
    for step, n_steps, images, normal in with_each_step(study, study.step_swap, "exchange", draw):
        conditions = sampled_with(study, run, step)
        rows += distance_rows(study, run, images, reference, n_steps, conditions, device, "step_swap_", ("fid", "kid"))
        if step != "normal":
            against = {**conditions, "against": "normal step"}
            rows += difference_rows(study, run, images, normal, data, n_steps, against, prefix="step_swap_")
    return frame(rows)


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary for one network."""
    return step_swap_rows(
        context.study, context.run, context.network(), context.data, context.reference, context.device
    )
