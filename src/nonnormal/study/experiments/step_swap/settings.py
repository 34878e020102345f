"""Settings of the step swap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from nonnormal.study.config.sections import Section
from nonnormal.study.config.values import MOST, MOST_STEPS, RunNames, StepNames

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study


Images = Annotated[int, Field(strict=True, ge=8, le=MOST)]


class StepSwap(Section):
    """Each network sampled with other steps than its own: can the step of a network be changed after training?"""

    runs: RunNames | None = None
    """Runs, or further trainings of runs, whose networks are sampled; the first training of each run if null."""
    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families; the normal, the reference, is always included."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((10,), min_length=1)
    """Network calls per image, equal to sampling steps."""
    n_images: Annotated[tuple[Images, ...], Field(min_length=1)] | Images = 500
    """Images per network and step: one number, or a list with one for each of nfe (few calls cost less)."""

    def of_runs(self, study: Study) -> tuple[str, ...]:
        """Names of the trainings whose networks are sampled."""
        return self.runs or tuple(study.runs)

    def check(self, study: Study) -> None:
        """Refuse unknown runs, and numbers of images that do not match the numbers of calls."""
        if strange := set(self.runs or ()) - set(study.trainings()):
            raise ValueError(f'step_swap.runs: found "{min(strange)}"; the runs are ' + ", ".join(study.trainings()))

        found = self.n_images
        if isinstance(found, tuple) and len(found) != len(self.nfe):
            raise ValueError(
                f"step_swap.n_images: found {len(found)} numbers; needs one, or one for each of nfe, {len(self.nfe)}"
            )
        if isinstance(found, tuple) and len(self.images) < len(found):
            raise ValueError(f"step_swap.nfe: found {list(self.nfe)}; beside a list of n_images each stands once")

    @property
    def images(self) -> dict[int, int]:
        """Images per network and step by number of sampling steps."""
        found = self.n_images
        return dict.fromkeys(self.nfe, found) if isinstance(found, int) else dict(zip(self.nfe, found, strict=True))

    @field_validator("step_families")
    @classmethod
    def _with_the_normal(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return steps if "normal" in steps else ("normal", *steps)
