"""Intervals: what is known of a number from a finite sample. All are 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import binomtest

Z95 = 1.959963984540054  # the normal law's 97.5 % quantile


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high): mean ± 1.96 standard errors of independent values (N,)."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - Z95 * error, mean + Z95 * error


def proportion_interval(share: float, n: int) -> tuple[float, float]:
    """(low, high) of Wilson's score interval for `share` of n independent trials."""
    interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    value: float,
    sizes: tuple[int, int],
    *,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """(low, high) = value ± 1.96 s, with s the standard deviation of the statistic over bootstrap resamples.

    Not the percentile interval: resampling adds the statistic's finite-sample bias a second time, which for an FID is
    larger than its spread, so the percentiles need not contain the value.

    Args:
        statistic: of two index arrays, into the first and the second sample.
        value: the statistic on the samples themselves.
        sizes: of the two samples.
        resamples: number of resamples.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    draws = [statistic(*(rng.integers(size, size=size) for size in sizes)) for _ in range(resamples)]
    error = float(np.std(draws, ddof=1))
    return value - Z95 * error, value + Z95 * error
