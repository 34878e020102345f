"""Settings of the convergence in law."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nonnormal.study.config.sections import Section
from nonnormal.study.config.values import MOST, MOST_STEPS, Number, StepNames


class Convergence(Section):
    """Convergence in law of walks and samplers with any step, on a normal mixture with the exact denoiser."""

    needs_runs: ClassVar[bool] = False

    step_families: StepNames = ("normal", "laplace", "uniform")
    """Step families."""
    timesteps: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field((4, 16, 64), min_length=1)
    """Numbers of steps."""
    points: int = Field(4096, strict=True, ge=256, le=MOST)
    """Grid points of the densities; the error of the grid is measured against half as many."""
    n_paths: int = Field(20000, strict=True, ge=100, le=MOST)
    """Number of sampled paths for the law of a path's maximum."""
    heavy_df: tuple[Annotated[Number, Field(gt=2, le=10)], ...] = ()
    """Degrees of freedom of Student's t steps whose walks on a line are compared with the diffusion; steps with 4 or
    fewer have no fourth moment."""
    stable_alpha: tuple[Annotated[Number, Field(ge=1.1, lt=2)], ...] = ()
    """Indices of symmetric stable steps, which have no variance; their walks are compared with the stable process."""
    n_samples: int = Field(10000, strict=True, ge=100, le=MOST)
    """Samples for the distances in the plane."""
