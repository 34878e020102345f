"""Networks of other representations and schedules: bounds and distances, and images inpainted and outpainted."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from nonnormal.analysis.information import effective_components
from nonnormal.data import ImageData, quantise, scale
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.metrics.intervals import Estimate
from nonnormal.metrics.reference import Reference
from nonnormal.objectives.bounds import bound, continuous_bound
from nonnormal.objectives.losses import Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.processes import uniform_times
from nonnormal.samplers import outpaint, sample_ancestral
from nonnormal.steps import get
from nonnormal.study.config.build import design
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import distance_rows
from nonnormal.study.results.drawing import ancestral
from nonnormal.study.results.rows import bits_row, frame, row

N_EXTENDED, ROUNDS, KEPT = 8, 4, 0.5  # images that are outpainted, how often, and the share of columns that is kept


def representation_rows(
    study: Study, run: str, denoiser: NetworkDenoiser, data: ImageData, reference: Reference, device: str = "cpu"
) -> pd.DataFrame:
    """Bits/dim of the held-out split and FID of samples of a network of the study's section.

    `representation_bpd_total` of the T-step bound at the T of training, "normal" and, where the pair has one, "native",
    both from limit marginals; of the normal bound for T → ∞; and of the probability flow where the study asks for it.
    """
    settings, section, measure = study.run(run), study.representations, study.evaluation
    point = design(settings, denoiser.components)
    facts = _facts(study, run)
    images = data.test.images[: measure.n_images]
    x0, dims = scale(images, data.levels).to(device), images[0].numel()
    seeds, rows = study.image_seeds("bound", len(images)), []

    def bits(nats: Tensor, nfe: int, **conditions) -> None:
        rows.append(bits_row(study, run, "representation_bpd_total", nats, dims, nfe, facts | conditions))

    at_once = effective_components(point.process, denoiser.components.variance, denoiser.components.floor)
    exactly = Estimate(at_once, at_once, at_once, 1)
    rows.append(row(study, run, "representation_effective_components", exactly, "components", None, facts))
    shared = dict(levels=data.levels, seeds=seeds)
    n_steps = settings.training.timesteps
    losses = {"normal": Loss(get("normal"), get("normal"))}
    losses |= {"native": point.loss} if settings.has_native_bound else {}
    calls = min(n_steps, measure.n_evaluations)
    found = bound(denoiser, point, x0, n_steps=n_steps, n_evaluations=calls, losses=list(losses.values()), **shared)
    for kind, terms in zip(losses, found, strict=True):
        bits(terms.total, calls, bound=kind, T=n_steps, marginals="limit")
    shared |= dict(basis=point.basis)
    terms = continuous_bound(denoiser, point.process, x0, n_evaluations=measure.n_evaluations, **shared)
    bits(terms.total, measure.n_evaluations, bound="continuous")
    if section.flow and (tolerance := measure.flow_tolerance):
        nats, nfe = flow_bound(denoiser, point.process, x0, rtol=tolerance, atol=tolerance, **shared)
        bits(nats, nfe, bound="flow", dequantisation="uniform", trace="hutchinson", tolerance=tolerance)
    for count in sorted(set(section.nfe)):
        drawn_from = study.image_seeds("design", section.n_images, run)
        drawn = ancestral(study, run, denoiser, count, drawn_from, device=device)
        conditions = facts | {"sampler": "ancestral", "step": str(point.p)}
        rows += distance_rows(
            study, run, drawn.cpu(), reference, count, conditions, device, "representation_", metrics=("fid", "kid")
        )
    return frame(rows)


def outpainted(study: Study, run: str, denoiser: NetworkDenoiser, data: ImageData, device: str = "cpu") -> dict:
    """Held-out images with their right half sampled anew, and outpainted beyond the border: grey levels by name.

    Returns:
        "given" (N, C, H, W), "inpainted" (N, C, H, W), "outpainted" (N, C, H, W') uint8.
    """
    point, shape = design(study.run(run), denoiser.components), study.dataset.shape
    given = data.test.images[:N_EXTENDED]
    x0 = scale(given, data.levels).to(device)
    options = dict(
        step=point.p,
        times=uniform_times(study.run(run).training.timesteps, point.process.t_min),
        basis=point.basis,
        device=device,
    )
    kept = int(shape[2] * KEPT)
    mask = (torch.arange(shape[2]) < kept).expand(shape)
    seeds = study.image_seeds("completion", len(x0))
    inpainted = sample_ancestral(denoiser, point.process, shape=x0.shape, seeds=seeds, known=(x0, mask), **options)
    rounds = [study.image_seeds(f"extension {i}", len(x0)) for i in range(ROUNDS)]
    outpainted = outpaint(denoiser, point.process, x0, kept=kept, seeds=rounds, **options)
    images = {"given": x0, "inpainted": inpainted, "outpainted": outpainted}
    return {name: quantise(value, data.levels).cpu() for name, value in images.items()}


def _facts(study: Study, run: str) -> dict:
    """Conditions that tell one design from another."""
    settings = study.run(run)
    schedule, basis = settings.process.schedule, settings.basis
    facts = {"split": "test", "basis": basis.kind, "whitened": basis.whiten, "schedule": schedule.kind}
    if schedule.by_component:
        facts["labels"] = schedule.labels if isinstance(schedule.labels, str) else "custom"
    if schedule.kind == "component_wise":
        facts["softness"] = schedule.softness
    if schedule.kind == "sequential":
        facts["delay"] = schedule.delay
    return facts | {"training_steps": settings.training.iterations, "ema": settings.training.ema_decay}


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary for one network."""
    return representation_rows(
        context.study, context.run, context.network(), context.data, context.reference, context.device
    )


def outpainting(context: Context) -> dict[str, Tensor]:
    """Images inpainted and outpainted."""
    return outpainted(context.study, context.run, context.network(), context.data, context.device)
