"""Records: what a result was made from, and that a file which its records disown is not used."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from nonnormal.files import read_json, sha256_of, track_input, tracking, write_json, write_text
from nonnormal.study.cli.common import recorded
from nonnormal.study.config import validate
from nonnormal.study.results import records
from nonnormal.study.results.paths import records_folder
from nonnormal.study.results.records import Recorder, chain, lines
from nonnormal.study.results.summary import read_table

DATA, WEIGHTS, FIGURE = "data/d.csv", "results/s/r/weights.csv", "paper/figures/f.txt"
STUDY = {"name": "s", "data": "digits", "seed": 3, "runs": {"r": None, "other": {"training": {"seed": 5}}}}


def make(path, content, *inputs, command="nonnormal make"):
    """A command that reads the inputs and writes the content."""
    with tracking(Recorder(command.split())):
        for each in inputs:
            track_input(each)
        write_text(path, content)


def edit(place, **entries):
    """A record that says something else, and has the seal of what it says."""
    write_json(place, records.sealed(json.loads(place.read_text()) | entries))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """data → weights → figure, each by a command of its own, and a published file that nobody made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "published.csv").write_text("1\n")
    make(DATA, "a\n1\n", command="nonnormal data d")
    make(WEIGHTS, "a\n2\n", DATA, command="nonnormal train s --run r")
    make(FIGURE, "3", WEIGHTS, "published.csv", command="nonnormal show pairs s")
    return tmp_path


def test_records_lie_beside_what_they_tell_of():
    places = {
        "results/s/summary.csv": "results/s/records/summary.csv",
        "results/s/r/samples/5.safetensors": "results/s/records/r/samples/5.safetensors",
        "data/digits.safetensors": "data/records/digits.safetensors",
        "paper/tables/pairs.csv": "paper/records/tables/pairs.csv",
    }
    assert {path: records_folder(path).as_posix() for path in places} == places
    elsewhere = ["README.md", "data", "results/s", "/data/x", "../data/x", "data/../x", "results/s/records/x", ""]
    assert [records_folder(path) for path in elsewhere] == [None] * len(elsewhere)


def test_a_record_says_what_was_made_from_what_by_which_code(project):
    record = json.loads(records.record_path(FIGURE, sha256_of(project / FIGURE)).read_text())
    assert record["file"] == FIGURE
    assert record["sha256"] == sha256_of(project / FIGURE)
    assert record["bytes"] == 1
    assert record["command"] == "nonnormal show pairs s"
    assert record["inputs"] == {path: sha256_of(project / path) for path in ("published.csv", WEIGHTS)}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["started"])
    assert record["started"] <= record["ended"]
    assert record["seconds"] >= 0
    assert {"revision", "uncommitted_changes", "python", "packages", "hardware"} <= set(record)


def test_a_record_says_study_settings_and_seeds_of_the_run():
    study = validate(STUDY, "x")
    facts = records.study_facts(study, "other")
    assert facts["study"] == {"name": "s", "sha256": study.sha256}
    assert facts["seeds"] == {"study": 3, "training": study.train_seed("other")}
    assert set(facts["settings"]["runs"]) == {"other"}
    assert facts["settings"]["runs"]["other"]["training"]["seed"] == 5
    assert records.study_facts(study, None)["settings"] == study.resolved
    assert validate({**STUDY, "seed": 4}, "x").sha256 != study.sha256 == validate(study.resolved, "y").sha256


