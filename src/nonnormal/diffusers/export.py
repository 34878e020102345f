"""Export: a network of this project as a pipeline of diffusers, which draws the images of the ancestral sampler.

The chain of T calls at the times t_k = t_min + k (1 − t_min)/T becomes the timesteps k − 1 = 0 … T − 1 of DDPM, with

    beta_k = Σ(t_(k−1), t_k), the variance that the process adds,    final_alpha_cumprod = alpha(t_min)².

Timesteps are spaced "trailing", so n calls use the times of n equal steps if n divides T, and the nearest ones
otherwise. Depends on processes and denoisers; independent of studies.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nonnormal.denoisers import NetworkDenoiser, alpha_and_level
from nonnormal.diffusers.predictor import NoisePredictor
from nonnormal.diffusers.scheduler import NonNormalScheduler
from nonnormal.processes import LinearProcess, uniform_times

# After the scheduler, which makes sure that torchvision can be imported.
from diffusers import DDPMPipeline  # isort: skip

_ROUNDING = 1e-9


def pipeline_of(
    denoiser: NetworkDenoiser, recipe: Mapping[str, Any], process: LinearProcess, step: str, timesteps: int
) -> DDPMPipeline:
    """The pipeline that draws, from the same noise, what `sample_ancestral` draws in the pixel basis.

    Args:
        denoiser: in the pixel basis if it has components.
        recipe: arguments it was built from, {"network": arguments of UNet, "denoiser": arguments of NetworkDenoiser}.
        process: of one variable per component and one schedule for all, with alpha² + sigma² = 1.
        step: name of the step.
        timesteps: T.

    Raises:
        ValueError: the process does not fit.
    """
    times = uniform_times(timesteps, process.t_min).sort().values
    alpha, level = alpha_and_level(process, times)
    if ((alpha.square() * (1 + level.square()) - 1).abs() > _ROUNDING).any():
        raise ValueError(f"a DDPM scheduler needs alpha² + sigma² = 1, which {type(process).__name__} does not satisfy")
    betas = torch.cat([process.marginal(times[1:2])[1], process.transition(times[1:-1], times[2:])[1]]).flatten()
    components = denoiser.components if recipe["denoiser"].get("sigma_data") is None else None
    channels = denoiser.network.unet.config.out_channels
    predictor = NoisePredictor(
        sample_size=recipe["network"]["image_size"],
        in_channels=channels,
        out_channels=channels,
        network=dict(recipe["network"]),
        denoiser=dict(recipe["denoiser"]),
        log_snrs=(-2 * level[1:].log()).tolist(),
        mean=None if components is None else components.mean.tolist(),
        std=None if components is None else components.std.tolist(),
    )
    predictor.model.network.load_state_dict(denoiser.network.state_dict())
    scheduler = NonNormalScheduler(
        timesteps,
        trained_betas=betas.tolist(),
        clip_sample=False,
        timestep_spacing="trailing",
        step_distribution=step,
        final_alpha_cumprod=alpha[0].square().item(),
    )
    return DDPMPipeline(predictor.eval().requires_grad_(False), scheduler)


def write(folder: Path, pipeline: DDPMPipeline, card: str) -> None:
    """Write a pipeline and its model card (README.md) to a new folder, completely or not at all.

    Raises:
        FileExistsError: the folder has files.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        pipeline.save_pretrained(temporary, safe_serialization=True, max_shard_size="100GB")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(folder)  # which may be there, if it is empty
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
