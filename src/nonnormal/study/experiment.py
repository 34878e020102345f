"""Experiment: one folder's description of its settings, jobs, figures and tables; nothing else lists experiments.

Rules, commands, summary, tables, figures, page and report read these objects. They name functions as texts
("measure:rows", relative to the experiment's folder), so that reading a study imports neither torch nor matplotlib.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from nonnormal.study.config.sections import Section
    from nonnormal.study.config.settings import Run
    from nonnormal.study.config.study import Study
    from nonnormal.study.results.context import Context
    from nonnormal.study.results.paths import Layout

OVER = "over trainings where a run has several, else over images"
"""The unit of the intervals in figures and tables, for their captions."""
Inputs = Callable[["Study", "Layout", str | None], Iterable[Path]]


def measured(study: Study, layout: Layout, run: str | None) -> list[Path]:
    """Inputs of most jobs: the data, the features that distances are measured in, and the network's weights."""
    return [layout.data, layout.features, layout.weights(run)]


@dataclass(frozen=True)
class Job:
    """A measurement: one job of the workflow and one command, `nonnormal evaluate NAME STUDY`.

    Attributes:
        name: name of the rule, the command, and the files that it writes.
        about: what it measures, one line for `--help`.
        function: "module:function" in the experiment's folder; called with a `Context`, returns rows of the summary,
            or arrays by name, or both as a tuple.
        settings: keys that it depends on, by section of the study; an empty tuple stands for the whole section.
        inputs: function of study, layout and network that returns the files that it reads.
        runs: function that returns the names of the networks that it uses; None for a job without networks.
        each: whether each network has its own job and files; otherwise there is one job for the study.
        when: function that decides whether a study with the experiment has this job.
        rows, arrays: whether it writes rows of the summary, and whether it writes arrays.
        gpu: whether it uses a GPU if there is one.
    """

    name: str
    about: str
    function: str
    settings: Mapping[str, tuple[str, ...]]
    inputs: Inputs = measured
    runs: Callable[[Study], Iterable[str]] | None = None
    each: bool = False
    when: Callable[[Study], bool] = bool
    rows: bool = True
    arrays: bool = False
    gpu: bool = True

    def networks(self, study: Study) -> list[str]:
        """Names of the networks that have a job of their own."""
        return list(self.runs(study)) if self.each else []

    def network(self, study: Study) -> str | None:
        """The network of a job that looks at one."""
        return next(iter(self.runs(study)), None) if self.runs and not self.each else None

    def outputs(self, layout: Layout, run: str | None = None) -> list[Path]:
        """The files that it writes: rows, arrays."""
        files = [layout.rows(self.name, run)] * self.rows + [layout.arrays(self.name, run)] * self.arrays
        return files

    def all_outputs(self, study: Study, layout: Layout) -> list[Path]:
        """The files that it writes for all networks."""
        runs = self.networks(study) if self.each else [None]
        return [path for run in runs for path in self.outputs(layout, run)]


@dataclass(frozen=True)
class Figure:
    """A figure, drawn by `function` from the attributes of a `Context` that `takes` names.

    Attributes:
        name: of the file, and in the paper.
        function: "module:function" in the experiment's folder.
        caption: its first sentence is the insight.
        takes: attributes of `Context`, in the order of the function's arguments; "a.b" is the attribute b of a.
        inputs: function that returns the files that it is drawn from, if not from the summary.
        when: function that decides whether a study with the experiment has this figure.
    """

    name: str
    function: str
    caption: str
    takes: tuple[str, ...] = ("summary",)
    inputs: Callable[[Study, Layout], Iterable[Path]] | None = None
    when: Callable[[Study], bool] = bool

    def files(self, study: Study, layout: Layout) -> list[Path]:
        """The files it is drawn from."""
        return [layout.summary] if self.inputs is None else list(self.inputs(study, layout))


