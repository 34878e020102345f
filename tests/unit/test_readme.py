"""What stands between the markers of a study in the README."""

import json

import pandas as pd
import pytest

from nonnormal.study.config import validate
from nonnormal.study.experiments.claims import tables
from nonnormal.study.experiments.claims.judgement import Claims
from nonnormal.study.report.readme import insert
from nonnormal.study.results.paths import Layout

BEFORE, AFTER = "# A project\n\n<!-- results of a: start -->\n", "<!-- results of a: end -->\n\nMore.\n"
RUNS = {"runs": {"r": {"q": "normal", "p": "normal"}}}
DESIGNS = {"representations": {"runs": {"d": {"basis": {"kind": "dct"}}}}}


def _claims():
    untested = {"id": "c", "source": "li2024", "statement": "It holds.", "where": "§1", "untested": "nobody could"}
    none = pd.DataFrame({"key": []})
    return tables.claims(Claims(claims=(untested,)), none, none, "a", {})


@pytest.fixture
def readme(tmp_path, monkeypatch):
    """readme(settings): what the file of a study with these settings becomes, and the folder."""
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "README.md"
    target.write_text(f"{BEFORE}old\n{AFTER}")

    def inserted(**settings):
        study = validate({"name": "a", "data": "digits", "title": "Digits by night", **RUNS, **settings}, "")
        layout = Layout(study.name, study.data_name, study.headline)
        made = {"revision": "0123456789abcdef", "uncommitted_changes": False, "hardware": "an abacus"}
        files = {layout.provenance: json.dumps(made)}
        files |= {layout.table(name, "md"): f"| {name} |\n|---|\n" for name in ("pairs", "representations")}
        files |= {layout.figure(name, "png"): name for name in ("samples", "representations")}
        files[layout.table("claims", "csv")] = _claims().to_csv(index=False)
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        insert(target, study, layout)
        return target.read_text()

    return inserted


def test_a_study_has_its_samples_table_and_conditions(readme, tmp_path):
    text = readme()
    assert text.startswith(BEFORE)
    assert text.endswith(AFTER)
    body = text.removeprefix(BEFORE).removesuffix(AFTER)
    assert "old" not in body
    parts = ["](docs/images/a-samples.png)", "| pairs |", "Digits by night. Conditions: ", "`0123456789` on an abacus"]
    assert [body.count(part) for part in parts] == [1] * 4
    assert sorted(parts, key=body.index) == parts
    assert (tmp_path / "docs/images/a-samples.png").read_text() == "samples"
    assert "representations" not in body


def test_trainings_are_told_apart(readme):
    other = {
        "q": "laplace",
        "p": "laplace",
        "training": {"iterations": 7, "batch_size": 3, "ema_decay": 0.5, "timesteps": 9},
    }
    text = "; 7 optimiser steps of 3 images, averaged weights (decay 0.5), T = 9 (1 of the networks, s the first)."
    body = readme(runs=RUNS["runs"] | {"s": other})
    assert text in body
    assert " (1 of the networks, r the first); 7" in body


def test_published_figures_are_spoken_of_where_there_are_any(readme):
    assert "li2024" not in readme()


def test_a_second_time_changes_nothing(readme):
    assert readme() == readme()


def test_designs_are_shown_too(readme, tmp_path):
    body = readme(**DESIGNS)
    parts = ["a-samples.png", "| pairs |", "a-representations.png", "| representations |", "Conditions: "]
    assert [body.count(part) for part in parts] == [1] * 5
    assert sorted(parts, key=body.index) == parts
    assert (tmp_path / "docs/images/a-representations.png").read_text() == "representations"


def test_the_headline_study_has_verdicts_and_leaves_designs_to_its_paper(readme):
    body = readme(headline=True, **DESIGNS)
    assert "What the source texts claim" in body
    assert "nobody could" in body
    assert "| representations |" not in body


def test_a_file_without_markers_is_left_as_it_is(readme, tmp_path):
    (tmp_path / "README.md").write_text("<!-- results of a: start -->")
    with pytest.raises(ValueError, match="no pair of markers <!-- results of a: start -->"):
        readme()
    assert (tmp_path / "README.md").read_text() == "<!-- results of a: start -->"
