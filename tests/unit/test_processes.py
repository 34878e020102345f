"""Processes: the algebra of the base class against brute force, VP against VDM's closed forms, VE against VP."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from problems import MIXTURE_1D, NORMAL_1D, PROCESSES, SEVENTEEN_LEVELS, VPS, PerPixel, PhaseSpace
from scipy import stats

from nonnormal.objectives.bounds import bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.processes import PSLD, VE, VP, apply, as_time, cholesky, langevin_sde, ordered, uniform_times
from nonnormal.processes.schedules import Schedule
from nonnormal.samplers import sample_ancestral
from nonnormal.steps import get

VES = {"ve-edm": VE(), "ve-short": VE(0.05, 3.0, 2.0)}
ALL = {
    **PROCESSES,
    **VES,
    "psld": PSLD(),
    "cld": PSLD(friction_x=0.0, friction_m=4.0),
    "underdamped": langevin_sde(mass_inv=4.0, friction_x=0.1, friction_m=1.0, beta=(1.0, 9.0)),
}
TIMES = [(0.0, 0.3, 1.0), (0.0, 0.01, 0.02), (0.2, 0.5, 0.51), (0.9, 0.95, 1.0)]


def every(table):
    return pytest.mark.parametrize("process", table.values(), ids=table.keys())


def close(found, expected, tolerance=1e-13):
    """Equal up to `tolerance` times the largest entry, or 1 if that is larger."""
    atol = tolerance * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@every(VPS)
def test_vp_preserves_variance(process):
    for t in np.linspace(0, 1, 11):
        a, c = process.marginal(t)
        assert (a.shape, a.dtype, c.shape, c.dtype) == ((1, 1), torch.float64, (1, 1), torch.float64)
        assert (a.square() + c).item() == pytest.approx(1, abs=1e-14)


@every(VPS)
def test_vp_has_the_log_snr_of_its_schedule(process):
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    a, c = process.marginal(t)
    close((a.square() / c).log()[:, 0, 0], process.schedule.log_snr(t), 1e-11)


@every(ALL)
@pytest.mark.parametrize(("r", "s", "t"), TIMES)
def test_transitions_compose(process, r, s, t):
    (phi_rs, sigma_rs), (phi_st, sigma_st) = process.transition(r, s), process.transition(s, t)
    phi_rt, sigma_rt = process.transition(r, t)
    close(phi_rt, phi_st @ phi_rs)
    close(sigma_rt, phi_st @ sigma_rs @ phi_st.mT + sigma_st)


@every(ALL)
def test_marginal_at_zero_is_the_initial_law(process):
    a, c = process.marginal(0.0)
    a0, c0 = process.initial()
    assert torch.equal(a, a0)
    assert torch.equal(c, c0)


@every(ALL)
@pytest.mark.parametrize(("r", "s", "t"), TIMES)
def test_marginal_moves_by_the_transition(process, r, s, t):
    (a_s, c_s), (a_t, c_t) = process.marginal(s), process.marginal(t)
    phi, sigma = process.transition(s, t)
    close(a_t, phi @ a_s)
    close(c_t, phi @ c_s @ phi.mT + sigma)


@every(VPS)
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.01), (0.0, 1.0), (0.3, 0.31), (0.6, 0.9)])
def test_vp_posterior_is_vdms(process, s, t):
    coef_xt, coef_x0, chol = (part.item() for part in process.posterior(s, t))
    (alpha_s, var_s), (alpha_t, var_t) = (
        (math.sqrt(1 / (1 + math.exp(-log_snr))), 1 / (1 + math.exp(log_snr)))
        for log_snr in (process.schedule.log_snr(s).item(), process.schedule.log_snr(t).item())
    )
    ratio = alpha_t / alpha_s
    var_ts = var_t - ratio**2 * var_s
    assert coef_xt == pytest.approx(ratio * var_s / var_t, rel=1e-10)
    assert coef_x0 == pytest.approx(alpha_s * var_ts / var_t, rel=1e-10)
    assert chol == pytest.approx(math.sqrt(var_ts * var_s / var_t), rel=1e-10)


@every(ALL)
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.5), (0.01, 0.02), (0.3, 0.8), (0.99, 1.0)])
def test_posterior_carries_the_marginal_at_t_to_that_at_s(process, s, t):
    (a_s, c_s), (a_t, c_t) = process.marginal(s), process.marginal(t)
    coef_xt, coef_x0, chol = process.posterior(s, t)
    a0 = torch.eye(process.n, dtype=torch.float64)
    close(coef_xt @ a_t + coef_x0 @ a0, a_s, 1e-12)
    close(coef_xt @ c_t @ coef_xt.mT + chol @ chol.mT, c_s, 1e-12)


@pytest.mark.parametrize(("s", "t"), [(0.0, 0.2), (0.1, 0.15), (0.2, 1.0)])
def test_phase_space_posterior_is_the_conditional_of_the_joint_law(s, t):
    process = PhaseSpace()
    rng = np.random.default_rng(0)
    x0, xt = rng.normal(size=2), rng.normal(size=2)
    (a_s, c_s), (a_t, _) = (tuple(part.numpy() for part in process.marginal(time)) for time in (s, t))
    phi, sigma = (part.numpy() for part in process.transition(s, t))
    # Joint law of (x_s, x_t) given x_0, then conditioning by the Schur complement, all in numpy.
    joint = np.block([[c_s, c_s @ phi.T], [phi @ c_s, phi @ c_s @ phi.T + sigma]])
    inverse = np.linalg.inv(joint[2:, 2:])
    mean = a_s @ x0 + joint[:2, 2:] @ inverse @ (xt - a_t @ x0)
    covariance = joint[:2, :2] - joint[:2, 2:] @ inverse @ joint[2:, :2]
    coef_xt, coef_x0, chol = (part.numpy() for part in process.posterior(s, t))
    np.testing.assert_allclose(coef_xt @ xt + coef_x0 @ x0, mean, atol=1e-12)
    np.testing.assert_allclose(chol @ chol.T, covariance, atol=1e-13)


@every(ALL)
def test_batched_times_give_what_each_time_gives(process):
    s, t = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]), torch.tensor([[0.5, 0.6, 0.3], [1.0, 0.9, 0.8]])
    for found in (process.transition, process.posterior):
        batch = found(s, t)
        for i in range(2):
            for j in range(3):
                for part, single in zip(batch, found(s[i, j], t[i, j]), strict=True):
                    close(part[i, j], single)
    for part, single in zip(process.marginal(s), process.marginal(s[0, 0]), strict=True):
        close(part[0, 0], single)  # s[0, 0] = 0 takes a path of its own


@every(ALL)
def test_a_time_broadcasts_against_many(process):
    s = torch.tensor([0.1, 0.2, 0.3])
    for part, single in zip(process.posterior(s, 0.7), process.posterior(s[1], 0.7), strict=True):
        assert part.shape == (3, *single.shape)
        close(part[1], single)


@every(ALL)
@pytest.mark.parametrize(("s", "t"), [(0.5, 0.5), (0.7, 0.3)])
def test_times_out_of_order_are_refused(process, s, t):
    for method in (process.transition, process.posterior):
        with pytest.raises(ValueError, match="s < t"):
            method(s, t)


@every(ALL)
@pytest.mark.parametrize(("s", "t"), [(-0.1, 0.5), (0.5, 1.001), (math.nan, 0.5)])
def test_times_out_of_range_are_refused(process, s, t):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        process.transition(s, t)


def test_one_wrong_time_of_a_batch_is_refused():
    with pytest.raises(ValueError, match="s < t"):
        ordered(torch.tensor([0.1, 0.6]), torch.tensor([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        as_time(torch.tensor([0.1, 1.1]))


@every(VPS)
def test_vp_forgets_the_data_towards_its_prior(process):
    a, c = process.marginal(1.0)
    unit_data = a @ a.mT + c
    torch.testing.assert_close(unit_data, process.prior_covariance(), rtol=0, atol=1e-14)


def test_phase_space_prior_is_stationary():
    process = PhaseSpace()
    prior = process.prior_covariance()
    phi, sigma = process.transition(0.0, 0.7)
    close(phi @ prior @ phi.mT + sigma, prior, 1e-12)


# ---- VE -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogSNROf(Schedule):
    """log_snr(t) = −2 log sigma(t) of a VE process."""

    process: VE = field(default_factory=VE)

    def log_snr(self, t):
        return -2 * self.process.sigma(t).log()


def vp_like(process):
    return VP(LogSNROf(process=process))


@every(VES)
def test_ve_is_the_vp_of_its_log_snr_in_other_coordinates(process):
    vp = vp_like(process)
    for s, t in ((0.0, 0.01), (0.0, 1.0), (0.2, 0.3), (0.5, 0.500001), (0.99, 1.0)):
        (alpha_s, var_s), (alpha_t, _) = ((part.item() for part in vp.marginal(time)) for time in (s, t))
        assert [part.item() for part in process.marginal(s)] == pytest.approx([1, var_s / alpha_s**2], rel=1e-12)
        phi, sigma = (part.item() for part in vp.transition(s, t))
        expected = [phi * alpha_s / alpha_t, sigma / alpha_t**2]
        assert [part.item() for part in process.transition(s, t)] == pytest.approx(expected, rel=1e-9)
        coef_xt, coef_x0, chol = (part.item() for part in vp.posterior(s, t))
        expected = [coef_xt * alpha_t / alpha_s, coef_x0 / alpha_s, chol / alpha_s]
        assert [part.item() for part in process.posterior(s, t)] == pytest.approx(expected, rel=1e-9)


def test_uniform_times_give_edms_grid():
    i, n = np.arange(18), 18
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(VE().sigma(uniform_times(n - 1)).flip(0).numpy(), expected, rtol=1e-12)


def test_rho_of_one_is_linear_in_sigma():
    close(VE(1.0, 3.0, 1.0).sigma(torch.tensor([0.0, 0.25, 1.0])), torch.tensor([1.0, 1.5, 3.0]).double())


def test_ve_samples_are_those_of_the_vp_of_its_log_snr():
    """Up to the prior: N(0, sigma_max²) in VE coordinates is N(0, 1 − 1.6e-4) in VP's, which forget it."""
    ve, vp = (
        sample_ancestral(
            *(PerPixel(NORMAL_1D), process, get("laplace"), (2, 1, 8, 8)),
            **dict(times=uniform_times(20), seeds=[0, 1], dtype=torch.float64),
        )
        for process in (VE(), vp_like(VE()))
    )
    torch.testing.assert_close(ve, vp, rtol=0, atol=1e-4)
    assert ve.std() > 0.3


