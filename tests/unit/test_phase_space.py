"""Phase space: PSLD's closed form against high precision, the recipe, the moment equations and the printed kernels."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import MIXTURE_1D, Mixture
from scipy import integrate, stats

from nonnormal.objectives.bounds import prior_kl
from nonnormal.objectives.losses import whitened_error
from nonnormal.processes import PSLD, LinearSDE, apply, cholesky, langevin_sde, uniform_times
from nonnormal.steps import get

PSLDS = {
    "psld": PSLD(),
    "psld-celeba": PSLD(friction_x=0.02, friction_m=4.02),
    "cld": PSLD(friction_x=0.0, friction_m=4.0),
    "heavy": PSLD(mass_inv=0.25, friction_x=0.5, friction_m=1.5, beta=(1.0, 12.0)),
    "friction-on-x": PSLD(friction_x=4.5, friction_m=0.5, momentum_var=0.0),
    "noise-on-x-alone": PSLD(friction_x=4.0, friction_m=0.0),
}
every = pytest.mark.parametrize("process", PSLDS.values(), ids=PSLDS.keys())
SPANS = [1e-5, 1e-4, 1e-2, 0.3, 1.0, 4.0, 8.0]


def close(found, expected, tolerance):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=tolerance)


def at_rate_one(process):
    """The process whose time is B over ten."""
    return PSLD(process.mass_inv, process.friction_x, process.friction_m, 10.0, process.momentum_var)


def precise(process, span):
    """(Φ, Σ) over B as mpmath matrices, by Σ = P − Φ P Φᵀ; ν from Γ, so that the damping is critical to all digits."""
    mass_inv, fx = mpmath.mpf(process.mass_inv), mpmath.mpf(process.friction_x)
    fm = fx + 2 * mpmath.sqrt(mass_inv) * (1 if process.friction_m > process.friction_x else -1)
    phi = mpmath.expm(mpmath.matrix([[-fx, mass_inv], [-1, -fm]]) * mpmath.mpf(span) / 2)
    prior = mpmath.diag([1, 1 / mass_inv])
    return phi, prior - phi * prior * phi.T


# ---- the kernel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", SPANS)
@every
def test_closed_form_has_all_digits(process, span):
    """Each entry to 1e-13 of itself, where the expansion in powers of B has none left for B = 1e-5 without friction."""
    phi, sigma = at_rate_one(process).transition(0.0, span / 10)
    with mpmath.workdps(60):
        exact_phi, exact_sigma = precise(process, span)
    for i, j in np.ndindex(2, 2):
        scale = 1 if i == j else 0  # 1 ± (ν − Γ)B/4 may cancel
        assert phi[i, j].item() == pytest.approx(float(exact_phi[i, j]), rel=1e-13, abs=scale * 1e-14)
        assert sigma[i, j].item() == pytest.approx(float(exact_sigma[i, j]), rel=1e-13, abs=0)


@every
def test_covariances_are_positive_definite_from_the_first_moment(process):
    sigma = at_rate_one(process).transition(0.0, torch.logspace(-6, 0, 61, dtype=torch.float64))[1]
    assert (torch.linalg.cholesky_ex(sigma).info == 0).all()
    factor = cholesky(sigma)
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    torch.testing.assert_close(factor @ factor.mT, sigma, rtol=1e-14, atol=0)


@every
@pytest.mark.parametrize(("s", "t"), [(0.0, 1e-4), (0.0, 0.02), (0.0, 1.0), (0.3, 0.31), (0.2, 0.9)])
def test_closed_form_is_the_recipes(process, s, t):
    for found, expected in zip(process.transition(s, t), process.recipe.transition(s, t), strict=True):
        close(found, expected, 1e-12)
    for found, expected in zip(process.marginal(t), process.recipe.marginal(t), strict=True):
        close(found, expected, 1e-12)
    close(process.prior_covariance(), process.recipe.prior_covariance(), 1e-15)


def solved(mass_inv, friction_x, friction_m, beta, start, s, t):
    """(A, C) at t by the moment equations of the printed SDE from (A, C) = start at s."""
    ends, mass = beta if isinstance(beta, tuple) else (beta, beta), 1 / mass_inv

    def rhs(time, state):
        a, c = state.reshape(2, 2, 2)
        rate = ends[0] + time * (ends[1] - ends[0])
        f = rate / 2 * np.array([[-friction_x, mass_inv], [-1, -friction_m]])
        g = np.diag([math.sqrt(friction_x * rate), math.sqrt(mass * friction_m * rate)])
        return np.stack([f @ a, f @ c + c @ f.T + g @ g.T]).ravel()

    found = integrate.solve_ivp(rhs, (s, t), np.stack(start).ravel(), method="DOP853", rtol=1e-12, atol=1e-14)
    return found.y[:, -1].reshape(2, 2, 2)


@every
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.01), (0.0, 1.0), (0.35, 0.6)])
def test_closed_form_solves_the_equations_of_the_moments(process, s, t):
    start = [part.numpy() for part in process.marginal(s)]
    parameters = (process.mass_inv, process.friction_x, process.friction_m, process.beta)
    for found, expected in zip(process.marginal(t), solved(*parameters, start, s, t), strict=True):
        close(found, expected, 1e-9)
    noise_free = (np.eye(2), np.zeros((2, 2)))
    for found, expected in zip(process.transition(s, t), solved(*parameters, noise_free, s, t), strict=True):
        close(found, expected, 1e-9)


@every
@pytest.mark.parametrize("t", [0.05, 0.3, 1.0])
def test_marginal_is_the_kernel_as_psld_prints_it(process, t):
    fx, fm, m, beta = process.friction_x, process.friction_m, 1 / process.mass_inv, process.beta
    b = beta * t if isinstance(beta, float) else beta[0] * t + (beta[1] - beta[0]) * t**2 / 2
    xx0, mm0, e, lag = 0.0, process.momentum_var * m, math.exp((fm + fx) * b / 2), fm - fx
    xx = b**2 * xx0 / (4 * m) + b**2 * mm0 / (4 * m**2) + lag * b * xx0 / 2 - b**2 / (2 * m) - lag * b / 2 + e - 1 + xx0
    xm = -lag * b**2 * xx0 / 8 - lag * b**2 * mm0 / (8 * m) - b * xx0 / 2 + b * mm0 / (2 * m) + lag * b**2 / 4
    mm = b**2 * xx0 / 4 + b**2 * mm0 / (4 * m) - lag * b * mm0 / 2 - b**2 / 2 + m * lag * b / 2 + m * (e - 1) + mm0
    mean = np.array([[lag * b / 4 + 1, lag**2 * b / 8], [-b / 2, -lag * b / 4 + 1]]) / math.sqrt(e)
    a, c = process.marginal(t)
    close(a, mean, 1e-13)
    close(c, np.array([[xx, xm], [xm, mm]]) / e, 1e-13)


@pytest.mark.parametrize("t", [0.03, 0.4, 1.0])
def test_without_friction_on_x_it_is_cld(t):
    """CLD's own symbols: dx = v β/M dt, dv = (−x − Γ v/M) β dt + √(2Γβ) dw, Γ² = 4M, B = βt; its β is half of ours."""
    m, friction, beta = 0.25, 1.0, 4.0
    b, vv0 = beta * t, 0.04 * m
    k = b / friction
    mean = np.array([[1 + 2 * k, 4 * k / friction], [-b, 1 - 2 * k]]) * math.exp(-2 * k)
    xx = math.expm1(4 * k) - 4 * k - 8 * k**2 + 16 * k**2 / friction**2 * vv0
    xv = 4 * k / friction * vv0 + 4 * b * k - 8 * k**2 / friction * vv0
    vv = friction**2 / 4 * math.expm1(4 * k) + b * friction + vv0 * (1 + 4 * k**2 - 4 * k) - 2 * b**2
    a, c = PSLDS["cld"].marginal(t)
    close(a, mean, 1e-13)
    expected = np.array([[xx, xv], [xv, vv]]) * math.exp(-4 * k)
    close(c, expected, 1e-13)