def test_a_command_is_recorded_with_its_arguments(project, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/nonnormal", "table", "a file"])

    @recorded
    def command(*, study_file, name, source):
        write_text("results/s/t.csv", name)

    command(study_file="x", name="pairs", source=Path("a/b"))
    [place] = records_folder("results/s/t.csv").iterdir()
    record = json.loads(place.read_text())
    assert record["command"] == "nonnormal table 'a file'"
    assert record["arguments"] == {"name": "pairs", "source": "a/b"}


def test_inputs_read_after_a_file_was_written_are_none_of_its(project):
    with tracking(Recorder(["x"])):
        track_input(DATA)
        write_text("results/s/first.csv", "1")
        track_input(WEIGHTS)
        write_text("results/s/second.csv", "2")
    assert [link.path for link in chain(project / "results/s/first.csv").inputs] == [DATA]
    assert [link.path for link in chain(project / "results/s/second.csv").inputs] == [DATA, WEIGHTS]


def test_the_chain_goes_from_the_figure_back_to_the_data(project):
    found = chain(project / FIGURE)
    assert [link.path for link in found.walk()] == [FIGURE, "published.csv", WEIGHTS, DATA]
    assert {link.state for link in found.walk()} == {"as made"}
    printed = list(lines(found))
    assert [line.split()[0] for line in printed] == [FIGURE, "├─", "└─", "└─"]
    assert "← nonnormal show pairs s" in printed[0]
    assert "(made by no command)" in printed[1]
    assert printed[3].startswith(f"   └─ {DATA}")


def test_the_chain_tells_what_has_changed_since_and_what_is_missing(project):
    (project / DATA).write_text("a\n9\n")
    (project / WEIGHTS).unlink()
    states = {link.path: link.state for link in chain(project / FIGURE).walk()}
    assert states == {FIGURE: "as made", "published.csv": "as made", WEIGHTS: "missing", DATA: "changed since"}


def test_older_contents_keep_their_records(project):
    """As when another version of the results is checked out."""
    before = (project / WEIGHTS).read_bytes()
    make(WEIGHTS, "a\n7\n", "published.csv")
    assert [link.path for link in chain(project / WEIGHTS).inputs] == ["published.csv"]
    [weights] = [link for link in chain(project / FIGURE).walk() if link.path == WEIGHTS]
    assert weights.state == "changed since"
    (project / WEIGHTS).write_bytes(before)
    assert [link.path for link in chain(project / WEIGHTS).inputs] == [DATA]
    with tracking(Recorder(["x"])):
        assert read_table(project / WEIGHTS).a.tolist() == [2]


def test_the_newest_record_is_the_one_that_says_so(project):
    """As in a clone, where files have times of their own."""
    [older] = records_folder(WEIGHTS).iterdir()
    make(WEIGHTS, "a\n7\n", DATA)
    newer = sha256_of(project / WEIGHTS)
    edit(older, ended="2001-01-01T00:00:00+00:00")
    (project / WEIGHTS).unlink()
    assert chain(project / WEIGHTS).expected == newer
    (project / WEIGHTS).write_text("a\n")
    with tracking(Recorder(["x"])), pytest.raises(ValueError, match=f"expected SHA-256 {newer}"):
        read_table(project / WEIGHTS)


def test_a_file_without_records_has_no_chain(project):
    with pytest.raises(ValueError, match=r"published\.csv: no command recorded that it wrote this file"):
        chain(project / "published.csv")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.csv"):
        chain(project / "results/s/none.csv")


@pytest.mark.fault("a table is changed, cut off or damaged after it was made")
@pytest.mark.parametrize("content", ["a\n3\n", "a\n", ""])
def test_a_table_that_its_records_disown_is_not_used(project, content, happened):
    expected = sha256_of(project / WEIGHTS)
    (project / WEIGHTS).write_text(content)
    with tracking(Recorder(["x"])), pytest.raises(ValueError, match="damaged, or was changed") as error:
        read_table(project / WEIGHTS)
    for words in (WEIGHTS, expected, sha256_of(project / WEIGHTS), "delete it to have it made again"):
        assert words in str(error.value)
    happened("refused, with the file's name, both hashes and what to do")


def test_a_file_without_records_is_used(project):
    pd.DataFrame({"a": [5]}).to_csv("results/s/pulled.csv", index=False)
    with tracking(Recorder(["x"])):
        assert read_table(project / "results/s/pulled.csv").a.tolist() == [5]


@pytest.mark.fault("the clock goes backwards while a command runs")
def test_a_clock_that_goes_backwards_changes_no_duration(project, monkeypatch, happened):
    times = iter(["2026-01-01T12:00:00+00:00", "2026-01-01T11:00:00+00:00"])
    monkeypatch.setattr(records, "_now", lambda: next(times))
    make("results/s/t.csv", "1")
    record = chain(project / "results/s/t.csv").record
    assert record["ended"] < record["started"]
    assert 0 <= record["seconds"] < 60
    happened("the record's times are the clock's, its duration is not")


@pytest.mark.fault("a record of a result is damaged, emptied, edited by hand, or copied from another")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no JSON"),
        ("[]", "expected a mapping, found list"),
        ("[" * 100_000, "no JSON"),
        ("\xff", "no JSON"),
        ("{}", "expected SHA-256 None of its entries"),
    ],
)
@pytest.mark.parametrize("of", [FIGURE, WEIGHTS, DATA])
def test_a_damaged_record_is_named_with_what_to_do(project, of, content, reason, happened):
    [place] = records_folder(of).iterdir()
    place.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=re.escape(f"{place} is damaged")) as error:
        chain(project / FIGURE)
    assert reason in str(error.value)
    assert f"delete it and {of}, and make that again: snakemake --cores all --configfile STUDY -- {of}" in str(
        error.value
    )
    assert "\n" not in str(error.value)
    happened("refused, with the record's name and what to do")


