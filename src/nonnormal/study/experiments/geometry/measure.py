"""Geometry of sampling with one network: its trajectories, solvers, the optimal denoiser, and the paths of other steps.

ODE trajectories live in VE coordinates, x = x0 + sigma·eps, between the noise levels sigma/alpha of the run's process,
on EDM's polynomial grid with a last step to 0. Image i starts from the same noise everywhere. The run's basis is
orthonormal, so its noise is white in pixels, like the optimal denoiser's. Other steps act on the basis's components.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor

from nonnormal.analysis import geometry
from nonnormal.analysis.recorder import Recorder, Trajectories
from nonnormal.data import ImageData, quantise, scale, std
from nonnormal.denoisers import Denoiser, NFECounter, NormalDenoiser, OptimalDenoiser, alpha_and_level, basis_of
from nonnormal.metrics.copies import copied_share, nearest_distances
from nonnormal.metrics.fidelity import fidelity
from nonnormal.metrics.intervals import Estimate, mean_interval, proportion_interval
from nonnormal.metrics.reference import Reference
from nonnormal.processes import LinearProcess, uniform_times
from nonnormal.samplers import SOLVERS, polynomial, sample_adaptive, sample_ancestral, sample_heun
from nonnormal.samplers.grid_search import best_grid, euler_costs
from nonnormal.seeds import ImageNoise, derive, generator
from nonnormal.steps import Normal, get
from nonnormal.study.config.build import components, design, model_config
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import resampling
from nonnormal.study.results.rows import frame, row
from nonnormal.training.checkpoints import build_denoiser

_TOLERANCE = 1e-5  # of the adaptive solution, the reference for other solvers
_CALLS_A_STEP = {"heun": 2, "dpm_2": 2}  # but for the last, to 0, which takes one


class Scene:
    """Shared by all measurements: network, levels, data, starting noise, and the format of rows."""

    def __init__(self, study: Study, denoiser: Denoiser, data: ImageData, reference: Reference, device: str = "cpu"):
        self.study, self.settings, self.data, self.reference = study, study.geometry, data, reference
        self.run = study.geometry.network(study)
        self.denoiser, self.basis, self.device = denoiser, basis_of(denoiser), device
        self.process: LinearProcess = design(study.run(self.run)).process
        self.shape = study.dataset.shape
        self.sigma_max, self.sigma_min = (alpha_and_level(self.process, t)[1].item() for t in (1.0, 0.0))
        self.train = data.train.images.to(device)  # kept as grey levels; as float32 four times the size
        self.seeds = study.image_seeds("geometry", self.settings.n_images)

    def grid(self, n_steps: int) -> Tensor:
        """Noise levels of n_steps steps, the last to 0."""
        return polynomial(n_steps, self.sigma_min, self.sigma_max)

    def noise(self, n: int) -> Tensor:
        """States of the first n images at the first level, (n, C, H, W): those that ancestral sampling starts from."""
        alpha, _ = alpha_and_level(self.process, 1.0)
        prior_std = self.process.prior_covariance().sqrt().item() / alpha.item()
        drawn = ImageNoise(self.seeds[:n], self.shape, torch.float32, self.device).draw(Normal())
        return self.basis.inverse(prior_std * drawn)

    def nearest(self, images: Tensor) -> Tensor:
        """Distance of each image to the nearest training image, (N,), in units of √D."""
        return nearest_distances(images.to(self.device), self.train, self.data.levels).cpu()

    @cached_property
    def held_out_distances(self) -> Tensor:
        """Distance of each held-out image to the nearest training image, (N,), in units of √D."""
        return self.nearest(scale(self.data.test.images, self.data.levels))

    def row(self, metric: str, estimate: Estimate, unit: str, nfe: int | None = None, **conditions) -> dict:
        """A row of the summary."""
        return row(self.study, self.run, metric, estimate, unit, nfe, conditions)

    def mean(self, metric: str, values: Tensor, unit: str, nfe: int | None = None, **conditions) -> dict:
        """A row for the mean over images (B,)."""
        values = values.double().cpu().numpy()
        return self.row(metric, Estimate(*mean_interval(values), len(values)), unit, nfe, **conditions)

    def fid(self, images: Tensor) -> Estimate:
        """FID of images against the training split; values outside [−1, 1] are clipped."""
        levels = quantise(images.cpu(), self.data.levels)
        options = dict(device=self.device, metrics=("fid",), **resampling(self.study))
        return fidelity(levels, self.reference, **options)["fid"]


def geometry_rows(
    study: Study,
    denoiser: Denoiser,
    data: ImageData,
    reference: Reference,
    device: str = "cpu",
    nulls: Mapping[str, Denoiser] | None = None,
) -> tuple[pd.DataFrame, Trajectories]:
    """(all rows, the trajectories that they are read from).

    Args:
        denoiser: the network of the study's geometry run.
        reference: feature network and training split, for FID.
        nulls: other denoisers by name, null cases for claims about the network; their metrics end in `_null`.
    """
    scene = Scene(study, denoiser, data, reference, device)
    sigmas, n = scene.grid(scene.settings.n_levels), scene.settings.n_images
    recorder = Recorder(sigmas, range(n))
    recorded = recorder.end(sample_heun(denoiser, scene.noise(n), sigmas, callback=recorder))
    rows = [*_way(scene, recorded), *_fid_along(scene, recorded), *_deviation(scene, recorded, nulls or {})]
    rows += [*_memorisation(scene, recorded.states[-1]), *_solvers(scene, recorded), *_other_steps(scene)]
    rows += [each for name, null in (nulls or {}).items() for each in _null(scene, name, null)]
    return frame(rows), recorded


# ---- the learnt trajectory -------------------------------------------------------------------------------------------


def _way(scene: Scene, recorded: Trajectories) -> list[dict]:
    """Quasi-linearity: distances from the chord, norms, directions, and the share of variance in few dimensions.

    The reference for that share is a path without structure: a Brownian bridge around the same chord with steps of the
    same sizes.
    """
    path, denoised = recorded.states, recorded.denoised
    chord = (path[-1] - path[0]).flatten(1).norm(dim=1)
    away, away_denoised = geometry.chord_distance(path), geometry.chord_distance(path, denoised)
    cosine, share = geometry.remaining_cosine(path, denoised), geometry.monotone_share(path)
    rows = []
    for i, sigma in enumerate(recorded.levels[:-1].tolist()):
        at = {"sigma": sigma, "solver": "heun"}
        rows += [
            scene.mean("path_chord_distance", away[i] / chord, "chord length", **at),
            scene.mean("path_denoised_chord_distance", away_denoised[i] / chord, "chord length", **at),
            scene.mean("path_norm", path[i].flatten(1).norm(dim=1), "state", **at),
            scene.mean("path_denoised_norm", denoised[i].flatten(1).norm(dim=1), "state", **at),
            scene.mean("path_remaining_cosine", cosine[i], "1", **at),
        ]
    n = path.shape[1]
    nearer = share[-1].item()
    rows.append(scene.row("path_monotone_share", Estimate(nearer, *proportion_interval(nearer, n), n), "share"))
    rows.append(scene.mean("path_arc_chord_ratio", geometry.arc_chord_ratio(path), "1"))
    rows.append(scene.mean("path_largest_chord_distance", (away / chord).amax(0), "chord length"))
    rows.append(scene.mean("path_largest_denoised_chord_distance", (away_denoised / chord).amax(0), "chord length"))
    own = geometry.chord_distance(denoised) / (denoised[-1] - denoised[0]).flatten(1).norm(dim=1)
    rows.append(scene.mean("path_denoised_own_chord_distance", own.amax(0), "own chord length"))
    for count, explained in enumerate(geometry.explained_variance(path)):
        rows.append(scene.mean("path_explained_variance", explained, "share", components=count))
    noise = torch.randn(path[1:].shape, generator=generator(scene.study.seed, "geometry", "bridge"))
    for name, each in {"sampled": path, "bridge": geometry.bridge(path, noise)}.items():
        for count, left in enumerate(geometry.residual_variance(each), start=1):
            rows.append(scene.mean("path_residual_variance", left, "share", components=count, path=name))
    curve = geometry.project(path)
    rows.append(scene.mean("path_curvature", (geometry.curvature(curve) * chord).mean(0), "1/chord length"))
    rows.append(scene.mean("path_torsion", (geometry.torsion(curve).abs() * chord).mean(0), "1/chord length"))
    return rows


def _fid_along(scene: Scene, recorded: Trajectories) -> list[dict]:
    """FID of the states and of the denoised states on the way; the latter is that of a jump to the end from there."""
    rows, name = [], scene.study.metric("fid")
    every = max(scene.settings.n_levels // 8, 1)
    for i in range(0, scene.settings.n_levels, every):
        at = {
            "sigma": recorded.levels[i].item(),
            "grid_index": i,
            "solver": "heun",
            "n_levels": scene.settings.n_levels,
        }
        for metric, images in ((f"path_{name}", recorded.states[i]), (f"path_denoised_{name}", recorded.denoised[i])):
            rows.append(scene.row(metric, scene.fid(images), "squared feature distance", **at))
    end = {"sigma": 0.0, "grid_index": scene.settings.n_levels, "solver": "heun", "n_levels": scene.settings.n_levels}
    found = scene.fid(recorded.states[-1])
    return [*rows, scene.row(f"path_{name}", found, "squared feature distance", **end)]


# ---- against the optimal denoiser ------------------------------------------------------------------------------------


def _deviation(scene: Scene, recorded: Trajectories, nulls: Mapping[str, Denoiser]) -> list[dict]:
    """‖r − r*‖ in units of √D, along the learnt trajectories and along the optimal denoiser's own.

    Also for other denoisers along the latter, with the share of copies among the optimal denoiser's samples (all).
    """
    optimal = OptimalDenoiser(scene.train, scene.data.levels)
    sigmas, dims = recorded.levels, recorded.states[0, 0].numel()
    own: list[dict] = []
    start = recorded.states[0].to(scene.device)
    end = sample_heun(optimal, start, sigmas, callback=own.append)
    path, denoised = torch.stack([*(at["x"] for at in own), end]), torch.stack([at["denoised"] for at in own])
    along = {
        "learnt": geometry.score_deviation(
            recorded.states.to(scene.device), recorded.denoised.to(scene.device), sigmas, optimal
        ),
        "optimal": geometry.score_deviation(path, denoised, sigmas, scene.denoiser),
    }
    rows = [
        scene.mean("score_deviation", gap / dims**0.5, "state", sigma=sigma, along=name)
        for name, gaps in along.items()
        for sigma, gap in zip(sigmas.tolist(), gaps, strict=False)
    ]
    rows += [
        scene.mean("score_deviation_null", gap / dims**0.5, "state", sigma=sigma, along="optimal", path=name)
        for name, null in nulls.items()
        for sigma, gap in zip(sigmas.tolist(), geometry.score_deviation(path, denoised, sigmas, null), strict=False)
    ]
    if nulls:
        rows.append(_copied(scene, scene.nearest(end), "copied_share_null", path="optimal"))
    return rows


def _memorisation(scene: Scene, samples: Tensor) -> list[dict]:
    """Distance to the nearest training image, of samples and of held-out images, in units of √D.

    A network that copies has samples nearer to the training images than held-out images are. In addition to the means:
    the share of samples nearer than the nearest 1 % of the held-out images.
    """
    near = {"samples": scene.nearest(samples), "held-out": scene.held_out_distances}
    rows = [scene.mean("nearest_train_distance", its, "state", of=name) for name, its in near.items()]
    return [*rows, _copied(scene, near["samples"])]


def _copied(scene: Scene, distances: Tensor, metric: str = "copied_share", **conditions) -> dict:
    """Share of samples that are nearer to a training image than all but 1 % of the held-out images."""
    return scene.row(metric, copied_share(distances, scene.held_out_distances), "share", **conditions)


# ---- null cases: the best linear denoiser, the untrained network -----------------------------------------------------


def linear_denoiser(data: ImageData) -> NormalDenoiser:
    """The best linear denoiser: the posterior mean of a normal with the training split's mean and covariance."""
    images = scale(data.train.images, data.levels).double()
    return NormalDenoiser(images.mean(0), images.flatten(1).T.cov())