# ---- any friction ----------------------------------------------------------------------------------------------------

PARAMETERS = dict(mass_inv=st.floats(0.1, 10), friction_x=st.floats(0, 6), friction_m=st.floats(0, 6))


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(**PARAMETERS, beta=st.floats(0.1, 20), times=st.lists(st.floats(0, 1), min_size=3, max_size=3, unique=True))
def test_any_damping_composes_and_keeps_its_prior(mass_inv, friction_x, friction_m, beta, times):
    assume(friction_x + friction_m > 1e-3)
    process = langevin_sde(mass_inv, friction_x, friction_m, beta)
    r, s, t = sorted(times)
    (phi_rs, sigma_rs), (phi_st, sigma_st), (phi, sigma) = (
        process.transition(*pair) for pair in ((r, s), (s, t), (r, t))
    )
    prior = torch.diag(torch.tensor([1.0, 1 / mass_inv], dtype=torch.float64))
    close(phi, phi_st @ phi_rs, 1e-11)
    close(sigma, phi_st @ sigma_rs @ phi_st.mT + sigma_st, 1e-11)
    close(phi @ prior @ phi.mT + sigma, prior, 1e-11)
    assert torch.linalg.det(phi).item() == pytest.approx(math.exp(-beta * (t - r) * (friction_x + friction_m) / 2))


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    mass_inv=st.floats(0.1, 10),
    friction=st.floats(0, 6),
    swap=st.booleans(),
    beta=st.floats(0.1, 20),
    t=st.floats(1e-6, 1),
)
def test_critical_damping_is_the_recipes_whatever_the_parameters(mass_inv, friction, swap, beta, t):
    pair = (friction, friction + 2 * math.sqrt(mass_inv))
    process = PSLD(mass_inv, *(reversed(pair) if swap else pair), beta)
    for found, expected in zip(process.transition(0.0, t), process.recipe.transition(0.0, t), strict=True):
        close(found, expected, 1e-10 * max(1, expected.abs().max().item()))


