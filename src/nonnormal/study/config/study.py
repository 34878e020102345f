"""The study: which keys of a file fit together, and the names, numbers and seeds that follow from them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, WithJsonSchema, create_model, field_validator, model_validator

from nonnormal import bases, data, processes, steps
from nonnormal.data import DATASETS, DataSet, Source, dataset, describe, file_name, full_name
from nonnormal.data.source import local
from nonnormal.files import own, sha256_of
from nonnormal.seeds import derive
from nonnormal.steps import get
from nonnormal.study.config.process import Basis, Process
from nonnormal.study.config.sections import (
    Classifier,
    Evaluation,
    Features,
    Name,
    NetworkName,
    Resources,
    Sampling,
    Section,
)
from nonnormal.study.config.settings import Run, run_of, training_name
from nonnormal.study.config.values import Flag, Settings, named_or_own
from nonnormal.study.experiment import Experiment


class StudyError(ValueError):
    """A study file has a mistake; the message lists each key, what was found, and what is allowed."""


class Study(Settings):
    """A study file without the sections of experiments, which `study_model` adds."""

    known: ClassVar[tuple[Experiment, ...]] = ()
    """The experiments whose sections the file may have."""

    name: Name
    """Name of the study and of its folder in results/; each study needs its own, and slurm is reserved."""
    title: str = Field("", max_length=200)
    """Title of the study, one line."""
    seed: int = Field(0, strict=True, ge=0, lt=2**63)
    """Seed from which all other seeds are derived."""
    data: Annotated[str, WithJsonSchema(named_or_own(DATASETS))]
    """Name of the data set; module:NAME is a DataSet of your own."""
    source: Source = Source()
    """Where the files of the data set come from; keys that are left out keep the data set's own values."""
    headline: Flag = False
    """Whether figures, tables and paper go to paper/ at the top of the project; only one study may set it. Those of
    other studies go to results/<name>/paper/."""
    experiments: tuple[Annotated[str, Field(pattern=own.PATTERN)], ...] = ()
    """Your own experiments, module:NAME in the working folder or an installed package; the study may have their
    sections."""
    resources: Resources = Resources()
    """Resources that each training, sampling and evaluation requests."""
    defaults: Run = Run()
    """Settings of all runs, unless a run replaces them; a run with another process.kind inherits no process key."""
    runs: dict[NetworkName, Run] = {}
    """The runs by name; the keys of each replace the defaults. A study of a pretrained network may have none."""
    replicates: int = Field(1, strict=True, ge=1, le=1000)
    """How often each run is trained. The trainings R, R@1, R@2, … of a run R have its training.seed plus 0, 1, 2, …;
    all are sampled and evaluated as pairs; other sections use the first, unless their runs name others."""
    features: Features = Classifier()
    """Feature network of the Fréchet distance; a classifier if left out."""
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
        merged = {**raw, "runs": _all_merged(defaults, raw["runs"])}
        for experiment in cls.known:
            found = raw.get(experiment.section)
            if isinstance(found, Mapping) and isinstance(found.get("networks"), Mapping):
                merged[experiment.section] = {**found, "networks": _all_merged(defaults, found["networks"])}
        return merged

    @field_validator("name")
    @classmethod
    def _free_folder(cls, name: str) -> str:
        if name == "slurm":
            raise ValueError("results/slurm holds the logs of SLURM; use another name")
        return name

    @field_validator("data")
    @classmethod
    def _known_data(cls, name: str) -> str:
        if name not in DATASETS and ":" not in name:
            raise ValueError(f"unknown data set; known: {', '.join(DATASETS)}, or module:NAME of your own")
        dataset(name)
        return name

    @model_validator(mode="after")
    def _networks_have_names_of_their_own(self):
        taken = set(self.runs)
        for experiment in self.asked:
            own = experiment.networks(self)
            if twice := taken.intersection(own):
                raise ValueError(f"{experiment.section}.networks: {min(twice)} is the name of another network")
            taken |= own.keys()
        return self

    @model_validator(mode="after")
    def _fits_the_data(self):
        channels, *sides = self.dataset.shape
        fits_inception = channels in (1, 3) and self.dataset.levels == 256
        if self.features.kind == "classifier" and self.dataset.classes is not None and self.dataset.classes < 2:
            raise ValueError(
                f"features.kind: a classifier needs two or more labels, which {self.data} does not have"
                + "; use inception" * fits_inception
                + ", or put every image in one of two or more subfolders" * (self.data == "folder")
            )
        if self.features.kind == "inception" and not fits_inception:
            raise ValueError(
                f"features.kind: inception takes images of 256 grey levels in 1 or 3 channels; {self.data} has "
                f"{self.dataset.levels} in {channels}; use classifier"
            )
        for name, run in self.networks.items():
            key = self.path(name)
            if run.training.seed >= 2**63:
                raise ValueError(
                    f"{key}.training.seed: found {self.run(run_of(name)).training.seed}, to which the "
                    f"number of each further training is added; needs to stay below {2**63}"
                )
            run.basis.check(f"{key}.basis", self.dataset.shape)
            try:
                run.check_schedule(self.dataset.shape, self.dataset.levels)
            except ValueError as error:
                raise ValueError(f"{key}.process.schedule.{error}") from None
            halvings = 2 ** (len(run.network.widths) - 1)
            if odd := [side for side in sides if side % halvings]:
                raise ValueError(
                    f"{key}.network.widths: {len(run.network.widths)} levels halve {self.data}'s {odd[0]} pixels "
                    f"{len(run.network.widths) - 1} times, which is not possible; use fewer levels"
                )
        return self

    @model_validator(mode="after")
    def _has_networks(self):
        if self.runs:
            return self
        if not any(section.brings_network for section in self.sections.values()):
            bringing = [each.section for each in self.known if each.section and each.model.brings_network]
            raise ValueError(f"runs: found none; a study needs one or more, or the section {' or '.join(bringing)}")
        for name, section in self.sections.items():
            if section.needs_runs:
                raise ValueError(f"{name}: needs a network of the study's runs, and there are none")
        return self

    @model_validator(mode="after")
    def _sections_fit(self):
        for name, run in self.networks.items():
            if run.of_states and not ((owner := self.owner(name)) and owner.model.takes_states):
                taking = [f"{each.section}.networks" for each in self.known if each.section and each.model.takes_states]
                raise ValueError(
                    f"{self.path(name)}.training.weighting: a network of states belongs in {' or '.join(taking)}"
                )
        for section in self.sections.values():
            section.check(self)
        return self

    @property
    def asked(self) -> tuple[Experiment, ...]:
        """The experiments that this study asks for, in their order."""
        return tuple(each for each in self.known if each.belongs_to(self))

    @property
    def sections(self) -> dict[str, Section]:
        """Its sections of experiments, by name."""
        return {each.section: getattr(self, each.section) for each in self.asked if each.section}

    @cached_property
    def networks(self) -> dict[str, Run]:
        """Settings of all trained networks by name: each training of the runs, and of the networks of sections."""
        found = dict(self.runs)
        for experiment in self.asked:
            found |= experiment.networks(self)
        return {
            training: run.again(number)
            for name, run in found.items()
            for number, training in enumerate(self.trainings([name]))
        }

    def trainings(self, names: Iterable[str] | None = None) -> tuple[str, ...]:
        """Names of all trainings of runs and of networks of sections; of all runs where none is named."""
        names = self.runs if names is None else names
        return tuple(training_name(name, number) for name in names for number in range(self._replicates(name)))

    def _replicates(self, name: str) -> int:
        owner = self.owner(name)
        return self.replicates if owner is None else getattr(self.sections[owner.section], "replicates", 1)

    def owner(self, name: str) -> Experiment | None:
        """The experiment whose section defines the network; None for a run."""
        return next((each for each in self.asked if run_of(name) in each.networks(self)), None)

    def path(self, name: str) -> str:
        """Key of a network in the study's file, the same for all its trainings."""
        owner, run = self.owner(name), run_of(name)
        return f"runs.{run}" if owner is None else f"{owner.section}.networks.{run}"

    @cached_property
    def dataset(self) -> DataSet:
        """Description of the data set before it is loaded; of a folder, as it was at the first access."""
        return describe(self.data, self.source)

    @property
    def images_name(self) -> str:
        """Name of the images in rows, metrics and texts, e.g. digits or photos16."""
        return full_name(self.data, self.source)

    @property
    def data_name(self) -> str:
        """Name of the data set's file, which studies on the same images share."""
        return file_name(self.data, self.source)

    @property
    def sample_steps(self) -> tuple[int, ...]:
        """Numbers of sampling steps, rising; the last is the headline."""
        return tuple(sorted(set(self.sampling.nfe)))

    @property
    def headline_steps(self) -> int:
        """Number of sampling steps of the headline numbers and figures."""
        return self.sample_steps[-1]

    @property
    def labels(self) -> dict[str, str]:
        """Label of each run in figures and tables: its pair q/p, or its name if several runs have the same pair."""
        pairs = {name: f"{get(run.q)}/{get(run.p)}" for name, run in self.runs.items()}
        unique = len(set(pairs.values())) == len(pairs)
        return pairs if unique else {name: name for name in pairs}

    def metric(self, name: str) -> str:
        """Name of a distance: fid in Inception's features, otherwise with the name of the images, e.g. fid_digits."""
        return name if self.features.kind == "inception" else f"{name}_{self.images_name}"

    def baseline(self, run: str) -> str | None:
        """The first run with normal steps and the same weighting, for comparison; None if there is none.

        For a further training of a run it is the training of the same number.
        """
        weighting = self.run(run).training.weighting
        found = (name for name, other in self.runs.items() if other.q == other.p == "normal")
        first = next((name for name in found if self.runs[name].training.weighting == weighting), None)
        return first and first + run.removeprefix(run_of(run))

    def bound_steps(self, run: str) -> tuple[int, ...]:
        """Numbers of steps T of the run's bounds, rising."""
        return tuple(sorted({*self.evaluation.timesteps, self.run(run).training.timesteps}))

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The whole study with all defaults filled in, as JSON values."""
        return self.model_dump(mode="json")

    @property
    def own_files(self) -> dict[str, tuple[Path, ...]]:
        """Source files of each step, basis, process and data set of the user's own, by its name module:NAME."""
        named = {name for run in self.networks.values() for name in (run.q, run.p)}
        named |= {name for section in self.sections.values() for name in section.all_steps}
        found = {name: steps.source_files(name) for name in named} | {self.data: data.source_files(self.data)}
        for settings in _within(self):
            if isinstance(settings, Basis):
                found[settings.kind] = bases.source_files(settings.kind)
            elif isinstance(settings, Process):
                found[settings.kind] = processes.source_files(settings.kind)
        return {name: found[name] for name in sorted(found) if ":" in name}

    @property
    def with_code(self) -> dict[str, Any]:
        """`resolved`, with the SHA-256 of its code added to the name of each object of the user's own."""
        return _replaced(
            self.resolved, {name: f"{name} {own.code_of(files)}" for name, files in self.own_files.items()}
        )

    def run(self, name: str) -> Run:
        """The run, or further training of a run, of that name.

        Raises:
            StudyError: there is none.
        """
        if name not in self.networks:
            raise StudyError(f"study {self.name!r} has no run {name!r}; its runs: {', '.join(self.networks)}")
        return self.networks[name]

    @property
    def sha256(self) -> str:
        """SHA-256 of the resolved study, in hex."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()

    def training_facts(self, run: str, data_sha256: str | None = None) -> dict[str, Any]:
        """All that the run's weights depend on, as JSON values; `data_sha256` is that of the data's file, if known.

        The SHA-256 of the weights that it starts from is included if their file exists.
        """
        data = {"file": self.data_name} | ({"sha256": data_sha256} if data_sha256 else {})
        facts = {"run": run_of(run), "seed": self.seed, "data": data, **self.run(run).of_weights}
        if (start := self.initial_weights(run)) is not None:
            facts["init_from"] = {"sha256": sha256_of(start)} if start.is_file() else {}
        return facts

    def initial_weights(self, run: str) -> Path | None:
        """File of the weights that the run's training starts from; None where they are random."""
        found = self.run(run).training.init_from
        return None if found is None else local(found)

    def train_seed(self, run: str) -> int:
        """Seed of the run's training, from study seed, run and the training's own seed."""
        return derive(self.seed, run_of(run), "train", self.run(run).training.seed)

    def image_seeds(self, purpose: str, n: int, training: str = "") -> list[int]:
        """Seeds of images 0 … n − 1 for a purpose; the same for all runs, so that rows compare like with like.

        Samples of a training `run@k` have seeds of their own, the same for the k-th training of all runs, so that the
        scatter over trainings contains that of the seeds.
        """
        own = "".join(training.partition("@")[1:])
        return [derive(self.seed, purpose + own, i) for i in range(n)]


