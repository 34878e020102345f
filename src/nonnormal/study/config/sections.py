"""Sections of a study file beside its runs: features, sampling, evaluation, and the parts that may be left out.

These models are the source of what is allowed in each; `study` puts them together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from nonnormal.data import Source
from nonnormal.data.source import LocalPath
from nonnormal.metrics.weights import INCEPTION
from nonnormal.study.config.settings import MOST, MOST_STEPS, Basis, Flag, Number, Process, Run, Settings, StepNames

# That a study may leave out; so it may designs, which are listed by their networks.
OPTIONAL = ("invariance", "exchange", "geometry", "pretrained", "recipe", "crossing", "few_steps")

_WORDS = ("false", "inf", "infinity", "na", "nan", "no", "none", "null", "off", "on", "true", "yes")


def _no_value(name: str) -> str:
    """The name, unless readers of tables, YAML or JSON take it for a value."""
    if name in _WORDS:
        raise ValueError(f"readers of tables and of YAML take {name} for a value; use another name")
    return name


# The one rule for names, of a study, its networks, processes and bases: they are folders, keys, cells of tables and
# parts of file names, so none is read as a number or ends like a file.
NAME_PATTERN = r"^[a-z][a-z0-9_-]*([0-9]\.[0-9][a-z0-9_-]*)*$"
NAME_RULE = "a name begins with a letter and has a to z, 0 to 9, - and _, and a point between digits alone"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64), AfterValidator(_no_value)]

# Folders beside those of the networks; the log of recipe-law beside those of recipe-<network>; the page's run-table
# beside its run-<network>.
_TAKEN = ("benchmarks", "logs", "paper", "pretrained", "records", "law", "table")


def _free(name: str) -> str:
    """The name, unless it is that of a file, folder or part of the page beside those of networks."""
    if name in _TAKEN:
        raise ValueError(f"{', '.join(_TAKEN)} are kept for files and folders of the study; use another name")
    return name


NetworkName = Annotated[Name, AfterValidator(_free)]


class Classifier(Settings):
    """Feature network of the Fréchet distance, trained on the data set's labels."""

    kind: Literal["classifier"] = "classifier"
    """Distances are named after the data set, e.g. fid_digits."""
    epochs: int = Field(20, strict=True, ge=1, le=MOST)
    """Passes over the training split."""
    batch_size: int = Field(64, strict=True, ge=2, le=MOST)
    """Images per optimiser step."""
    learning_rate: Number = Field(3e-3, gt=0)
    """Maximum of the one-cycle learning rate."""


class Inception(Settings):
    """Feature network of the Fréchet distance as the field reports it, for images of three channels."""

    kind: Literal["inception"]
    """Distances are named fid, kid, precision and recall."""
    source: Source = Source()
    """Where the file of its weights comes from; what is left out is torch-fidelity's own."""

    @field_validator("source")
    @classmethod
    def _a_file(cls, source: Source) -> Source:
        if source.size is not None:
            raise ValueError("size: does not fit inception, which takes path, mirrors, sha256")
        if strange := set(source.sha256) - {INCEPTION.name}:
            raise ValueError(f"sha256: {', '.join(sorted(strange))}: inception has the file {INCEPTION.name}")
        return source


FEATURES = {"classifier": Classifier, "inception": Inception}


def _kind(features: Any) -> str | None:
    """Which of `FEATURES` a study asks for."""
    if isinstance(features, Mapping):
        return features.get("kind", "classifier")
    return getattr(features, "kind", None)


Features = Annotated[
    Annotated[Classifier, Tag("classifier")] | Annotated[Inception, Tag("inception")],
    Discriminator(
        _kind,
        custom_error_type="features_kind",
        custom_error_message=f"kind: allowed are {', '.join(FEATURES)}",
    ),
]


