"""Confidence intervals. All are 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054  # the normal law's 97.5 % quantile


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and the size n of the sample behind it."""

    value: float
    low: float
    high: float
    n: int


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high): mean ± 1.96 standard errors of independent values (N,)."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - Z95 * error, mean + Z95 * error


def t_half(deviation: np.ndarray, n: np.ndarray, level: float = 0.05) -> np.ndarray:
    """Half of Student's 1 − level interval of the mean of n ≥ 2 normal values of that standard deviation (ddof 1)."""
    from scipy.stats import t  # which takes half a second

    return t.ppf(1 - level / 2, n - 1) * deviation / np.sqrt(n)


def t_difference(values: np.ndarray, others: np.ndarray) -> tuple[float, float, float]:
    """(mean of values − mean of others, low, high) of independent normal values (K,) and (L,), K, L ≥ 2: Welch's."""
    parts = [(float(sample.var(ddof=1)) / len(sample), len(sample) - 1) for sample in (values, others)]
    return _student(float(values.mean() - others.mean()), parts)


def clustered_difference(values: np.ndarray, others: np.ndarray) -> tuple[float, float, float]:
    """(mean of values − mean of others, low, high) of trainings by images, paired by image.

    Values (K, N) and others (L, N) are of K and L trainings, each measured on the same N images: x_ki = m + a_k + b_i +
    e_ki. With the image effects b differing between the two by d_i, the mean difference has the variance

        s_a²/K + s_a'²/L + s_d²/N + s_e²/(K N) + s_e'²/(L N),

    which is that of the trainings' means, plus that of the images' mean differences, less the residuals that are in
    both. Degrees of freedom are Satterthwaite's. With one training of each, it is the paired interval over images.

    Raises:
        ValueError: not the same images, or one training on one side alone.

    Source: two-way analysis of variance without replication; derived here for two groups of trainings.
    """
    (k, n), (other_k, other_n) = values.shape, others.shape
    if n != other_n or n < 2 or (k == 1) != (other_k == 1):
        raise ValueError(f"trainings by images: found {values.shape} and {others.shape}; needs the same images")
    gaps = values.mean(0) - others.mean(0)
    images, residual, parts = float(gaps.var(ddof=1)) / n, 0.0, []
    for sample in (values, others):
        if (count := len(sample)) == 1:
            continue
        means = sample.mean(1)
        parts.append((float(means.var(ddof=1)) / count, count - 1))
        rest = sample - means[:, None] - sample.mean(0) + sample.mean()
        residual += float((rest**2).sum()) / ((count - 1) * (n - 1)) / (count * n)
    return _student(float(gaps.mean()), [*parts, (max(images - residual, 0.0), n - 1)])


def _student(value: float, parts: list[tuple[float, int]]) -> tuple[float, float, float]:
    """(value, low, high) for a variance that is a sum of parts, each with its degrees of freedom (Satterthwaite)."""
    from scipy.stats import t  # which takes half a second

    variance = sum(part for part, _ in parts)
    if variance == 0:
        return value, value, value
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    half = float(t.ppf(0.975, freedom)) * math.sqrt(variance)
    return value, value - half, value + half


def proportion_interval(share: float, n: int) -> tuple[float, float]:
    """(low, high) of Wilson's score interval for `share` of n independent trials."""
    from scipy.stats import binomtest  # which takes half a second

    interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
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
        statistic: of R resamples at once, each given by how often it drew each item: (R, N), (R, M) -> (R,).
        value: the statistic on the samples themselves.
        sizes: N and M.
        resamples: R.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    counts = [rng.multinomial(size, np.full(size, 1 / size), size=resamples).astype(float) for size in sizes]
    error = float(np.std(statistic(*counts), ddof=1))
    return value - Z95 * error, value + Z95 * error


def ratio_interval(above: np.ndarray, below: np.ndarray) -> tuple[float, float, float]:
    """(Σ above / Σ below, low, high) for pairs (N,), ± 1.96 standard errors by the delta method."""
    ratio = float(above.sum() / below.sum())
    error = float((above - ratio * below).std(ddof=1)) / (math.sqrt(len(above)) * abs(float(below.mean())))
    return ratio, ratio - Z95 * error, ratio + Z95 * error


def paired_bootstrap_interval(gaps: np.ndarray, *, resamples: int, seed: int) -> tuple[float, float]:
    """(low, high): 2.5 % and 97.5 % quantiles of the mean of the differences (N,) over resamples of the pairs."""
    rng = np.random.default_rng(seed)
    means = [gaps[rng.integers(len(gaps), size=len(gaps))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def paired_rank_correlation(order: np.ndarray, values: np.ndarray, *, resamples: int, seed: int) -> Estimate:
    """Spearman's ρ of an order (F,) with the row means of values (F, N), and 2.5 % and 97.5 % bootstrap quantiles.

    Columns are resampled, the same for all rows, so what an item adds to all rows alike changes nothing. Noise in the
    means can only shuffle an order that is there, so the interval leans towards 0.

    Args:
        order: what the rows are expected to be ordered by.
        values: one row for each, of the same N items.
        resamples, seed: of the bootstrap over items.
    """
    rng, n = np.random.default_rng(seed), values.shape[1]
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    found = _spearman(order, np.concatenate([values.mean(1)[None], counts @ values.T / n]))
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return Estimate(float(found[0]), float(low), float(high), n)


def _spearman(order: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Spearman's ρ of an order (F,) with each of the rows (R, F): (R,); ties share their rank, and all equal give 0."""
    from scipy.stats import rankdata

    x, y = (rankdata(part, axis=-1) - (len(order) + 1) / 2 for part in (order, values))
    size = np.sqrt((x @ x) * (y * y).sum(-1))
    return np.divide(y @ x, size, out=np.zeros_like(size), where=size > 0)
