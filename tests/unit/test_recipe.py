"""The complete recipe: exact transitions against four references, stationarity, and what a recipe has to be."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, linalg, stats

from nonnormal.processes import VP, Recipe, apply, as_time, cholesky, vp_recipe
from nonnormal.processes.linear_sde import elapsed, moments, rate
from nonnormal.processes.schedules import Schedule
from nonnormal.steps import get

EYE = [[1.0, 0.0], [0.0, 1.0]]
TURN = [[0.0, -1.0], [1.0, 0.0]]
ZERO = [[0.0, 0.0], [0.0, 0.0]]


def random_recipe(seed, n, rank, **other):
    """D of any rank ≥ 1, Q and H from normal matrices; almost surely noise reaches all variables."""
    rng = np.random.default_rng(seed)
    half, turn, well = rng.normal(size=(n, rank)), rng.normal(size=(n, n)), rng.normal(size=(n, n))
    return Recipe(half @ half.T, turn - turn.T, well @ well.T / n + 0.5 * np.eye(n), **other)


RECIPES = {
    "one": dict(seed=0, n=1, rank=1),
    "two": dict(seed=1, n=2, rank=2),
    "two-degenerate": dict(seed=2, n=2, rank=1),
    "three": dict(seed=3, n=3, rank=3),
    "three-degenerate": dict(seed=4, n=3, rank=1),
}
RATES = [2.0, (0.1, 5.0), (3.0, 0.0)]
every = pytest.mark.parametrize("options", RECIPES.values(), ids=RECIPES.keys())
rates = pytest.mark.parametrize("beta", RATES, ids=str)


def close(found, expected, tolerance):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=tolerance)


# ---- transitions -----------------------------------------------------------------------------------------------------


@rates
@every
@pytest.mark.parametrize(("s", "t"), [(0.0, 1e-3), (0.0, 1.0), (0.3, 0.45), (0.6, 0.9)])
def test_transition_solves_the_equations_of_the_moments(options, beta, s, t):
    recipe = random_recipe(**options, beta=beta)
    d, q, h, n = recipe.D.numpy(), recipe.Q.numpy(), recipe.H.numpy(), recipe.n
    ends = beta if isinstance(beta, tuple) else (beta, beta)

    def rhs(time, state):
        phi, sigma = state.reshape(2, n, n)
        beta_t = ends[0] * (1 - time) + ends[1] * time
        f = -beta_t * (d + q) @ h
        return np.stack([f @ phi, f @ sigma + sigma @ f.T + 2 * beta_t * d]).ravel()

    start = np.stack([np.eye(n), np.zeros((n, n))]).ravel()
    solved = integrate.solve_ivp(rhs, (s, t), start, method="DOP853", rtol=1e-12, atol=1e-14)
    phi, sigma = solved.y[:, -1].reshape(2, n, n)
    found_phi, found_sigma = recipe.transition(s, t)
    close(found_phi, phi, 1e-9)
    close(found_sigma, sigma, 1e-9)


@every
@pytest.mark.parametrize("span", [1e-4, 0.01, 0.1, 0.4])
def test_short_transitions_are_van_loans(options, span):
    recipe = random_recipe(**options)
    f, noise, n = recipe.drift.numpy(), 2 * recipe.D.numpy(), recipe.n
    block = linalg.expm(np.block([[-f, noise], [np.zeros((n, n)), f.T]]) * span)
    phi, sigma = recipe.transition(0.0, span)
    close(phi, block[n:, n:].T.copy(), 1e-12)
    close(sigma, block[n:, n:].T @ block[:n, n:], 1e-11)


@every
@pytest.mark.parametrize("beta", [1.0, 30.0, 1000.0])
def test_long_transitions_are_the_priors_covariance_less_what_is_remembered(options, beta):
    recipe = random_recipe(**options, beta=beta)
    phi = linalg.expm(recipe.drift.numpy() * beta)
    prior = np.linalg.inv(recipe.H.numpy())
    found_phi, found_sigma = recipe.transition(0.0, 1.0)
    close(found_phi, phi, 1e-11)
    close(found_sigma, prior - phi @ prior @ phi.T, 1e-11)


@pytest.mark.parametrize("span", [1e-7, 1e-5, 1e-3, 0.1, 0.5])
def test_every_entry_keeps_its_digits_where_noise_comes_late(span):
    """A chain of three, noise on the last alone: the first has variance of order B⁵, 1e-35 of the last's at 1e-7."""
    recipe = Recipe(np.diag([0.0, 0.0, 1.0]), [[0, -1, 0], [1, 0, -2], [0, 2, 0]], np.diag([1.0, 2.0, 0.5]))
    phi, sigma = recipe.transition(0.0, span)
    with mpmath.workdps(80):
        exact = mpmath.expm(mpmath.matrix(recipe.drift.tolist()) * mpmath.mpf(span))
        prior = mpmath.inverse(mpmath.matrix(recipe.H.tolist()))
        covariance = prior - exact * prior * exact.T
    for i, j in np.ndindex(3, 3):
        assert sigma[i, j].item() == pytest.approx(float(covariance[i, j]), rel=1e-12, abs=0)
        assert phi[i, j].item() == pytest.approx(float(exact[i, j]), rel=1e-12, abs=0)
    assert torch.linalg.cholesky_ex(sigma).info == 0


