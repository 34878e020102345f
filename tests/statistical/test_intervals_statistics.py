"""Intervals: coverage by simulation, and the bootstrap against the analytic standard error."""

import math

import numpy as np
import pytest
from scipy import stats

from nonnormal.metrics.intervals import (
    Z95,
    bootstrap_interval,
    mean_interval,
    paired_bootstrap_interval,
    proportion_interval,
    ratio_interval,
)


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

    def differences(u, v):
        assert u.shape == (2000, 400)
        assert v.shape == (2000, 250)
        assert (u.sum(1) == 400).all()
        assert (v.sum(1) == 250).all()
        return u @ x / len(x) - v @ y / len(y)

    low, high = bootstrap_interval(differences, value, (len(x), len(y)), resamples=2000, seed=0)
    assert (low + high) / 2 == pytest.approx(value)
    # The standard deviation of 2000 resamples is known to 1/√4000 = 1.6 %.
    assert (high - low) / 2 == pytest.approx(Z95 * error, rel=0.08)


def test_bootstrap_is_reproducible_from_its_seed():
    x, y = np.arange(20.0), np.arange(30.0)

    def interval(seed):
        return bootstrap_interval(lambda u, v: u @ x / 20 - v @ y / 30, 0.0, (20, 30), resamples=20, seed=seed)

    assert interval(0) == interval(0)
    assert interval(0) != interval(1)


def test_a_ratio_interval_covers_as_often_as_it_should():
    """Against Σ above / Σ below → 2, for pairs that are correlated, skewed and differ in spread."""
    rng = np.random.default_rng(0)
    repeats, n = 4000, 400
    below = rng.gamma(4.0, 0.25, (repeats, n))
    above = 2 * below + 0.5 * (rng.exponential(1.0, (repeats, n)) - 1) * np.sqrt(below)
    intervals = np.array([ratio_interval(a, b) for a, b in zip(above, below, strict=True)])
    covered = np.mean((intervals[:, 1] <= 2) & (intervals[:, 2] >= 2))
    # 5 standard deviations of the count, and 0.5 % for the skewness that 400 pairs leave.
    assert abs(covered - 0.95) < 5 * math.sqrt(0.95 * 0.05 / repeats) + 0.005
    # The interval is no wider than the ratio scatters.
    assert (intervals[:, 2] - intervals[:, 1]).mean() / 2 == pytest.approx(Z95 * intervals[:, 0].std(), rel=0.08)


def test_a_paired_bootstrap_interval_covers_as_often_as_it_should():
    rng = np.random.default_rng(0)
    repeats, n = 600, 100
    covered = 0
    for i in range(repeats):
        low, high = paired_bootstrap_interval(rng.normal(3.0, 2.0, n), resamples=400, seed=i)
        covered += low <= 3.0 <= high
    assert abs(covered / repeats - 0.95) < 5 * math.sqrt(0.95 * 0.05 / repeats)


def test_a_paired_bootstrap_interval_is_that_of_the_mean():
    gaps = np.random.default_rng(0).exponential(1.0, 500)
    mean, low, high = mean_interval(gaps)
    found = paired_bootstrap_interval(gaps, resamples=4000, seed=0)
    # The 2.5 % quantile of 4000 means is known to about 4 % of their standard deviation; the law is skewed a little.
    assert found == pytest.approx((low, high), abs=0.2 * (high - mean) / Z95)
    assert found == paired_bootstrap_interval(gaps, resamples=4000, seed=0)
    assert found != paired_bootstrap_interval(gaps, resamples=4000, seed=1)
