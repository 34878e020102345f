"""One image denoiser with each step in other bases, processes and grids of times, one of them at a time.

Cells share the network, the seeds and the number of network calls. The base cell is the network's own basis and process
with equal steps of time; every other cell differs from it in one name. For comparison, solvers of the flow start from
the same prior draws on the same levels, and add no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nonnormal.analysis.cumulants import kurtosis_share, pixel_share
from nonnormal.bases import Basis
from nonnormal.data import ImageData, quantise, scale
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.metrics.intervals import Estimate
from nonnormal.metrics.reference import Reference
from nonnormal.objectives.bounds import bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.processes import TIMES, LinearProcess, apply, cholesky, project
from nonnormal.samplers import GRIDS, SOLVERS
from nonnormal.seeds import ImageNoise
from nonnormal.steps import Normal, get
from nonnormal.steps.divergence import with_itself_finite
from nonnormal.study.config.build import design
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import difference_rows, distance_rows, fid_difference_row
from nonnormal.study.results.drawing import drawn
from nonnormal.study.results.rows import bits_row, frame, row

UNIFORM = "uniform"
SHOWN, SHOWN_LEVEL = 8, 0.3  # images that are kept for the figure, and the approximate noise level of their states
_NORMAL = "normal"


def times_of(grid: str, n_steps: int, process: LinearProcess) -> Tensor:
    """The n_steps + 1 times of a grid, from process.t_min to 1, rising, float64.

    uniform and quadratic are equal steps of t and of √t; others are those of `samplers.GRIDS`, at whose levels sigma of
    y = x_0 + sigma eps the times lie.

    Raises:
        ValueError: an unknown grid.
    """
    if grid in TIMES:
        return TIMES[grid](n_steps, process.t_min)
    if grid not in GRIDS:
        raise ValueError(f"unknown grid {grid!r}; known: {', '.join(dict.fromkeys((*TIMES, *GRIDS)))}")
    low, high = (process.observation(t)[1].item() for t in (process.t_min, 1.0))
    times = process.time_at(-2 * GRIDS[grid](n_steps, low, high, to_zero=False).log()).flip(0)
    times[0], times[-1] = process.t_min, 1.0
    return times


@dataclass(frozen=True, eq=False)
class Cell:
    """A basis, a process and a grid of times, by name and as objects."""

    names: Mapping[str, str]
    basis: Basis
    process: LinearProcess

    def times(self, n_steps: int) -> Tensor:
        """Times of the cell's grid, rising."""
        return times_of(self.names["grid"], n_steps, self.process)


def cells(study: Study, denoiser: NetworkDenoiser, data: ImageData) -> list[Cell]:
    """The base cell, then each other basis, process and grid of the study's section with the rest as in the base."""
    own, section = study.run(study.ablation.network(study)), study.ablation
    point, numbers = design(own, denoiser.components), partial(scale, levels=data.levels)
    base = {"basis": own.basis.kind, "process": own.process.kind, "grid": UNIFORM}
    found = [Cell(base, point.basis, point.process)]
    for name, basis in section.bases.items():
        found.append(Cell(base | {"basis": name}, basis.rotation(data.train.images, numbers), point.process))
    for name, process in section.processes.items():
        found.append(Cell(base | {"process": name}, point.basis, process.build()))
    return found + [Cell(base | {"grid": name}, point.basis, point.process) for name in dict.fromkeys(section.grids)]


