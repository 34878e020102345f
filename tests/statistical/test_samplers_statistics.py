"""Ancestral sampling with an exact denoiser: convergence in law for every step, and its order."""

import numpy as np
import pytest
import torch
from problems import MIXTURE_1D, NORMAL_1D, NORMAL_STD, STEPS, VPS, PerPixel
from scipy import stats

from nonnormal.processes import uniform_times
from nonnormal.samplers import sample_ancestral
from nonnormal.steps import get

PROCESS = VPS["vp-digits"]
SIGMA_0 = np.exp(-4.5)  # noise that is left at time 0, in VE coordinates


def draws(law, step, n_steps, n=8, side=128, dtype=torch.float32):
    """n·side² independent draws: pixels are independent and share the generators of n images."""
    return (
        sample_ancestral(
            *(PerPixel(law), PROCESS, get(step), (n, 1, side, side)),
            **dict(times=uniform_times(n_steps), seeds=range(n), dtype=dtype),
        )
        .double()
        .flatten()
        .numpy()
    )


def wasserstein(z):
    """W1 to the mixture: ∫ |F_n − F| dx on a fine grid."""
    grid = np.linspace(-3, 3, 6001)
    empirical = np.searchsorted(np.sort(z), grid, side="right") / len(z)
    return np.trapezoid(np.abs(empirical - MIXTURE_1D.cdf(grid, SIGMA_0)), grid)


@pytest.mark.parametrize("step", STEPS)
def test_samples_converge_in_law_for_every_step(step):
    z = draws(MIXTURE_1D, step, 256, n=4, side=64)
    distance = stats.kstest(z, lambda x: MIXTURE_1D.cdf(x, SIGMA_0)).statistic
    # 2.23/√n is the quantile at 1e-4; 0.01 is what 256 steps are allowed to be off.
    assert distance < 2.23 / np.sqrt(len(z)) + 0.01


@pytest.mark.parametrize("step", STEPS)
def test_error_falls_as_one_over_the_number_of_steps(step):
    coarse, fine = (wasserstein(draws(MIXTURE_1D, step, n_steps)) for n_steps in (16, 64))
    assert 2.5 < coarse / fine < 6.5


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("n_steps", [5, 20])
def test_variance_on_normal_data_is_that_of_the_linear_chain(step, n_steps):
    """The exact denoiser of a normal is linear, so the variance of each state follows from the coefficients alone."""
    times = uniform_times(n_steps)
    variance = 1.0
    for k in range(n_steps, 0, -1):
        a, c = (part.item() for part in PROCESS.marginal(times[k]))
        coef_xt, coef_x0, chol = (part.item() for part in PROCESS.posterior(times[k - 1], times[k]))
        gain = NORMAL_STD**2 * a / (NORMAL_STD**2 * a**2 + c)
        variance = (coef_xt + coef_x0 * gain) ** 2 * variance + chol**2
    variance /= PROCESS.marginal(0.0)[0].item() ** 2
    z = draws(NORMAL_1D, step, n_steps, dtype=torch.float64)
    assert abs(z.mean()) < 5 * z.std() / np.sqrt(len(z))
    assert abs((z**2).mean() - variance) < 5 * (z**2).std() / np.sqrt(len(z))
