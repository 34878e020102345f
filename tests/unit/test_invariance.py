"""Densities carried forward on a grid: against laws that are known, and the orders that theory gives."""

import math

import numpy as np
import pytest
import torch
from problems import mixture, seeded
from scipy import integrate, stats

from nonnormal.analysis.convergence import (
    MIXTURE,
    PLANE,
    PROCESS,
    Grid,
    Mixture,
    PlaneMixture,
    each_sampler_distances,
    order,
    path_maximum_distance,
    plane_sampler,
    plane_walk,
    sampler_distances,
    sliced_distances,
    walk_distances,
)
from nonnormal.processes import uniform_times
from nonnormal.samplers import sample_ancestral
from nonnormal.steps import get
from nonnormal.study.report.families import listed_steps

GRID = Grid(2048)


@pytest.mark.parametrize("step", listed_steps(), ids=str)
def test_characteristic_function_has_the_steps_moments(step):
    """φ(ω) = 1 − ω²/2 − i κ₃ ω³/6 + (κ₄ + 3) ω⁴/24 + …"""
    omega = torch.tensor([0.0, 1e-2, -1e-2], dtype=torch.float64)
    phi = step.characteristic(omega)
    assert phi[0] == pytest.approx(1, abs=1e-8)
    series = 1 - omega**2 / 2 - 1j * step.skewness * omega**3 / 6 + (step.excess_kurtosis + 3) * omega**4 / 24
    assert (phi - series).abs().max() < 1e-8
    assert torch.allclose(phi[1], phi[2].conj(), atol=1e-12)


@pytest.mark.parametrize("step", [s for s in listed_steps() if s.has_density], ids=str)
@pytest.mark.parametrize("omega", [0.7, 3.1])
def test_characteristic_function_is_the_transform_of_the_density(step, omega):
    low, high = (max(min(end, 60.0), -60.0) for end in step.support)
    points = sorted({0.0, *step.breakpoints} - {low, high})

    def part(wave):
        def integrand(z):
            return math.exp(step.log_prob(torch.tensor(z, dtype=torch.float64))) * wave(omega * z)

        return integrate.quad(integrand, low, high, points=points, limit=800, epsabs=1e-10)[0]

    found = step.characteristic(torch.tensor(omega, dtype=torch.float64)).item()
    # Student's t has mass beyond the reach of the reference, arcsine an infinite density at its ends.
    assert found == pytest.approx(complex(part(math.cos), part(math.sin)), abs=2e-6)


def test_normal_walk_is_exact_at_any_number_of_steps():
    assert max(walk_distances(get("normal"), 3, Grid(4096))) < 1e-8


def test_one_step_walk_of_a_point_is_the_step_itself():
    """From a point, one uniform step ends in a uniform law of the transition's variance."""
    step, narrow = get("uniform"), Mixture(means=(0.0,), stds=(0.0,), weights=(1.0,))
    _, distance = walk_distances(step, 1, Grid(4096), narrow)
    # Kolmogorov–Smirnov distance of the standard uniform to the normal law, at the point where their densities cross.
    z = math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) / math.sqrt(12)))
    expected = abs((0.5 + z / math.sqrt(12)) - 0.5 * math.erfc(-z / math.sqrt(2)))
    assert distance == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("family", "expected"), [("laplace", 1), ("uniform", 1), ("rademacher", 1), ("gumbel", 0.5), ("exponential", 0.5)]
)
def test_walk_converges_in_order_one_for_symmetric_and_one_half_for_skewed_steps(family, expected):
    steps = [128, 256, 512, 1024]
    found, low, high = order(steps, [walk_distances(get(family), n, GRID)[0] for n in steps])
    assert found == pytest.approx(expected, abs=0.05)
    assert low < found < high


@pytest.mark.parametrize("family", ["normal", "laplace", "rademacher"])
def test_sampler_with_symmetric_steps_converges_in_order_one(family):
    coarse, fine = (sampler_distances(get(family), n, GRID)[0] for n in (32, 128))
    assert math.log(coarse / fine, 4) == pytest.approx(1, abs=0.05)


def test_propagated_law_is_that_of_drawn_samples():
    """The real sampler, 40,000 draws in 8 exponential steps, against the propagated density: KS at α = 1e-4."""
    step, n = get("exponential"), 40_000
    denoiser = MIXTURE.denoiser()
    drawn = sample_ancestral(
        denoiser, PROCESS, step, (n, 1), times=uniform_times(8), seeds=range(n), dtype=torch.float64
    )
    alpha = PROCESS.marginal(0.0)[0].item()
    drawn = np.sort(drawn.squeeze(1).numpy() * alpha)
    w1, ks = sampler_distances(step, 8, GRID)
    x = GRID.x
    limit = np.interp(drawn, x, MIXTURE.marginal(PROCESS, 0.0, x)[1])
    empirical = np.arange(1, n + 1) / n
    # Both distances of the samples to the limit are those of the propagated law, within the sampling band.
    band = math.sqrt(math.log(2 / 1e-4) / (2 * n))
    assert abs(np.abs(empirical - limit).max() - ks) < band
    found_w1 = np.abs(np.searchsorted(drawn, x) / n - MIXTURE.marginal(PROCESS, 0.0, x)[1]).sum() * GRID.spacing
    assert abs(found_w1 - w1) < 4 * band


def test_maximum_of_a_rademacher_path_has_its_known_atom():
    """One ±1 step: the maximum is 0 or 1 with probability ½, so the distance to |N| is at least ½."""
    distance = path_maximum_distance(get("rademacher"), 1, 20_000, seed=0)
    assert distance == pytest.approx(0.5, abs=0.02)


