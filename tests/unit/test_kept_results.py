"""Kept results: trainings of one objective are told apart no more often than chance does."""

from pathlib import Path

import pytest

from nonnormal.study.results.summary import read_rows
from nonnormal.study.results.trainings import differences

SUMMARY = Path(__file__).parents[2] / "results/replicates/summary.csv"
OF_NETWORKS = ("normal", "continuous")  # bounds that all pairs have in common
SAMPLES = ["fid_digits", "kid_digits", "precision_digits", "recall_digits", "style_total_variation"]
SAMPLES += ["style_high_frequency"]


@pytest.fixture
def rows():
    found = read_rows(SUMMARY)
    bounds = found.metric.str.startswith("bpd_") & found.bound.isin(OF_NETWORKS) & (found.metric != "bpd_prior")
    return found[bounds | found.metric.isin(SAMPLES)]


def share_that_contains_0(found):
    assert found.metric.nunique() >= 9 and (found.trainings >= 5).all()
    return ((found.low <= 0) & (found.high >= 0)).mean()


def test_two_sets_of_five_trainings_of_one_pair_agree(rows):
    second = (rows.run == "normal-normal") & (rows.train_seed >= 5)
    rows = rows.assign(run=rows.run.mask(second, "again"))
    assert share_that_contains_0(differences(rows, "normal-normal", "again")) >= 0.9


def test_a_uniform_true_step_trains_what_a_normal_one_does(rows):
    assert share_that_contains_0(differences(rows, "uniform-normal", "normal-normal")) >= 0.9


def test_an_objective_that_differs_is_told_apart():
    found = differences(read_rows(SUMMARY), "laplace-laplace", "normal-normal")
    native = found[(found.metric == "bpd_total") & (found.bound == "native")]
    assert (native.low > 0).any()
