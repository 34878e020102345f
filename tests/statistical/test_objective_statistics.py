"""Objectives: laws of their draws, and the ELBO loss as an unbiased draw of the bound's diffusion."""

import math

import pytest
import torch
from problems import MIXTURE_1D, VPS, PerPixel
from scipy import stats

from nonnormal.objectives.bounds import bound
from nonnormal.objectives.losses import ELBO, Design, EDMLoss, Loss
from nonnormal.steps.divergence import constant

PAIRS = [
    *(("normal", "normal"), ("laplace", "laplace"), ("uniform", "normal"), ("uniform", "laplace")),
    *(("gumbel", "logistic"), ("exponential", "student_t(df=5)"), ("arcsine", "normal")),
]
DENOISER, PROCESS = PerPixel(MIXTURE_1D), VPS["vp-digits"]
N_STEPS = 12


def images(n, size=4):
    torch.manual_seed(0)  # torch.distributions has no generator argument
    return MIXTURE_1D.noisy(0.0).sample((n, 1, size, size)).squeeze(-1)


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_elbo_loss_is_an_unbiased_draw_of_the_bounds_diffusion(q, p):
    x0, point = (images(256) * 8).round().clamp(-8, 8) / 8, Design(PROCESS, Loss(q, p))
    draws = torch.Generator().manual_seed(1)
    # Times of one call are antithetic, so only calls are independent.
    losses = torch.stack([ELBO(point, N_STEPS)(DENOISER, x0, draws).mean() for _ in range(100)])
    [terms] = bound(DENOISER, point, x0.repeat(8, 1, 1, 1), levels=17, n_steps=N_STEPS, seeds=range(2048))
    per_coordinate = terms.diffusion / 16 - N_STEPS * constant(q, p)
    per_draw = per_coordinate.reshape(8, 256).mean(1)  # of the same 256 images each
    error = math.hypot(losses.std() / 10, per_draw.std() / math.sqrt(8))
    assert abs(losses.mean() - per_draw.mean()) < 5 * error
    assert error < 0.02 * losses.mean()  # otherwise the line above says little


def test_perceptual_noise_levels_and_noise_follow_their_laws():
    seen = []

    def spy(x, sigma):
        seen.append((x, sigma))
        return x

    x0 = images(20_000, size=1)
    EDMLoss(Design(PROCESS, Loss("normal", "normal")), 0.5, -0.8, 1.6)(spy, x0, torch.Generator().manual_seed(0))
    [(noisy, sigma)] = seen
    assert stats.kstest(sigma.log().numpy(), stats.norm(-0.8, 1.6).cdf).pvalue > 1e-4
    noise = ((noisy - x0).flatten() / sigma).numpy()
    assert stats.kstest(noise, stats.norm.cdf).pvalue > 1e-4


def test_elbo_states_follow_the_limit_marginal():
    seen = []

    def spy(x, sigma):
        seen.append((x, sigma))
        return x

    x0 = images(20_000, size=1)
    ELBO(Design(PROCESS, Loss("uniform", "laplace")), N_STEPS)(spy, x0, torch.Generator().manual_seed(0))
    [(noisy, sigma)] = seen
    assert stats.kstest(((noisy - x0).flatten() / sigma).numpy(), stats.norm.cdf).pvalue > 1e-4
