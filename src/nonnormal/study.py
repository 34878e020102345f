"""Studies: what a study file may say, and the objects that its words stand for.

A study is one YAML file: a data set, default settings of a run, runs that differ from them in what they name, and how
samples and scores are made. These models are the single source of what is allowed; the JSON schema that Snakemake
validates against is exported from them (`nonnormal schema`). Strings become objects here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from nonnormal import bases, divergence, schedules, steps
from nonnormal.data import DATASETS, DataSet
from nonnormal.processes import VP, LinearProcess
from nonnormal.seeds import derive


class StudyError(ValueError):
    """A study file says something that is not allowed; the message lists each key, what was found, what is allowed."""


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _known_family(name: str) -> str:
    steps.get(name)
    return name


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Family = Annotated[
    str, AfterValidator(_known_family), WithJsonSchema({"type": "string", "enum": list(steps.families())})
]


# ---- settings of a run -----------------------------------------------------------------------------------------------


class Schedule(Settings):
    """log-SNR over time."""

    kind: Literal["linear_log_snr", "cosine"] = "linear_log_snr"
    """Shape between the two ends."""
    log_snr_max: float = Field(13.3, ge=-30, le=30)
    """log-SNR at t = 0, the data."""
    log_snr_min: float = Field(-5.0, ge=-30, le=30)
    """log-SNR at t = 1, the prior."""

    @model_validator(mode="after")
    def _falls(self):
        self.build()
        return self

    def build(self) -> schedules.Schedule:
        """The schedule object."""
        kind = {"linear_log_snr": schedules.LinearLogSNR, "cosine": schedules.Cosine}[self.kind]
        return kind(self.log_snr_max, self.log_snr_min)


class Process(Settings):
    """Drift, diffusion and schedule."""

    kind: Literal["vp"] = "vp"
    """Variance preserving."""
    schedule: Schedule = Schedule()
    """log-SNR over time."""

    def build(self) -> LinearProcess:
        """The process object."""
        return VP(self.schedule.build())


class Network(Settings):
    """The U-Net and what it predicts."""

    parametrisation: Literal["edm", "eps", "v", "x0"] = "edm"
    """What the network predicts."""
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((16, 32), min_length=1)
    """Channels at each resolution; each level after the first halves height and width."""
    layers_per_block: int = Field(1, ge=1)
    """Residual blocks per level."""
    attention: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Levels with self-attention, 0 is the full resolution."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout probability."""
    groups: int = Field(8, ge=1)
    """Groups of the group normalisation; divides every width."""
    fourier: tuple[Annotated[int, Field(ge=0, le=12)], ...] = ()
    """Exponents n of the input features sin, cos(2^n pi x)."""

    @field_validator("groups")
    @classmethod
    def _divides(cls, groups: int, info: ValidationInfo) -> int:
        widths = info.data.get("widths", ())
        if any(width % groups for width in widths):
            raise ValueError(f"must divide every width, which are {list(widths)}")
        return groups