def untrained_network(context: Context) -> Denoiser:
    """The measured network with the initial weights of its training."""
    study, run, images = context.study, context.run, context.data.train.images
    settings, levels = study.run(run), context.data.levels
    parts = components(settings, images, levels)
    recipe = model_config(settings, study.dataset, std(images, levels))
    return build_denoiser(recipe, derive(study.train_seed(run), "init"), parts).to(context.device).eval()


def _null(scene: Scene, name: str, denoiser: Denoiser) -> list[dict]:
    """Numbers behind claims about the network's trajectories and samples, for another denoiser, named by `path`.

    Starting noise, grid and solver are the same.
    """
    sigmas, start, at = scene.grid(scene.settings.n_levels), scene.noise(scene.settings.n_images), {"path": name}
    kept: list[Tensor] = []
    end = sample_heun(denoiser, start, sigmas, callback=lambda state: kept.append(state["x"]))
    path = torch.stack([*kept, end]).cpu()
    chord, n = (path[-1] - path[0]).flatten(1).norm(dim=1), path.shape[1]
    nearer = geometry.monotone_share(path)[-1].item()
    away = (geometry.chord_distance(path) / chord).amax(0)
    left, near = geometry.residual_variance(path)[1], scene.nearest(path[-1])
    return [
        scene.row("path_monotone_share_null", Estimate(nearer, *proportion_interval(nearer, n), n), "share", **at),
        scene.mean("path_largest_chord_distance_null", away, "chord length", **at),
        scene.mean("path_residual_variance_null", left, "share", components=2, **at),
        scene.mean("nearest_train_distance_null", near, "state", of="samples", **at),
        _copied(scene, near, "copied_share_null", **at),
    ]


