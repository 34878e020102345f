"""Draws of every step family: moments, Kolmogorov–Smirnov, tails and independence, at fixed seeds."""

import pytest
import torch
from problems import DENSE, HyperbolicSecant
from scipy import stats

from nonnormal.steps import get

ALPHA = 1e-4  # of a false alarm; the seeds are fixed, so it either passes always or never
# A moment's standard error is the square root of the moment of twice its order, which must exist.
HIGHEST = {"student_t(df=5)": 2, "student_t(df=9)": 4}


def draws(step, n, seed=0, dtype=torch.float64):
    return step.sample((n,), generator=torch.Generator().manual_seed(seed), dtype=dtype).double()


def assert_mean(values, expected, what=""):
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - expected) <= 5 * error + 1e-12, what  # rademacher's squares do not vary


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_are_those_stated(step, dtype):
    z = draws(step, 10**6, dtype=dtype)
    stated = (0.0, 1.0, step.skewness, 3 + step.excess_kurtosis)
    for power in range(1, HIGHEST.get(str(step), 4) + 1):
        assert_mean(z**power, stated[power - 1], f"moment {power}")


# Shapes at both ends of what is allowed, too.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "name", [*DENSE, "generalized_normal(shape=0.25)", "generalized_normal(shape=64)", "student_t(df=4.1)"]
)
def test_draws_follow_the_cdf(name, dtype):
    z = draws(get(name), 10**5, seed=1, dtype=dtype).numpy()
    assert stats.kstest(z, lambda x: get(name).cdf(torch.tensor(x)).numpy()).pvalue > ALPHA


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rademacher_takes_its_two_values_equally_often(dtype):
    z = draws(get("rademacher"), 10**5, seed=1, dtype=dtype)
    assert set(z.tolist()) == {-1.0, 1.0}
    assert stats.binomtest(int((z > 0).sum()), len(z)).pvalue > ALPHA


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tail", ["cdf", "sf"])
def test_tails_are_drawn_as_often_as_they_weigh(dense, tail, dtype):
    """The outermost thousandth, of which a Kolmogorov–Smirnov test sees little."""
    z = draws(dense, 10**6, seed=4, dtype=dtype)
    weight = getattr(dense, tail)(z)
    for share in (1e-3, 1e-4):
        assert stats.binomtest(int((weight < share).sum()), len(z), share).pvalue > ALPHA


def test_draws_lie_in_the_support(step):
    low, high = step.support
    z = step.sample((10**6,), generator=torch.Generator().manual_seed(2))
    assert z.isfinite().all()
    assert not step.has_density or step.log_prob(z).isfinite().all()
    assert z.min() >= torch.tensor(low)
    assert z.max() <= torch.tensor(high)


def test_neighbouring_draws_are_independent(step):
    z = draws(step, 10**6, seed=3)
    for lag in (1, 2, 500_000):  # half-way: where a pair of uniforms would be cut into two draws
        assert_mean(z[:-lag] * z[lag:], 0.0)
        assert_mean((z[:-lag] ** 2 - 1) * (z[lag:] ** 2 - 1), 0.0)


def test_a_step_of_the_tests_is_what_it_says():
    z = draws(HyperbolicSecant(), 10**5)
    assert stats.kstest(z.numpy(), stats.hypsecant(scale=2 / torch.pi).cdf).pvalue > ALPHA
    assert stats.kstest(z.numpy(), lambda x: HyperbolicSecant().cdf(torch.tensor(x)).numpy()).pvalue > ALPHA
