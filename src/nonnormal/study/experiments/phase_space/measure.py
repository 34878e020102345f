"""Measurements of the complete recipe: networks of a study in processes with and without momentum.

An image denoiser predicts x_0 from y = wᵀz, so it samples and bounds every linear process without being trained for it.
A network of states belongs to the process it was trained in, and so do its partners, the section's own networks of
images. Every process moves the components of the network's own basis. Image i has the same seed everywhere, so
distances of two processes, samplers or steps are subtracted with their images in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nonnormal.analysis.convergence import MIXTURE
from nonnormal.data import ImageData, quantise, scale
from nonnormal.denoisers import Denoiser, StateDenoiser, basis_of, counted
from nonnormal.metrics.intervals import Z95, Estimate
from nonnormal.metrics.reference import Reference
from nonnormal.objectives.bounds import bound, continuous_bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.processes import TIMES, LinearProcess
from nonnormal.samplers import (
    sample_ancestral,
    sample_em,
    sample_flow_adaptive,
    sample_flow_euler,
    sample_flow_heun,
    sample_sscs,
    sample_sscs_midpoint,
)
from nonnormal.seeds import derive, generator
from nonnormal.steps import get
from nonnormal.steps.divergence import with_itself_finite
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import difference_rows, distance_rows, fid_difference_row
from nonnormal.study.results.rows import bits_row, frame, row

WALKS = {
    "ancestral": sample_ancestral,
    "em": sample_em,
    "sscs": sample_sscs,
    "sscs_midpoint": sample_sscs_midpoint,
}
FLOWS = {"flow_euler": sample_flow_euler, "flow_heun": sample_flow_heun}
_NORMAL = "normal"
_FLOOR_DRAWS = 20
_MIXTURE = "three normals on the line"  # name of `MIXTURE`


def steps_of(sampler: str, budget: int) -> int:
    """Steps of a sampler for a budget of network calls per image; all except ancestral use one call for denoising."""
    if sampler == "ancestral":
        return budget
    return (budget - 1) // (2 if sampler == "flow_heun" else 1)


@dataclass
class Scene:
    """What all measurements of one network share."""

    study: Study
    run: str
    denoiser: Denoiser | StateDenoiser
    data: ImageData
    reference: Reference
    device: str
    rows: list[dict] = field(default_factory=list)

    def sample(
        self, process: LinearProcess, sampler: str, grid: str, n_steps: int, step: str, **more: Any
    ) -> tuple[Tensor, int]:
        """Grey levels (N, C, H, W) of the section's images, and network calls per image (a mean if adaptive)."""
        n, model = self.study.phase_space.n_images, counted(self.denoiser)
        options = dict(
            times=TIMES[grid](n_steps, process.t_min),
            seeds=self.study.image_seeds("recipe", n, self.run),
            dtype=getattr(torch, self.study.sampling.dtype),
            device=self.device,
            batch_size=self.study.sampling.batch_size,
        )
        shape = (n, *self.study.dataset.shape)
        if sampler in WALKS:
            images = WALKS[sampler](model, process, get(step), shape, **options)
        else:
            solve = sample_flow_adaptive if sampler == "flow_adaptive" else FLOWS[sampler]
            images = solve(model, process, shape, **options, **more)
        batches = math.ceil(n / self.study.sampling.batch_size)
        return quantise(images.nan_to_num(), self.data.levels).cpu(), round(model.nfe / batches)

    def add_bits(self, metric: str, nats: Tensor, dims: int, nfe: int, conditions: Mapping) -> None:
        """Bits/dim from nats per image."""
        self.rows.append(bits_row(self.study, self.run, metric, nats, dims, nfe, conditions))

    def add_difference(self, images: Tensor, other: Tensor, nfe: int, **conditions: Any) -> None:
        """FID of grey levels minus that of others from the same seeds."""
        at = (self.reference, nfe, conditions, self.device, "phase_space_")
        self.rows.append(fid_difference_row(self.study, self.run, images, other, *at))

    def add_fid(self, images: Tensor, nfe: int, **conditions: Any) -> None:
        """FID of grey levels against the training split."""
        options = dict(prefix="phase_space_", metrics=("fid",))
        self.rows += distance_rows(
            self.study, self.run, images, self.reference, nfe, conditions, self.device, **options
        )


def phase_space_rows(
    study: Study,
    run: str,
    denoiser: Denoiser | StateDenoiser,
    data: ImageData,
    reference: Reference,
    device: str = "cpu",
) -> pd.DataFrame:
    """FID by process, sampler, grid and calls; style and FID of other steps; bounds and the flow's likelihood.

    `phase_space_fid…_difference` compares two ways to sample, image by image: the section's comparisons, and each other
    step with the normal one; `against` names the reference.

    Samples that diverge, as those of an explicit method with too few steps do, are clipped like all others.

    Args:
        denoiser: the run's network, in every process of the section.
        reference: feature network and training split, for FID.
    """
    scene, drawn = Scene(study, run, denoiser, data, reference, device), {}
    for name, process in _processes(study, run):
        found = _samples(scene, name, process)
        drawn |= {(name, *way): its for way, its in found.items()}
        _other_steps(scene, name, process, found)
        _bounds(scene, name, process)
    _compare(scene, drawn)
    return frame(scene.rows)


