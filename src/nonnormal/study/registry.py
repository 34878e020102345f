"""Registry: the experiments that there are. A folder of `experiments` is one by the `EXPERIMENT` that it holds."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonnormal.study import experiments
from nonnormal.study.experiment import Experiment, Figure, Job, Table

if TYPE_CHECKING:
    from nonnormal.study.config.study import Study
    from nonnormal.study.results.paths import Layout


@cache
def all_experiments() -> tuple[Experiment, ...]:
    """All experiments that there are, in the order of their places."""
    packages = [name for _, name, is_package in pkgutil.iter_modules(experiments.__path__) if is_package]
    found = [importlib.import_module(f"{experiments.__name__}.{name}").EXPERIMENT for name in packages]
    return tuple(sorted(found, key=lambda experiment: experiment.place))


def experiments_of(study: Study) -> list[Experiment]:
    """The experiments that a study asks for."""
    return [experiment for experiment in all_experiments() if experiment.belongs_to(study)]


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
    """All files of rows that the summary gathers."""
    return [
        layout.rows(job.name, run)
        for _, job in jobs_of(study).values()
        if job.rows
        for run in (job.networks(study) if job.each else [None])
    ]


def job_named(study: Study, name: str) -> tuple[Experiment, Job]:
    """The job of that name in a study.

    Raises:
        ValueError: the study has none of that name.
    """
    return _named(jobs_of(study), name, "job")


def _named(known: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in known:
        raise ValueError(f"found {name!r}; this study has no such {kind}, but {', '.join(known)}")
    return known[name]
