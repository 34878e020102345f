"""Samplers of states on a mixture of normals with its exact score, and long walks of random recipes."""

import math

import pytest
import torch
from problems import MIXTURE_1D, PerPixel
from scipy import stats

from nonnormal.processes import PSLD, LinearSDE, cholesky, quadratic_times, uniform_times, vp_sde
from nonnormal.samplers import sample_em, sample_flow_heun, sample_sscs, sample_sscs_midpoint
from nonnormal.steps import get

PROCESSES = {"vp": vp_sde(), "cld": PSLD(friction_x=0.0, friction_m=4.0), "psld": PSLD()}


def distance(sampler, process, n_steps, step="normal", grid=quadratic_times):
    """Kolmogorov–Smirnov distance of 9216 samples to the law of y at t_min."""
    between = () if sampler is sample_flow_heun else (get(step),)
    options = dict(times=grid(n_steps, process.t_min), seeds=range(4), denoise=False)
    z = sampler(PerPixel(MIXTURE_1D), process, *between, (4, 1, 48, 48), **options).double().flatten().numpy()
    sigma = process.observation(process.t_min)[1].item()
    return stats.kstest(z, lambda x: MIXTURE_1D.cdf(x, sigma)).statistic


@pytest.mark.parametrize("sampler", [sample_em, sample_sscs, sample_sscs_midpoint, sample_flow_heun])
@pytest.mark.parametrize("name", PROCESSES)
def test_samples_follow_the_law_of_the_data(name, sampler):
    # 2.23/√n is the quantile at 1e-4; 0.015 is what 150 steps are allowed to be off.
    assert distance(sampler, PROCESSES[name], 150) < 2.23 / 96 + 0.015


@pytest.mark.parametrize("sampler", [sample_em, sample_sscs])
@pytest.mark.parametrize("step", ["laplace", "rademacher", "exponential"])
def test_steps_of_any_law_serve_in_phase_space(step, sampler):
    assert distance(sampler, PROCESSES["psld"], 150, step) < 2.23 / 96 + 0.015


@pytest.mark.parametrize("grid", [uniform_times, quadratic_times])
@pytest.mark.parametrize("name", ["cld", "psld"])
def test_sscs_is_nearer_than_em_with_five_steps(name, grid):
    """On narrow modes; with ten steps or more both are about as near."""
    em, sscs = (distance(sampler, PROCESSES[name], 5, grid=grid) for sampler in (sample_em, sample_sscs))
    assert sscs < 0.5 * em


@pytest.mark.parametrize("seed", range(3))
def test_long_walks_of_random_recipes_end_in_their_prior(seed):
    """Euler–Maruyama of a random (D, Q, H) with uniform steps, from far away: each whitened coordinate is normal."""
    source, n, paths = torch.Generator().manual_seed(seed), 3, 3000
    root, turn, shape = torch.randn(3, n, n, generator=source, dtype=torch.float64)
    eye = torch.eye(n, dtype=torch.float64)
    recipe = LinearSDE(root @ root.mT / n + 0.3 * eye, (turn - turn.mT) / 2, shape @ shape.mT / n + 0.5 * eye)
    drift, noise = recipe.sde(0.0)
    slowest = torch.linalg.eigvals(-drift).real.min().item()
    h = 0.02 / torch.linalg.matrix_norm(drift, 2).item()
    z, factor = torch.full((paths, n), 3.0, dtype=torch.float64), cholesky(noise)
    for _ in range(math.ceil(8 / (slowest * h))):
        xi = get("uniform").sample((paths, n), generator=source, dtype=torch.float64)
        z = z + h * z @ drift.mT + h**0.5 * xi @ factor.mT
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(recipe.prior_covariance()), z.T, upper=False)
    for coordinate in white.numpy():
        assert stats.kstest(coordinate, "norm").pvalue > 1e-4
