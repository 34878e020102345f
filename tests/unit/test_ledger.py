"""The ledger: which study a claim is judged by, and that the kept file and page are what the kept summaries give."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest
from test_claims import NAMES, frame, row

from nonnormal.files import write_json
from nonnormal.metrics.intervals import Estimate
from nonnormal.study.experiments.claims import tables
from nonnormal.study.experiments.claims.judgement import HOLDS, NOT_TESTED, UNDECIDED, Outcome
from nonnormal.study.experiments.claims.ledger import COLUMNS, Kept, best, ledger, read_kept
from nonnormal.study.experiments.claims.stated import FILE, UNITS, Claims, load
from nonnormal.study.report.results_page import PAGES, ledger_page
from nonnormal.study.results.paths import LEDGER
from nonnormal.study.results.summary import write_rows

ROOT = Path(__file__).parents[2]
CLAIM = {"id": "c", "source": "li2024", "statement": "So.", "where": "here", "kind": "empirical", "unit": "training"}
CLAIM |= {"null_case": {"statement": "no", "value": 0}, "test": {"rows": "metric == 'm'", "above": 0}}
STATED = Claims(claims=(CLAIM,))
UNTESTED = Claims(claims=(CLAIM, CLAIM | {"id": "d", "test": {"rows": "metric == 'w'", "above": 0}}))


def outcome(trainings, half, verdict=HOLDS):
    return Outcome(verdict, Estimate(1.0, 1 - half, 1 + half, 1), trainings=trainings)


@pytest.mark.parametrize("unit", UNITS)
def test_the_narrowest_interval_is_best_for_networks_of_the_most_trainings_whatever_the_verdict(unit):
    found = {"a": outcome(1, 0.1), "b": outcome(3, 0.5), "c": outcome(3, 0.4, UNDECIDED), "d": Outcome(NOT_TESTED)}
    assert best(found, unit) == ("c" if unit == "training" else "a")
    del found["a"]
    assert best(found, unit) == "c"
    assert best(found | {"c": Outcome(UNDECIDED, trainings=3)}, unit) == "b"  # without a number there is no interval
    assert best({"d": Outcome(NOT_TESTED)}, unit) is None


def study(name, *values):
    rows = [row("m", value, 0.01, run="r", train_seed=seed) for seed, value in enumerate(values)]
    return Kept(name, frame(*rows), NAMES)


def test_a_row_has_the_number_and_verdict_of_its_study():
    found = ledger(UNTESTED, [study("one", 5.0), study("three", 1.0, 1.1, 1.2)])
    assert tuple(found.columns) == COLUMNS
    first, second = found.to_dict("records")
    assert (first["study"], first["verdict"], first["trainings"]) == ("three", "holds", 3)
    assert (first["value"], first["threshold"], first["unit"]) == (pytest.approx(1.1), "> 0", "training")
    assert (second["verdict"], second["needs"]) == ("not tested here", "a study that measures w")
    assert pd.isna(second["study"])


@pytest.mark.parametrize(
    ("data", "source", "name"),
    [
        ("digits", {}, "digits"),
        ("photos", {"size": 16, "path": None}, "photos16"),
        ("folder", {"path": "x", "size": [4, 8]}, "folder"),
        ("mine:STRIPES", {}, "mine-STRIPES"),  # whose module is not imported
        ("photos32", {"size": None}, "photos32"),  # of an earlier version
    ],
)
def test_distances_of_a_kept_study_are_called_as_it_calls_them(tmp_path, data, source, name):
    facts = {"name": "s", "data": data, "source": source, "features": {"kind": "classifier"}}
    write_json(tmp_path / "study.json", facts)
    write_rows(tmp_path / "summary.csv", study("s", 1.0).summary)
    assert read_kept(tmp_path).names["fid"] == f"fid_{name}"
    write_json(tmp_path / "study.json", facts | {"features": {"kind": "inception"}})
    assert read_kept(tmp_path).names["fid"] == "fid"


def test_a_headline_study_shows_the_ledgers_verdict_only_where_it_has_more_trainings():
    one, three = study("one", 5.0), study("three", 1.0, 1.1, 1.2)
    found, none = ledger(STATED, [one, three]), pd.DataFrame({"key": []})
    for own, expected in ((one, "three"), (three, "three"), (study("four", *[1.0, 2.0] * 2), "four")):
        table = tables.claims(STATED, own.summary, none, own.name, NAMES)
        assert tables.with_better(table, found).study.tolist() == [expected]
    unmeasured = tables.claims(STATED, one.summary[:0], none, "without", NAMES)
    assert tables.with_better(unmeasured, found).study.tolist() == ["three"]
    table = tables.with_better(tables.claims(STATED, one.summary, none, one.name, NAMES), found)
    assert table.value.tolist() == pytest.approx([1.1])
    assert tables.readable_claims(table).verdict.tolist() == ["holds"]


def test_the_kept_ledger_and_page_are_what_the_kept_studies_give(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    listed = subprocess.run(["git", "ls-files", "results/*/summary.csv"], capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("which results are kept, git says")
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *listed.stdout.splitlines()]).returncode:
        pytest.skip("a kept study was made again here, and has other numbers than the kept ledger")
    found = ledger(load(FILE), [read_kept(Path(line).parent) for line in listed.stdout.splitlines()])
    kept = pd.read_csv(LEDGER, dtype={"trainings": "Int64"}, keep_default_na=False, na_values=[""])
    found.to_csv(tmp_path / "found.csv", index=False)
    again = pd.read_csv(tmp_path / "found.csv", dtype={"trainings": "Int64"}, keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(kept, again, rtol=1e-9)
    assert (PAGES / "claims.md").read_text(encoding="utf-8") == ledger_page(found), "make ledger writes both"
