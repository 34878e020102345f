"""The page of a study's results in docs/results/."""

import json

import pandas as pd
import pytest

from nonnormal.study.config import validate
from nonnormal.study.experiments.claims import tables
from nonnormal.study.experiments.claims.stated import Claims
from nonnormal.study.report.results_page import write
from nonnormal.study.results.paths import Layout

RUNS = {"runs": {"r": {"q": "normal", "p": "normal"}}}
REPRESENTATIONS = {"representations": {"networks": {"d": {"basis": {"kind": "dct"}}}}}


def _claims():
    untested = {"id": "c", "source": "li2024", "statement": "It holds.", "where": "§1", "untested": "nobody could"}
    untested |= {"kind": "empirical"}
    none = pd.DataFrame({"key": []})
    return tables.claims(Claims(claims=(untested,)), none, none, "a", {})


@pytest.fixture
def written(tmp_path, monkeypatch):
    """written(settings): the page of a study with these settings."""
    monkeypatch.chdir(tmp_path)

    def page(**settings):
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
        path = write(study, layout)
        assert path.as_posix() == "docs/results/a.md"
        return path.read_text()

    return page


def _in_order(text, parts):
    return [text.count(part) for part in parts] == [1] * len(parts) and sorted(parts, key=text.index) == parts


def test_a_page_has_title_conditions_samples_table_and_verdicts(written, tmp_path):
    text = written()
    assert text.startswith("# Digits by night\n")
    parts = ["Conditions: ", "`0123456789` on an abacus", "](../images/a-samples.png)", "| pairs |"]
    assert _in_order(text, [*parts, "not tested here: 1.", "nobody could"])
    assert (tmp_path / "docs/images/a-samples.png").read_text() == "samples"
    assert "representations" not in text


def test_trainings_with_different_settings_are_listed_apart(written):
    other = {
        "q": "laplace",
        "p": "laplace",
        "training": {"iterations": 7, "batch_size": 3, "ema_decay": 0.5, "timesteps": 9},
    }
    text = "; 7 optimiser steps of 3 images, averaged weights (decay 0.5), T = 9 (1 of the networks, s the first)."
    body = written(runs=RUNS["runs"] | {"s": other})
    assert text in body
    assert " (1 of the networks, r the first); 7" in body


def test_published_figures_are_explained_only_if_there_are_any(written):
    assert "were published" not in written()


def test_writing_a_page_again_changes_nothing(written):
    assert written() == written()


@pytest.mark.parametrize("headline", [False, True])
def test_representations_are_shown_too(written, tmp_path, headline):
    text = written(headline=headline, **REPRESENTATIONS)
    assert _in_order(text, ["a-samples.png", "| pairs |", "a-representations.png", "| representations |", "## Claims"])
    assert (tmp_path / "docs/images/a-representations.png").read_text() == "representations"


def test_a_study_without_runs_has_no_samples(written):
    text = written(runs={}, pretrained={"path": "network", "step_families": ["normal"]})
    assert "## Samples" not in text and "| pairs |" not in text


def test_a_study_without_results_is_refused_and_no_page_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = validate({"name": "a", "data": "digits", "title": "A", **RUNS}, "")
    with pytest.raises(FileNotFoundError, match=r"provenance\.json"):
        write(study, Layout(study.name, study.data_name, study.headline))
    assert not (tmp_path / "docs").exists()
