"""Settings of the experiment with few network calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import Field, model_validator

from nonnormal.steps import get
from nonnormal.study.config.sections import Section
from nonnormal.study.config.values import MOST, MOST_STEPS, Number, RunNames, StepNames

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study

Choice = Literal["unit", "scale", "diagonal", "conditional", "scale+shape", "diagonal+shape", "conditional+shape"]
Sampled = Literal[Choice, "residuals"]
StepBasis = Literal["pixel", "dct", "fourier", "haar", "pca", "residual_pca"]
MixtureName = Literal["sparse", "skewed"]
Timesteps = Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)]


class FewSteps(Section):
    """Fitted steps of trained networks at few network calls: bounds, samples, and the optimum if it is known."""

    runs: RunNames | None = None
    """Runs whose networks are used, in the pixel basis with one schedule for all components; the first if null."""
    choices: Annotated[tuple[Choice, ...], Field(min_length=1)] = get_args(Choice)
    """Fitted properties of the step; unit, the reference, is always included."""
    bases: Annotated[tuple[StepBasis, ...], Field(min_length=1)] = ("pixel",)
    """Bases whose components have the variances and shapes; pca is fitted to images, residual_pca to the residuals of
    each interval, from every second image. In bases other than pixel only diagonal and conditional are fitted."""
    timesteps: Annotated[tuple[Timesteps, ...], Field(min_length=1)] = (4, 8, 16)
    """Numbers of timesteps T of the bounds, with equal steps of time."""
    n_fit: int | None = Field(None, strict=True, ge=2, le=MOST)
    """Training images of each fit, drawn without replacement; all if null."""
    draws: int = Field(3, strict=True, ge=1, le=MOST)
    """Draws of the noise for each image of a fit."""
    fits: int = Field(3, strict=True, ge=1, le=100)
    """Number of independent fits; the intervals of bounds include the scatter between them."""
    n_bounds: int | None = Field(None, strict=True, ge=2, le=MOST)
    """Held-out images for the bounds; all if null."""
    grid_choices: tuple[Choice, ...] = ("unit", "conditional+shape")
    """Choices whose bounds are also computed on times searched by dynamic programming."""
    grid_points: int = Field(100, strict=True, ge=2, le=MOST_STEPS)
    """Intervals of the fine grid from which those times are taken."""
    grid_images: int = Field(200, strict=True, ge=2, le=MOST)
    """Training images used in the search."""
    reach: Timesteps | None = None
    """Number of equal steps of time with unit steps whose bound is the target: for each of grid_choices, the smallest
    number of searched times that reaches it is found. No search if null."""
    nfe: tuple[Timesteps, ...] = (4, 8, 16)
    """Network calls of the samples, with equal steps of time; no samples if empty."""
    sampled: tuple[Sampled, ...] | None = None
    """Choices whose fitted steps draw samples, in every basis, if nfe is also one of the timesteps; all choices if
    null. residuals draws whole residual vectors of the fit; it has no bound."""
    noise_factors: tuple[Annotated[Number, Field(gt=0, le=4)], ...] = (0.9, 1.0, 1.1)
    """Factors on the noise of each unit step."""
    step_families: StepNames = ("normal", "laplace")
    """Step families of that noise; the normal with factor 1, the reference, is always included."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Samples for each step and number of calls."""
    mixtures: tuple[MixtureName, ...] = ("sparse", "skewed")
    """One-dimensional normal mixtures whose best attainable bound is computed."""
    mixture_timesteps: tuple[Timesteps, ...] = (2, 4, 8, 16)
    """Numbers of timesteps T on the mixtures."""
    mixture_steps: StepNames = ("normal",)
    """Steps q of the true process on the mixtures; each must have a density."""

    @model_validator(mode="after")
    def _fits_its_choices(self):
        if strange := set(self.sampled or ()) - {*self.choices, "unit", "residuals"}:
            raise ValueError(
                f"sampled: found {min(strange)}, which is not one of the choices {', '.join(self.choices)}"
            )
        most = max(*self.timesteps, self.reach or 1)
        if self.grid_choices and most > self.grid_points:
            raise ValueError(
                f"grid_points: found {self.grid_points}, fewer than the {most} timesteps that are to be taken from them"
            )
        if without := [name for name in self.mixture_steps if not get(name).has_density]:
            raise ValueError(f"mixture_steps: found {without[0]}, which has no density, and so no bound")
        return self

    @property
    def all_steps(self) -> tuple[str, ...]:
        """Names of all steps that it asks for."""
        return (*self.step_families, *self.mixture_steps)

    def of_runs(self, study: Study) -> tuple[str, ...]:
        """Names of the runs for whose networks steps are fitted."""
        return self.runs or tuple(study.runs)[:1]

    def check(self, study: Study) -> None:
        """Refuse networks in another basis than pixels, with a momentum, or with several schedules."""
        for name in self.of_runs(study):
            if name not in study.trainings():
                raise ValueError(f'few_steps.runs: found "{name}"; the runs are ' + ", ".join(study.trainings()))
            run = study.run(name)
            momentum, by_component = run.process.variables > 1, run.process.schedule.by_component
            if run.basis.kind != "pixel" or run.basis.whiten or momentum or by_component:
                raise ValueError(
                    f"few_steps.runs: {name} has the basis {run.basis} and the process {run.process.kind} with the "
                    f"schedule {run.process.schedule.kind}; fitted steps need unwhitened pixels, one variable and one "
                    "schedule for all components"
                )
