"""Component-wise schedules: VP, objective and prior act on each component as the scalar ones do on its own schedule."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import normals

from nonnormal.bases import DCT, PCA, PIXEL, Haar, Whitened
from nonnormal.data import load
from nonnormal.denoisers import NormalDenoiser
from nonnormal.objectives.bounds import prior_kl
from nonnormal.objectives.losses import ELBO, Design, Loss, marginal_state, whitened_error
from nonnormal.processes import VP, apply
from nonnormal.processes.schedules import (
    ComponentWise,
    LinearLogSNR,
    Schedule,
    column_labels,
    sequential,
    variance_labels,
)
from nonnormal.steps import get

DOUBLE = torch.float64
SHAPE = (2, 2, 3)


def close(found, expected, tolerance=1e-13):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def random_schedule(seed, softness=1.0, shape=SHAPE, **options):
    """Labels and variances that have nothing to do with each other."""
    variance = (2 * normals(*shape, seed=seed + 1)).exp()
    return ComponentWise(normals(*shape, seed=seed), softness, variance, 6.0, -4.0, **options)


class Alone(Schedule):
    """The schedule of one component, by its own two ends."""

    def __init__(self, schedule, place):
        first, last = (schedule.log_snr(t)[place].item() for t in (0.0, 1.0))
        self.line = LinearLogSNR(first, last)

    def log_snr(self, t):
        return self.line.log_snr(t)


RANDOM = [random_schedule(0), random_schedule(5, 0.3), random_schedule(9, math.inf)]
CAPPED = [random_schedule(0, 0.1, low=-4.0, high=6.0), sequential(column_labels(SHAPE), 1.0, 6.0, -4.0)]
TIMES = [(0.0, 0.3, 1.0), (0.0, 0.01, 0.02), (0.2, 0.5, 0.51), (0.9, 0.95, 1.0)]


@pytest.mark.parametrize("t", [0.4, torch.tensor([0.0, 0.3, 1.0]), torch.rand(2, 3)], ids=["()", "(3,)", "(2, 3)"])
@pytest.mark.parametrize("schedule", [*RANDOM, *CAPPED])
def test_shapes(schedule, t):
    process, expected = VP(schedule), (*torch.as_tensor(t).shape, *SHAPE, 1, 1)
    later = torch.as_tensor(t, dtype=DOUBLE) * 0.5 + 0.5
    earlier = later - 0.25
    parts = [*process.marginal(t), *process.transition(earlier, later), *process.posterior(earlier, later)]
    assert [part.shape for part in parts] == [expected] * 7
    assert {part.dtype for part in parts} == {DOUBLE}
    assert all(part.isfinite().all() for part in parts)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    softness=st.floats(0.05, 20),
    times=st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True),
)
def test_each_component_moves_as_if_alone(seed, softness, times):
    schedule, (s, t) = random_schedule(seed, softness), (time / 1000 for time in sorted(times))
    together = VP(schedule)
    parts = [*together.marginal(t), *together.transition(s, t), *together.posterior(s, t)]
    place = tuple(np.random.default_rng(seed).integers(0, SHAPE))
    alone = VP(Alone(schedule, place))
    expected = [*alone.marginal(t), *alone.transition(s, t), *alone.posterior(s, t)]
    for part, single in zip(parts, expected, strict=True):
        torch.testing.assert_close(part[place], single, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", [*RANDOM, *CAPPED])
@pytest.mark.parametrize(("r", "s", "t"), TIMES)
def test_transitions_compose(schedule, r, s, t):
    process = VP(schedule)
    (phi_rs, sigma_rs), (phi_st, sigma_st) = process.transition(r, s), process.transition(s, t)
    phi_rt, sigma_rt = process.transition(r, t)
    close(phi_rt, phi_st @ phi_rs)
    close(sigma_rt, phi_st @ sigma_rs @ phi_st.mT + sigma_st)


@pytest.mark.parametrize("schedule", [*RANDOM, *CAPPED])
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.5), (0.01, 0.02), (0.3, 0.8), (0.99, 1.0)])
def test_posterior_carries_the_marginal_at_t_to_that_at_s(schedule, s, t):
    process = VP(schedule)
    (a_s, c_s), (a_t, c_t) = process.marginal(s), process.marginal(t)
    coef_xt, coef_x0, chol = process.posterior(s, t)
    close(coef_xt @ a_t + coef_x0, a_s, 1e-12)
    close(coef_xt @ c_t @ coef_xt.mT + chol @ chol.mT, c_s, 1e-12)


def test_small_transitions_are_the_sde():
    """dx = −½ β x dt + √β dw with β = σ² γ̇: Σ(t, t + h)/h → β and (1 − Φ)/h → β/2, per component."""
    schedule, t, h = RANDOM[1], 0.4, 1e-6
    phi, sigma = VP(schedule).transition(t, t + h)
    slope = schedule.log_snr(0.0) - schedule.log_snr(1.0)  # γ̇, as γ is linear
    beta = torch.sigmoid(-schedule.log_snr(t)) * slope
    torch.testing.assert_close(sigma[..., 0, 0] / h, beta, rtol=1e-4, atol=0)
    torch.testing.assert_close((1 - phi[..., 0, 0]) / h, beta / 2, rtol=1e-4, atol=0)


# ---- clipped components ----------------------------------------------------------------------------------------------


def test_waiting_components_stand_still():
    """Three columns, a third of the time each; the last column is noised first. In between nothing is not a number."""
    schedule = sequential(column_labels((1, 1, 3)), 1.0, 6.0, -4.0)
    process = VP(schedule)
    for third in range(3):
        s, t = third / 3 + 0.05, third / 3 + 0.3
        phi, sigma = (part.flatten() for part in process.transition(s, t))
        coef_xt, coef_x0, chol = (part.flatten() for part in process.posterior(s, t))
        still = torch.arange(3) != 2 - third
        close(phi[still], torch.ones(2, dtype=DOUBLE), 0)
        close(sigma[still], torch.zeros(2, dtype=DOUBLE), 0)
        close(coef_xt[still], torch.ones(2, dtype=DOUBLE), 1e-15)
        for part in (coef_x0, chol):
            close(part[still], torch.zeros(2, dtype=DOUBLE), 1e-15)
        assert 0 < phi[~still] < 1
        assert 0 < coef_xt[~still] < 1
        assert min(part[~still].item() for part in (sigma, coef_x0, chol)) > 0


# ---- what the schedule says of standard diffusion --------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load("digits").train.images.double() / 8 - 1


FLOOR = 2 / 16 / math.sqrt(12)


def fitted(digits, kind):
    basis = {"pixel": PIXEL, "pca": None, "dct": DCT(), "haar": Haar(3)}[kind] or PCA.fit(digits)
    return Whitened.fit(basis, digits, FLOOR)


@pytest.mark.parametrize("kind", ["pixel", "pca", "dct", "haar"])
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.01), (0.3, 0.31), (0.2, 0.9), (0.0, 1.0)])
def test_variance_labels_with_softness_one_are_standard_diffusion(digits, kind, s, t):
    """Unwhitened: VP itself with one linear log-SNR, from log_snr_max − log Σ_min to log_snr_min − log Σ_max."""
    variance = fitted(digits, kind).std.square()
    schedule = ComponentWise(variance_labels(variance), 1.0, variance, 6.0, -4.0)
    scalar = LinearLogSNR(6.0 - variance.min().log().item(), -4.0 - variance.max().log().item())
    found = [*VP(schedule).transition(s, t), *VP(schedule).marginal(t), *VP(schedule).posterior(s, t)]
    expected = [*VP(scalar).transition(s, t), *VP(scalar).marginal(t), *VP(scalar).posterior(s, t)]
    for part, single in zip(found, expected, strict=True):
        close(part, single.expand_as(part), 1e-12)


@pytest.mark.parametrize(("s", "t"), [(0.0, 0.01), (0.3, 0.31), (0.2, 0.9), (0.0, 1.0)])
def test_whitened_variance_labels_with_softness_one_are_standard_diffusion_too(digits, s, t):
    """Whitened: in VE coordinates y = S chi_t/alpha, which grow by one and the same noise in all components."""
    std = fitted(digits, "pca").std
    whitened = VP(ComponentWise(variance_labels(std.square()), 1.0, None, 6.0, -4.0))
    scalar = VP(LinearLogSNR(6.0 - 2 * std.min().log().item(), -4.0 - 2 * std.max().log().item()))
    (phi, sigma), (phi_1, sigma_1) = whitened.transition(s, t), scalar.transition(s, t)
    (a_s, _), (a_t, _), (b_s, _), (b_t, _) = (p.marginal(time) for p in (whitened, scalar) for time in (s, t))
    close(phi * a_s / a_t, torch.ones_like(phi), 1e-12)
    scale = std.square()[..., None, None]
    noise, noise_1 = scale * sigma / a_t.square(), sigma_1 / b_t.square()
    torch.testing.assert_close(noise, noise_1.expand_as(noise), rtol=1e-11, atol=0)
    close(phi_1 * b_s / b_t, torch.ones_like(phi_1), 1e-12)


def test_whitening_changes_the_coordinates_and_nothing_else(digits):
    """Any softness: delta of the same error is the same, counted in c with Σ or in chi without."""
    white = fitted(digits, "dct")
    labels, variance = DCT().frequency((1, 8, 8)), white.std.square()
    x0, x0_hat = digits[:4], digits[4:8]
    plain = VP(ComponentWise(labels, 0.05, variance, 6.0, -4.0))
    chi = VP(ComponentWise(labels, 0.05, None, 6.0, -4.0))
    found = whitened_error(plain, 0.3, 0.4, white.basis.forward(x0_hat), white.basis.forward(x0))[0]
    torch.testing.assert_close(
        found, whitened_error(chi, 0.3, 0.4, white.forward(x0_hat), white.forward(x0))[0], rtol=1e-8, atol=1e-10
    )


# ---- what is built on a process --------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [(0.25, 0.75), (torch.tensor([0.1, 0.2, 0.6]), torch.tensor([0.2, 0.9, 0.61]))])
@pytest.mark.parametrize("schedule", RANDOM)
def test_whitened_error_is_the_root_of_each_components_gain_in_snr(schedule, times):
    x0, x0_hat, (s, t) = normals(3, *SHAPE), normals(3, *SHAPE, seed=1), times
    high, low = schedule.log_snr(s), schedule.log_snr(t)
    gain = low.exp() * torch.expm1(high - low)  # SNR_i(s) − SNR_i(t)
    found = whitened_error(VP(schedule), s, t, x0_hat, x0)[0]
    torch.testing.assert_close(found, gain.sqrt() * (x0_hat - x0), rtol=1e-10, atol=0)


def test_what_waits_costs_nothing_and_owes_nothing():
    """Of a schedule in which at most half of the components move at once; K(0) of uniform/normal is 0.18 nats."""
    process, loss = VP(sequential(column_labels(SHAPE), 1.5, 6.0, -4.0)), Loss(get("uniform"), get("normal"))
    n_steps, x0, x0_hat = 50, normals(3, *SHAPE), normals(3, *SHAPE, seed=1)
    moving = 0
    for k in range(n_steps):
        s, t = k / n_steps, (k + 1) / n_steps
        moves = (process.schedule.log_snr(s) > process.schedule.log_snr(t)).expand(3, *SHAPE)
        found = loss.masked(*loss.error(process, s, t, x0_hat, x0))
        assert (found[~moves] == 0).all()
        assert (found[moves] > loss.constant).all()
        moving += moves[0].sum().item()
    assert 0 < moving < 0.5 * n_steps * math.prod(SHAPE)
    assert loss.constant_cost(process, n_steps, SHAPE) == pytest.approx(loss.constant * moving, rel=1e-12)
    always = VP(LinearLogSNR(6.0, -4.0))
    assert loss.constant_cost(always, n_steps, SHAPE) == pytest.approx(
        loss.constant * n_steps * math.prod(SHAPE), rel=1e-12
    )


def test_training_does_not_see_what_waits():
    """The loss less its constant is that of the components that move."""
    process, pair = VP(sequential(column_labels(SHAPE), 1.5, 6.0, -4.0)), (get("uniform"), get("normal"))
    x0, denoiser = normals(4, *SHAPE), NormalDenoiser(torch.zeros(SHAPE, dtype=DOUBLE), torch.eye(12, dtype=DOUBLE))
    owing, free = (ELBO(Design(process, Loss(q, pair[1])), 50) for q in (pair[0], get("normal")))
    draws = owing.draw(x0.shape, torch.Generator().manual_seed(0), DOUBLE)
    close(owing.loss(denoiser, x0, *draws), free.loss(denoiser, x0, *draws))


@pytest.mark.parametrize("schedule", [*RANDOM, *CAPPED])
def test_marginal_state_mixes_each_component_by_its_own_snr(schedule):
    x0, noise, t = normals(3, *SHAPE), normals(3, *SHAPE, seed=1), torch.tensor([0.0, 0.4, 1.0])
    log_snr = schedule.log_snr(t)
    expected = torch.sigmoid(log_snr).sqrt() * x0 + torch.sigmoid(-log_snr).sqrt() * noise
    close(marginal_state(VP(schedule), x0, t, noise), expected, 1e-12)
    for i, time in enumerate(t):  # a time for each image, or one for all
        close(marginal_state(VP(schedule), x0, time, noise)[i], expected[i], 1e-12)


def test_apply_multiplies_each_component():
    phi, _ = VP(RANDOM[0]).transition(0.2, 0.7)
    x = normals(4, *SHAPE)
    assert torch.equal(apply(phi, x), phi[..., 0, 0] * x)
    assert apply(phi, x.float()).dtype == torch.float32


@pytest.mark.parametrize("schedule", [*RANDOM, *CAPPED])
def test_prior_kl_is_the_sum_over_components(schedule):
    c0, log_snr = normals(3, *SHAPE), schedule.log_snr(1.0)
    alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    marginal = torch.distributions.Normal(alpha * c0, sigma.expand_as(c0))
    expected = torch.distributions.kl_divergence(marginal, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(prior_kl(VP(schedule), c0), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_steps", [16, 64, 256])
def test_bound_of_exact_normal_data_does_not_depend_on_the_order(n_steps):
    """Standard normal components, exact denoiser: diffusion's part is Σ_k ½ (SNR_s − SNR_t)/(1 + SNR_t) each.

    It is a Riemann sum of ½ ∫ dSNR/(1 + SNR) = ½ log((1 + SNR_0)/(1 + SNR_1)) whatever way a component takes.
    """
    schedule = sequential(column_labels((1, 1, 4)), 0.5, 4.0, -4.0)
    times = torch.arange(n_steps + 1, dtype=DOUBLE) / n_steps
    snr = schedule.log_snr(times).exp()
    found = ((snr[:-1] - snr[1:]) / (1 + snr[1:]) / 2).sum(0).flatten()
    exact = 0.5 * math.log((1 + math.exp(4)) / (1 + math.exp(-4)))
    # One step of a component's own fall of 8 over a window of 0.4 spans 20/n: the first-order error of the sum.
    assert (found > exact).all()
    assert (found - exact < 45 / n_steps).all()
    # The loss says the same of an error of one standard deviation of the posterior, 1/√(1 + SNR_t).
    moving = snr[:-1] > snr[1:]
    s, t = times[:-1], times[1:]
    gap = (1 + snr[1:]).rsqrt()
    normal = Loss("normal", "normal")
    loss = normal.masked(*normal.error(VP(schedule), s, t, gap, torch.zeros_like(gap)))
    torch.testing.assert_close(loss[moving].sum(), found.sum(), rtol=1e-9, atol=0)