@pytest.mark.parametrize(
    "entries", [{"command": "nonnormal train s --run other"}, {"seconds": 1}, {"inputs": {}}, {"note": "mine"}]
)
def test_a_record_that_was_edited_is_not_shown_as_made(project, entries):
    [place] = records_folder(WEIGHTS).iterdir()
    record = json.loads(place.read_text())
    place.write_text(json.dumps(record, indent=8))  # the same entries, laid out otherwise
    assert chain(project / FIGURE).state == "as made"
    place.write_text(json.dumps(record | entries))
    with pytest.raises(ValueError, match=re.escape(f"{place} is damaged, or was edited: expected SHA-256")):
        chain(project / FIGURE)


def test_a_record_of_another_file_is_refused(project):
    [place], [other] = records_folder(WEIGHTS).iterdir(), records_folder(DATA).iterdir()
    place.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=re.escape(f"{place} is the record of another file, {DATA}")):
        chain(project / FIGURE)


@pytest.mark.parametrize("of", [WEIGHTS, FIGURE])
def test_a_chain_that_leads_back_to_itself_is_refused(project, of):
    [place], [last] = records_folder(of).iterdir(), records_folder(FIGURE).iterdir()
    edit(place, inputs={of: place.stem} if of == FIGURE else {FIGURE: last.stem})
    with pytest.raises(ValueError, match=re.escape(f"{last} says that the file was made from itself")):
        chain(project / FIGURE)


@pytest.mark.parametrize("content", ["a,b\n1", "", "a,b\n1,2\n3,4,5\n", "\xff\n", 'a,b\n1,"2\n'])
def test_a_damaged_table_without_records_is_named_with_what_to_do(project, content):
    path = Path("results/s/pulled.csv")
    path.write_text(content, encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"^results/s/pulled\.csv is damaged \(.*; delete it and make it again"
    ) as error:
        read_table(path)
    assert str(error.value).endswith("snakemake --cores all --configfile STUDY -- results/s/pulled.csv")


@pytest.mark.parametrize("content", ['{"a": 1', "", "[]"])
def test_a_damaged_json_file_is_named_with_what_to_do(project, content):
    Path("results/s/provenance.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"^results/s/provenance\.json is damaged \(.*; delete it to have it made again"
    ):
        read_json("results/s/provenance.json")
