"""Settings of the geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from nonnormal.study.config.sections import Section
from nonnormal.study.config.values import MOST, MOST_STEPS, StepNames

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study


class Geometry(Section):
    """Trajectories, solvers and the optimal denoiser, measured with one network."""

    run: str | None = None
    """Run whose network is used; its basis must not be whitened. The first run if null."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images of the recorded trajectories and of each solver."""
    n_levels: int = Field(40, strict=True, ge=4, le=MOST_STEPS)
    """Steps of the recorded trajectories."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=3, le=MOST_STEPS)], ...] = Field((5, 9, 15, 25), min_length=1)
    """Network calls per image at which solvers are compared; solvers with two calls per step skip even numbers."""
    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families of the ancestral paths."""
    ancestral_nfe: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field((10, 40), min_length=1)
    """Network calls of the ancestral paths, equal to their steps."""
    n_paths: int = Field(64, strict=True, ge=4, le=MOST)
    """Images for the ancestral paths, the grid search, and the distance to the adaptive solution."""

    @model_validator(mode="after")
    def _paths_are_images(self):
        if self.n_paths > self.n_images:
            raise ValueError(f"n_paths: found {self.n_paths}, more than the {self.n_images} images of n_images")
        return self

    def network(self, study: Study) -> str:
        """Name of the run whose network is used."""
        return self.run or next(iter(study.runs))

    def check(self, study: Study) -> None:
        """Refuse a network whose process has several schedules, or whose noise is not white in pixels."""
        if self.run not in (None, *study.trainings()):
            raise ValueError(f'geometry.run: found "{self.run}"; the runs are ' + ", ".join(study.trainings()))
        name = self.network(study)
        process = study.run(name).process
        if process.kind != "vp" or process.schedule.by_component:
            found = process.kind if process.kind != "vp" else process.schedule.kind
            raise ValueError(
                f'geometry.run: found "{name}", whose process is {found}; geometry needs a run of the '
                "process vp with one schedule for all components"
            )
        if study.run(name).basis.whiten:
            raise ValueError(
                f"runs.{name}.basis.whiten: found true; geometry compares the network with the optimal "
                "denoiser, whose noise is white in pixels; name another run in geometry.run"
            )