def test_batches_are_done_each_in_its_own_number_of_doublings():
    drift = torch.tensor([[0.0, 1.0], [-1.0, -0.5]], dtype=torch.float64)
    noise = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))
    spans = torch.tensor([[1e-6, 0.7], [30.0, 400.0]], dtype=torch.float64)
    singles = zip(*(moments(drift, noise, span) for span in spans.flatten()), strict=True)
    for batch, single in zip(moments(drift, noise, spans), singles, strict=True):
        assert torch.equal(batch.reshape(4, 2, 2), torch.stack(single))
    assert moments(drift, noise, torch.zeros(0, dtype=torch.float64))[1].shape == (0, 2, 2)


@rates
def test_elapsed_time_is_the_integral_of_the_rate(beta):
    s, t = torch.tensor([0.0, 0.2, 0.7]).double(), torch.tensor([1.0, 0.25, 0.9]).double()
    for found, low, high in zip(elapsed(beta, s, t), s, t, strict=True):
        expected = integrate.quad(lambda u: rate(beta, as_time(u)).item(), low, high)[0]
        assert found.item() == pytest.approx(expected, rel=1e-12)


@rates
def test_sde_is_the_derivative_of_the_transition(beta):
    recipe, t, h = random_recipe(1, 2, 1, beta=beta), 0.4, 1e-7
    phi, sigma = recipe.transition(t - h / 2, t + h / 2)
    drift, noise = recipe.sde(t)
    close((phi - torch.eye(2)) / h, drift, 1e-5)
    close(sigma / h, noise, 1e-5)
    assert recipe.sde(torch.zeros(3, 4))[0].shape == (3, 4, 2, 2)


# ---- laws ------------------------------------------------------------------------------------------------------------


def recipes(n):
    entry = st.floats(-2, 2)
    return st.tuples(*(st.lists(entry, min_size=n * n, max_size=n * n) for _ in range(3)), st.integers(1, n))


def built(draw, n, beta):
    half, turn, well = (np.reshape(part, (n, n)) for part in draw[:3])
    # Enough noise for all, of which `rank` columns more: how fast a degenerate one mixes has no lower limit.
    half = half[:, : draw[3]]
    return Recipe(half @ half.T + 0.1 * np.eye(n), turn - turn.T, well @ well.T + 0.2 * np.eye(n), beta)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data(), n=st.sampled_from([2, 3]), times=st.lists(st.floats(0, 1), min_size=3, max_size=3, unique=True))