def test_maximum_of_a_path_converges():
    distances = [path_maximum_distance(get("laplace"), n, 20_000, seed=0) for n in (4, 64)]
    assert math.log(distances[0] / distances[1], 16) == pytest.approx(0.5, abs=0.1)


def test_order_needs_three_points():
    with pytest.raises(ValueError, match="three or more"):
        order([4, 8], [0.1, 0.05])


# ---- in the plane ----------------------------------------------------------------------------------------------------

CHAINS = {"walk": plane_walk, "sampler": plane_sampler}


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_denoiser_of_the_plane_is_tweedies(sigma):
    """X + σ² ∇ log p_σ(x), from torch's mixture of normals."""
    law = mixture(PLANE.means, PLANE.stds, PLANE.weights)
    x = torch.randn(20, 2, generator=seeded(), dtype=torch.float64).requires_grad_()
    (score,) = torch.autograd.grad(law.noisy(sigma).log_prob(x).sum(), x)
    x = x.detach()
    torch.testing.assert_close(PLANE.denoiser()(x, sigma), x + sigma**2 * score, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, 2.9])
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_projection_of_the_plane_is_a_mixture_on_the_line(t, angle):
    """Each normal of the plane falls on a line as a normal of its own width."""
    a, c = (v.item() for v in PROCESS.marginal(t))
    x, expected = np.linspace(-3, 3, 41), 0.0
    for (first, second), std, weight in zip(PLANE.means, PLANE.stds, PLANE.weights, strict=True):
        centre = a * (first * math.cos(angle) + second * math.sin(angle))
        expected = expected + weight * stats.norm(centre, math.sqrt(a**2 * std**2 + c)).cdf(x)
    np.testing.assert_allclose(PLANE.projected(angle).marginal(PROCESS, t, x)[1], expected, rtol=0, atol=1e-12)


def test_projection_of_another_mixture_keeps_its_stds_and_weights():
    found = PlaneMixture(means=((1.0, 2.0), (0.0, -1.0)), stds=(0.3, 0.4), weights=(0.9, 0.1)).projected(math.pi / 2)
    assert found.means == pytest.approx((2.0, -1.0))
    assert (found.stds, found.weights) == ((0.3, 0.4), (0.9, 0.1))


@pytest.mark.parametrize("t", [0.0, 1.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.2)])
def test_sliced_distances_are_means_of_scipys(t, shift):
    """KS by scipy's test, W1 as ∫ |F_n − F| dx: two ways that share nothing with quantiles at mid-points."""
    x = PLANE.sample(PROCESS, t, 400, seeded()) + torch.tensor(shift, dtype=torch.float64)
    grid, w1, ks = np.linspace(-9, 9, 36001), [], []
    for k in range(8):
        angle = (k + 0.5) * math.pi / 8
        line, law = x.numpy() @ (math.cos(angle), math.sin(angle)), PLANE.projected(angle)
        ks.append(stats.kstest(line, lambda z, law=law: law.marginal(PROCESS, t, z)[1]).statistic)
        empirical = np.searchsorted(np.sort(line), grid, side="right") / len(line)
        w1.append(np.trapezoid(np.abs(empirical - law.marginal(PROCESS, t, grid)[1]), grid))
    found = sliced_distances(x, t, n_directions=8)
    # The mid-point rule for ∫ |x_n(u) − F⁻¹(u)| du is off by the width of a quantile's step.
    assert found == (pytest.approx(np.mean(w1), rel=0.05), pytest.approx(np.mean(ks), abs=1e-5))


def test_sliced_distance_of_shifted_samples_is_the_mean_projection_of_the_shift():
    """On each line W1 of a law to itself moved by d is |d|; (2/π) ‖d‖ in the mean over all directions."""
    shift = torch.tensor([1.5, -2.0], dtype=torch.float64)
    x = PLANE.sample(PROCESS, 1.0, 4000, seeded()) + shift
    w1, ks = sliced_distances(x, 1.0, n_directions=64)
    assert w1 == pytest.approx(2 / math.pi * 2.5, abs=0.03)
    # At t = 1 the projections are all but standard normal: KS of a shift d is 2 Φ(|d|/2) − 1.
    angles = (np.arange(64) + 0.5) * math.pi / 64
    along = np.abs(shift.numpy() @ (np.cos(angles), np.sin(angles)))
    assert ks == pytest.approx((2 * stats.norm.cdf(along / 2) - 1).mean(), abs=0.02)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_chains_in_the_plane_are_those_of_their_generator(chain):
    step = get("laplace")
    first, same, other = (chain(step, 3, 50, seeded(seed)) for seed in (0, 0, 1))
    assert (first.shape, first.dtype) == ((50, 2), torch.float64)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("family", ["laplace", "exponential"])
@pytest.mark.parametrize(("chain", "t"), [(plane_walk, 1.0), (plane_sampler, 0.0)], ids=["walk", "sampler"])
def test_distances_in_the_plane_fall_with_the_number_of_steps(chain, t, family):
    few, some, many = (sliced_distances(chain(get(family), n, 8000, seeded()), t) for n in (1, 16, 64))
    for coarse, middle, fine in zip(few, some, many, strict=True):
        assert coarse > 1.2 * middle > 1.44 * fine


def test_steps_measured_together_have_the_distances_that_each_has_alone():
    steps = [get(name) for name in ("normal", "gumbel", "rademacher")]
    assert each_sampler_distances(steps, 5, GRID) == [sampler_distances(step, 5, GRID) for step in steps]
