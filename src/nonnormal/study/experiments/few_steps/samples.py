"""Distances of samples with fitted steps, and with scaled noise of unit steps, against the normal unit step.

Images of all steps of a network share their seeds and the quantiles of the noise (`coupled`). Each network has seeds of
its own: `tables.rules` chooses the step for a network by the others, and with seeds in common the luck of theirs would
be in its number, too.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from nonnormal.data import scale
from nonnormal.metrics.copies import copied_share, nearest_distances
from nonnormal.processes import uniform_times
from nonnormal.steps import FittedStep, Step, coupled, get
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.experiments.few_steps.chains import PIXEL, UNIFORM, load_chains, normal_design
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import distance_rows, fid_difference_row
from nonnormal.study.results.drawing import drawn
from nonnormal.study.results.rows import frame, row


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary for one network.

    - `few_steps_fid…`: of each sampled choice, and of each factor and family.
    - `few_steps_fid…_difference`: minus that of the normal unit step, image by image of one seed.
    - `few_steps_copied_share`: of the normal unit step and of each sampled choice, fitted to training images.
    """
    study, section = context.study, context.study.few_steps
    denoiser = context.network()
    point = normal_design(study, context.run, denoiser)
    seeds = study.image_seeds(f"few-steps samples {run_of(context.run)}", section.n_images, context.run)
    sampled = section.choices if section.sampled is None else section.sampled
    chains = [chain for chain in load_chains(context) if chain.grid == UNIFORM and chain.choice in sampled]
    rows, held_out = [], _nearest(context, context.data.test.images)
    for n_steps in sorted(set(section.nfe)):
        times = uniform_times(n_steps, point.process.t_min)

        def draw(step: Step | tuple, times: Tensor = times) -> Tensor:
            settings = dict(basis=point.basis, device=context.device)
            return drawn(study, denoiser, point.process, _coupled(step), times, seeds, **settings).cpu()

        base = {"choice": "unit", "basis": PIXEL, "step": "normal", "factor": 1.0}
        normal = draw(get("normal"))
        rows += _rows(context, normal, None, n_steps, base)
        rows.append(_copied(context, normal, held_out, n_steps, base))
        for name in section.step_families:
            for factor in dict.fromkeys(section.noise_factors):
                if (name, factor) != ("normal", 1.0):
                    images = draw(scaled(name, factor, n_steps))
                    rows += _rows(context, images, normal, n_steps, base | {"step": name, "factor": factor})
        for chain in chains:
            if len(chain.steps) == n_steps and chain.choice != "unit":
                its = {"choice": chain.choice, "basis": chain.basis, "step": None, "factor": None}
                images = draw(chain.steps)
                rows += _rows(context, images, normal, n_steps, its)
                rows.append(_copied(context, images, held_out, n_steps, its))
    return frame(rows)


def scaled(name: str, factor: float, n_steps: int) -> Step | tuple[FittedStep, ...]:
    """The step of a family, with its noise multiplied by a factor in every interval."""
    if factor == 1:
        return get(name)
    return (FittedStep(get(name), torch.tensor(factor, dtype=torch.float64)),) * n_steps


def _coupled(step: Step | tuple) -> Step | tuple:
    """The same step, or a step for each interval, from draws that are coupled to those of the normal one."""
    if isinstance(step, tuple):
        return tuple(replace(each, shape=coupled(each.shape)) for each in step)
    return coupled(step)


def _nearest(context: Context, images: Tensor) -> Tensor:
    """Distance of each uint8 image to the nearest training image, (N,), in units of √D."""
    training, levels, device = context.data.train.images, context.data.levels, context.device
    return nearest_distances(scale(images, levels).to(device), training.to(device), levels).cpu()


def _copied(context: Context, images: Tensor, held_out: Tensor, nfe: int, conditions: dict) -> dict:
    study, found = context.study, copied_share(_nearest(context, images), held_out)
    conditions = _told(study, nfe, conditions)
    return row(study, context.run, "few_steps_copied_share", found, "share", nfe, conditions)


def _rows(context: Context, images: Tensor, normal: Tensor | None, nfe: int, conditions: dict) -> list[dict]:
    study, run = context.study, context.run
    conditions = _told(study, nfe, conditions)
    reference, device, prefix = context.reference, context.device, "few_steps_"
    rows = distance_rows(study, run, images, reference, nfe, conditions, device, prefix, ("fid",))
    if normal is not None:
        against = {**conditions, "against": "normal unit step"}
        rows.append(fid_difference_row(study, run, images, normal, reference, nfe, against, device, prefix))
    return rows


def _told(study: Study, nfe: int, conditions: dict) -> dict:
    return {"sampler": "ancestral", **conditions, "T": nfe, "grid": UNIFORM, "dtype": study.sampling.dtype}
