"""Recipes: from a run's settings to the objects that are trained and measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nonnormal.data import DataSet
from nonnormal.objective import ELBO, Design, Perceptual
from nonnormal.settings import Run
from nonnormal.steps import Normal, get


def design(run: Run) -> Design:
    """The run's point of the design space."""
    return Design(run.process.build(), get(run.q), get(run.p), run.build_basis(), run.training.convention)


def objective(run: Run, sigma_data: float) -> ELBO | Perceptual:
    """The run's loss; sigma_data is the data's standard deviation."""
    point = design(run)
    if run.training.loss == "limit":
        point = replace(point, q=Normal(), p=Normal())
    if run.training.weighting == "elbo":
        return ELBO(point, run.training.n_steps)
    return Perceptual(point, sigma_data)


def denoiser_recipe(run: Run, data: DataSet, sigma_data: float) -> dict[str, Any]:
    """What `checkpoints.build_denoiser` builds the run's denoiser from, as JSON values."""
    channels, size, _ = data.shape
    network = run.network
    return {
        "network": {
            "in_channels": channels * (1 + 2 * len(network.fourier)),
            "out_channels": channels,
            "image_size": size,
            "widths": list(network.widths),
            "layers_per_block": network.layers_per_block,
            "attention": list(network.attention),
            "middle_attention": network.middle_attention,
            "dropout": network.dropout,
            "groups": network.groups,
        },
        "denoiser": {
            "parametrisation": network.parametrisation,
            "sigma_data": sigma_data,
            "fourier": list(network.fourier),
        },
    }