@pytest.mark.parametrize(("friction_x", "friction_m"), [(0.0, 0.4), (0.0, 9.0), (0.3, 1.0)])
def test_discriminant_says_whether_the_position_swings(friction_x, friction_m):
    """(Γ − ν)² < 4 M⁻¹ is underdamped: the eigenvalues of the mean are complex, and it turns."""
    eigenvalues = torch.linalg.eigvals(langevin_sde(4.0, friction_x, friction_m).drift)
    assert (eigenvalues.imag.abs().max() > 1e-6) == ((friction_x - friction_m) ** 2 < 16)


@every
def test_it_forgets_the_data_towards_its_prior(process):
    a, c = PSLD(process.mass_inv, process.friction_x, process.friction_m, 200.0).marginal(1.0)
    close(a, np.zeros((2, 2)), 1e-12)
    close(c, process.prior_covariance(), 1e-12)


@pytest.mark.parametrize("step", ["normal", "laplace", "rademacher"])
def test_a_walk_of_small_structured_steps_has_the_law_of_the_process(step):
    """Euler–Maruyama of the printed SDE with steps of any law, from x = 1 and m ~ N(0, 0.04 M) to t = 0.3."""
    process, n_paths, n_steps, end = PSLDS["psld"], 2000, 1000, 0.3
    draws, span, (mass_inv, fx, fm, beta) = torch.Generator().manual_seed(0), end / n_steps, (4.0, 0.01, 4.01, 8.0)
    x, m = torch.ones(n_paths).double(), 0.1 * torch.randn(n_paths, generator=draws, dtype=torch.float64)
    for _ in range(n_steps):
        xi = get(step).sample((2, n_paths), generator=draws, dtype=torch.float64) * math.sqrt(beta * span)
        dx = beta / 2 * (mass_inv * m - fx * x) * span + math.sqrt(fx) * xi[0]
        dm = beta / 2 * (-x - fm * m) * span + math.sqrt(fm / mass_inv) * xi[1]
        x, m = x + dx, m + dm
    a, c = process.marginal(end)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(c), torch.stack([x, m]) - a[:, :1], upper=False)
    for coordinate in white.numpy():
        assert stats.kstest(coordinate, "norm").pvalue > 1e-4


# ---- posteriors, and what is sampled by them -------------------------------------------------------------------------


