"""Settings of the step swap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from nonnormal.study.config.sections import Section
from nonnormal.study.config.values import MOST, MOST_STEPS, StepNames

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study


class StepSwap(Section):
    """Each network sampled with other steps than its own: may the step of a network be changed after training?"""

    runs: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Runs, or further trainings of runs, whose networks are sampled; the first training of each run where it is
    null."""
    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families; the normal, which the others are compared with, is always there."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((10,), min_length=1)
    """Network calls an image, which are sampling steps."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images per network, step and number of steps."""

    def of_runs(self, study: Study) -> tuple[str, ...]:
        """Names of the trainings whose networks are sampled."""
        return self.runs or tuple(study.runs)

    def check(self, study: Study) -> None:
        """Refuses runs that there are not."""
        if strange := set(self.runs or ()) - set(study.trainings()):
            raise ValueError(f'step_swap.runs: found "{min(strange)}"; the runs are ' + ", ".join(study.trainings()))

    @field_validator("step_families")
    @classmethod
    def _with_the_normal(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return steps if "normal" in steps else ("normal", *steps)