def test_ve_samples_follow_the_law_of_the_data():
    found = sample_ancestral(
        *(PerPixel(MIXTURE_1D), VE(), get("laplace"), (1, 1, 64, 64)), times=uniform_times(200), seeds=[0]
    )
    distance = stats.kstest(found.double().flatten().numpy(), lambda x: MIXTURE_1D.cdf(x, 0.002)).statistic
    # 2.23/√n is the quantile at 1e-4; 0.01 is what 200 steps are allowed to be off.
    assert distance < 2.23 / 64 + 0.01


@pytest.mark.parametrize("marginals", ["limit", "bridge"])
def test_ve_bound_is_that_of_the_vp_of_its_log_snr_but_for_the_prior(marginals):
    x0 = torch.randint(17, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)).double() / 8 - 1
    ve, vp = (
        bound(
            *(PerPixel(SEVENTEEN_LEVELS), Design(process, Loss("laplace", "laplace")), x0),
            **dict(levels=17, n_steps=12, seeds=[0, 1], marginals=marginals),
        )[0]
        for process in (VE(), vp_like(VE()))
    )
    torch.testing.assert_close(ve.diffusion, vp.diffusion, rtol=1e-8, atol=0)
    torch.testing.assert_close(ve.reconstruction, vp.reconstruction, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(ve.prior, x0.square().flatten(1).sum(1) / (2 * 80**2), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(sigma_min=0.0), "sigma_min = 0.0"),
        (dict(sigma_min=2.0, sigma_max=1.0), "sigma_max = 1.0"),
        (dict(sigma_max=math.inf), "sigma_max = inf"),
        (dict(sigma_min=math.nan), "sigma_min = nan"),
        (dict(rho=0.0), "rho .* found 0.0"),
    ],
)
def test_ve_refuses_ends_out_of_order(options, named):
    with pytest.raises(ValueError, match=named):
        VE(**options)


