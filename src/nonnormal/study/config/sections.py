"""Sections of every study file beside its runs, and what the sections of experiments are made of.

These models are the source of what is allowed in each; `study` puts them together with those of the experiments, which
stand in the experiments' folders.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator

from nonnormal.data import Source
from nonnormal.metrics.weights import INCEPTION
from nonnormal.study.config.values import MOST, MOST_STEPS, Flag, Number, Settings

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study

_WORDS = ("false", "inf", "infinity", "na", "nan", "no", "none", "null", "off", "on", "true", "yes")


def _no_value(name: str) -> str:
    """Return the name; refuse one that YAML, JSON or a table's reader would parse as a value."""
    if name in _WORDS:
        raise ValueError(f"{name} would be read as a value in tables and YAML; use another name")
    return name


# The one rule for names, of a study, its networks, processes and bases: they are folders, keys, cells of tables and
# parts of file names, so none is read as a number or ends like a file.
NAME_PATTERN = r"^[a-z][a-z0-9_-]*([0-9]\.[0-9][a-z0-9_-]*)*$"
NAME_RULE = "a name begins with a letter and has a to z, 0 to 9, - and _, and a point only between digits"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64), AfterValidator(_no_value)]

# Folders beside those of the networks; the log of phase_space-law beside those of phase_space-<network>; the page's
# run-table beside its run-<network>.
_TAKEN = ("benchmarks", "logs", "paper", "pretrained", "records", "law", "table")


def _free(name: str) -> str:
    """Return the name; refuse one that the study needs for a file, a folder or a part of the page."""
    if name in _TAKEN:
        raise ValueError(f"{', '.join(_TAKEN)} are reserved for files and folders of the study; use another name")
    return name


NetworkName = Annotated[Name, AfterValidator(_free)]


class Section(Settings):
    """Base of an experiment's settings: the section of a study file that asks for it.

    Three keys mean the same in all sections: `networks`, settings of networks that are trained for this section alone,
    by name, each laid over the study's defaults; `replicates`, how often each of these is trained; and `step_families`,
    the names of steps.
    """

    needs_runs: ClassVar[bool] = True
    """Whether it uses networks of the study's runs."""
    brings_network: ClassVar[bool] = False
    """Whether it has a network that is not trained here, so that a study of it needs no runs."""
    takes_states: ClassVar[bool] = False
    """Whether its networks may predict the noise of whole states."""

    @property
    def all_steps(self) -> tuple[str, ...]:
        """Names of all steps that it asks for."""
        return getattr(self, "step_families", ())

    def check(self, study: Study) -> None:
        """Refuses what does not fit the rest of the study.

        Raises:
            ValueError: key, what was found, what is allowed.
        """


# Processes that sections take by name where a study names none.
PROCESSES = {
    "vp-sde": {"kind": "vp_sde"},
    "cld": {"kind": "psld", "friction_x": 0.0},
    **{f"psld-{friction}": {"kind": "psld", "friction_x": friction} for friction in (0.01, 0.02, 0.25)},
}


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
    """Feature network of the Fréchet distance as the field reports it, for grey or colour images of 256 levels."""

    kind: Literal["inception"]
    """Distances are named fid, kid, precision and recall."""
    source: Source = Source()
    """Where the file of its weights comes from; keys that are left out keep torch-fidelity's values."""

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
    """Kind of the feature network in a study, one of `FEATURES`."""
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
    """Images per run and number of network calls."""
    nfe: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((100,), min_length=1)
    """Network calls per image, equal to sampling steps; the largest gives the headline numbers."""
    batch_size: int = Field(250, strict=True, ge=1, le=MOST)
    """Images per network call; affects only the speed."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of the sampler's state."""


class Evaluation(Settings):
    """How bounds and distances are measured, the same for all runs."""

    n_images: int | None = Field(None, strict=True, ge=2, le=MOST)
    """Test images for the bounds; all if null."""
    timesteps: tuple[Annotated[int, Field(strict=True, ge=1, le=MOST_STEPS)], ...] = Field((100,), min_length=1)
    """Numbers of steps T of the bounds, in addition to each run's own T."""
    n_evaluations: int = Field(100, strict=True, ge=1, le=MOST_STEPS)
    """Network calls per image for a bound from limit marginals; if T is larger, a stratified sample of the steps."""
    flow_tolerance: Number | None = Field(1e-4, gt=0, le=1e-4)
    """Tolerance of the probability-flow likelihood, relative and absolute; at 1e-3 the solver's bias can be as large as
    the interval over images. If null, the likelihood is left out."""
    bootstrap: int = Field(100, strict=True, ge=10, le=MOST)
    """Resamples for the intervals of FID and KID."""


class Resources(Settings):
    """Resources that each training, sampling and evaluation requests."""

    threads: int = Field(1, strict=True, ge=1, le=MOST)
    """CPU threads; a fixed number, so that results do not depend on the number of cores."""
    gpus: int = Field(0, strict=True, ge=0, le=MOST)
    """GPUs of a training: with several, one process on each, and the same batches. Other jobs request one. 0 requests
    none: jobs run side by side on the cores, and share a GPU if there is one."""
    retries: int | None = Field(None, strict=True, ge=0, le=MOST)
    """How often a training that was stopped, by preemption or a time limit, is started again; it resumes from its
    checkpoint. If null, the profile decides; on one machine, never."""
    mem_mb: int = Field(2000, strict=True, ge=100, le=MOST)
    """Memory in MB of the first attempt; the second requests twice, the third three times as much."""
    runtime: int = Field(60, strict=True, ge=1, le=MOST)
    """Time limit in minutes, of the first attempt of a job and of each attempt of a training."""
    tensorboard: Flag = False
    """Whether trainings write event files for TensorBoard to results/<study>/<run>/tensorboard/; needs the package
    tensorboard."""

    @field_validator("tensorboard")
    @classmethod
    def _installed(cls, wanted: bool) -> bool:
        if wanted and importlib.util.find_spec("tensorboard") is None:
            raise ValueError("needs the package tensorboard, which is not installed: pip install tensorboard")
        return wanted
