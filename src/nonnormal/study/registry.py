"""Registry of experiments.

Each folder of `experiments` with an `EXPERIMENT` is one. Others come from installed packages, by entry points of the
group `nonnormal.experiments`, and from a study's key `experiments`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonnormal.study.experiment import Experiment, Figure, Job, Table

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study
    from nonnormal.study.results.paths import Layout


ENTRY_POINTS = "nonnormal.experiments"


@cache
def packaged() -> tuple[Experiment, ...]:
    """The experiments of this package, in the order of their places."""
    folders = pkgutil.iter_modules([str(Path(__file__).with_name("experiments"))])
    names = [f"{__package__}.experiments.{name}" for _, name, is_package in folders if is_package]
    found = [importlib.import_module(name).EXPERIMENT for name in names]
    return tuple(sorted(found, key=lambda experiment: experiment.place))


@cache
def all_experiments(own: tuple[str, ...] = ()) -> tuple[Experiment, ...]:
    """All experiments that a study may ask for, in the order of their places.

    Args:
        own: those of the study's key `experiments`, module:NAME, in the working folder or on the Python path.

    Raises:
        ValueError: one cannot be loaded, is not an experiment, or has the name of another one.
    """
    installed = tuple(entry.value for entry in importlib.metadata.entry_points(group=ENTRY_POINTS))
    found = [*packaged(), *map(_loaded, dict.fromkeys((*installed, *own)))]
    for kind, named in _NAMED.items():
        names = [name for experiment in found for name in named(experiment)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{kind} {min(twice)} exists more than once; use another name")
    return tuple(sorted(found, key=lambda experiment: experiment.place))


_NAMED = {
    "the experiment": lambda experiment: [experiment.name],
    "the section": lambda experiment: [experiment.section] * bool(experiment.section),
    "the job": lambda experiment: [job.name for job in experiment.jobs],
    "the figure": lambda experiment: [figure.name for figure in experiment.figures],
    "the table": lambda experiment: [table.name for table in experiment.tables],
}


def _loaded(path: str) -> Experiment:
    from nonnormal.files.own import imported

    try:
        found = imported(path)
    except ImportError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from None
    if not isinstance(found, Experiment):
        raise ValueError(f"{path} is no Experiment of nonnormal.study.experiment, but {type(found).__name__}")
    if not hasattr(importlib.import_module(found.package), "__path__"):
        raise ValueError(
            f"{path}: package: found {found.package}, which is not a folder; write __name__ in its __init__.py"
        )
    return found


def experiments_of(study: Study) -> list[Experiment]:
    """The experiments that a study asks for."""
    return list(study.asked)


def experiment_named(study: Study, name: str) -> Experiment:
    """The experiment of that name in a study.

    Raises:
        ValueError: the study does not ask for it.
    """
    return _named({experiment.name: experiment for experiment in experiments_of(study)}, name, "experiment")


def jobs_of(study: Study) -> dict[str, tuple[Experiment, Job]]:
    """All jobs of a study by name."""
    return {job.name: (each, job) for each in experiments_of(study) for job in each.jobs_of(study)}


def figures_of(study: Study) -> dict[str, tuple[Experiment, Figure]]:
    """All figures of a study by name."""
    return {figure.name: (each, figure) for each in experiments_of(study) for figure in each.figures_of(study)}


def tables_of(study: Study) -> dict[str, tuple[Experiment, Table]]:
    """All tables of a study by name."""
    return {table.name: (each, table) for each in experiments_of(study) for table in each.tables}


def parts(study: Study, layout: Layout) -> list[Path]:
    """All files of rows that the summary collects."""
    return [
        layout.rows(job.name, run)
        for _, job in jobs_of(study).values()
        if job.rows
        for run in (job.networks(study) if job.each else [None])
    ]


def job_named(study: Study, name: str) -> tuple[Experiment, Job]:
    """The job of that name in a study.

    Raises:
        ValueError: the study has no job of that name.
    """
    return _named(jobs_of(study), name, "job")


def _named(known: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in known:
        raise ValueError(f"found {name!r}; this study has no such {kind}, but {', '.join(known)}")
    return known[name]


_COMMANDS = {  # by what a path matches, that of a result after results/<study>/; STUDY is the study's file
    r"data/([a-z0-9_]+)\.safetensors": r"data \1",  # a source that changes the images is in the study alone
    r"features\.safetensors": "features STUDY",
    r"([^/]+)/(?:weights\.safetensors|training\.csv)": r"train STUDY --run \1",
    r"([^/]+)/samples/(\d+)\.safetensors": r"sample STUDY --run \1 --nfe \2",
    r"pretrained/network\.safetensors": "pretrained STUDY",
    r"summary\.csv|means\.csv|provenance\.json|metrics\.json": "summary STUDY",
    r"paper/paper\.pdf": "paper STUDY",
    r"(?:paper/)?results\.html": "page STUDY",
}


def command_for(path: Path | str) -> str | None:
    """The command that makes a result, with STUDY for the study's file; None for a file that no command makes."""
    path = Path(path).as_posix()
    within = re.sub("^results/[^/]+/", "", path)
    if within == path and not path.startswith(("data/", "paper/")):
        return None
    for pattern, command in _COMMANDS.items():
        if found := re.fullmatch(pattern, within):
            return f"nonnormal {found.expand(command)}"
    for experiment in all_experiments():
        shown = {("figure", each.name) for each in experiment.figures} | {
            ("table", each.name) for each in experiment.tables
        }
        found = re.fullmatch(r"paper/(figure|table)s/(\w+)\.(?:pdf|png|csv|md|typ)", within)
        if found and found.groups() in shown:
            return f"nonnormal show {experiment.name} STUDY"
        for job in experiment.jobs:
            named = r"([^/]+)/" if job.each else "()"
            if found := re.fullmatch(rf"{named}{re.escape(job.name)}\.(?:csv|safetensors)", within):
                return f"nonnormal evaluate {job.name} STUDY" + f" --run {found[1]}" * job.each
    return None
