"""Crates: what another library reads in them is what the records say."""

import json

import pytest
from rocrate.rocrate import ROCrate

from nonnormal.files import sha256_of, track_input, tracking, write_json, write_text
from nonnormal.study.results import crate
from nonnormal.study.results.records import Recorder, chain

DATA, WEIGHTS, LOG = "data/d.csv", "results/s/r/weights.safetensors", "results/s/r/training.csv"
FIGURE = "paper/figures/f.pdf"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """data → weights and log → figure, which is made from a published file, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "published.csv").write_text("1\n")
    study = {"study": {"name": "s", "sha256": "0" * 64}, "seeds": {"study": 3}}
    for command, inputs, outputs in (
        ("nonnormal data d", [], [DATA]),
        ("nonnormal train s.yaml --run r", [DATA], [WEIGHTS, LOG]),
        ("nonnormal show pairs s.yaml", [WEIGHTS, LOG, "published.csv"], [FIGURE]),
    ):
        with tracking(Recorder(command.split(), study)):
            for path in inputs:
                track_input(tmp_path / path)
            for path in outputs:
                write_text(path, f"{path}\n")
    return tmp_path


@pytest.fixture
def found(project):
    """The figure's crate, as the library reads it."""
    write_json(crate.PLACE, crate.describe(chain(project / FIGURE)))
    return ROCrate(project)


def test_the_figure_leads_back_to_the_data_by_the_commands(found):
    actions = found.get_by_type("CreateAction")
    assert found.root_dataset["mentions"] == actions
    assert found.mainEntity.id == FIGURE
    objects = {action["name"].split()[1]: {each.id for each in action.get("object", [])} for action in actions}
    results = {action["name"].split()[1]: {each.id for each in action["result"]} for action in actions}
    assert objects == {"data": set(), "train": {DATA}, "show": {WEIGHTS, LOG, "published.csv"}}
    assert results == {"data": {DATA}, "train": {WEIGHTS, LOG}, "show": {FIGURE}}


def test_files_have_their_hash_their_size_and_their_record(found, project):
    for path in (DATA, WEIGHTS, LOG, FIGURE, "published.csv"):
        entity = found.dereference(path)
        assert entity in found.root_dataset["hasPart"]
        assert entity["sha256"] == sha256_of(project / path)
        assert int(entity["contentSize"]) == (project / path).stat().st_size
        if path != "published.csv":
            record = json.loads((project / entity["subjectOf"].id).read_text())
            assert record["sha256"] == entity["sha256"]


def test_commands_say_when_where_and_with_what_software(found, project):
    record = chain(project / WEIGHTS).record
    [action] = [each for each in found.get_by_type("CreateAction") if each["name"] == record["command"]]
    assert action["startTime"] == record["started"]
    assert action["endTime"] >= record["ended"]
    assert record["hardware"] in action["description"]
    assert "seed of study 3" in action["description"]
    assert action["instrument"]["softwareVersion"].startswith(record["revision"] or "unknown")
    packages = {each["name"]: each["softwareVersion"] for each in action["instrument"]["softwareRequirements"]}
    assert packages == record["packages"]


def test_root_has_what_the_standard_asks_for(found):
    assert found.version == "1.1"
    for key in ("name", "description", "datePublished", "license"):
        assert found.root_dataset[key]
    assert found.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    ids = [entity.id for entity in found.get_entities()]
    assert len(set(ids)) == len(ids)


def test_the_same_records_give_the_same_bytes(found, project):
    before = (project / crate.PLACE).read_bytes()
    write_json(crate.PLACE, crate.describe(chain(project / FIGURE)))
    assert (project / crate.PLACE).read_bytes() == before


def test_a_file_outside_of_the_project_has_its_uri(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "network.json"
    outside.write_text("{}")
    with tracking(Recorder(["nonnormal", "pretrained"])):
        track_input(outside)
        write_text(LOG, "1\n")
    write_json(crate.PLACE, crate.describe(chain(project / LOG)))
    [action] = ROCrate(project).get_by_type("CreateAction")
    assert [each.id for each in action["object"]] == [outside.as_uri()]


def test_a_chain_with_a_file_that_is_another_now_is_refused(project):
    (project / WEIGHTS).write_text("another")
    (project / LOG).unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors: changed since") as error:
        crate.describe(chain(project / FIGURE))
    assert "training.csv: missing" in str(error.value)
