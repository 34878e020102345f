"""Diffusion models with any step distribution. The names below are loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "bases": ("DCT", "PCA", "Basis", "Fourier", "Haar", "Pixel"),
    "denoisers": ("Denoiser", "GaussianMixtureDenoiser", "NetworkDenoiser", "OptimalDenoiser"),
    "diffusers": ("NonNormalScheduler",),
    "objectives": ("ELBO", "Design", "Loss", "EDMLoss", "bound", "continuous_bound", "fit_steps", "flow_bound"),
    "processes": ("PSLD", "VE", "VP", "ComponentWise", "Cosine", "LinearLogSNR", "LinearProcess", "LinearSDE"),
    "samplers": (
        "sample_ancestral",
        "sample_dpm_2",
        "sample_dpmpp_2m",
        "sample_em",
        "sample_euler",
        "sample_heun",
        "sample_ipndm",
        "sample_sscs",
    ),
    "steps": ("Step", "get_step", "register", "shift_kl"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from nonnormal.bases import DCT, PCA, Basis, Fourier, Haar, Pixel
    from nonnormal.denoisers import Denoiser, GaussianMixtureDenoiser, NetworkDenoiser, OptimalDenoiser
    from nonnormal.diffusers import NonNormalScheduler
    from nonnormal.objectives import ELBO, Design, EDMLoss, Loss, bound, continuous_bound, fit_steps, flow_bound
    from nonnormal.processes import PSLD, VE, VP, ComponentWise, Cosine, LinearLogSNR, LinearProcess, LinearSDE
    from nonnormal.samplers import (
        sample_ancestral,
        sample_dpm_2,
        sample_dpmpp_2m,
        sample_em,
        sample_euler,
        sample_heun,
        sample_ipndm,
        sample_sscs,
    )
    from nonnormal.steps import Step, get_step, register, shift_kl


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