@every
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.1), (1e-4, 2e-4), (0.01, 0.02), (0.3, 0.9)])
def test_posterior_is_the_conditional_of_the_joint_law(process, s, t):
    """Schur complement of the joint law of (z_s, z_t) given z_0, in 60 digits."""
    (a_s, c_s), (phi, sigma) = process.marginal(s), process.transition(s, t)
    with mpmath.workdps(60):
        a, c, f, n = (mpmath.matrix(part.tolist()) for part in (a_s, c_s, phi, sigma))
        gain = c * f.T * mpmath.inverse(f * c * f.T + n)
        expected = gain, a - gain * f * a, c - gain * f * c
    coef_xt, coef_x0, chol = process.posterior(s, t)
    for found, exact in zip((coef_xt, coef_x0, chol @ chol.mT), expected, strict=True):
        exact = np.array(exact.tolist(), dtype=float)
        close(found, exact, 1e-10 * max(1e-3, abs(exact).max()))


@every
def test_a_chain_of_posteriors_has_the_marginals_of_the_process(process):
    """Given the data, walking the posteriors from z_1 ~ q(z_1 | z_0) keeps mean map and covariance at every time."""
    times = uniform_times(50)
    a, c = process.marginal(1.0)
    for s, t in zip(times[:-1].flip(0), times[1:].flip(0), strict=True):
        coef_xt, coef_x0, chol = process.posterior(s, t)
        a, c = coef_xt @ a + coef_x0, coef_xt @ c @ coef_xt.mT + chol @ chol.mT
        for found, expected in zip((a, c), process.marginal(s), strict=True):
            close(found, expected, 1e-9)


