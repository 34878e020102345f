"""One network sampled with each step: distances and style against the normal step, and how kurtosis orders the style.

A chain of T network calls shows the network noise of excess kurtosis κ s, where κ is the step's and s is the share that
the states retain, Σ_j c_j⁴ (see `analysis.cumulants`), averaged over the calls. At one T the share is the same for all
steps, so at each T only the order can be tested: Spearman's rank correlation of κ with the mean difference in style to
the normal step, over the symmetric families, for which κ is the first cumulant that differs from the normal's.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from torch import Tensor

from nonnormal.analysis.cumulants import kurtosis_share, pixel_share
from nonnormal.data import ImageData
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.metrics.intervals import Estimate, paired_rank_correlation
from nonnormal.metrics.reference import Reference
from nonnormal.metrics.style import style_gaps
from nonnormal.processes import uniform_times
from nonnormal.seeds import derive
from nonnormal.steps import coupled, get
from nonnormal.study.config.build import design
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import (
    difference_rows,
    distance_rows,
    fid_difference_row,
    sampled_with,
    with_each_step,
)
from nonnormal.study.results.drawing import ancestral
from nonnormal.study.results.rows import frame, row

_FEWEST = 3  # symmetric families whose order is tested
_RESAMPLES = 1000
_NORMAL = "normal"


def step_swap_rows(
    study: Study, run: str, denoiser: NetworkDenoiser, data: ImageData, reference: Reference, device: str = "cpu"
) -> pd.DataFrame:
    """One network sampled with every step of the study's section.

    Image i has the same seed, prior draw and quantiles of the noise for each, if the step is symmetric (`coupled`).

    - `step_swap_kurtosis_share`: the share s of the step's excess kurtosis in the noise of a pixel of the network's
      input, averaged over the calls; exact for a known x_0. No rows if each component has its own schedule.
    - `step_swap_fid…` of each step, and `step_swap_fid…_difference`, `step_swap_style_…_difference` against the normal
      step, image by image.
    - `step_swap_style_…_order`: Spearman's ρ of κ with the mean style difference over the symmetric families.
    """

    def draw(step: str, n_steps: int, seeds: list[int]) -> Tensor:
        return ancestral(study, run, denoiser, n_steps, seeds, coupled(get(step)), device)

    rows = _share_rows(study, run, denoiser)
    gaps: dict[int, dict[str, dict[str, np.ndarray]]] = {}
    section = study.step_swap
    for step, n_steps, images, normal in with_each_step(
        study, run, section.step_families, section.images, "exchange", draw
    ):
        conditions = sampled_with(study, run, step)
        rows += distance_rows(study, run, images, reference, n_steps, conditions, device, "step_swap_", ("fid",))
        if step == _NORMAL:
            continue
        against = {**conditions, "against": "normal step"}
        rows.append(fid_difference_row(study, run, images, normal, reference, n_steps, against, device, "step_swap_"))
        rows += difference_rows(study, run, images, normal, data, n_steps, against, prefix="step_swap_")
        if is_symmetric(step):
            gaps.setdefault(n_steps, {})[step] = style_gaps(images, normal, data.levels)
    for n_steps, by_step in gaps.items():
        rows += _order_rows(study, run, n_steps, by_step)
    return frame(rows)


def is_symmetric(step: str) -> bool:
    """Whether the step has no skewness and a kurtosis, which then is the first cumulant that tells it from normal."""
    law = get(step)
    return law.skewness == 0 and math.isfinite(law.excess_kurtosis) and law.excess_kurtosis != 0


def _share_rows(study: Study, run: str, denoiser: NetworkDenoiser) -> list[dict]:
    """The share of kurtosis that reaches the network's input, for each number of calls."""
    settings, point = study.run(run), design(study.run(run), denoiser.components)
    if settings.process.schedule.by_component or not point.basis.orthonormal:
        return []
    kept, rows = pixel_share(point.basis, study.dataset.shape), []
    for n_steps in sorted(set(study.step_swap.nfe)):
        share = kept * kurtosis_share(point.process, uniform_times(n_steps, point.process.t_min)).mean().item()
        exactly = Estimate(share, share, share, 1)
        rows.append(row(study, run, "step_swap_kurtosis_share", exactly, "share", n_steps, {"sampler": "ancestral"}))
    return rows


def _order_rows(study: Study, run: str, n_steps: int, by_step: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """ρ of kurtosis and style difference, with an interval over image seeds that all families share."""
    if len(by_step) < _FEWEST:
        return []
    kurtosis = np.array([get(step).excess_kurtosis for step in by_step])
    rows, seed = [], derive(study.seed, "style order")
    conditions = {key: value for key, value in sampled_with(study, run, _NORMAL).items() if key != "step"}
    conditions |= {"against": "normal step", "families": len(by_step)}
    for name in next(iter(by_step.values())):
        gaps = np.stack([found[name] for found in by_step.values()])
        estimate = paired_rank_correlation(kurtosis, gaps, resamples=_RESAMPLES, seed=seed)
        rows.append(row(study, run, f"step_swap_style_{name}_order", estimate, "rank correlation", n_steps, conditions))
    return rows


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary for one network."""
    return step_swap_rows(
        context.study, context.run, context.network(), context.data, context.reference, context.device
    )