@dataclass(frozen=True)
class Table:
    """A table: numbers from the attributes of a `Context` that `takes` names, and the same formatted for reading.

    Attributes:
        name: of the file, and in the paper.
        numbers: "module:function" in the experiment's folder; returns a DataFrame.
        readable: likewise, called with the numbers and the attributes that `shows` names; one DataFrame or several.
        caption: its first sentence states the insight.
        takes, shows: attributes of `Context`, as above.
        prose: whether its cells hold sentences.
        inputs: function of the study's layout that returns files needed in addition to the summary.
    """

    name: str
    numbers: str
    readable: str
    caption: str
    takes: tuple[str, ...] = ("summary",)
    shows: tuple[str, ...] = ()
    prose: bool = False
    inputs: Callable[[Layout], Iterable[Path | str]] = lambda layout: ()


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment, one folder: settings, measurement, tables and figures.

    Attributes:
        name: of the folder.
        title: heading of its figures on the results page.
        package: dotted name of its folder, in which functions are looked up.
        section: key of a study file that turns it on; None if every study with runs has it.
        settings: "module:class" in its folder, the `Section` of this key.
        place: its position among the experiments, in summary, page and report.
        jobs, figures, tables: its jobs, figures and tables.
        headline: "module:function", the numbers that it adds to metrics.json, called with a `Context`.
    """

    name: str
    title: str
    package: str
    place: int
    section: str | None = None
    settings: str | None = None
    jobs: tuple[Job, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    headline: str | None = None

    @property
    def is_packaged(self) -> bool:
        """Whether it belongs to this package."""
        return self.package.startswith("nonnormal.")

    def belongs_to(self, study: Study) -> bool:
        """Whether the study asks for it."""
        return bool(study.runs) if self.section is None else getattr(study, self.section) is not None

    @cached_property
    def model(self) -> type[Section] | None:
        """Its settings' class."""
        return self.settings and self.found(self.settings)

    def networks(self, study: Study) -> dict[str, Run]:
        """The networks that its section of the study defines, by name."""
        return getattr(getattr(study, self.section or "", None), "networks", {})

    def jobs_of(self, study: Study) -> list[Job]:
        """Its jobs in a study that asks for it."""
        return [job for job in self.jobs if job.when(study)]

    def figures_of(self, study: Study) -> list[Figure]:
        """Its figures in a study that asks for it."""
        return [figure for figure in self.figures if figure.when(study)]

    def draw(self, figure: Figure, context: Context) -> Any:
        """One of its figures, as a matplotlib figure."""
        return self.call(figure.function, *_taken(context, figure.takes))

    def numbers(self, table: Table, context: Context) -> pd.DataFrame:
        """The numbers of one of its tables; the study's summary must exist."""
        return self.call(table.numbers, *_taken(context, table.takes))

    def readable(self, table: Table, numbers: pd.DataFrame, context: Context) -> tuple[pd.DataFrame, ...]:
        """One of its tables for reading, in one or more parts."""
        found = self.call(table.readable, numbers, *_taken(context, table.shows))
        return found if isinstance(found, tuple) else (found,)

    def call(self, function: str, *arguments: Any) -> Any:
        """Calls a function of its folder, "module:function"."""
        return self.found(function)(*arguments)

    def found(self, name: str) -> Any:
        """An object in its folder, "module:name"."""
        module, _, name = name.partition(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), name)

    def functions(self, study: Study) -> list[str]:
        """The functions that draw its figures and make its tables."""
        tables = [function for table in self.tables for function in (table.numbers, table.readable)]
        return [*(figure.function for figure in self.figures_of(study)), *tables]

    def modules(self, *functions: str) -> list[str]:
        """Dotted names of the modules that contain its functions and its settings."""
        named = (*functions, *([self.settings] if self.settings else []))
        return list(dict.fromkeys(f"{self.package}.{name.partition(':')[0]}" for name in named))


def _taken(context: Context, names: Iterable[str]) -> list[Any]:
    """Attributes of a context by name."""
    return [attrgetter(name)(context) for name in names]