# ---- solvers ---------------------------------------------------------------------------------------------------------


def _solvers(scene: Scene, recorded: Trajectories) -> list[dict]:
    """FID and distance to the adaptive solution of each solver for as many network calls, and of a searched grid."""
    few = scene.settings.n_paths
    start = scene.noise(scene.settings.n_images)
    ends = torch.tensor([scene.sigma_max, scene.sigma_min, 0.0], dtype=torch.float64)
    reference = sample_adaptive(scene.denoiser, start[:few], ends, rtol=_TOLERANCE, atol=_TOLERANCE)
    costs = euler_costs(scene.denoiser, recorded.states[:, :few].to(scene.device), recorded.levels)
    rows = []
    for budget in sorted(set(scene.settings.nfe)):
        for name, solver in SOLVERS.items():
            calls = _CALLS_A_STEP.get(name, 1)
            if (budget + calls - 1) % calls:
                continue  # with two calls per step and one for the last step, an even budget leaves one over
            levels = scene.grid((budget + calls - 1) // calls)
            rows += _solved(scene, solver, start, levels, reference, solver=name, grid="polynomial")
        if budget <= scene.settings.n_levels:
            levels = recorded.levels[best_grid(costs, budget)]
            rows += _solved(scene, SOLVERS["euler"], start, levels, reference, solver="euler", grid="searched")
    return rows


def _solved(
    scene: Scene, solve: Callable[..., Tensor], start: Tensor, levels: Tensor, reference: Tensor, **conditions
) -> list[dict]:
    counted = NFECounter(scene.denoiser)
    images = solve(counted, start, levels)
    gap = (images[: len(reference)] - reference).flatten(1).square().mean(1).sqrt()
    conditions |= {"n_steps": len(levels) - 1}
    fid = scene.fid(images)
    return [
        scene.row(f"solver_{scene.study.metric('fid')}", fid, "squared feature distance", counted.nfe, **conditions),
        scene.mean("solver_distance", gap, "state", counted.nfe, tolerance=_TOLERANCE, **conditions),
    ]


# ---- other steps -----------------------------------------------------------------------------------------------------


def _other_steps(scene: Scene) -> list[dict]:
    """Ancestral paths with each step beside the ODE path from the same noise, in VP coordinates.

    Roughness is arc over chord; distance is the root mean square gap to the ODE's state, averaged over the path and at
    its end.
    """
    few, rows = scene.settings.n_paths, []
    start = scene.noise(few)
    for n_steps in sorted(set(scene.settings.ancestral_nfe)):
        times = uniform_times(n_steps).flip(0)
        alpha, sigmas = alpha_and_level(scene.process, times)
        to_vp = (1 + sigmas.square()).rsqrt().reshape(-1, *(1,) * start.dim()).float()
        smooth: list[Tensor] = []
        options = dict(rtol=1e-3, atol=1e-3, callback=lambda at, kept=smooth: kept.append(at["x"].cpu()))
        smooth.append(sample_adaptive(scene.denoiser, start, sigmas, **options).cpu())
        ode = torch.stack(smooth) * to_vp
        rows += _path_rows(scene, "ode", n_steps, ode, ode)
        for name in scene.settings.step_families:
            kept: list[Tensor] = []
            images = sample_ancestral(
                scene.denoiser,
                scene.process,
                get(name),
                tuple(start.shape),
                times=times,
                seeds=scene.seeds[:few],
                device=scene.device,
                callback=lambda at, kept=kept: kept.append(scene.basis.inverse(at["x"]).cpu()),
            )
            states = [x / a for x, a in zip(kept, alpha.tolist(), strict=False)]
            rows += _path_rows(scene, name, n_steps, torch.stack([*states, images.cpu()]) * to_vp, ode)
    return rows


def _path_rows(scene: Scene, step: str, n_steps: int, path: Tensor, ode: Tensor) -> list[dict]:
    gap = (path - ode).flatten(2).square().mean(2).sqrt()
    measures: Mapping[str, tuple[Tensor, str]] = {
        "arc_chord_ratio": (geometry.arc_chord_ratio(path), "1"),
        "ode_distance": (gap.mean(0), "state"),
        "end_displacement": (gap[-1], "state"),
    }
    return [
        scene.mean(f"ancestral_{name}", values, unit, n_steps, step=step)
        for name, (values, unit) in measures.items()
        if step != "ode" or name == "arc_chord_ratio"
    ]


def measure(context: Context) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """(rows of the summary, the trajectories)."""
    torch.backends.cudnn.allow_tf32 = False  # solvers are compared with a solution that is far closer than it rounds
    study, network = context.study, context.network()
    nulls = {"linear": linear_denoiser(context.data), "untrained": untrained_network(context)}
    rows, recorded = geometry_rows(study, network, context.data, context.reference, context.device, nulls)
    return rows, recorded.tensors()
