"""The registry of experiments: what each folder says of itself can be called, and no two say the same."""

import importlib
import inspect

import pytest

from nonnormal.study import experiments
from nonnormal.study.experiment import Figure, Table
from nonnormal.study.registry import all_experiments, command_for
from nonnormal.study.results.context import Context
from nonnormal.study.results.paths import Layout

EXPERIMENTS = all_experiments()
LAYOUT = Layout("a", "digits")
JOBS = [job for experiment in EXPERIMENTS for job in experiment.jobs]


def function(experiment, name):
    """A function of an experiment's folder, "module:function"."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"{experiment.package}.{module}"), attribute)


def takes(found):
    """How many arguments a function has to get, and how many it may."""
    parameters = inspect.signature(found).parameters.values()
    return sum(each.default is each.empty for each in parameters), len(parameters)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_functions_of_an_experiment_exist_and_take_what_they_are_given(experiment):
    given = [(job.function, 1) for job in experiment.jobs]
    given += [(figure.function, len(figure.takes)) for figure in experiment.figures]
    given += [(table.numbers, len(table.takes)) for table in experiment.tables]
    given += [(table.readable, 1 + len(table.shows)) for table in experiment.tables]
    given += [(experiment.headline, 1)] if experiment.headline else []
    assert given
    for name, count in given:
        least, most = takes(function(experiment, name))
        assert least <= count <= most, name


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_what_figures_and_tables_take_is_of_a_context(experiment):
    shown: list[Figure | Table] = [*experiment.figures, *experiment.tables]
    taken = {name for each in shown for name in (*each.takes, *getattr(each, "shows", ()))}
    assert not [name for name in taken if name.partition(".")[0] not in {*dir(Context), *Context.__dataclass_fields__}]


def test_an_experiment_is_the_folder_that_it_names():
    for experiment in EXPERIMENTS:
        assert experiment.package == f"{experiments.__name__}.{experiment.name}"


@pytest.mark.parametrize("kind", ["jobs", "figures", "tables"])
def test_no_two_have_one_name(kind):
    names = [each.name for experiment in EXPERIMENTS for each in getattr(experiment, kind)]
    assert len(set(names)) == len(names)


def test_no_two_stand_in_one_place():
    assert len({experiment.place for experiment in EXPERIMENTS}) == len(EXPERIMENTS)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_missing_file_of_a_job_is_made_by_its_command(job):
    run, option = ("r", " --run r") if job.each else (None, "")
    assert job.outputs(LAYOUT, run)
    for path in job.outputs(LAYOUT, run):
        assert command_for(path) == f"nonnormal evaluate {job.name} STUDY{option}"


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_a_missing_figure_or_table_is_made_by_its_command(experiment):
    figures = LAYOUT.figures(figure.name for figure in experiment.figures)
    for path in [*figures, *LAYOUT.tables(table.name for table in experiment.tables)]:
        assert command_for(path) == f"nonnormal show {experiment.name} STUDY"