class Sampling(Settings):
    """How samples are drawn, the same for all runs."""

    n_images: int = Field(1000, strict=True, ge=8, le=MOST)
    """Images per run and number of steps."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((100,), min_length=1)
    """Numbers of sampling steps; the largest is the headline."""
    batch_size: int = Field(250, strict=True, ge=1, le=MOST)
    """Images per network call; changes nothing but speed."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the state."""


class Evaluation(Settings):
    """How bounds and distances are measured, the same for all runs."""

    n_images: int | None = Field(None, strict=True, ge=2, le=MOST)
    """Test images of the bounds; all where it is null."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((100,), min_length=1)
    """Numbers of steps T of the bounds, next to each run's own."""
    n_evaluations: int = Field(100, strict=True, ge=1, le=MOST_STEPS)
    """Network calls an image of a bound from limit marginals: with more steps than these, a stratified draw of them."""
    flow_tolerance: Number | None = Field(1e-4, gt=0, le=1e-4)
    """Tolerance of the probability-flow likelihood, relative and absolute; at 1e-3 the solver's bias can be as large as
    the interval over images. Left out where it is null."""
    bootstrap: int = Field(100, strict=True, ge=10, le=MOST)
    """Resamples for the intervals of FID and KID."""


class Resources(Settings):
    """What each training, sampling and evaluation asks of the machine."""

    threads: int = Field(1, strict=True, ge=1, le=MOST)
    """CPU threads, fixed so that results do not depend on the number of cores."""
    gpus: int = Field(0, strict=True, ge=0, le=MOST)
    """GPUs of a training, which with several has a process on each, and the same batches; other jobs ask for one. 0
    asks for none: jobs run side by side on the cores, and share a GPU where there is one."""
    retries: int | None = Field(None, strict=True, ge=0, le=MOST)
    """How often a training that ended early, by preemption or at its time limit, is started again; it goes on where it
    was. None: as the profile says, which is never on one machine."""
    mem_mb: int = Field(2000, strict=True, ge=100, le=MOST)
    """Memory in MB of a first attempt; a third one has three times as much."""
    runtime: int = Field(60, strict=True, ge=1, le=MOST)
    """Minutes of a first attempt, and of each attempt of a training."""


class Invariance(Settings):
    """Convergence in law of walks and samplers with any step, on a normal mixture with its exact denoiser."""

    steps: StepNames = ("normal", "laplace", "uniform")
    """Step families."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field((4, 16, 64), min_length=1)
    """Numbers of steps."""
    points: int = Field(4096, strict=True, ge=256, le=MOST)
    """Grid points of the densities; the error of the grid is measured against half as many."""
    n_paths: int = Field(20000, strict=True, ge=100, le=MOST)
    """Sampled paths for the law of a path's maximum."""
    n_samples: int = Field(10000, strict=True, ge=100, le=MOST)
    """Samples for the distances in the plane."""


