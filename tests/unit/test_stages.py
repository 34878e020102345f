"""Stages of DVC: written from a study, and in step with it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nonnormal.study import stages
from nonnormal.study.config import load
from nonnormal.study.results.paths import BORROWED, records_folder

PROJECT = Path(__file__).parents[2]
DVC = str(Path(sys.executable).with_name("dvc"))
STUDIES = sorted(path.name for path in (PROJECT / "config").glob("*.yaml"))


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.chdir(PROJECT)


def named(stage, *kinds):
    """Paths of a stage by the kinds of its entries."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    return [path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)]


def test_dvc_yaml_is_that_of_the_default_study():
    """If not: nonnormal dvc config/digits.yaml."""
    assert Path("dvc.yaml").read_text() == stages.text_of(Path("config/digits.yaml"))


@pytest.mark.parametrize("study", STUDIES)
def test_parameters_are_keys_of_the_study(study):
    """DVC refuses to run a stage with a parameter that the file lacks."""
    file = f"config/{study}"
    found = yaml.safe_load(stages.text_of(Path(file)))["stages"]
    assert set(found) <= {"data", "train", "evaluate", "report"}
    assert found["evaluate"]["params"]
    for stage in found.values():
        for key in (key for entry in stage.get("params", []) for key in entry[file]):
            value = yaml.safe_load(Path(file).read_text())
            for part in key.split("."):
                value = value[part]


@pytest.mark.parametrize("study", STUDIES)
def test_records_are_carried_beside_outputs(study):
    for name, stage in stages.described(Path(f"config/{study}"))["stages"].items():
        outputs = named(stage, "outs", "metrics")
        assert len(outputs) == len(set(outputs))
        results = [path for path in outputs if "records" not in Path(path).parts]
        assert {str(records_folder(path)) for path in results} == set(outputs) - set(results), name


def test_settings_of_all_networks_concern_their_training():
    """Those of sections that train networks of their own, and no other key of these: that would train all anew."""
    [params] = stages.described(Path("config/digits.yaml"))["stages"]["train"]["params"]
    study = load("config/digits.yaml")
    assert set(params["config/digits.yaml"]) == {"seed", "defaults", "replicates"} | {
        study.path(name).rpartition(".")[0] for name in study.networks
    }


def test_the_paper_is_made_again_where_what_it_takes_from_kept_studies_changed():
    found = stages.described(Path("config/digits.yaml"))["stages"]["report"]["deps"]
    for folder, files in BORROWED.values():
        assert [path for path in found if path.startswith(str(folder))] == [str(folder / name) for name in files]


def test_code_of_an_own_step_is_a_dependency(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("steps_of_stages.py").write_text(
        "from nonnormal.steps import Normal\n\n\nclass Mine(Normal):\n    name = 'mine'\n"
    )
    study = yaml.safe_load((PROJECT / "config/smoke.yaml").read_text())
    study["convergence"]["step_families"] = ["normal", "steps_of_stages:Mine"]
    Path("study.yaml").write_text(yaml.safe_dump(study))
    for stage in stages.described(Path("study.yaml"))["stages"].values():
        assert "steps_of_stages.py" in stage["deps"]


def test_a_further_study_leaves_the_data_set_to_the_first():
    found = stages.described(Path("config/smoke.yaml"), Path("studies/smoke/dvc.yaml"))
    assert {stage["wdir"] for stage in found["stages"].values()} == {"../.."}
    assert named(found["stages"]["data"], "outs") == [
        "results/smoke/features.safetensors",
        "results/smoke/records/features.safetensors",
    ]
    assert "data/digits.safetensors" in found["stages"]["train"]["deps"]
    assert "../../results/smoke/paper/figures/steps.png" in found["plots"]


def test_each_study_has_a_place_of_its_own_and_the_headline_study_the_top():
    places = [stages.place_of(Path(f"config/{study}")) for study in STUDIES]
    assert len(set(places)) == len(places)
    assert stages.place_of(Path("config/digits.yaml")) == Path("dvc.yaml")
    assert stages.place_of(Path("config/smoke.yaml")) == Path("pipelines/smoke/dvc.yaml")


def test_what_one_further_study_makes_is_left_to_it_by_the_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROJECT / "config", "config")
    studies = [Path(f"config/{name}.yaml") for name in ("smoke", "families")]  # both on digits
    for study in studies:
        stages.write(study, stages.place_of(study))
    made = [named(stages.described(study, stages.place_of(study))["stages"]["data"], "outs") for study in studies]
    assert "data/digits.safetensors" in made[0] and not set(made[0]) & set(made[1])
    assert stages.place_of(studies[0]).read_text() == stages.text_of(studies[0], stages.place_of(studies[0]))


def test_dvc_finds_the_stages_of_a_further_study(tmp_path, monkeypatch):
    """As dvc reads them, from the top of a project: a dry run names the four commands in their order."""
    for name in ("config", "workflow", "paper"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    (tmp_path / "src").mkdir()
    shutil.copytree(PROJECT / "src/nonnormal", tmp_path / "src/nonnormal", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "Snakefile", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    study = Path("config/smoke.yaml")
    stages.write(study, stages.place_of(study))
    for command in (["git", "init", "--quiet"], [DVC, "init", "--quiet"]):
        subprocess.run(command, check=True)
    for stage in stages.described(study, stages.place_of(study))["stages"].values():
        for path in map(Path, named(stage, "outs", "metrics")):  # which a dry run wants to be there
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    done = subprocess.run([DVC, "repro", "--dry", "pipelines/smoke/dvc.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    run = [line.removeprefix("> ") for line in done.stdout.splitlines() if line.startswith("> ")]
    options = "--pipeline pipelines/smoke/dvc.yaml"
    assert run == [f"nonnormal stage {name} {study} {options}" for name in ("data", "train", "evaluate", "report")]
    shown = subprocess.run([DVC, "stage", "list", "pipelines/smoke/dvc.yaml"], capture_output=True, text=True)
    assert len(shown.stdout.splitlines()) == 4


def test_a_stage_of_another_study_than_its_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dvc.yaml: its stage train does not match config/smoke.yaml; write it again"):
        stages.run("train", Path("config/smoke.yaml"))
    with pytest.raises(ValueError, match=r"found 'figures'; the stages of config/digits.yaml are data"):
        stages.run("figures", Path("config/digits.yaml"))
