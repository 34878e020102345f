"""Grids: equal spacing in their own variable, ends to the bit; the search against all paths there are."""

import itertools
import math

import pytest
import torch
from problems import MIXTURE_2D, NORMAL_1D

from nonnormal.denoisers import NFECounter
from nonnormal.samplers import GRIDS, log_snr, polynomial, quadratic, sample_euler, uniform
from nonnormal.samplers.grid_search import best_grid, euler_costs

SPACED_IN = {
    "polynomial": lambda sigma: sigma ** (1 / 7),
    "uniform": lambda sigma: sigma,
    "log_snr": torch.log,
    "quadratic": torch.sqrt,
}


@pytest.mark.parametrize("to_zero", [True, False])
@pytest.mark.parametrize("n_steps", [2, 3, 18, 100])
@pytest.mark.parametrize("name", GRIDS)
def test_levels_fall_in_equal_steps_of_their_own_variable(name, n_steps, to_zero):
    grid = GRIDS[name](n_steps, 0.01, 50.0, to_zero=to_zero)
    assert grid.dtype == torch.float64
    assert grid.shape == (n_steps + 1,)
    assert (grid.diff() < 0).all()
    spaced = grid[:-1] if to_zero else grid
    assert grid[-1] == (0.0 if to_zero else 0.01)
    assert spaced[-1] == 0.01 or len(spaced) == 1
    assert grid[0] == 50.0
    steps = SPACED_IN[name](spaced).diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-9, atol=0)


def test_polynomial_is_edms_published_formula():
    n, rho, low, high = 18, 7, 0.002, 80.0
    expected = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    torch.testing.assert_close(polynomial(n), torch.tensor([*expected, 0.0], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", GRIDS)
def test_one_step_goes_from_the_first_level_to_the_last(name):
    assert GRIDS[name](1, 0.01, 50.0).tolist() == [50.0, 0.0]
    assert GRIDS[name](1, 0.01, 50.0, to_zero=False).tolist() == [50.0, 0.01]


def test_polynomial_runs_from_uniform_over_quadratic_to_log_snr():
    assert torch.equal(polynomial(9, rho=1), uniform(9))
    assert torch.equal(polynomial(9, rho=2), quadratic(9))
    torch.testing.assert_close(polynomial(9, rho=1e6), log_snr(9), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [((0,), "n_steps = 0"), ((5, 0.0, 1.0), "0.0 and 1.0"), ((5, 2.0, 1.0), "2.0"), ((5, 1.0, math.inf), "inf")],
)
@pytest.mark.parametrize("name", GRIDS)
def test_what_is_no_grid_is_refused(name, arguments, found):
    with pytest.raises(ValueError, match=found):
        GRIDS[name](*arguments)


@pytest.mark.parametrize("rho", [0.0, -1.0, math.inf, math.nan])
def test_a_rho_that_is_not_positive_is_refused(rho):
    with pytest.raises(ValueError, match="rho must be positive"):
        polynomial(5, rho=rho)


# ---- search ----------------------------------------------------------------------------------------------------------


def total(costs, path):
    return sum(costs[i, j].item() for i, j in itertools.pairwise(path))


@pytest.mark.parametrize("n_steps", range(1, 8))
def test_best_grid_is_the_best_of_all_paths(n_steps):
    costs = torch.randn(8, 8, generator=torch.Generator().manual_seed(n_steps), dtype=torch.float64)  # of either sign
    paths = [(0, *middle, 7) for middle in itertools.combinations(range(1, 7), n_steps - 1)]
    best = min(paths, key=lambda path: total(costs, path))
    assert best_grid(costs, n_steps).tolist() == list(best)


def test_what_lies_on_or_below_the_diagonal_is_not_read():
    costs = torch.randn(7, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(best_grid(costs, 3), best_grid(costs.triu(1) + torch.full((7, 7), math.nan).tril(), 3))


def test_equal_costs_by_squared_length_give_equal_steps():
    level = torch.arange(13.0)
    assert best_grid((level - level[:, None]).square(), 4).tolist() == [0, 3, 6, 9, 12]


@pytest.mark.parametrize(
    ("costs", "n_steps", "found"),
    [
        (torch.zeros(4, 5), 2, r"square.*\(4, 5\)"),
        (torch.full((4, 4), math.nan), 2, "NaN"),
        (torch.zeros(4, 4), 0, "1 to 3 steps, found n_steps = 0"),
        (torch.zeros(4, 4), 4, "1 to 3 steps, found n_steps = 4"),
    ],
)
def test_a_search_without_sense_is_refused(costs, n_steps, found):
    with pytest.raises(ValueError, match=found):
        best_grid(costs, n_steps)


def teacher(denoiser, x, sigmas):
    """The fine path of Euler's method, all its states."""
    seen = []
    end = sample_euler(denoiser, x, sigmas, callback=lambda at: seen.append(at["x"]))
    return torch.stack([*seen, end])


def test_costs_are_what_one_euler_step_misses():
    x = 3 * torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas, denoiser = polynomial(6, 0.05, 3.0), NFECounter(MIXTURE_2D.denoiser)
    states = teacher(MIXTURE_2D.denoiser, x, sigmas)
    costs = euler_costs(denoiser, states, sigmas)
    assert denoiser.nfe == 6
    for i, j in itertools.product(range(7), repeat=2):
        if j <= i:
            assert costs[i, j] == math.inf
        else:
            reached = sample_euler(MIXTURE_2D.denoiser, states[i], sigmas[[i, j]])
            assert costs[i, j].item() == pytest.approx((reached - states[j]).norm(dim=1).mean().item(), abs=1e-12)


def test_the_best_grid_beats_the_usual_ones_where_it_was_sought():
    draws = torch.Generator().manual_seed(0)
    x, fresh = 10 * torch.randn(2, 64, 2, generator=draws, dtype=torch.float64)
    fine = polynomial(60, 0.02, 10.0)
    denoiser = MIXTURE_2D.denoiser
    short = fine[best_grid(euler_costs(denoiser, teacher(denoiser, x, fine), fine), 6)]
    end = sample_euler(denoiser, fresh, fine)
    error = {
        name: (sample_euler(denoiser, fresh, grid) - end).norm(dim=1).mean().item()
        for name, grid in {"best": short, **{name: make(6, 0.02, 10.0) for name, make in GRIDS.items()}}.items()
    }
    assert min(error, key=error.get) == "best"


def test_costs_of_the_wrong_number_of_levels_are_refused():
    with pytest.raises(ValueError, match=r"one level for each state: found \(3,\) for \(4, 2, 1\)"):
        euler_costs(NORMAL_1D.denoiser, torch.zeros(4, 2, 1), torch.tensor([3.0, 2.0, 1.0]))