class Exchange(Settings):
    """Each network sampled with other steps than its own: may the step of a network be changed after training?"""

    steps: StepNames = ("normal", "laplace", "uniform")
    """Step families; the normal, which the others are compared with, is always there."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((10,), min_length=1)
    """Numbers of sampling steps."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images per network, step and number of steps."""

    @field_validator("steps")
    @classmethod
    def _with_the_normal(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return steps if "normal" in steps else ("normal", *steps)


class NoiseSchedule(Settings):
    """How a network without scheduler_config.json was trained: keys and defaults of diffusers' DDPMScheduler."""

    num_train_timesteps: int = Field(1000, strict=True, ge=1, le=MOST_STEPS)
    """Noise levels of the training."""
    beta_start: Number = Field(1e-4, gt=0, lt=1)
    """Variance of the first step."""
    beta_end: Number = Field(0.02, gt=0, lt=1)
    """Variance of the last."""
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    """Variances between them."""
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    """What the network predicts."""
    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"] = "fixed_small"
    """Variance of the sampler's step."""
    clip_sample: Flag = True
    """Whether predicted images are clipped to [−1, 1]."""
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    """Which of the levels fewer steps use."""


class Pretrained(Settings):
    """A network that exists already, diffusers' UNet2DModel, sampled with several steps."""

    path: LocalPath | None = None
    """Folder that save_pretrained wrote, of a pipeline or of a UNet2DModel, with weights in safetensors."""
    hub_id: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Repository on the Hugging Face Hub, in place of path."""
    revision: str | None = None
    """Commit of that repository, all 40 digits."""
    schedule: NoiseSchedule | None = None
    """How it was trained; where it is null, the network's scheduler_config.json says so."""
    steps: StepNames = ("normal", "laplace", "uniform")
    """Step families."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((10, 50), min_length=1)
    """Numbers of sampling steps."""
    n_images: int = Field(1000, strict=True, ge=8, le=MOST)
    """Images per step and number of steps."""

    @model_validator(mode="after")
    def _is_pinned(self):
        if (self.path is None) == (self.hub_id is None):
            found = "neither" if self.path is None else "both"
            raise ValueError(f"path: found {found} of path and hub_id; one of them says which network")
        if self.path is not None and self.revision is not None:
            raise ValueError("revision: belongs to hub_id; what lies in the folder of path is used as it is")
        if self.hub_id is not None and not re.fullmatch("[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"revision: found {json.dumps(self.revision)}; hub_id needs a commit, all its 40 digits, since a "
                "branch or tag may be another network tomorrow"
            )
        return self


class Geometry(Settings):
    """Trajectories, solvers and the optimal denoiser, looked at with one network."""

    run: str | None = None
    """Run whose network is used, of a basis that is not whitened; the first where it is null."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images of the recorded trajectories and of each solver."""
    n_levels: int = Field(40, strict=True, ge=4, le=MOST_STEPS)
    """Steps of the recorded trajectories."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=3, le=MOST_STEPS)], ...] = Field((5, 9, 15, 25), min_length=1)
    """Network calls an image by which solvers are compared; those of two calls a step are left out of even ones."""
    steps: StepNames = ("normal", "laplace", "uniform")
    """Step families of the ancestral paths."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field((10, 40), min_length=1)
    """Numbers of steps of the ancestral paths."""
    n_paths: int = Field(64, strict=True, ge=4, le=MOST)
    """Images of the ancestral paths, of the grid search, and of the distance to the adaptive solution."""

    @model_validator(mode="after")
    def _paths_are_images(self):
        if self.n_paths > self.n_images:
            raise ValueError(f"n_paths: found {self.n_paths}, more than the {self.n_images} images that there are")
        return self


class Designs(Settings):
    """Networks of other representations and schedules, compared with one another rather than with the pairs."""

    runs: dict[NetworkName, Run] = Field(min_length=1)
    """The networks: what each says replaces the study's defaults, key by key."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Samples of each network."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((50,), min_length=1)
    """Numbers of sampling steps."""
    flow: Flag = False
    """Whether the probability-flow likelihood is measured, too."""
    extend: str | None = None
    """Network of the pixel basis that completes and continues images to the right; none where it is null."""


_PROCESSES = {
    "vp-sde": {"kind": "vp_sde"},
    "cld": {"kind": "psld", "friction_x": 0.0},
    **{f"psld-{friction}": {"kind": "psld", "friction_x": friction} for friction in (0.01, 0.02, 0.25)},
}

StateSampler = Literal["ancestral", "em", "sscs", "sscs_midpoint", "flow_euler", "flow_heun"]


class PhaseSpace(Settings):
    """The complete recipe: processes with and without momentum, sampled and bounded with networks of the study."""

    runs: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Runs whose networks are used: an image denoiser in every process, a network of states in its own. The first run
    where it is null."""
    networks: dict[NetworkName, Run] = {}
    """Networks trained for this section alone; what each says replaces the defaults of runs, key by key."""
    processes: dict[Name, Process] = Field(
        default_factory=lambda: {name: Process(**keys) for name, keys in _PROCESSES.items()}, min_length=1
    )
    """Processes by name, without the defaults of runs."""
    samplers: Annotated[tuple[StateSampler, ...], Field(min_length=1)] = (
        "ancestral",
        "em",
        "sscs",
        "sscs_midpoint",
        "flow_heun",
    )
    """Samplers; all but the ancestral end in one denoising step, which is one of their calls. sscs takes score and
    rates at the start of a step, as the code of PSLD and CLD does; sscs_midpoint, which is ours, in its middle."""
    grids: Annotated[tuple[Literal["uniform", "quadratic"], ...], Field(min_length=1)] = ("quadratic",)
    """Grids of times."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=3, le=MOST_STEPS)], ...] = Field((10, 20, 50), min_length=1)
    """Network calls an image; Heun's method, of two a step, stays one below an even number."""
    tolerances: tuple[Annotated[Number, Field(gt=0, le=0.1)], ...] = ()
    """Tolerances, relative and absolute, of the adaptive flow."""
    steps: StepNames = ("normal", "laplace", "uniform")
    """Step families of the sampled noise."""
    step_samplers: tuple[Literal["ancestral", "em", "sscs", "sscs_midpoint"], ...] = ("sscs",)
    """Samplers of other steps than the normal, which all samplers have."""
    step_nfe: tuple[Annotated[int, Field(strict=True, ge=3, le=MOST_STEPS)], ...] = (20,)
    """Their network calls."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images per process, sampler, grid and number of calls."""
    n_bounds: int = Field(32, strict=True, ge=2, le=MOST)
    """Test images of the bounds."""
    bound_steps: int = Field(1000, strict=True, ge=1, le=MOST_STEPS)
    """T of the bounds, equal in time; network calls an image and the flow's tolerance are those of the evaluation."""
    law_steps: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field((4, 16, 64), min_length=1)
    """Numbers of steps in phase space on a mixture with its exact score."""
    n_samples: int = Field(10000, strict=True, ge=100, le=MOST)
    """Samples of the mixture."""


class Crossing(Settings):
    """One image denoiser with each step in other bases, processes and grids of times, one of them at a time.

    The base is the network's own basis and process with equal steps of time; it is always there.
    """

    run: str | None = None
    """Run whose network is used; the first where it is null. All its components have one schedule."""
    steps: StepNames = ("normal", "laplace", "uniform")
    """Step families; the normal is always there."""
    bases: dict[Name, Basis] = {name: Basis(kind=name) for name in ("pca", "dct", "haar")}
    """Bases by name in which the step's coordinates are independent, orthonormal."""
    processes: dict[Name, Process] = {name: Process(**_PROCESSES[name]) for name in ("cld", "psld-0.01")}
    """Processes by name, without the defaults of runs."""
    grids: tuple[Literal["quadratic", "log_snr", "polynomial"], ...] = ("quadratic", "polynomial")
    """Grids of times: quadratic in time; equal steps of log-SNR; EDM's levels, with rho = 7."""
    solvers: tuple[Literal["euler", "dpmpp_2m"], ...] = ("euler", "dpmpp_2m")
    """Solvers of the flow, which have no step's noise and as many network calls, on each grid."""
    n_steps: tuple[Annotated[int, Field(strict=True, ge=2, le=MOST_STEPS)], ...] = Field((5, 10), min_length=1)
    """Numbers of sampling steps, which are network calls an image."""
    n_images: int = Field(500, strict=True, ge=8, le=MOST)
    """Images per step, basis, process, grid and number of steps."""
    n_bounds: int = Field(32, strict=True, ge=2, le=MOST)
    """Test images of the bounds."""
    bound_steps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((10, 100), min_length=1)
    """Numbers of steps T of the bounds, equal in time."""
