"""Settings of the pretrained network."""

from __future__ import annotations

import json
import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from nonnormal.data.source import LocalPath
from nonnormal.study.config.sections import Section
from nonnormal.study.config.values import MOST, MOST_STEPS, Flag, Number, Settings, StepNames


class NoiseSchedule(Settings):
    """Training schedule of a network without scheduler_config.json: keys and defaults of diffusers' DDPMScheduler."""

    num_train_timesteps: int = Field(1000, strict=True, ge=1, le=MOST_STEPS)
    """Number of noise levels in training."""
    beta_start: Number = Field(1e-4, gt=0, lt=1)
    """Variance of the first step."""
    beta_end: Number = Field(0.02, gt=0, lt=1)
    """Variance of the last."""
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    """Shape of the variances between the first and the last step."""
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    """Quantity that the network predicts."""
    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"] = "fixed_small"
    """Variance of the sampler's step."""
    clip_sample: Flag = True
    """Whether predicted images are clipped to [−1, 1]."""
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    """How the levels are chosen if there are fewer steps than levels."""


class Pretrained(Section):
    """A pretrained network, diffusers' UNet2DModel, sampled with several steps."""

    needs_runs: ClassVar[bool] = False
    brings_network: ClassVar[bool] = True

    path: LocalPath | None = None
    """Folder written by save_pretrained, of a pipeline or a UNet2DModel, with weights in safetensors."""
    hub_id: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Repository on the Hugging Face Hub, instead of path."""
    revision: str | None = None
    """Commit of that repository, all 40 digits."""
    schedule: NoiseSchedule | None = None
    """Schedule of its training; if null, it is read from the network's scheduler_config.json."""
    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((10, 50), min_length=1)
    """Network calls per image, equal to sampling steps."""
    n_images: int = Field(1000, strict=True, ge=8, le=MOST)
    """Images per step and number of steps."""

    @model_validator(mode="after")
    def _is_pinned(self):
        if (self.path is None) == (self.hub_id is None):
            found = "neither" if self.path is None else "both"
            raise ValueError(f"path: found {found} of path and hub_id; give exactly one of them")
        if self.path is not None and self.revision is not None:
            raise ValueError("revision: belongs to hub_id; the folder in path is used as it is")
        if self.hub_id is not None and not re.fullmatch("[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"revision: found {json.dumps(self.revision)}; hub_id needs a commit, all its 40 digits, since a "
                "branch or tag may be another network tomorrow"
            )
        return self
