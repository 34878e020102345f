"""Densities carried forward on a grid: against laws that are known, and the orders that theory gives."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from nonnormal.invariance import (
    MIXTURE,
    PROCESS,
    Grid,
    Mixture,
    order,
    path_maximum_distance,
    sampler_distances,
    walk_distances,
)
from nonnormal.processes import uniform_times
from nonnormal.samplers import sample_ancestral
from nonnormal.steps import get
from nonnormal.tables import listed_steps

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
    points = sorted({0.0, *step.kinks} - {low, high})

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
