"""Walks and samplers in the plane: moments that every step shares, laws that are reached, and the floor of sampling."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import STEPS, seeded
from scipy import stats

from nonnormal.analysis.convergence import (
    MIXTURE,
    PLANE,
    PROCESS,
    Grid,
    plane_sampler,
    plane_walk,
    sampler_distances,
    sliced_distances,
)
from nonnormal.steps import get


def plane_moments(t):
    """Mean (2,) and covariance (2, 2) of the limit's x_t."""
    a, c = (v.item() for v in PROCESS.marginal(t))
    means, stds, weights = (np.asarray(v) for v in (PLANE.means, PLANE.stds, PLANE.weights))
    mean = weights @ means
    own = (weights[:, None] * means).T @ means - np.outer(mean, mean) + (weights @ stds**2) * np.eye(2)
    return a * mean, a**2 * own + c * np.eye(2)


def assert_moments(x, t):
    mean, covariance = (torch.tensor(v) for v in plane_moments(t))
    off = x - mean
    for values, expected in ((x, mean), (off.unsqueeze(2) * off.unsqueeze(1), covariance)):
        assert ((values.mean(0) - expected).abs() < 5 * values.std(0) / math.sqrt(len(x))).all()


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_samples_of_the_plane_have_its_law(t):
    x = PLANE.sample(PROCESS, t, 20_000, seeded())
    assert_moments(x, t)
    for angle in (0.3, 2.0):
        law, line = PLANE.projected(angle), x.numpy() @ (math.cos(angle), math.sin(angle))
        assert stats.kstest(line, lambda z, law=law: law.marginal(PROCESS, t, z)[1]).pvalue > 1e-4


@pytest.mark.parametrize("n_steps", [1, 7])
@pytest.mark.parametrize("name", STEPS)
def test_walk_ends_with_the_limits_mean_and_covariance_for_every_step(name, n_steps):
    assert_moments(plane_walk(get(name), n_steps, 20_000, seeded()), 1.0)


def test_floor_falls_as_the_root_of_the_number_of_samples():
    """Means over ten draws of the limit itself; KS has a mean of √(π/2) ln 2 /√n on each line (Kolmogorov's law)."""
    numbers, source = (250, 1000, 4000), seeded()
    floors = [
        np.mean([sliced_distances(PLANE.sample(PROCESS, 0.0, n, source), 0.0) for _ in range(10)], axis=0)
        for n in numbers
    ]
    for coarse, fine in itertools.pairwise(floors):
        assert coarse / fine == pytest.approx([2, 2], rel=0.25)
    assert floors[-1][1] * math.sqrt(4000) == pytest.approx(math.sqrt(math.pi / 2) * math.log(2), rel=0.1)


def test_a_normal_walk_is_at_the_floor_at_any_number_of_steps():
    n = 4000
    floor = np.mean([sliced_distances(PLANE.sample(PROCESS, 1.0, n, seeded(k)), 1.0) for k in range(10)], axis=0)
    for n_steps in (1, 5):
        found = sliced_distances(plane_walk(get("normal"), n_steps, n, seeded()), 1.0)
        assert (np.asarray(found) < 2 * floor).all()


def test_sampler_in_the_plane_reaches_the_law_and_comes_close_in_the_order_of_one_line():
    """With 8 and 64 steps: the excess over the floor is of the size that densities on the line have."""
    n = 8000
    floor = np.mean([sliced_distances(PLANE.sample(PROCESS, 0.0, n, seeded(k)), 0.0) for k in range(5)], axis=0)
    coarse, fine = (sliced_distances(plane_sampler(get("uniform"), k, n, seeded()), 0.0)[0] for k in (8, 64))
    on_a_line, _ = sampler_distances(get("uniform"), 8, Grid(1024), MIXTURE)
    assert 0.3 < coarse / on_a_line < 3
    assert fine < coarse / 2
    assert fine < 4 * floor[0]
