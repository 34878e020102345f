"""Settings of the ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from nonnormal.study.config.process import Basis, Process
from nonnormal.study.config.sections import PROCESSES, Name, Section
from nonnormal.study.config.values import MOST, MOST_STEPS, StepNames

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study


class Ablation(Section):
    """One image denoiser with each step in other bases, processes and grids of times, one of them at a time.

    The base is the network's own basis and process with equal steps of time; it is always there.
    """

    run: str | None = None
    """Run whose network is used; the first if null. All its components must have one schedule."""
    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families; the normal is always included."""
    bases: dict[Name, Basis] = {name: Basis(kind=name) for name in ("pca", "dct", "haar")}
    """Orthonormal bases by name, in which the step's coordinates are independent."""
    processes: dict[Name, Process] = {name: Process(**PROCESSES[name]) for name in ("cld", "psld-0.01")}
    """Processes by name; the study's defaults do not apply."""
    grids: tuple[Literal["quadratic", "log_snr", "polynomial"], ...] = ("quadratic", "polynomial")
    """Grids of times: quadratic in time; equal steps of log-SNR; EDM's noise levels, with rho = 7."""
    solvers: tuple[Literal["euler", "dpmpp_2m"], ...] = ("euler", "dpmpp_2m")
    """Solvers of the flow, which add no noise, with the same numbers of network calls on each grid."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field((5, 10), min_length=1)
    """Network calls per image, equal to sampling steps."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images per step, basis, process, grid and number of steps."""
    n_bounds: int = Field(32, strict=True, ge=2, le=MOST)
    """Test images for the bounds."""
    bound_timesteps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field(
        (10, 100), min_length=1
    )
    """Numbers of steps T of the bounds, with equal steps of time."""

    def network(self, study: Study) -> str:
        """Name of the run whose network is used."""
        return self.run or next(iter(study.runs))

    def check(self, study: Study) -> None:
        """Refuse bases and processes for which one image denoiser cannot be used."""
        if self.run not in (None, *study.trainings()):
            raise ValueError(f'ablation.run: found "{self.run}"; the runs are ' + ", ".join(study.trainings()))
        name = self.network(study)
        own = study.run(name)
        named = {f"runs.{name}.process": own.process}
        named |= {f"ablation.processes.{name}": process for name, process in self.processes.items()}
        for key, process in named.items():
            if process.schedule.by_component:
                raise ValueError(
                    f"{key}.schedule.kind: found {process.schedule.kind}; ablation needs one for all components"
                )
        named = {f"runs.{name}.basis": own.basis}
        named |= {f"ablation.bases.{name}": basis for name, basis in self.bases.items()}
        for key, basis in named.items():
            if basis.whiten:
                raise ValueError(
                    f"{key}.whiten: found true; in ablation one denoiser can be used in orthonormal bases only"
                )
            basis.check(key, study.dataset.shape)
        for key, base in (("bases", own.basis.kind), ("processes", own.process.kind)):
            if base in getattr(self, key):
                raise ValueError(f"ablation.{key}: {base} is the name of the network's own; use another name")
