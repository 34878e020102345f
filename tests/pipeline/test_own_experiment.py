"""An experiment from elsewhere: a folder with one EXPERIMENT, named by the study; no other file is edited for it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import copy_project

from nonnormal.study import registry
from nonnormal.study.cli import app
from nonnormal.study.config import StudyError, load, validate
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.summary import read_rows

TOY = Path(__file__).parents[1] / "toy"
LAYOUT = Layout("thrown", "digits")
RAW = {
    "name": "thrown",
    "data": "digits",
    "features": {"epochs": 1},
    "experiments": ["toy:EXPERIMENT"],
    "toy": {"throws": 50},
}


def command(*words):
    app(list(words), standalone_mode=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with the folder of the experiment beside its Snakefile, and its study."""
    space = copy_project(tmp_path_factory.mktemp("project"))
    shutil.copytree(TOY, space.folder / "toy", ignore=shutil.ignore_patterns("__pycache__"))
    (space.folder / "config/thrown.yaml").write_text(yaml.safe_dump(RAW))
    return space


@pytest.fixture(scope="module")
def made(project):
    """The project, in which every rule's command was run in this process."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        try:
            command("data", "digits")
            command("features", "config/thrown.yaml")
            command("evaluate", "throws", "config/thrown.yaml")
            command("summary", "config/thrown.yaml")
            command("show", "toy", "config/thrown.yaml")
            command("page", "config/thrown.yaml")
        finally:
            torch.set_num_threads(threads)
    return project.folder


def test_its_job_and_what_it_shows_are_planned(project):
    planned = project.planned("--configfile", "config/thrown.yaml")
    assert {"throws", "show_toy", "summary", "page"} <= planned


def test_its_rows_figure_and_table_are_made(made):
    rows = read_rows(made / LAYOUT.summary)
    assert rows[rows.metric == "toy_mean"].value.between(1, 6).all()
    assert (made / LAYOUT.figure("die", "png")).read_bytes().startswith(b"\x89PNG")
    assert "toy_mean" in (made / LAYOUT.table("die", "md")).read_text()
    page = (made / LAYOUT.page).read_text()
    assert all(text in page for text in ("A die", "A die has a mean of 3.5.", "Means of throws."))


def test_its_code_is_an_input_of_its_results_alone(made):
    """Also code that it imports from its own folder."""

    def inputs(path):
        records = (made / "results/thrown/records" / path).glob("*.json")
        return {name for record in records for name in json.loads(record.read_text())["inputs"]}

    code = {f"toy/{name}.py" for name in ("__init__", "settings", "measure", "dice")}
    assert code <= inputs("throws.csv")
    assert not any(name.startswith("toy/") for name in inputs("features.safetensors"))


def test_an_edit_of_its_code_runs_its_job_again(made, project):
    # By force: Snakemake knows the code of what it made itself alone.
    project("snakemake", "--cores", "1", "--configfile", "config/thrown.yaml", "--forcerun", "throws")
    assert not project.planned("--configfile", "config/thrown.yaml")
    path = made / "toy/dice.py"
    path.write_text(path.read_text() + "\n# another word\n")
    assert {"throws", "summary", "page"} <= project.planned("--configfile", "config/thrown.yaml")
    assert "features" not in project.planned("--configfile", "config/thrown.yaml")


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(TOY.parent)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"toy": {"throws": 1}}, "toy.throws: found 1"),
        ({"toy": {"colour": 1}}, "toy.colour: unknown key; allowed here: throws, sides"),
        ({"toy": {"throws": 5}}, "toy.sides: found 6; must be at most throws, which are 5"),
        ({"experiments": []}, "toy: unknown key"),
        ({"experiments": ["toy"]}, 'experiments.0: found "toy"'),
        ({"experiments": ["toy:NOTHING"]}, "experiments: toy:NOTHING cannot be loaded"),
        ({"experiments": ["no_such:EXPERIMENT"]}, "experiments: no_such:EXPERIMENT cannot be loaded"),
        ({"experiments": ["toy.settings:Toy"]}, "experiments: toy.settings:Toy is no Experiment"),
    ],
)
def test_mistakes_are_named(here, changes, words):
    with pytest.raises(StudyError) as error:
        validate(RAW | changes, "study.yaml")
    assert str(error.value).splitlines()[0].startswith(f"study.yaml: {words}")


def test_the_tutorial_shows_its_files():
    page = (TOY.parents[1] / "docs/tutorials/your-own-experiment.md").read_text()
    shown = re.findall(r'```python title="toy/([^"]+)"\n(.*?)```', page, re.DOTALL)
    assert [name for name, _ in shown] == ["__init__.py", "settings.py", "dice.py", "measure.py", "show.py"]
    assert all((TOY / name).read_text() == code for name, code in shown)


def test_a_resolved_study_has_its_section(here, tmp_path):
    found = validate(RAW, "study.yaml")
    (tmp_path / "study.json").write_text(json.dumps(found.resolved))
    assert load(tmp_path / "study.json") == found
    assert found.resolved["toy"] == {"throws": 50, "sides": 6}


def test_an_installed_package_has_it_without_a_word_in_the_study(here, monkeypatch):
    class Entry:
        value = "toy:EXPERIMENT"

    registry.all_experiments.cache_clear()
    monkeypatch.setattr(
        registry.importlib.metadata, "entry_points", lambda group: [Entry] * (group == "nonnormal.experiments")
    )
    try:
        found = validate({key: said for key, said in RAW.items() if key != "experiments"}, "study.yaml")
        assert [each.name for each in registry.experiments_of(found)] == ["toy"]
    finally:
        registry.all_experiments.cache_clear()