@dataclass
class Scene:
    """Shared by all measurements."""

    study: Study
    denoiser: NetworkDenoiser
    data: ImageData
    reference: Reference
    device: str
    rows: list[dict] = field(default_factory=list)

    @property
    def run(self) -> str:
        """Run of the network."""
        return self.study.ablation.network(self.study)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the state."""
        return getattr(torch, self.study.sampling.dtype)

    def seeds(self, n: int) -> list[int]:
        """Seeds of images 0 … n − 1."""
        return self.study.image_seeds("crossing", n)

    def draw(
        self, cell: Cell, step: str, n_steps: int, n: int, callback: Callable[[dict], None] | None = None
    ) -> Tensor:
        """Grey levels (n, C, H, W) by the ancestral sampler."""
        point = (self.denoiser, cell.process, get(step), cell.times(n_steps), self.seeds(n))
        return drawn(self.study, *point, basis=cell.basis, device=self.device, callback=callback).cpu()

    def solve(self, cell: Cell, solver: str, n_steps: int, n: int) -> Tensor:
        """Grey levels (n, C, H, W) by a solver of the flow, from the sampler's prior draws on its levels."""
        times, images = cell.times(n_steps).flip(0), []
        weights, sigmas = cell.process.observation(times)
        prior = cholesky(cell.process.prior_covariance())
        channels, *size = self.study.dataset.shape
        shape, seeds, batch = (cell.process.n * channels, *size), self.seeds(n), self.study.sampling.batch_size
        for start in range(0, n, batch):
            noise = ImageNoise(seeds[start : start + batch], shape, self.dtype, self.device)
            y = cell.basis.inverse(project(weights[0], apply(prior, noise.draw(Normal()))))
            images.append(SOLVERS[solver](self.denoiser, y, sigmas))
        return quantise(torch.cat(images), self.data.levels).cpu()

    def measure(self, images: Tensor, normal: Tensor, n_steps: int, conditions: Mapping[str, Any]) -> None:
        """Distances, and against the normal step in the same cell, from the same seeds, distance and style."""
        more = (self.study, self.run, images)
        self.rows += distance_rows(
            *more, self.reference, n_steps, conditions, self.device, "ablation_", metrics=("fid", "kid")
        )
        if images is normal:
            return
        against = {**conditions, "against": "normal step"}
        at = (self.reference, n_steps, against, self.device, "ablation_")
        self.rows.append(fid_difference_row(*more, normal, *at))
        self.rows += difference_rows(
            self.study, self.run, images, normal, self.data, n_steps, against, prefix="ablation_"
        )


