"""ODE samplers: each against its textbook form, their orders on a known flow, their calls, their last step."""

import math
from itertools import pairwise

import pytest
import torch
from problems import MIXTURE_2D, NORMAL_1D, NORMAL_STD, small_denoiser

from nonnormal.denoisers import GaussianMixtureDenoiser, NFECounter
from nonnormal.samplers import (
    GRIDS,
    SOLVERS,
    log_snr,
    polynomial,
    sample_adaptive,
    sample_dpm_2,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
    sample_ipndm,
    uniform,
)

DENOISER = MIXTURE_2D.denoiser
ALL = {**SOLVERS, "adaptive": lambda *args, **more: sample_adaptive(*args, rtol=1e-6, atol=1e-6, **more)}
FIXED = {**SOLVERS, **{f"ipndm-{k}": lambda *args, k=k, **more: sample_ipndm(*args, order=k, **more) for k in (2, 3)}}


def noise(sigma, n=16, seed=0):
    return sigma * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flow(x, sigma, s):
    """Solution of the ODE from sigma to s for x0 ~ N(0, NORMAL_STD²)."""
    return x * math.sqrt((NORMAL_STD**2 + s**2) / (NORMAL_STD**2 + sigma**2))


# ---- textbook forms, each in the words of its own paper --------------------------------------------------------------


def d(x, sigma):
    return (x - DENOISER(x, sigma)) / sigma


def euler(x, t, s, past):
    return x + (s - t) * d(x, t)


def heun(x, t, s, past):
    if s == 0:
        return euler(x, t, s, past)
    ahead = x + (s - t) * d(x, t)
    return x + (s - t) * (d(x, t) + d(ahead, s)) / 2


def dpm_2(x, t, s, past):
    """DPM-Solver-2 with the noise prediction and lambda = −log sigma, alpha = 1."""
    if s == 0:
        return euler(x, t, s, past)
    h = math.log(t) - math.log(s)
    middle = math.exp(math.log(t) - h / 2)
    u = x - middle * math.expm1(h / 2) * d(x, t)
    return x - s * math.expm1(h) * d(u, middle)


def dpmpp_2m(x, t, s, past):
    if s == 0 or len(past) == 1:
        return euler(x, t, s, past)
    (before, x_before), _ = past[-2:]
    h, h_before = math.log(t / s), math.log(before / t)
    r = h_before / h
    mixed = (1 + 1 / (2 * r)) * DENOISER(x, t) - 1 / (2 * r) * DENOISER(x_before, before)
    return s / t * x - math.expm1(-h) * mixed


def ipndm(order):
    def step(x, t, s, past):
        if s == 0:
            return euler(x, t, s, past)
        e = [d(state, sigma) for sigma, state in reversed(past)]
        mean = {
            1: lambda: e[0],
            2: lambda: (3 * e[0] - e[1]) / 2,
            3: lambda: (23 * e[0] - 16 * e[1] + 5 * e[2]) / 12,
            4: lambda: (55 * e[0] - 59 * e[1] + 37 * e[2] - 9 * e[3]) / 24,
        }[min(order, len(past))]()
        return x + (s - t) * mean

    return step


TEXTBOOK = {
    "euler": euler,
    "heun": heun,
    "dpm_2": dpm_2,
    "dpmpp_2m": dpmpp_2m,
    "ipndm": ipndm(4),
    "ipndm-2": ipndm(2),
    "ipndm-3": ipndm(3),
}


