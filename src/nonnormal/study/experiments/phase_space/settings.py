"""Settings of the processes with and without momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from nonnormal.study.config.process import Process
from nonnormal.study.config.sections import PROCESSES, Name, NetworkName, Section
from nonnormal.study.config.settings import Run
from nonnormal.study.config.values import MOST, MOST_STEPS, Number, RunNames, Settings, StepNames

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study


StateSampler = Literal["ancestral", "em", "sscs", "sscs_midpoint", "flow_euler", "flow_heun"]


class Way(Settings):
    """Reference of a comparison; a process or sampler that is left out is the same as in the comparison."""

    process: Name | None = None
    """Name of a process of the section."""
    sampler: StateSampler | None = None
    """One of the section's samplers."""


class Comparison(Settings):
    """Two ways to sample one network, compared image by image with the same seeds."""

    process: Name
    """Name of a process of the section."""
    sampler: StateSampler
    """One of the section's samplers."""
    against: Way
    """The reference."""

    @property
    def other(self) -> tuple[str, str]:
        """(process, sampler) of the reference."""
        return self.against.process or self.process, self.against.sampler or self.sampler


class PhaseSpace(Section):
    """Processes with and without momentum, sampled and bounded with networks of the study."""

    takes_states: ClassVar[bool] = True

    runs: RunNames | None = None
    """Runs whose networks are used in every process; the first run if null."""
    networks: dict[NetworkName, Run] = {}
    """Networks trained for this section alone, on images or on states, each used in its own process; their keys replace
    the study's defaults."""
    replicates: int = Field(1, strict=True, ge=1, le=1000)
    """How often each of these networks is trained and measured; see the study's key replicates."""
    processes: dict[Name, Process] = Field(
        default_factory=lambda: {name: Process(**keys) for name, keys in PROCESSES.items()}, min_length=1
    )
    """Processes by name; the study's defaults do not apply."""
    samplers: Annotated[tuple[StateSampler, ...], Field(min_length=1)] = (
        "ancestral",
        "em",
        "sscs",
        "sscs_midpoint",
        "flow_heun",
    )
    """Samplers; all except ancestral end with one denoising step, which counts as a call. sscs evaluates score and
    rates at the start of a step, as the code of PSLD and CLD does; sscs_midpoint, which is ours, at its middle."""
    grids: Annotated[tuple[Literal["uniform", "quadratic"], ...], Field(min_length=1)] = ("quadratic",)
    """Grids of times."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=3, le=MOST_STEPS)], ...] = Field((10, 20, 50), min_length=1)
    """Network calls per image; Heun's method has two per step, so it uses one call less of an even number."""
    comparisons: tuple[Comparison, ...] = ()
    """Pairs of processes and samplers whose distances are subtracted, with images paired by their seeds, for each
    number of calls on the first grid; the network must be used in both processes."""
    tolerances: tuple[Annotated[Number, Field(gt=0, le=0.1)], ...] = ()
    """Tolerances, relative and absolute, of the adaptive flow."""
    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families of the sampled noise."""
    step_samplers: tuple[Literal["ancestral", "em", "sscs", "sscs_midpoint"], ...] = ("sscs",)
    """Samplers for the other step families; the normal step is used with all samplers."""
    step_nfe: tuple[Annotated[int, Field(strict=True, ge=3, le=MOST_STEPS)], ...] = (20,)
    """Network calls of these samplers."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images per process, sampler, grid and number of calls."""
    n_bounds: int = Field(32, strict=True, ge=2, le=MOST)
    """Test images for the bounds."""
    bound_timesteps: int = Field(1000, strict=True, ge=1, le=MOST_STEPS)
    """T of the bounds, with equal steps of time; network calls and the flow's tolerance are those of evaluation."""
    law_timesteps: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field(
        (4, 16, 64), min_length=1
    )
    """Numbers of steps in phase space on a mixture with its exact score."""
    n_samples: int = Field(10000, strict=True, ge=100, le=MOST)
    """Samples of the mixture."""

    def names(self, study: Study) -> tuple[str, ...]:
        """Names of the runs and networks with which the processes are sampled."""
        return (*(self.runs or tuple(study.runs)[:1]), *study.trainings(self.networks))

    def check(self, study: Study) -> None:
        """Refuse unknown runs, processes with several schedules, and comparisons of unknown processes and samplers."""
        if strange := set(self.runs or ()) - set(study.trainings()):
            raise ValueError(f'phase_space.runs: found "{min(strange)}"; the runs are ' + ", ".join(study.trainings()))
        for name, process in self.processes.items():
            if process.schedule.by_component:
                kind = process.schedule.kind
                key = f"phase_space.processes.{name}.schedule.kind"
                raise ValueError(f"{key}: found {kind}; phase_space needs one for all components")
        for i, each in enumerate(self.comparisons):
            for key, (process, sampler) in (("", (each.process, each.sampler)), (".against", each.other)):
                if process not in self.processes:
                    known = ", ".join(self.processes)
                    raise ValueError(
                        f"phase_space.comparisons.{i}{key}.process: found {process}; the processes are {known}"
                    )
                if sampler not in self.samplers:
                    known = ", ".join(self.samplers)
                    raise ValueError(
                        f"phase_space.comparisons.{i}{key}.sampler: found {sampler}; the samplers are {known}"
                    )
            if each.other == (each.process, each.sampler):
                raise ValueError(
                    f"phase_space.comparisons.{i}.against: is the comparison itself; name another process or sampler"
                )
