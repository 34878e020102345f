"""Settings of the step swap."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from nonnormal.study.config.sections import Section
from nonnormal.study.config.settings import MOST, MOST_STEPS, StepNames


class StepSwap(Section):
    """Each network sampled with other steps than its own: may the step of a network be changed after training?"""

    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families; the normal, which the others are compared with, is always there."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((10,), min_length=1)
    """Network calls an image, which are sampling steps."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images per network, step and number of steps."""

    @field_validator("step_families")
    @classmethod
    def _with_the_normal(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return steps if "normal" in steps else ("normal", *steps)