@pytest.mark.parametrize("to_zero", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", FIXED)
def test_solver_is_its_textbook_form(name, grid, to_zero):
    sigmas = GRIDS[grid](9, 0.05, 5.0, to_zero=to_zero)
    x, past = noise(5.0), []
    for t, s in pairwise(sigmas.tolist()):
        past.append((t, x))
        x = TEXTBOOK[name](x, t, s, past)
    torch.testing.assert_close(FIXED[name](DENOISER, noise(5.0), sigmas), x, rtol=0, atol=1e-10)


def test_each_estimate_is_the_slope_of_the_denoised_path():
    """From the formula x_s = x + h eps − h²/(2t) D, each solver's D tends to dr/dsigma along the true solution."""
    t, x = 1.3, torch.tensor([[0.9]], dtype=torch.float64)
    # r = s² x/(s² + sigma²) with x ∝ √(s² + sigma²), so r ∝ (s² + sigma²)^(−1/2).
    slope = -(NORMAL_STD**2) * t / (NORMAL_STD**2 + t**2) ** 2 * x
    for name in ("heun", "dpm_2", "dpmpp_2m", "ipndm-2"):
        h = -1e-3
        found = []
        FIXED[name](
            NORMAL_1D.denoiser,
            flow(x, t, t - h),
            torch.tensor([t - h, t, t + h, t + 2 * h], dtype=torch.float64),
            callback=lambda at, found=found: found.append((at["x"], at["denoised"])),
        )
        (x_t, r), (x_s, _) = found[1], found[2]
        estimate = -2 * t / h**2 * (x_s - x_t - h * (x_t - r) / t)
        assert estimate.item() == pytest.approx(slope.item(), rel=5e-3), name


def test_a_path_bends_by_the_slope_of_its_denoised_states():
    """sigma d²x/dsigma² = −dr/dsigma along a true solution, on a mixture, by central differences."""
    sigma, h = 0.8, 1e-3
    grid = torch.tensor([2.0, sigma + h, sigma, sigma - h], dtype=torch.float64)
    path = []
    end = sample_adaptive(DENOISER, noise(2.0), grid, rtol=1e-11, atol=1e-12, callback=lambda at: path.append(at["x"]))
    above, here, below = (*path[1:], end)
    slope = (DENOISER(above, sigma + h) - DENOISER(below, sigma - h)) / (2 * h)
    bend = (above - 2 * here + below) / h**2
    assert slope.abs().max() > 0.1
    torch.testing.assert_close(sigma * bend, -slope, rtol=0, atol=1e-4)


# ---- orders ----------------------------------------------------------------------------------------------------------


def measured_order(solver, make, n_steps, sigma_min=0.1, sigma_max=2.0):
    """log₂ of the ratio of errors at n_steps and 2 n_steps on normal data."""
    x = torch.ones(1, 1, dtype=torch.float64)
    exact = flow(x, sigma_max, sigma_min)
    errors = [
        (solver(NORMAL_1D.denoiser, x, make(n, sigma_min, sigma_max, to_zero=False)) - exact).abs().item()
        for n in (n_steps, 2 * n_steps)
    ]
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize("make", [uniform, polynomial, log_snr], ids=lambda make: make.__name__)
@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpm_2", 2), ("dpmpp_2m", 2), ("ipndm-2", 2)])
def test_order_on_a_normal_target(name, order, make):
    assert measured_order(FIXED[name], make, 320) == pytest.approx(order, abs=0.06)


@pytest.mark.parametrize("make", [polynomial, log_snr], ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["ipndm-3", "ipndm"])
def test_ipndm_has_order_two_on_an_uneven_grid_whatever_it_is_called(name, make):
    assert measured_order(FIXED[name], make, 320, sigma_max=5.0) == pytest.approx(2, abs=0.06)


def test_ipndm_has_order_two_on_a_uniform_grid_from_its_first_step():
    """The error of Euler's first step is h²/2 x″, carried on; the rest is of higher order and soon below it."""
    assert measured_order(sample_ipndm, uniform, 2000) == pytest.approx(2, abs=0.06)
    n, sigma_min, sigma_max = 2000, 0.1, 2.0
    x = torch.ones(1, 1, dtype=torch.float64)
    second = NORMAL_STD**2 / (NORMAL_STD**2 + sigma_max**2) ** 2  # x″ at sigma_max, of x = √(s² + σ²) scaled to 1 there
    expected = -flow(second / 2 * ((sigma_max - sigma_min) / n) ** 2, sigma_max, sigma_min)
    found = sample_ipndm(NORMAL_1D.denoiser, x, uniform(n, sigma_min, sigma_max, to_zero=False))
    # Steps 2 and 3, of the weights of orders 2 and 3, are right to h³: nothing else of order h² is left.
    assert (found - flow(x, sigma_max, sigma_min)).item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_weights_of_ipndm_have_their_order_once_started(order):
    """With eps = exp(sigma), whatever x, the steps after the start are a quadrature of that order."""
    errors = []
    for n in (128, 256):
        states, sigmas = [], uniform(n, 0.5, 3.0, to_zero=False)
        end = sample_ipndm(
            lambda x, sigma: x - sigma * sigma.exp(),
            torch.zeros(1, dtype=torch.float64),
            sigmas,
            **dict(order=order, callback=lambda at, states=states: states.append(at["x"])),
        )
        exact = sigmas[n].exp() - sigmas[n // 4].exp()
        errors.append((end - states[n // 4] - exact).abs().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-6, 1e-9])
def test_adaptive_keeps_its_tolerance(tolerance):
    x, sigmas = torch.tensor([[1.5], [-0.2]], dtype=torch.float64), polynomial(7, 0.002, 80.0, to_zero=False)
    found = sample_adaptive(NORMAL_1D.denoiser, x, sigmas, rtol=tolerance, atol=tolerance)
    assert (found - flow(x, 80.0, 0.002)).abs().max() < 10 * tolerance


def test_adaptive_agrees_with_many_steps_of_heun_on_a_mixture():
    sigmas = polynomial(2000, 0.01, 10.0, to_zero=False)
    found = sample_adaptive(DENOISER, noise(10.0), sigmas[[0, -1]], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found, sample_heun(DENOISER, noise(10.0), sigmas), rtol=0, atol=2e-5)


def test_adaptive_asks_for_no_level_outside_its_grid():
    asked = []

    def denoiser(x, sigma):
        asked.append(sigma.item())
        return DENOISER(x, sigma)

    sample_adaptive(denoiser, noise(10.0), torch.tensor([10.0, 0.01], dtype=torch.float64), rtol=1e-4, atol=1e-4)
    assert min(asked) == pytest.approx(0.01, rel=1e-12)
    assert max(asked) == pytest.approx(10.0, rel=1e-12)


def test_adaptive_shows_the_states_of_the_grid():
    x, seen = torch.tensor([[40.0]], dtype=torch.float64), []
    sigmas = polynomial(6, 0.01, 80.0)
    found = sample_adaptive(NORMAL_1D.denoiser, x, sigmas, rtol=1e-8, atol=1e-8, callback=seen.append)
    assert [at["i"] for at in seen] == list(range(6))
    for at, sigma in zip(seen, sigmas.tolist(), strict=False):
        assert at["sigma"] == sigma
        assert at["x"].item() == pytest.approx(flow(x, 80.0, sigma).item(), rel=1e-5)
        assert torch.equal(at["denoised"], NORMAL_1D.denoiser(at["x"], sigma))
    assert torch.equal(found, seen[-1]["denoised"])


# ---- what all share --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_last_step_to_zero_returns_the_last_denoised_state(name):
    seen = []
    found = ALL[name](DENOISER, noise(5.0), polynomial(8, 0.05, 5.0), callback=seen.append)
    assert torch.equal(found, seen[-1]["denoised"])
    to_min = ALL[name](DENOISER, noise(5.0), polynomial(7, 0.05, 5.0, to_zero=False))
    torch.testing.assert_close(found, DENOISER(to_min, 0.05), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_one_step_to_zero_is_one_call(name):
    denoiser = NFECounter(DENOISER)
    assert torch.equal(ALL[name](denoiser, noise(5.0), torch.tensor([5.0, 0.0])), DENOISER(noise(5.0), 5.0))
    assert denoiser.nfe == 1


@pytest.mark.parametrize(
    ("name", "to_zero", "to_min"),
    [("euler", 10, 10), ("heun", 19, 20), ("dpm_2", 19, 20), ("dpmpp_2m", 10, 10), ("ipndm", 10, 10)],
)
def test_calls_of_ten_steps(name, to_zero, to_min):
    for expected, ends_in_zero in ((to_zero, True), (to_min, False)):
        denoiser = NFECounter(DENOISER)
        SOLVERS[name](denoiser, noise(5.0), polynomial(10, 0.05, 5.0, to_zero=ends_in_zero))
        assert denoiser.nfe == expected


@pytest.mark.parametrize("name", ALL)
def test_a_point_mass_is_hit_from_anywhere(name):
    """r is constant, so paths are straight lines and every solver is exact."""
    point = torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    denoiser = GaussianMixtureDenoiser(point, torch.zeros(1))
    sigmas, start = polynomial(6, 0.05, 5.0, to_zero=False), noise(5.0)
    expected = point + (start - point) * 0.05 / 5.0
    found = ALL[name](denoiser, start, sigmas)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 if name in SOLVERS else 1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_callback_sees_every_step_before_x_moves(name):
    seen, sigmas = [], polynomial(5, 0.05, 5.0)
    SOLVERS[name](DENOISER, noise(5.0), sigmas, callback=seen.append)
    assert [at["i"] for at in seen] == [0, 1, 2, 3, 4]
    assert [at["sigma"] for at in seen] == sigmas[:-1].tolist()
    assert torch.equal(seen[0]["x"], noise(5.0))
    for at in seen:
        assert torch.equal(at["denoised"], DENOISER(at["x"], at["sigma"]))


@pytest.mark.parametrize("name", SOLVERS)
def test_an_image_does_not_depend_on_its_batch(name):
    sigmas = polynomial(6, 0.05, 5.0)
    together = SOLVERS[name](DENOISER, noise(5.0), sigmas)
    assert torch.equal(together[3:4], SOLVERS[name](DENOISER, noise(5.0)[3:4], sigmas))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_the_state_keeps_its_type_and_no_gradient_around_a_network(name, dtype):
    x = 5 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    found = ALL[name](small_denoiser().eval(), x, polynomial(3, 0.05, 5.0))
    assert found.dtype == dtype
    assert not found.requires_grad
    assert found.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_float32_follows_float64(name):
    sigmas = polynomial(20, 0.002, 80.0)
    found = ALL[name](DENOISER, noise(80.0).float(), sigmas)
    torch.testing.assert_close(found.double(), ALL[name](DENOISER, noise(80.0), sigmas), rtol=0, atol=2e-3)


def test_one_euler_step_is_ddim_in_vp_coordinates():
    """DDIM in its own words, on the VP states of the same two levels."""
    t, s, x = 3.0, 0.8, noise(3.0)
    a_t, a_s = 1 / (1 + t**2), 1 / (1 + s**2)  # DDIM's alpha, the square of ours
    z = math.sqrt(a_t) * x
    eps = (z - math.sqrt(a_t) * DENOISER(x, t)) / math.sqrt(1 - a_t)
    moved = math.sqrt(a_s) * (z - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t) + math.sqrt(1 - a_s) * eps
    found = sample_euler(DENOISER, x, torch.tensor([t, s], dtype=torch.float64))
    torch.testing.assert_close(found, moved / math.sqrt(a_s), rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", [sample_euler, sample_heun, sample_dpm_2, sample_dpmpp_2m, sample_ipndm])
@pytest.mark.parametrize(
    "sigmas", [[], [1.0], [1.0, 1.0], [1.0, 2.0], [1.0, 0.0, 0.0], [1.0, -0.1], [math.inf, 1.0], [math.nan, 1.0]]
)
def test_levels_that_do_not_fall_to_zero_are_refused(solver, sigmas):
    denoiser = NFECounter(DENOISER)
    with pytest.raises(ValueError, match="sigmas must be two or more"):
        solver(denoiser, noise(1.0), torch.tensor(sigmas))
    with pytest.raises(ValueError, match="sigmas must be two or more"):
        sample_adaptive(denoiser, noise(1.0), torch.tensor(sigmas), rtol=1e-3, atol=1e-3)
    assert denoiser.nfe == 0


@pytest.mark.parametrize("order", [0, 1, 5])
def test_an_order_that_ipndm_does_not_have_is_refused(order):
    with pytest.raises(ValueError, match=f"2, 3 or 4, found {order}"):
        sample_ipndm(DENOISER, noise(1.0), polynomial(3), order=order)