@cache
def study_model(experiments: tuple[Experiment, ...]) -> type[Study]:
    """The model of study files: `Study` with a section for each experiment, in their order."""
    sections = {
        each.section: (
            each.model | None,
            Field(None, description=f"{inspect.getdoc(each.model).partition(chr(10))[0]} Not measured if null."),
        )
        for each in experiments
        if each.section
    }
    if taken := sections.keys() & Study.model_fields.keys():
        raise ValueError(f"the section {min(taken)} is a key of every study; use another name")
    model = create_model("Study", __base__=Study, __module__=__name__, __doc__="A study file.", **sections)
    model.known = experiments
    return model


def _all_merged(defaults: Mapping, runs: Mapping) -> dict:
    """Each run merged into the defaults; an empty run (null) equals the defaults."""
    return {name: _merged(_for(run, defaults), {} if run is None else run) for name, run in runs.items()}


def _for(run: Any, defaults: Mapping) -> Mapping:
    """The defaults without their process where the run names one of another kind, to which its keys do not belong."""
    its, below = (said.get("process") if isinstance(said, Mapping) else None for said in (run, defaults))
    if not isinstance(its, Mapping) or not isinstance(below, Mapping):
        return defaults
    kind = below.get("kind", "vp")
    return defaults if its.get("kind", kind) == kind else {**defaults, "process": {}}


def _merged(defaults: Mapping, override: Any) -> Any:
    """`override` merged into `defaults`, mapping by mapping."""
    if not isinstance(override, Mapping):
        return override
    merged = dict(defaults)
    for key, value in override.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) else value
    return merged


def _within(node: Any) -> Iterator[Settings]:
    """All settings within settings, mappings and lists."""
    if isinstance(node, Settings):
        yield node
        node = dict(node)
    if isinstance(node, Mapping | tuple):
        for below in node.values() if isinstance(node, Mapping) else node:
            yield from _within(below)


def _replaced(node: Any, texts: Mapping[str, str]) -> Any:
    """JSON values with some texts replaced by others."""
    if isinstance(node, Mapping):
        return {key: _replaced(value, texts) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, texts) for value in node]
    return texts.get(node, node) if isinstance(node, str) else node