def ablation_rows(
    study: Study, denoiser: NetworkDenoiser, data: ImageData, reference: Reference, device: str = "cpu"
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Share of each step's kurtosis that remains in the noise, distances and style of samples, and bounds, by cell.

    - `ablation_kurtosis_share`: the share of a step's excess kurtosis in the noise of a pixel of y, averaged over the
      network calls of the chain; exact, see `cumulants`.
    - `ablation_fid…`, `ablation_kid…`: of each step and of each solver (step null).
    - `ablation_fid…_difference`, `ablation_style_…_difference`: against the normal step in the same cell, from the
      same seeds.
    - `ablation_bpd_total`: the bound of each step with itself in its basis and process, from limit marginals, and
      `ablation_bpd_difference` of it, on the same images: against the normal step's in the same cell, from the same
      states, and against the same step's in the base cell.

    Args:
        denoiser: the network of the study's ablation run.
        reference: feature network and training split.

    Returns:
        (rows, the first `SHOWN` images of each step in each basis, at the fewest steps: "basis/step/image" uint8
        (SHOWN, C, H, W), "basis/step/state" float32, y at the call whose noise level is nearest to `SHOWN_LEVEL`, and
        "basis/step/noise" float32, the step that led there, in pixels).
    """
    scene, shown = Scene(study, denoiser, data, reference, device), {}
    section, found = study.ablation, cells(study, denoiser, data)
    steps, base = dict.fromkeys((_NORMAL, *section.step_families)), found[0]
    training = study.run(scene.run).training
    common = {"weighting": training.weighting, "ema": training.ema_decay, "dtype": study.sampling.dtype}
    for cell in found:
        for n_steps in sorted(set(section.nfe)):
            share = kurtosis_share(cell.process, cell.times(n_steps)).mean().item()
            share *= pixel_share(cell.basis, study.dataset.shape)
            exactly = Estimate(share, share, share, 1)
            scene.rows.append(row(study, scene.run, "ablation_kurtosis_share", exactly, "share", n_steps, cell.names))
            normal = scene.draw(cell, _NORMAL, n_steps, section.n_images)
            for step in steps:
                images = normal if step == _NORMAL else scene.draw(cell, step, n_steps, section.n_images)
                at = {"sampler": "ancestral", "step": step, **cell.names, **common}
                scene.measure(images, normal, n_steps, at)
            own = cell.basis is base.basis and cell.process is base.process
            for solver in dict.fromkeys(section.solvers) if own else ():
                at = {"sampler": solver, "step": None, **cell.names, **common}
                scene.measure(scene.solve(cell, solver, n_steps, section.n_images), normal, n_steps, at)
        if cell.process is base.process and cell.names["grid"] == UNIFORM:
            for step in steps:
                shown |= _shown(scene, cell, step)
    _bounds(scene, [cell for cell in found if cell.names["grid"] == UNIFORM], [*steps])
    return frame(scene.rows), shown


def _shown(scene: Scene, cell: Cell, step: str) -> dict[str, Tensor]:
    """The first images of a step in a basis, a state of each on the way, and the noise that led there."""
    n_steps, states = min(scene.study.ablation.nfe), []
    weights, sigmas = cell.process.observation(cell.times(n_steps).flip(0))
    place = 1 + (sigmas[1:-1] / SHOWN_LEVEL).log().abs().argmin().item()

    def keep(state: dict) -> None:
        if state["i"] == place:
            states.append(cell.basis.inverse(project(weights[place], state["x"])).float().cpu())

    n, at = min(SHOWN, scene.study.ablation.n_images), f"{cell.names['basis']}/{step}"
    images = scene.draw(cell, step, n_steps, n, keep)
    channels, *size = scene.study.dataset.shape
    noise = ImageNoise(scene.seeds(n), (cell.process.n * channels, *size), scene.dtype, scene.device)
    noise.draw(Normal())  # the prior's
    z = list(noise.draws(get(step), n_steps))[place - 1][:, :channels]
    return {
        f"{at}/image": images,
        f"{at}/state": torch.cat(states),
        f"{at}/noise": cell.basis.inverse(z).float().cpu(),
    }


def _bounds(scene: Scene, found: list[Cell], steps: list[str]) -> None:
    """Bounds of each step with itself, in each basis and process; all steps of a cell on the same states."""
    study, section = scene.study, scene.study.ablation
    images = scene.data.test.images[: section.n_bounds]
    x0, dims = scale(images, scene.data.levels).to(scene.device), images[0].numel()
    steps = [step for step in steps if with_itself_finite(step)]
    for n_steps in sorted(set(section.bound_timesteps)):
        calls, base = min(n_steps, study.evaluation.n_evaluations), {}
        for cell in found:
            terms = bound(
                scene.denoiser,
                Design(cell.process, Loss("normal", "normal"), cell.basis),
                x0,
                levels=scene.data.levels,
                n_steps=n_steps,
                n_evaluations=calls,
                seeds=study.image_seeds("crossing bound", len(images)),
                losses=[Loss(get(step), get(step)) for step in steps],
            )
            nats = {step: its.total for step, its in zip(steps, terms, strict=True)}
            base = base or nats
            for step, its in nats.items():
                at = {"split": "test", "step": step, **cell.names, "T": n_steps, "marginals": "limit"}
                add = (study, scene.run)
                scene.rows.append(bits_row(*add, "ablation_bpd_total", its, dims, calls, at))
                others = {"normal step": (nats, _NORMAL), "base cell": (base, step)}
                for name, (other, key) in others.items():
                    if other[key] is not its:
                        gap = its - other[key]
                        against = {**at, "against": name}
                        scene.rows.append(bits_row(*add, "ablation_bpd_difference", gap, dims, calls, against))


def measure(context: Context) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Rows of the summary, and the first images with their states on the way."""
    return ablation_rows(context.study, context.network(), context.data, context.reference, context.device)