class Training(Settings):
    """Objective and optimisation."""

    weighting: Literal["elbo", "perceptual"] = "elbo"
    """elbo: the T-step bound. perceptual: K of EDM's weighted error."""
    n_steps: int = Field(100, ge=1)
    """T, steps of the diffusion in the elbo weighting and in the headline bound."""
    steps: int = Field(1000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(64, ge=1)
    """Images per optimiser step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Maximum of the learning rate."""
    warmup: int = Field(100, ge=0)
    """Steps over which the learning rate rises."""
    decay: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    """AdamW's decay rates."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    ema_decay: float = Field(0.995, ge=0, lt=1)
    """Decay of the averaged weights, reached after a warm-up."""
    seed: int = Field(0, ge=0)
    """Which training of this run: another seed, another network."""
    checkpoint_every: int = Field(500, ge=1)
    """Optimiser steps between two checkpoints."""
    log_every: int = Field(20, ge=1)
    """Optimiser steps between two rows of the log."""


class Run(Settings):
    """One network: a step pair in a process and basis, trained in one way."""

    q: Family = "normal"
    """Step of the true process."""
    p: Family = "normal"
    """Step of the model."""
    basis: Literal["pixel"] = "pixel"
    """Representation in which the step's coordinates are independent."""
    process: Process = Process()
    """Drift, diffusion and schedule."""
    network: Network = Network()
    """The U-Net and what it predicts."""
    training: Training = Training()
    """Objective and optimisation."""

    @field_validator("p")
    @classmethod
    def _finite(cls, p: str, info: ValidationInfo) -> str:
        q = info.data.get("q")
        if q is None:
            return p
        if not divergence.is_finite(q, p):
            allowed = [name for name in steps.families() if divergence.is_finite(q, name)]
            raise ValueError(f"the divergence of the pair {q}/{p} is infinite; p must be one of {', '.join(allowed)}")
        if not divergence.is_known(q, p):
            allowed = [name for name in steps.families() if divergence.is_known(q, name)]
            raise ValueError(
                f"no divergence is known for the pair {q}/{p}; with q = {q}, p is one of {', '.join(allowed)}"
            )
        return p

    def build_basis(self) -> bases.Pixel:
        """The basis object."""
        return bases.PIXEL


# ---- settings of a study ---------------------------------------------------------------------------------------------


class Features(Settings):
    """Feature network of the Fréchet distance, trained on the data set's labels."""

    epochs: int = Field(20, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(64, ge=2)
    """Images per optimiser step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Maximum of the one-cycle learning rate."""


class Sampling(Settings):
    """How samples are drawn, the same for all runs."""

    n_images: int = Field(1000, ge=8)
    """Images per run and number of steps."""
    n_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field((100,), min_length=1)
    """Numbers of sampling steps; the largest is the headline."""
    batch_size: int = Field(250, ge=1)
    """Images per network call; changes nothing but speed."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the state."""


class Evaluation(Settings):
    """How bounds and distances are measured, the same for all runs."""

    n_images: int | None = Field(None, ge=2)
    """Test images of the bounds; all where it is null."""
    n_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field((100,), min_length=1)
    """Numbers of steps T of the bounds, next to each run's own."""
    bootstrap: int = Field(100, ge=10)
    """Resamples for the intervals of FID and KID."""


class Resources(Settings):
    """What each training, sampling and evaluation asks of the machine."""

    threads: int = Field(1, ge=1)
    """CPU threads, fixed so that results do not depend on the number of cores."""
    gpus: int = Field(0, ge=0)
    """GPUs; 0 runs where there is none."""
    mem_mb: int = Field(2000, ge=100)
    """Memory in MB."""
    runtime: int = Field(60, ge=1)
    """Minutes."""


class Study(Settings):
    """A study file."""

    name: Name
    """Name of the study and of its folder under results/."""
    title: str = Field("", max_length=200)
    """One line for people."""
    seed: int = Field(0, ge=0)
    """From which every other seed is derived."""
    data: Annotated[str, WithJsonSchema({"type": "string", "enum": list(DATASETS)})]
    """Name of the data set."""
    headline: bool = False
    """Whether figures, tables and paper go to paper/; those of other studies go to results/<name>/paper/."""
    resources: Resources = Resources()
    """What each training, sampling and evaluation asks of the machine."""
    defaults: Run = Run()
    """Settings of every run that does not name others."""
    runs: dict[Name, Run] = Field(min_length=1)
    """The runs: what each says replaces the defaults, key by key."""
    features: Features = Features()
    """Feature network of the Fréchet distance."""
    sampling: Sampling = Sampling()
    """How samples are drawn."""
    evaluation: Evaluation = Evaluation()
    """How bounds and distances are measured."""

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("runs"), Mapping):
            return raw
        defaults = raw.get("defaults") or {}
        if not isinstance(defaults, Mapping):
            return raw
        runs = {name: _merged(defaults, {} if run is None else run) for name, run in raw["runs"].items()}
        return {**raw, "runs": runs}

    @field_validator("data")
    @classmethod
    def _known_data(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError(f"unknown data set; known: {', '.join(DATASETS)}")
        return name

    @model_validator(mode="after")
    def _fits_the_data(self):
        size = self.dataset.shape[1]
        for name, run in self.runs.items():
            halvings = 2 ** (len(run.network.widths) - 1)
            if size % halvings:
                raise ValueError(
                    f"runs.{name}.network.widths: {len(run.network.widths)} levels halve {self.data}'s {size} pixels "
                    f"{len(run.network.widths) - 1} times, which does not go; use fewer levels"
                )
        return self

    @property
    def dataset(self) -> DataSet:
        """What is known of the data set before it is loaded."""
        return DATASETS[self.data]

    @property
    def sample_steps(self) -> tuple[int, ...]:
        """Numbers of sampling steps, rising; the last is the headline."""
        return tuple(sorted(set(self.sampling.n_steps)))

    @property
    def headline_steps(self) -> int:
        """Number of sampling steps of the headline numbers and figures."""
        return self.sample_steps[-1]

    def bound_steps(self, run: str) -> tuple[int, ...]:
        """Numbers of steps T of the run's bounds, rising."""
        return tuple(sorted({*self.evaluation.n_steps, self.runs[run].training.n_steps}))

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The whole study with all defaults filled in, as JSON values."""
        return self.model_dump(mode="json")

    def run(self, name: str) -> Run:
        """The run of that name.

        Raises:
            StudyError: there is none.
        """
        if name not in self.runs:
            raise StudyError(f"study {self.name!r} has no run {name!r}; its runs: {', '.join(self.runs)}")
        return self.runs[name]

    def fingerprint(self, run: str) -> str:
        """SHA-256 of all that the run's training depends on, in hex."""
        facts = [self.seed, self.data, run, self.run(run).model_dump(mode="json")]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def train_seed(self, run: str) -> int:
        """Seed of the run's training, from study seed, run and the training's own seed."""
        return derive(self.seed, run, "train", self.run(run).training.seed)

    def image_seeds(self, purpose: str, n: int) -> list[int]:
        """Seeds of images 0 … n − 1 for a purpose; the same for all runs, so that rows compare like with like."""
        return [derive(self.seed, purpose, i) for i in range(n)]


def _merged(defaults: Mapping, override: Any) -> Any:
    """`override` laid over `defaults`, mapping by mapping."""
    if not isinstance(override, Mapping):
        return override
    merged = dict(defaults)
    for key, value in override.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) else value
    return merged


# ---- reading ---------------------------------------------------------------------------------------------------------


def validate(raw: Any, source: str) -> Study:
    """The study in `raw`, the content of a study file.

    Raises:
        StudyError: naming `source` and, for each mistake, the key, what was found, and what is allowed.
    """
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        lines = [f"{source}: {_explain(detail)}" for detail in error.errors()]
        raise StudyError("\n".join(dict.fromkeys(lines))) from None


def load(path: Path | str) -> Study:
    """The study in a YAML or JSON file.

    Raises:
        StudyError: the file is missing, is not YAML, or says something that is not allowed.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: is not YAML ({error})") from None
    return validate(raw, str(path))


def json_schema() -> dict[str, Any]:
    """JSON schema of study files; runs may be empty (null), which means the defaults."""
    schema = Study.model_json_schema()
    runs = schema["properties"]["runs"]
    for key in ("additionalProperties", "patternProperties"):
        if isinstance(entry := runs.get(key), dict):
            runs[key] = (
                {"anyOf": [entry, {"type": "null"}]}
                if "$ref" in entry
                else {pattern: {"anyOf": [value, {"type": "null"}]} for pattern, value in entry.items()}
            )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _explain(detail: Mapping[str, Any]) -> str:
    """One mistake: key, what was found, what is allowed."""
    key = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "the file"
    if detail["type"] == "extra_forbidden":
        allowed = ", ".join(_model_at(detail["loc"][:-1]).model_fields)
        return f"{key}: unknown key; allowed here: {allowed}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    found = json.dumps(detail["input"], default=str, ensure_ascii=False)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["loc"]:
        return f"{key}: found {found if len(found) < 80 else found[:77] + '...'}; {message}"
    return message if isinstance(detail["input"], Mapping) else f"{key}: found {found[:80]}; a study is a mapping"


def _model_at(location: tuple) -> type[Settings]:
    """The settings class that the keys at a location belong to."""
    model: type[Settings] = Study
    for part in location:
        if model is Study and part == "runs":
            model = Run
        elif part in model.model_fields:
            model = model.model_fields[part].annotation
    return model
