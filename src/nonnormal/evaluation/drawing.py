"""Samples of a network of a study, drawn as the study draws them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nonnormal.data import quantise
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.processes import uniform_times
from nonnormal.recipes import design
from nonnormal.samplers import sample_ancestral
from nonnormal.steps import get
from nonnormal.study import Study


def ancestral(
    study: Study,
    run: str,
    denoiser: NetworkDenoiser,
    n_steps: int,
    seeds: Sequence[int],
    step: str | None = None,
    device: str = "cpu",
) -> Tensor:
    """Grey levels uint8 (N, C, H, W) by ancestral sampling in the run's own design, in n_steps equal steps of time.

    Args:
        seeds: N seeds, one an image.
        step: law of the noise; the run's p where it is None.
    """
    point = design(study.run(run), denoiser.components)
    images = sample_ancestral(
        denoiser,
        point.process,
        point.p if step is None else get(step),
        (len(seeds), *study.dataset.shape),
        times=uniform_times(n_steps, point.process.t_min),
        seeds=seeds,
        basis=point.basis,
        dtype=getattr(torch, study.sampling.dtype),
        device=device,
        batch_size=study.sampling.batch_size,
    )
    return quantise(images, study.dataset.levels)