def _processes(study: Study, run: str) -> Iterator[tuple[str, LinearProcess]]:
    """The section's processes by name; of a network of states, and of the section's own networks, their own."""
    settings, named = study.run(run), study.phase_space.processes
    if settings.of_states or study.owner(run):
        own = settings.process.build()
        yield next((name for name, chosen in named.items() if chosen == settings.process), run_of(run)), own
        return
    for name, chosen in named.items():
        yield name, chosen.build()


Drawn = dict[tuple[str, int], tuple[Tensor, int]]  # images and calls by sampler and budget


def _samples(scene: Scene, name: str, process: LinearProcess) -> Drawn:
    """FID of the normal step, and the images drawn on the first grid."""
    settings, kept = scene.study.phase_space, {}
    for grid in settings.grids:
        for sampler in settings.samplers:
            for budget in sorted(set(settings.nfe)):
                n_steps = steps_of(sampler, budget)
                images, calls = scene.sample(process, sampler, grid, n_steps, _NORMAL)
                at = {"process": name, "sampler": sampler, "grid": grid, "step": _NORMAL, "budget": budget}
                scene.add_fid(images, calls, **at)
                if grid == settings.grids[0]:
                    kept[sampler, budget] = images, calls
    for tolerance in sorted(set(settings.tolerances), reverse=True):
        images, calls = scene.sample(process, "flow_adaptive", "uniform", 1, _NORMAL, rtol=tolerance, atol=tolerance)
        scene.add_fid(images, calls, process=name, sampler="flow_adaptive", step=_NORMAL, tolerance=tolerance)
    return kept


def _other_steps(scene: Scene, name: str, process: LinearProcess, normals: Drawn) -> None:
    settings = scene.study.phase_space
    others = [step for step in settings.step_families if step != _NORMAL]
    for sampler in settings.step_samplers if others else ():
        for budget in sorted(set(settings.step_nfe)):
            n_steps, grid = steps_of(sampler, budget), settings.grids[0]
            at = {"process": name, "sampler": sampler, "grid": grid, "budget": budget}
            if (sampler, budget) not in normals:
                normals[sampler, budget] = scene.sample(process, sampler, grid, n_steps, _NORMAL)
            normal, calls = normals[sampler, budget]
            for step in others:
                images, _ = scene.sample(process, sampler, grid, n_steps, step)
                scene.add_fid(images, calls, **at, step=step)
                scene.add_difference(images, normal, calls, **at, step=step, against="normal step")
                options = dict(nfe=calls, conditions=at | {"step": step}, prefix="phase_space_")
                scene.rows += difference_rows(scene.study, scene.run, images, normal, scene.data, **options)


def _compare(scene: Scene, drawn: Mapping[tuple[str, str, int], tuple[Tensor, int]]) -> None:
    """Differences of the section's comparisons whose two sides use the network, by process, sampler and budget."""
    settings = scene.study.phase_space
    for each in settings.comparisons:
        process, sampler = each.other
        for budget in sorted(set(settings.nfe)):
            way, other = (each.process, each.sampler, budget), (process, sampler, budget)
            if way in drawn and other in drawn:
                at = {"process": each.process, "sampler": each.sampler, "grid": settings.grids[0], "budget": budget}
                (images, calls), (others, _) = drawn[way], drawn[other]
                against = f"{process}, {sampler}"
                scene.add_difference(images, others, calls, **at, step=_NORMAL, against=against)


