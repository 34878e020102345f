"""Intervals: coverage by simulation, and the bootstrap against the analytic standard error."""

import math

import numpy as np
import pytest
from scipy import stats

from nonnormal.metrics.intervals import Z95, bootstrap_interval, mean_interval, proportion_interval


@pytest.mark.parametrize("n", [10, 300])
def test_mean_interval_covers_as_often_as_it_should(n):
    rng = np.random.default_rng(0)
    repeats = 4000
    covered = 0
    for _ in range(repeats):
        _, low, high = mean_interval(rng.normal(3.0, 2.0, n))
        covered += low <= 3.0 <= high
    # With the standard deviation estimated, ±1.96 is short of 95 % by Student's law; this is exact for normal data.
    expected = 1 - 2 * stats.t(n - 1).sf(Z95)
    assert abs(covered / repeats - expected) < 5 * math.sqrt(expected * (1 - expected) / repeats)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_wilson_interval_covers_about_95_percent(share):
    n = 200
    counts = np.arange(n + 1)
    intervals = np.array([proportion_interval(k / n, n) for k in counts])
    covers = (intervals[:, 0] <= share) & (share <= intervals[:, 1])
    # Exact coverage by summing the binomial law; a discrete law cannot hit 95 % everywhere.
    assert 0.92 < stats.binom(n, share).pmf(counts)[covers].sum() < 0.98


def test_bootstrap_of_a_difference_of_means_has_its_standard_error():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, 400), rng.exponential(2, 250)
    error = math.sqrt(x.var() / len(x) + y.var() / len(y))
    value = x.mean() - y.mean()
    low, high = bootstrap_interval(
        lambda i, j: x[i].mean() - y[j].mean(), value, (len(x), len(y)), resamples=2000, seed=0
    )
    assert (low + high) / 2 == pytest.approx(value)
    # The standard deviation of 2000 resamples is known to 1/√4000 = 1.6 %.
    assert (high - low) / 2 == pytest.approx(Z95 * error, rel=0.08)


def test_bootstrap_is_reproducible_from_its_seed():
    def interval(seed):
        return bootstrap_interval(lambda i, j: i.mean() - j.mean(), 0.0, (20, 30), resamples=20, seed=seed)

    assert interval(0) == interval(0)
    assert interval(0) != interval(1)