@every
@pytest.mark.parametrize(("s", "t"), [(1e-3, 2e-3), (0.05, 0.1), (0.3, 0.31), (0.4, 1.0)])
def test_whitened_error_is_the_information_on_the_data_that_is_lost_in_a_step(process, s, t):
    """|delta|² = (SNR(s) − SNR(t)) (x̂0 − x0)² summed over x and m, with SNR = aᵀC⁻¹a, a the column of x_0 in A."""
    snr = []
    for time in (s, t):
        a, c = process.marginal(time)
        snr.append((a[:, 0] @ torch.linalg.solve(c, a[:, 0])).item())
    error = torch.tensor([0.3, 0.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    delta = whitened_error(process, s, t, error, torch.zeros_like(error))[0]
    assert delta.square().sum().item() == pytest.approx(0.09 * (snr[0] - snr[1]), rel=1e-8)


def predict(law: Mixture, process, zt, t):
    """(x̂0, 0) of z_t (B, 2, ...): with a, C the column of x_0 and the covariance, x_0 enters z_t by y = aᵀC⁻¹z / aᵀC⁻¹a
    alone, and y = x_0 + sigma eps with sigma² = 1 / aᵀC⁻¹a, so the denoiser of x_0 + sigma eps serves.
    """
    a, c = process.marginal(t)
    weight = torch.linalg.solve(c, a[:, :1])[:, 0]
    sigma = (weight @ a[:, 0]).rsqrt()
    y = (apply(torch.diag(weight), zt).unflatten(1, (2, -1)).sum(1)) * sigma.square()
    x0_hat = law.denoiser(y.reshape(-1, 1), sigma.expand(y.numel())).reshape(y.shape)
    return torch.cat([x0_hat, torch.zeros_like(x0_hat)], 1)


def test_clean_data_is_predicted_by_a_denoiser_of_one_variable():
    """E[x_0 | z_t] by Bayes' rule in two dimensions on a grid of x_0."""
    process, t = PSLDS["psld"], 0.15
    a, c = process.marginal(t)
    zt = torch.tensor([[0.3, -0.2], [-0.6, 0.4], [0.9, 0.1]]).double()
    x0 = np.linspace(-2.5, 2.5, 20001)
    density = np.gradient(MIXTURE_1D.cdf(x0), x0)
    for z, found in zip(zt.numpy(), predict(MIXTURE_1D, process, zt[..., None, None], t)[:, 0].flatten(), strict=True):
        joint = density * stats.multivariate_normal(np.zeros(2), c.numpy()).pdf(z - x0[:, None] * a[:, 0].numpy())
        assert found.item() == pytest.approx((joint * x0).sum() / joint.sum(), abs=1e-6)


@pytest.mark.parametrize("step", ["normal", "laplace", "gumbel"])
@pytest.mark.parametrize("name", ["psld", "cld"])
def test_ancestral_samples_in_phase_space_follow_the_law_of_the_data(name, step):
    process, draws, times = PSLDS[name], torch.Generator().manual_seed(0), uniform_times(250)
    shape = (1, 2, 64, 64)
    zt = apply(cholesky(process.prior_covariance()), torch.randn(shape, generator=draws, dtype=torch.float64))
    for s, t in zip(times[:-1].flip(0), times[1:].flip(0), strict=True):
        coef_xt, coef_x0, chol = process.posterior(s, t)
        noise = get(step).sample(shape, generator=draws, dtype=torch.float64)
        zt = apply(coef_xt, zt) + apply(coef_x0, predict(MIXTURE_1D, process, zt, t)) + apply(chol, noise)
    # 2.23/√n is the quantile at 1e-4; 0.01 is what 250 steps are allowed to be off.
    assert stats.kstest(zt[:, 0].flatten(), MIXTURE_1D.cdf).statistic < 2.23 / 64 + 0.01


def test_prior_kl_counts_both_variables():
    process = PSLD(beta=2.0)
    a, c = process.marginal(1.0)
    x0 = torch.linspace(-1, 1, 6).reshape(1, 1, 2, 3).double()
    prior = torch.distributions.MultivariateNormal(torch.zeros(2).double(), process.prior_covariance())
    expected = sum(
        torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(a[:, 0] * x, c), prior).item()
        for x in x0.flatten()
    )
    assert prior_kl(process, x0).item() == pytest.approx(expected, rel=1e-10)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(friction_m=3.0), r"friction_m = 3.0 is not critical: .* must be 4.01; langevin_sde"),
        (dict(friction_x=0.25, friction_m=4.0), "must be 4.25;"),
        (dict(friction_x=5.0, friction_m=4.0), "must be 9 or 1;"),
        (dict(friction_m=4.01 + 1e-9), "must be 4.01;"),
        (dict(mass_inv=1.0), "must be 2.01;"),
        (dict(mass_inv=0.0), "mass_inv must be positive, found 0.0"),
        (dict(friction_x=-0.1, friction_m=3.9), "friction_x must not be negative, found -0.1"),
        (dict(friction_m=math.nan), "friction_m must not be negative, found nan"),
        (dict(momentum_var=-1.0), "momentum_var must not be negative, found -1.0"),
        (dict(beta=-8.0), "beta .* found -8.0"),
    ],
)
def test_what_the_closed_form_does_not_cover_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        PSLD(**options)


def test_any_damping_goes_by_its_recipe_and_none_at_all_is_refused():
    assert isinstance(langevin_sde(friction_m=3.0), LinearSDE)
    with pytest.raises(ValueError, match="does not reach all variables"):
        langevin_sde(friction_x=0.0, friction_m=0.0)
    with pytest.raises(ValueError, match="mass_inv must be positive"):
        langevin_sde(mass_inv=-1.0)


def test_equal_parameters_are_equal_processes():
    assert PSLD() == PSLD(friction_x=0.01)
    assert len({PSLD(), PSLD(), PSLDS["cld"]}) == 2


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_with_large_friction_the_position_moves_as_in_vp():
    """M⁻¹ = ν → ∞ without friction on x: dx → −½βx dt + √β dw; the gap of mean and variance falls as 1/M⁻¹."""
    gaps, t, beta = [], 0.4, 4.0
    decay = math.exp(-beta * t / 2)
    for mass_inv in (20.0, 40.0, 80.0, 160.0):
        a, c = langevin_sde(mass_inv, 0.0, mass_inv, beta, momentum_var=1.0).marginal(t)
        gaps.append((abs(a[0, 0].item() - decay), abs(c[0, 0].item() - (1 - decay**2))))
    for wide, narrow in pairwise(gaps):
        for before, after in zip(wide, narrow, strict=True):
            assert 1.6 < before / after < 2.6