def test_transitions_compose_and_keep_the_prior(data, n, times):
    recipe = built(data.draw(recipes(n)), n, (0.5, 3.0))
    r, s, t = sorted(times)
    (phi_rs, sigma_rs), (phi_st, sigma_st), (phi, sigma) = (
        recipe.transition(*pair) for pair in ((r, s), (s, t), (r, t))
    )
    prior = recipe.prior_covariance()
    close(phi, phi_st @ phi_rs, 1e-12)
    close(sigma, phi_st @ sigma_rs @ phi_st.mT + sigma_st, 1e-12 * prior.abs().max())
    close(phi @ prior @ phi.mT + sigma, prior, 1e-12 * prior.abs().max())
    assert torch.linalg.eigvalsh(sigma).min() >= -1e-15 * prior.abs().max()


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data(), n=st.sampled_from([2, 3]))
def test_the_law_at_the_end_of_a_long_time_is_the_prior(data, n):
    draw = data.draw(recipes(n))
    slowest = torch.linalg.eigvals(built(draw, n, 1.0).drift).real.max().abs().item()
    a, c = built(draw, n, 40 / slowest).marginal(1.0)
    prior = built(draw, n, 1.0).prior_covariance()
    close(a, torch.zeros(n, n).double(), 1e-11)
    close(c, prior, 1e-10 * prior.abs().max())


@pytest.mark.parametrize("step", ["laplace", "rademacher", "gumbel"])
@pytest.mark.parametrize("end", [0.2, 1.0])
def test_a_walk_of_small_structured_steps_has_the_law_of_the_process(step, end):
    """z ← z + F z Δ + G √Δ ξ from a point, for ξ of unit variance and any law: the marginal at 0.2, the prior at 1."""
    recipe = Recipe([[0.64, 0.48], [0.48, 0.36]], TURN, [[2.0, 0.5], [0.5, 1.0]], beta=(4.0, 16.0))  # noise of rank 1
    n_paths, n_steps, draws = 2000, 1500, torch.Generator().manual_seed(0)
    span = end / n_steps
    start = torch.tensor([1.0, -2.0]).double()
    z = start.expand(n_paths, 2)
    for k in range(n_steps):
        drift, noise = recipe.sde((k + 0.5) * span)
        xi = get(step).sample(z.shape, generator=draws, dtype=torch.float64)
        z = z + span * z @ drift.T + span**0.5 * xi @ cholesky(noise).T
    a, c = recipe.marginal(end)
    if end == 1.0:
        close(a, ZERO, 0.01)
        a, c = torch.zeros(2, 2).double(), recipe.prior_covariance()
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(c), (z - start @ a.T).T, upper=False)
    for coordinate in white.numpy():
        assert stats.kstest(coordinate, "norm").pvalue > 1e-4


# ---- instances and the initial law -----------------------------------------------------------------------------------


class LinearBeta(Schedule):
    """alpha² = exp(−B(t)) with B = 0.1 t + 19.9 t²/2: VP's SDE with rates from 0.1 to 20."""

    def log_snr(self, t):
        t = torch.as_tensor(t, dtype=torch.float64)
        return -torch.log(torch.expm1(0.1 * t + 19.9 * t.square() / 2))


