"""Samples from a network of a study, drawn with the study's sampler and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nonnormal.bases import Basis
from nonnormal.data import quantise
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.processes import LinearProcess, uniform_times
from nonnormal.samplers import sample_ancestral
from nonnormal.steps import Step, get
from nonnormal.study.config.build import design
from nonnormal.study.config.study import Study


def ancestral(
    study: Study,
    run: str,
    denoiser: NetworkDenoiser,
    n_steps: int,
    seeds: Sequence[int],
    step: Step | str | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
) -> Tensor:
    """Grey levels uint8 (N, C, H, W) by ancestral sampling in the run's own design, with n_steps equal steps of time.

    Args:
        seeds: N seeds, one an image.
        step: law of the noise; the run's p if None.
        batch_size: images per network call; sampling.batch_size of the study if None.
    """
    point = design(study.run(run), denoiser.components)
    step = point.p if step is None else get(step)
    times = uniform_times(n_steps, point.process.t_min)
    options = dict(basis=point.basis, device=device, batch_size=batch_size)
    return drawn(study, denoiser, point.process, step, times, seeds, **options)


def drawn(
    study: Study,
    denoiser: NetworkDenoiser,
    process: LinearProcess,
    step: Step,
    times: Tensor,
    seeds: Sequence[int],
    *,
    basis: Basis | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    callback: Callable[[dict], None] | None = None,
) -> Tensor:
    """Grey levels uint8 (N, C, H, W) by ancestral sampling in any design; args as in `sample_ancestral`."""
    images = sample_ancestral(
        denoiser,
        process,
        step,
        (len(seeds), *study.dataset.shape),
        times=times,
        seeds=seeds,
        basis=basis,
        dtype=getattr(torch, study.sampling.dtype),
        device=device,
        batch_size=batch_size or study.sampling.batch_size,
        callback=callback,
    )
    return quantise(images, study.dataset.levels)