def _bounds(scene: Scene, name: str, process: LinearProcess) -> None:
    """T-step bounds of the normal step and of others, all on the same states; T → ∞ for the normal; the flow's."""
    study, settings = scene.study, scene.study.phase_space
    images = scene.data.test.images[: settings.n_bounds]
    x0, dims = scale(images, scene.data.levels).to(scene.device), images[0].numel()
    seeds = study.image_seeds("recipe bound", len(images))
    steps = [step for step in dict.fromkeys((_NORMAL, *settings.step_families)) if with_itself_finite(step)]
    losses = [Loss(get(step), get(step)) for step in steps]
    common = {"process": name, "split": "test"}
    calls = min(settings.bound_timesteps, study.evaluation.n_evaluations)
    draws = dict(
        levels=scene.data.levels, n_steps=settings.bound_timesteps, n_evaluations=calls, seeds=seeds, losses=losses
    )
    point = Design(process, Loss("normal", "normal"), basis_of(scene.denoiser))
    bounds = bound(scene.denoiser, point, x0, **draws)
    for step, terms in zip(steps, bounds, strict=True):
        at = common | {"bound": "T steps", "step": step, "T": settings.bound_timesteps, "marginals": "limit"}
        for term in ("total", "prior", "diffusion", "reconstruction"):
            scene.add_bits(f"phase_space_bpd_{term}", getattr(terms, term), dims, calls, at)
    calls = study.evaluation.n_evaluations
    terms = continuous_bound(scene.denoiser, process, x0, levels=scene.data.levels, n_evaluations=calls, seeds=seeds)
    at = common | {"bound": "continuous", "step": _NORMAL, "marginals": "limit"}
    scene.add_bits("phase_space_bpd_total", terms.total, dims, calls, at)
    if tolerance := study.evaluation.flow_tolerance:
        draws = dict(levels=scene.data.levels, seeds=seeds, rtol=tolerance, atol=tolerance)
        nats, calls = flow_bound(scene.denoiser, process, x0, **draws)
        at = common | {"bound": "flow", "dequantisation": "uniform", "trace": "hutchinson", "tolerance": tolerance}
        scene.add_bits("phase_space_bpd_total", nats, dims, calls, at)


# ---- in law, without training ----------------------------------------------------------------------------------------


def law_rows(study: Study) -> pd.DataFrame:
    """Distances of samples to the law of y at t_min, on a mixture of normals with its exact score, for every step.

    The momentum is drawn and moved with the position, and the law of the observation y is compared. The floor is the
    distance of the same number of samples of that law itself; it is also the interval given (triangle inequality).
    """
    settings, rows, n = study.phase_space, [], study.phase_space.n_samples
    grid = settings.grids[0]
    for name, chosen in settings.processes.items():
        process = chosen.build()
        conditions = {"process": name, "data": None, "mixture": _MIXTURE, "counted": "samples"}
        uniform = torch.rand(_FLOOR_DRAWS, n, generator=generator(study.seed, "recipe law", "floor")).double().numpy()
        draws = np.array([np.abs(np.subtract(*_quantiles(process, u))).mean() for u in uniform])
        mean, spread = draws.mean(), Z95 * draws.std(ddof=1)
        floor = Estimate(mean, mean - spread, mean + spread, n)
        rows.append(_law_row(study, None, "phase_space_w1_floor", floor, None, conditions))
        for sampler in dict.fromkeys(("ancestral", *settings.step_samplers)):
            for step in settings.step_families:
                for n_steps in sorted(set(settings.law_timesteps)):
                    seed = derive(study.seed, "recipe law", sampler, step, n_steps)
                    value = law_distance(process, sampler, step, TIMES[grid](n_steps, process.t_min), n, seed)
                    estimate = Estimate(value, max(value - mean, 0.0), value + mean, n)
                    at = conditions | {"sampler": sampler, "grid": grid}
                    rows.append(_law_row(study, step, "phase_space_w1", estimate, n_steps, at))
    return frame(rows)


def law_distance(process: LinearProcess, sampler: str, step: str, times: Tensor, n: int, seed: int) -> float:
    """Wasserstein-1 distance of n samples, y of the last state, to the law of y there: ∫ |y_n(u) − F⁻¹(u)| du."""
    exact = MIXTURE.denoiser()

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return exact(x.reshape(-1, 1), sigma).reshape(x.shape)

    options = dict(times=times, seeds=[seed], dtype=torch.float64)
    options |= {} if sampler == "ancestral" else {"denoise": False}
    y = WALKS[sampler](denoiser, process, get(step), (1, 1, n), **options).flatten()
    _, limit = _quantiles(process, np.zeros(n))
    return float(np.abs(np.sort(y.numpy()) - limit).mean())


def _quantiles(process: LinearProcess, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of y at t_min at u, and at as many mid-points, both rising."""
    grid, (_, sigma) = np.linspace(-6, 6, 24001), process.observation(process.t_min)
    cdf = MIXTURE.noisy_cdf(grid, sigma.item())
    return np.interp(np.sort(u), cdf, grid), np.interp((np.arange(len(u)) + 0.5) / len(u), cdf, grid)


def _law_row(
    study: Study, step: str | None, metric: str, estimate: Estimate, n_steps: int | None, conditions: dict
) -> dict[str, Any]:
    """A row of a step instead of a run."""
    return row(study, None, metric, estimate, "distance", n_steps, conditions) | {"q": step, "p": step}


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary for one network."""
    return phase_space_rows(
        context.study, context.run, context.network(), context.data, context.reference, context.device
    )


def law(context: Context) -> pd.DataFrame:
    """Rows of the summary on the mixture."""
    return law_rows(context.study)
