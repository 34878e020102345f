"""Recipes: from a run's settings to the objects that are trained and measured."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import Any

from torch import Tensor

from nonnormal.bases import PIXEL, BasisStatistics
from nonnormal.data import DataSet, one_number, scale
from nonnormal.objectives.losses import ELBO, Design, EDMLoss, HybridScoreMatching, Loss
from nonnormal.processes import VP
from nonnormal.study.config.process import resolution
from nonnormal.study.config.settings import Run
from nonnormal.study.config.values import SINGLE


def components(run: Run, images: Tensor, levels: int) -> BasisStatistics:
    """The run's basis and the statistics of the data in it, from the grey levels (N, C, H, W) of the training split.

    Standard deviations below that of rounding to grey levels, spacing/√12, are raised to it.
    """
    return run.basis.fit(images, floor=resolution(levels), scale=partial(scale, levels=levels))


def design(run: Run, components: BasisStatistics | None = None) -> Design:
    """The run's design, with the statistics `components` if its basis or schedule is fitted to data.

    Raises:
        ValueError: with these data a component never moves, or its log-SNR leaves single precision, in which
            networks compute.
    """
    basis = PIXEL if components is None else components.basis
    try:
        process = run.process.build(components)
    except ValueError as error:
        raise ValueError(f"process.schedule: {error}") from None
    if isinstance(process, VP):
        high, low = process.schedule.log_snr(0.0).max().item(), process.schedule.log_snr(1.0).min().item()
        if max(high, -low) > SINGLE:
            raise ValueError(
                f"process.schedule: log-SNRs from {high:.4g} to {low:.4g} leave single precision (±{SINGLE}): cap "
                "them by low and high, or soften the order"
            )
    return Design(process, Loss(run.q, run.p, run.training.convention), basis)


def objective(
    run: Run, sigma_data: float, components: BasisStatistics | None = None
) -> ELBO | EDMLoss | HybridScoreMatching:
    """The run's loss; sigma_data is the data's standard deviation."""
    point = design(run, components)
    if run.training.loss == "limit":
        point = replace(point, loss=Loss("normal", "normal"))
    if run.training.weighting == "elbo":
        return ELBO(point, run.training.timesteps)
    if run.of_states:
        return HybridScoreMatching(point, run.training.weighting, momentum_alone=point.process.friction_x == 0)
    return EDMLoss(point, sigma_data)


def model_config(run: Run, data: DataSet, sigma_data: float) -> dict[str, Any]:
    """The recipe from which `checkpoints.build_denoiser` builds the run's denoiser, as JSON values."""
    channels, *size = data.shape
    network, sees_levels = run.network, run.process.schedule.by_component
    inputs, outputs = 1 + sees_levels, 1
    if run.of_states:
        process = run.process.build()
        inputs, outputs = 2, 1 if process.friction_x == 0 else 2
        denoiser = {"target": run.training.weighting, "fourier": list(network.fourier)}
        others = {"process": asdict(process), "denoiser": denoiser}
    else:
        denoiser = {
            "parametrisation": network.parametrisation,
            "sigma_data": sigma_data if network.statistics == "pooled" else None,
            "fourier": list(network.fourier),
            "sees_levels": sees_levels,
        }
        others = {"denoiser": denoiser, "basis": run.basis.model_dump()}
    return {
        "network": {
            "in_channels": channels * (inputs + 2 * len(network.fourier)),
            "out_channels": channels * outputs,
            "image_size": one_number(size),
            "widths": list(network.widths),
            "layers_per_block": network.layers_per_block,
            "attention": list(network.attention),
            "middle_attention": network.middle_attention,
            "dropout": network.dropout,
            "groups": network.groups,
        },
        **others,
    }