# ---- helpers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("leading", [(), (5,), (5, 2, 4, 3)], ids=["one", "per image", "per component"])
def test_apply_is_matrix_multiplication(n, leading):
    draws = torch.Generator().manual_seed(0)
    matrix = torch.randn(*leading, n, n, generator=draws, dtype=torch.float64)
    x = torch.randn(5, n * 2, 4, 3, generator=draws, dtype=torch.float64)
    full = matrix.reshape(*leading, *(1,) * (4 - len(leading)), n, n).expand(5, 2, 4, 3, n, n).numpy()
    expected = np.zeros(x.shape)
    for b, c, h, w in np.ndindex(5, 2, 4, 3):
        m = full[b, c, h, w]
        state = np.array([x[b, c + 2 * block, h, w] for block in range(n)])
        for block, value in enumerate(m @ state):
            expected[b, c + 2 * block, h, w] = value
    np.testing.assert_allclose(apply(matrix, x).numpy(), expected, atol=1e-13)


def test_apply_works_on_vectors_and_keeps_the_type_of_the_state():
    x = torch.ones(3, 2, dtype=torch.float32)
    product = apply(torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)[:, None, None], x)
    assert product.dtype == torch.float32
    assert product.tolist() == [[2, 2], [3, 3], [4, 4]]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_cholesky_of_regular_covariances(n):
    half = torch.randn(7, n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = half @ half.mT
    factor = cholesky(covariance)
    torch.testing.assert_close(factor, torch.linalg.cholesky(covariance), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "covariance",
    [
        [[0.0]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[0.0, 0.0], [0.0, 4.0]],
        [[4.0, 0.0], [0.0, 0.0]],
        [[1.0, 2.0], [2.0, 4.0]],
    ],
)
def test_cholesky_of_singular_covariances(covariance):
    covariance = torch.tensor(covariance, dtype=torch.float64)
    factor = cholesky(covariance)
    assert factor.isfinite().all()
    assert torch.equal(factor, factor.tril())
    close(factor @ factor.mT, covariance)


def test_uniform_times_hit_both_ends():
    times = uniform_times(7)
    assert (len(times), times[0].item(), times[-1].item(), times.dtype) == (8, 0.0, 1.0, torch.float64)
    close(times.diff(), torch.full((7,), 1 / 7, dtype=torch.float64), 1e-15)
