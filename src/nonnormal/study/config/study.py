"""The study itself: what may stand together in a file, and the names, numbers and seeds that follow from it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from nonnormal.data import DATASETS, DataSet, Source, describe, file_name
from nonnormal.seeds import derive
from nonnormal.steps import code_of, get
from nonnormal.study.config.sections import (
    OPTIONAL,
    Classifier,
    Crossing,
    Designs,
    Evaluation,
    Exchange,
    Features,
    Geometry,
    Invariance,
    Name,
    NetworkName,
    PhaseSpace,
    Pretrained,
    Resources,
    Sampling,
)
from nonnormal.study.config.settings import Flag, Run, Settings
from nonnormal.study.experiments.few_steps.settings import FewSteps


class StudyError(ValueError):
    """A study file says something that is not allowed; the message lists each key, what was found, what is allowed."""


class Study(Settings):
    """A study file."""

    name: Name
    """Name of the study and of its folder under results/, which is its own: no other study's, and not slurm."""
    title: str = Field("", max_length=200)
    """One line for people."""
    seed: int = Field(0, strict=True, ge=0, lt=2**63)
    """From which every other seed is derived."""
    data: Annotated[str, WithJsonSchema({"type": "string", "enum": list(DATASETS)})]
    """Name of the data set."""
    source: Source = Source()
    """Where the files of the data set come from; what is left out is the data set's own."""
    headline: Flag = False
    """Whether figures, tables and paper go to paper/, for one study of a project; those of others go to
    results/<name>/paper/."""
    resources: Resources = Resources()
    """What each training, sampling and evaluation asks of the machine."""
    defaults: Run = Run()
    """Settings of every run that does not name others; a run of another process.kind has none of the process."""
    runs: dict[NetworkName, Run] = {}
    """The runs: what each says replaces the defaults, key by key. A study of a pretrained network may have none."""
    features: Features = Classifier()
    """Feature network of the Fréchet distance: a classifier where nothing is said."""
    sampling: Sampling = Sampling()
    """How samples are drawn."""
    evaluation: Evaluation = Evaluation()
    """How bounds and distances are measured."""
    invariance: Invariance | None = None
    """Convergence in law with any step, without training; left out where it is null."""
    exchange: Exchange | None = None
    """Each network sampled with other steps than its own; left out where it is null."""
    geometry: Geometry | None = None
    """Trajectories, solvers and the optimal denoiser of one network; left out where it is null."""
    designs: Designs | None = None
    """Networks of other representations and schedules; left out where it is null."""
    pretrained: Pretrained | None = None
    """A network that exists already, sampled with several steps; left out where it is null."""
    recipe: PhaseSpace | None = None
    """Processes with and without momentum, sampled and bounded; left out where it is null."""
    crossing: Crossing | None = None
    """One network with each step in other bases, processes and grids; left out where it is null."""
    few_steps: FewSteps | None = None
    """Steps fitted to trained networks at few network calls; left out where it is null."""

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("runs"), Mapping):
            return raw
        defaults = raw.get("defaults") or {}
        if not isinstance(defaults, Mapping):
            return raw
        merged = {**raw, "runs": _all_merged(defaults, raw["runs"])}
        for section, key in (("designs", "runs"), ("recipe", "networks")):
            found = raw.get(section)
            if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
                merged[section] = {**found, key: _all_merged(defaults, found[key])}
        return merged

    @field_validator("name")
    @classmethod
    def _free_folder(cls, name: str) -> str:
        if name == "slurm":
            raise ValueError("results/slurm is for the logs of SLURM; call the study otherwise")
        return name

    @field_validator("data")
    @classmethod
    def _known_data(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError(f"unknown data set; known: {', '.join(DATASETS)}")
        return name

    @model_validator(mode="after")
    def _fits_the_data(self):
        channels, size, _ = self.dataset.shape
        if self.features.kind == "classifier" and self.dataset.classes is not None and self.dataset.classes < 2:
            raise ValueError(
                f"features.kind: classifier learns labels, and {self.data} has not got two or more of them"
                + ("; use inception" if channels == 3 else "")
            )
        if self.features.kind == "inception" and channels != 3:
            raise ValueError(
                f"features.kind: inception takes images of 3 channels; {self.data} has {channels}; use classifier"
            )
        named = {f"{self._path(name)}.basis": run.basis for name, run in self.networks.items()}
        named |= {f"crossing.bases.{name}": its for name, its in (self.crossing.bases if self.crossing else {}).items()}
        for key, basis in named.items():
            if basis.kind == "haar" and size % 2**basis.levels:
                raise ValueError(f"{key}.levels: found {basis.levels}, but {size} pixels are not halved so often")
        for name, run in self.networks.items():
            key = self._path(name)
            try:
                run.check_schedule(self.dataset.shape, self.dataset.levels)
            except ValueError as error:
                raise ValueError(f"{key}.process.schedule.{error}") from None
            halvings = 2 ** (len(run.network.widths) - 1)
            if size % halvings:
                raise ValueError(
                    f"{key}.network.widths: {len(run.network.widths)} levels halve {self.data}'s {size} pixels "
                    f"{len(run.network.widths) - 1} times, which does not go; use fewer levels"
                )
        return self

    @model_validator(mode="after")
    def _has_networks(self):
        if self.runs:
            return self
        if self.pretrained is None:
            raise ValueError("runs: found none; a study needs one or more, or a pretrained network")
        for name in ("exchange", "geometry", "designs", "crossing", "few_steps"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: looks at a network of the study's runs, of which there are none")
        return self

    @model_validator(mode="after")
    def _geometry_has_a_run(self):
        if not self.geometry:
            return self
        if self.geometry.run not in (None, *self.runs):
            raise ValueError(f'geometry.run: found "{self.geometry.run}"; the runs are ' + ", ".join(self.runs))
        process = self.runs[self.geometry_run].process
        if process.kind != "vp" or process.schedule.by_component:
            found = process.kind if process.kind != "vp" else process.schedule.kind
            raise ValueError(
                f'geometry.run: found "{self.geometry_run}", whose process is {found}; geometry needs a run of the '
                "process vp with one schedule for all components"
            )
        return self

    @model_validator(mode="after")
    def _geometry_has_white_noise(self):
        if self.geometry and self.runs[self.geometry_run].basis.whiten:
            raise ValueError(
                f"runs.{self.geometry_run}.basis.whiten: found true; geometry compares the network with the optimal "
                "denoiser, whose noise is white on pixels; name another run in geometry.run"
            )
        return self

    @model_validator(mode="after")
    def _recipe_has_runs(self):
        networks = self.recipe.networks if self.recipe else {}
        if self.recipe and not self.recipe.runs and not self.runs:
            raise ValueError("recipe: needs a run of the study whose network it takes")
        if self.recipe and (strange := set(self.recipe.runs or ()) - set(self.runs)):
            raise ValueError(f'recipe.runs: found "{min(strange)}"; the runs are ' + ", ".join(self.runs))
        if taken := {*self.runs, *self.design_runs}.intersection(networks):
            raise ValueError(f"recipe.networks: {min(taken)} is the name of a run; use another")
        for name, process in self.recipe.processes.items() if self.recipe else ():
            if process.schedule.by_component:
                kind = process.schedule.kind
                raise ValueError(
                    f"recipe.processes.{name}.schedule.kind: found {kind}; the recipe needs one for all components"
                )
        if states := [name for name, run in self.networks.items() if run.of_states and name not in networks]:
            raise ValueError(
                f"{self._path(states[0])}.training.weighting: a network of states belongs into recipe.networks"
            )
        return self

    @model_validator(mode="after")
    def _crossing_serves_one_denoiser(self):
        if not self.crossing:
            return self
        if self.crossing.run not in (None, *self.runs):
            raise ValueError(f'crossing.run: found "{self.crossing.run}"; the runs are ' + ", ".join(self.runs))
        own, name = self.runs[self.crossing_run], self.crossing_run
        named = {f"runs.{name}.process": own.process}
        named |= {f"crossing.processes.{name}": process for name, process in self.crossing.processes.items()}
        for key, process in named.items():
            if process.schedule.by_component:
                raise ValueError(
                    f"{key}.schedule.kind: found {process.schedule.kind}; crossing needs one for all components"
                )
        named = {f"runs.{name}.basis": own.basis}
        named |= {f"crossing.bases.{name}": basis for name, basis in self.crossing.bases.items()}
        for key, basis in named.items():
            if basis.whiten:
                raise ValueError(f"{key}.whiten: found true; in crossing one denoiser serves orthonormal bases only")
        for key, base in (("bases", own.basis.kind), ("processes", own.process.kind)):
            if base in getattr(self.crossing, key):
                raise ValueError(f"crossing.{key}: {base} is what the network's own is called; use another name")
        return self

    @model_validator(mode="after")
    def _few_steps_have_networks_that_fit(self):
        for name in self.few_steps_runs:
            if name not in self.runs:
                raise ValueError(f'few_steps.runs: found "{name}"; the runs are ' + ", ".join(self.runs))
            run = self.runs[name]
            if (
                run.basis.kind != "pixel"
                or run.basis.whiten
                or run.process.kind == "psld"
                or run.process.schedule.by_component
            ):
                raise ValueError(
                    f"few_steps.runs: {name} has the basis {run.basis} and the process {run.process.kind} with the "
                    f"schedule {run.process.schedule.kind}; fitted steps need pixels as they are, one variable and one "
                    "schedule for all components"
                )
        return self

    @model_validator(mode="after")
    def _designs_have_names_of_their_own(self):
        if not self.designs:
            return self
        if taken := set(self.runs) & set(self.designs.runs):
            raise ValueError(f"designs.runs: {', '.join(sorted(taken))}: taken; call the network otherwise")
        if self.designs.extend not in (None, *self.designs.runs):
            raise ValueError(
                f'designs.extend: found "{self.designs.extend}"; the networks are ' + ", ".join(self.designs.runs)
            )
        if self.designs.extend and (kind := self.designs.runs[self.designs.extend].basis.kind) != "pixel":
            raise ValueError(
                f"designs.runs.{self.designs.extend}.basis.kind: found {kind}; designs.extend keeps columns of pixels, "
                "which are no components of it; use pixel"
            )
        return self

    @property
    def networks(self) -> dict[str, Run]:
        """All that is trained: the runs, the networks of other designs, and those of the recipe."""
        designs, recipe = self.designs.runs if self.designs else {}, self.recipe.networks if self.recipe else {}
        return {**self.runs, **designs, **recipe}

    def _path(self, name: str) -> str:
        """Where in the study's file a network stands."""
        if name in self.runs:
            return f"runs.{name}"
        return f"designs.runs.{name}" if name in self.design_runs else f"recipe.networks.{name}"

    @property
    def design_runs(self) -> tuple[str, ...]:
        """Names of the networks of other designs."""
        return tuple(self.designs.runs) if self.designs else ()

    @property
    def shown_designs(self) -> tuple[str, ...]:
        """The first network of each schedule among the designs, four at most: those whose order is drawn."""
        first = {}
        for name in self.design_runs:
            run = self.run(name)
            kind = run.basis.kind if run.process.schedule.by_component else None
            first.setdefault((kind, run.process.schedule.model_dump_json()), name)
        return tuple(first.values())[:4]

    @property
    def design_labels(self) -> dict[str, str]:
        """What figures and tables call each network of other designs: its basis, its order, and its pair if need be."""
        labels = {name: f"{self.run(name).basis}, {self.run(name).process.schedule}" for name in self.design_runs}
        counts = Counter(labels.values())
        pairs = {name: f"{self.run(name).q}/{self.run(name).p}" for name in self.design_runs}
        return {name: f"{label}, {pairs[name]}" if counts[label] > 1 else label for name, label in labels.items()}

    @property
    def sections(self) -> dict[str, bool]:
        """Which of `OPTIONAL` it has."""
        return {name: getattr(self, name) is not None for name in OPTIONAL}

    @property
    def geometry_run(self) -> str:
        """Run whose network the geometry looks at."""
        return self.geometry.run or next(iter(self.runs))

    @property
    def crossing_run(self) -> str:
        """Run whose network the crossing of axes takes."""
        return (self.crossing and self.crossing.run) or next(iter(self.runs))

    @property
    def few_steps_runs(self) -> tuple[str, ...]:
        """Runs whose networks have steps fitted; none without that section."""
        return (self.few_steps.runs or tuple(self.runs)[:1]) if self.few_steps else ()

    @property
    def recipe_runs(self) -> tuple[str, ...]:
        """Runs and networks that the recipe's processes are sampled with; none without that section."""
        if self.recipe is None:
            return ()
        return (*(self.recipe.runs or tuple(self.runs)[:1]), *self.recipe.networks)

    @cached_property
    def dataset(self) -> DataSet:
        """What is known of the data set before it is loaded; of a folder, what was there at the first look."""
        return describe(self.data, self.source)

    @property
    def data_name(self) -> str:
        """Name of the data set's file, which studies on the same images share."""
        return file_name(self.data, self.source)

    @property
    def sample_steps(self) -> tuple[int, ...]:
        """Numbers of sampling steps, rising; the last is the headline."""
        return tuple(sorted(set(self.sampling.n_steps)))

    @property
    def headline_steps(self) -> int:
        """Number of sampling steps of the headline numbers and figures."""
        return self.sample_steps[-1]

    @property
    def labels(self) -> dict[str, str]:
        """What figures and tables call each run: its pair q/p, or its name where several runs have the same pair."""
        pairs = {name: f"{get(run.q)}/{get(run.p)}" for name, run in self.runs.items()}
        unique = len(set(pairs.values())) == len(pairs)
        return pairs if unique else {name: name for name in pairs}

    def metric(self, name: str) -> str:
        """What a distance is called: plainly fid in Inception's features, else by the data set, fid_digits."""
        return name if self.features.kind == "inception" else f"{name}_{self.data}"

    def baseline(self, run: str) -> str | None:
        """The first run with normal steps and the weighting of this one, which it is compared with; None without."""
        weighting = self.run(run).training.weighting
        found = (name for name, other in self.runs.items() if other.q == other.p == "normal")
        return next((name for name in found if self.runs[name].training.weighting == weighting), None)

    def bound_steps(self, run: str) -> tuple[int, ...]:
        """Numbers of steps T of the run's bounds, rising."""
        return tuple(sorted({*self.evaluation.n_steps, self.runs[run].training.n_steps}))

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The whole study with all defaults filled in, as JSON values."""
        return self.model_dump(mode="json")

    @property
    def own_steps(self) -> tuple[str, ...]:
        """Names of all its steps from elsewhere, module:Class."""
        named = {name for run in self.networks.values() for name in (run.q, run.p)}
        named |= {name for section in OPTIONAL if (said := getattr(self, section)) for name in said.steps}
        return tuple(sorted(name for name in named if ":" in name))

    @property
    def with_code(self) -> dict[str, Any]:
        """`resolved`, with the SHA-256 of its code behind the name of each step from elsewhere."""
        return _replaced(self.resolved, {name: f"{name} {code_of(name)}" for name in self.own_steps})

    def run(self, name: str) -> Run:
        """The run of that name.

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
        """All that the run's weights depend on, as JSON values; `data_sha256` is that of the data's file, if known."""
        data = {"file": self.data_name} | ({"sha256": data_sha256} if data_sha256 else {})
        return {"run": run, "seed": self.seed, "data": data, **self.run(run).of_weights}

    def train_seed(self, run: str) -> int:
        """Seed of the run's training, from study seed, run and the training's own seed."""
        return derive(self.seed, run, "train", self.run(run).training.seed)

    def image_seeds(self, purpose: str, n: int) -> list[int]:
        """Seeds of images 0 … n − 1 for a purpose; the same for all runs, so that rows compare like with like."""
        return [derive(self.seed, purpose, i) for i in range(n)]


def _all_merged(defaults: Mapping, runs: Mapping) -> dict:
    """Each run laid over the defaults; one that is empty (null) is the defaults."""
    return {name: _merged(_for(run, defaults), {} if run is None else run) for name, run in runs.items()}


def _for(run: Any, defaults: Mapping) -> Mapping:
    """The defaults without their process where the run names one of another kind, to which its keys do not belong."""
    its, below = (said.get("process") if isinstance(said, Mapping) else None for said in (run, defaults))
    if not isinstance(its, Mapping) or not isinstance(below, Mapping):
        return defaults
    kind = below.get("kind", "vp")
    return defaults if its.get("kind", kind) == kind else {**defaults, "process": {}}


def _merged(defaults: Mapping, override: Any) -> Any:
    """`override` laid over `defaults`, mapping by mapping."""
    if not isinstance(override, Mapping):
        return override
    merged = dict(defaults)
    for key, value in override.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) else value
    return merged


def _replaced(node: Any, texts: Mapping[str, str]) -> Any:
    """JSON values with other texts in place of some."""
    if isinstance(node, Mapping):
        return {key: _replaced(value, texts) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, texts) for value in node]
    return texts.get(node, node) if isinstance(node, str) else node