def test_linear_beta_vp_is_a_recipe():
    recipe, vp = vp_recipe(), VP(LinearBeta())
    s, t = torch.tensor([0.001, 0.2, 0.5]).double(), torch.tensor([0.002, 0.3, 1.0]).double()
    for found, expected in zip(recipe.transition(s, t), vp.transition(s, t), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
    a, c = recipe.marginal(t)
    torch.testing.assert_close((a.square() / c).log()[:, 0, 0], vp.schedule.log_snr(t), rtol=0, atol=1e-11)
    torch.testing.assert_close(recipe.prior_covariance(), vp.prior_covariance())


def test_marginals_start_from_the_initial_law():
    a_0 = torch.tensor([[1.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    c_0 = torch.tensor([[0.1, 0.02], [0.02, 0.3]], dtype=torch.float64)
    recipe = Recipe(EYE, TURN, [[2.0, 0.5], [0.5, 1.0]], A_0=a_0, C_0=c_0)
    close(recipe.marginal(0.0)[0], a_0, 0)
    close(recipe.marginal(0.0)[1], c_0, 0)
    phi, sigma = recipe.transition(0.0, 0.3)
    a, c = recipe.marginal(0.3)
    close(a, phi @ a_0, 1e-15)
    close(c, phi @ c_0 @ phi.mT + sigma, 1e-15)
    assert torch.equal(Recipe(EYE, TURN, EYE).marginal(0.0)[0], torch.eye(2).double())
    assert torch.equal(Recipe(EYE, TURN, EYE).marginal(0.0)[1], torch.zeros(2, 2).double())


def test_states_of_three_variables_move_by_the_transition():
    """Without rotation and correlation three variables are three processes of one."""
    recipe = Recipe(np.diag([1.0, 2.0, 3.0]), np.zeros((3, 3)), np.eye(3))
    z = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = apply(recipe.transition(0.2, 0.5)[0], z)
    for i, block in enumerate(moved.chunk(3, 1)):
        torch.testing.assert_close(block, math.exp(-0.3 * (i + 1)) * z.chunk(3, 1)[i])


def test_a_recipe_does_not_share_memory_with_what_it_was_built_from():
    h = torch.eye(2, dtype=torch.float64)
    recipe = Recipe(EYE, TURN, h)
    h[0, 0] = 5
    assert recipe.H[0, 0] == 1


def test_rounding_in_a_matrix_is_forgiven_and_removed():
    half = np.array([[0.3], [0.7]])
    d = half @ half.T
    d[0, 1] += 1e-16
    recipe = Recipe(d, TURN, EYE)
    assert torch.equal(recipe.D, recipe.D.mT)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(D=[[1.0, 0.2], [0.3, 1.0]]), r"D must be symmetric, found D\[0\]\[1\] = 0.2, D\[1\]\[0\] = 0.3"),
        (dict(D=[[1.0, 0.0], [0.0, -0.5]]), "D must be positive semi-definite, found the eigenvalue -0.5"),
        (dict(D=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), r"D must be 2×2, as H has 2 rows, found shape \(2, 3\)"),
        (dict(D=[[math.inf, 0.0], [0.0, 1.0]]), r"D\[0\]\[0\] = inf"),
        (dict(Q=[[0.0, 1.0], [1.0, 0.0]]), r"Q must be skew, found Q\[0\]\[1\] = 1, Q\[1\]\[0\] = 1"),
        (dict(Q=[[0.1, 1.0], [-1.0, 0.0]]), r"Q must be skew, found Q\[0\]\[0\] = 0.1"),
        (dict(Q=[[0.0]]), r"Q must be 2×2, .* \(1, 1\)"),
        (dict(H=[[1.0, 0.0], [0.1, 1.0]]), "H must be symmetric"),
        (dict(H=[[1.0, 0.0], [0.0, 0.0]]), "H must be positive definite, found the eigenvalue 0"),
        (dict(H=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), r"H must be 2×2, .* \(2, 3\)"),
        (dict(H=2.0), r"H must be .* found shape \(\)"),
        (dict(A_0=[[1.0], [0.0]]), r"A_0 must be 2×2, .* \(2, 1\)"),
        (dict(A_0=[[math.nan, 0.0], [0.0, 1.0]]), r"A_0\[0\]\[0\] = nan"),
        (dict(C_0=[[-1.0, 0.0], [0.0, 1.0]]), "C_0 must be positive semi-definite"),
        (dict(beta=0.0), "beta .* found 0.0"),
        (dict(beta=-1.0), "beta .* found -1.0"),
        (dict(beta=(0.1, -20.0)), r"beta .* found \(0.1, -20.0\)"),
        (dict(beta=(1.0, 2.0, 3.0)), "beta"),
        (dict(beta=math.nan), "beta"),
        (dict(D=ZERO), "does not reach all variables"),
        (dict(D=[[1.0, 0.0], [0.0, 0.0]], Q=ZERO), "does not reach all variables"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(options, named):
    with pytest.raises(ValueError, match=named):
        Recipe(**(dict(D=EYE, Q=TURN, H=EYE) | options))
