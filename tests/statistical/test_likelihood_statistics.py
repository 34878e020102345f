"""Bounds on laws with known entropy, and the bridge walk's moments for every step family."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import NORMAL_1D, NORMAL_STD, SEVENTEEN_LEVELS, STEPS, TWO_LEVELS, VPS, PerPixel, mmse
from scipy import stats

from nonnormal.objectives import bounds as likelihood
from nonnormal.objectives.bounds import bound, continuous_bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.processes import VP, uniform_times
from nonnormal.processes.schedules import LinearLogSNR
from nonnormal.steps import get

NORMAL = (get("normal"), get("normal"))
NORMAL_LOSS = Loss(*NORMAL)
# Ends so far out that prior and reconstruction are all but free.
FAR = VP(LinearLogSNR(10.0, -10.0))
DISCRETE = {"two levels": (TWO_LEVELS, 2), "17 levels": (SEVENTEEN_LEVELS, 17)}


class Recorder:
    """Keeps what a denoiser is asked."""

    def __init__(self, denoiser):
        self.denoiser, self.seen = denoiser, []

    def __call__(self, x, sigma):
        self.seen.append((x, torch.as_tensor(sigma).max().item()))
        return self.denoiser(x, sigma)


@pytest.fixture
def between_levels(monkeypatch):
    """Bounds take data between the grey levels, of which the diffusion term alone has a meaning."""
    monkeypatch.setattr(likelihood, "need_grey_levels", lambda x0, levels: None)


# ---- the bound -------------------------------------------------------------------------------------------------------


def proportional(law, n, side):
    """n images of side² pixels in which each level has its exact share: no sampling noise from the data."""
    counts = (law.weights * n * side**2).round().long()
    values = law.means[:, 0].repeat_interleave(counts)
    assert len(values) == n * side**2
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    return values[order].reshape(n, 1, side, side)


def bound_per_pixel(law, levels, n_steps, process=FAR):
    """(mean, standard error) of the normal-pair bound per pixel, nats."""
    x0 = proportional(law, 51 * 4, 8)
    point = Design(process, Loss(*NORMAL))
    [terms] = bound(PerPixel(law), point, x0, levels=levels, n_steps=n_steps, seeds=range(len(x0)))
    per_pixel = terms.total / 64
    return per_pixel.mean().item(), per_pixel.std().item() / math.sqrt(len(x0))


@pytest.mark.parametrize(("law", "levels"), DISCRETE.values(), ids=DISCRETE.keys())
def test_bound_lies_above_the_entropy_and_approaches_it(law, levels):
    gaps = []
    for n_steps in (4, 16, 64, 256):
        mean, error = bound_per_pixel(law, levels, n_steps)
        assert mean > law.entropy - 5 * error
        gaps.append(mean - law.entropy)
    assert gaps[0] > gaps[1] > gaps[2]
    # The gap is of first order in 1/T, so extrapolating it away from the last two leaves the entropy.
    assert gaps[3] < gaps[2] / 3 + 5 * error
    assert abs(4 * gaps[3] - gaps[2]) / 3 < 5 * math.sqrt(17 / 9) * error


@pytest.mark.parametrize(("law", "levels"), DISCRETE.values(), ids=DISCRETE.keys())
@pytest.mark.parametrize("n_steps", [4, 32])
def test_diffusion_is_the_sum_of_mmse_by_quadrature(law, levels, n_steps):
    """Σ_k ½ (SNR_{k−1} − SNR_k) mmse(t_k): what the normal pair pays with the exact denoiser, without any draw."""
    snr = FAR.schedule.log_snr(uniform_times(n_steps)).exp().tolist()
    expected = sum(0.5 * (high - low) * mmse(law, low**-0.5) for high, low in itertools.pairwise(snr))
    x0 = proportional(law, 51 * 4, 8)
    [terms] = bound(PerPixel(law), Design(FAR, Loss(*NORMAL)), x0, levels=levels, n_steps=n_steps, seeds=range(len(x0)))
    found = terms.diffusion / 64
    assert abs(found.mean() - expected) < 5 * found.std() / math.sqrt(len(found))


def test_diffusion_on_normal_data_has_its_closed_form(between_levels):
    process, n_steps, n = VPS["vp-digits"], 20, 400
    draws = torch.Generator().manual_seed(0)
    x0 = NORMAL_STD * torch.randn(n, 1, 8, 8, generator=draws, dtype=torch.float64)
    [terms] = bound(PerPixel(NORMAL_1D), Design(process, Loss(*NORMAL)), x0, levels=17, n_steps=n_steps, seeds=range(n))
    snr = process.schedule.log_snr(uniform_times(n_steps)).exp()
    # mmse(SNR) = s² / (1 + s² SNR); the Riemann sum of ½ mmse dSNR, from the noisy side of each step.
    expected = (0.5 * -snr.diff() * NORMAL_STD**2 / (1 + NORMAL_STD**2 * snr[1:])).sum()
    found = terms.diffusion / 64
    assert abs(found.mean() - expected) < 5 * found.std() / math.sqrt(n)


def test_fine_laplace_bound_is_twice_the_normal_one():
    """Fisher information 2: what q = p = laplace pays in the limit; K's next term |d|³ makes it late by 1/√T."""
    short = []
    for n_steps in (32, 128, 512, 2048):
        pair = (get("laplace"), get("laplace"))
        options = dict(levels=2, n_steps=n_steps, seeds=range(8), losses=[Loss(*pair), NORMAL_LOSS])
        x0 = proportional(TWO_LEVELS, 8, 8)
        laplace, normal = bound(PerPixel(TWO_LEVELS), Design(FAR, Loss(*pair)), x0, **options)
        short.append(2 - (laplace.diffusion.sum() / normal.diffusion.sum()).item())
    assert all(1.6 < coarse / fine < 2.4 for coarse, fine in itertools.pairwise(short))
    assert 0 < short[-1] < 0.2


@pytest.mark.parametrize("name", ["logistic", "student_t(df=5)", "gumbel", "generalized_normal(shape=4)"])
def test_fine_native_bound_is_the_fisher_information_times_the_normal_one(name):
    """Smooth steps: K ≈ I d²/2, so q = p pays I times the normal price, the closer the smaller the steps."""
    pair, off = (get(name), get(name)), []
    for n_steps in (64, 1024):
        options = dict(levels=2, n_steps=n_steps, seeds=range(8), losses=[Loss(*pair), NORMAL_LOSS])
        native, normal = bound(
            PerPixel(TWO_LEVELS), Design(FAR, Loss(*pair)), proportional(TWO_LEVELS, 8, 8), **options
        )
        off.append(abs((native.diffusion.sum() / normal.diffusion.sum()).item() / pair[0].fisher_information - 1))
    # 16 times the steps: a quarter of an error of order 1/√T, a sixteenth of one of order 1/T.
    assert off[1] < 0.4 * off[0]
    assert off[1] < 0.05


def test_bridge_and_limit_bounds_agree_for_the_normal_pair():
    """The bridge with a normal step has the limit's marginals: the same expectation from other draws."""
    x0, point = proportional(TWO_LEVELS, 204, 8), Design(FAR, Loss(*NORMAL))
    options = dict(levels=2, n_steps=16, seeds=range(204))
    [limit], [bridge] = (
        bound(PerPixel(TWO_LEVELS), point, x0, marginals=law, **options) for law in ("limit", "bridge")
    )
    for term in ("diffusion", "reconstruction"):
        gap = (getattr(limit, term) - getattr(bridge, term)) / 64
        assert abs(gap.mean()) <= 5 * gap.std() / math.sqrt(204)


def test_difference_of_bridge_and_limit_vanishes_with_the_step():
    x0, laplace = proportional(TWO_LEVELS, 204, 8), (get("laplace"), get("laplace"))
    gaps = []
    for n_steps in (4, 64):
        options = dict(levels=2, n_steps=n_steps, seeds=range(204))
        limit, bridge = (
            bound(PerPixel(TWO_LEVELS), Design(FAR, Loss(*laplace)), x0, marginals=law, **options)[0].diffusion.mean()
            for law in ("limit", "bridge")
        )
        gaps.append(abs(1 - bridge / limit))
    assert gaps[1] < gaps[0] / 2


# ---- leaving out steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_steps", "n_evaluations"), [(10, 1), (10, 4), (10, 5), (64, 3)])
def test_every_step_counts_once_in_expectation(n_steps, n_evaluations):
    """Visits of step k, weighted by T/n, have mean 1: so the sum of whatever is summed over the steps is unbiased."""
    n, process, seen = 3000, VPS["vp-digits"], []

    def keep(x, sigma):
        seen.append((x, sigma))
        return x

    x0 = torch.zeros(n, 1, 1, 1, dtype=torch.float64)
    options = dict(levels=17, n_steps=n_steps, n_evaluations=n_evaluations, seeds=range(n), batch_size=n)
    bound(keep, Design(process, Loss(*NORMAL)), x0, **options)
    levels = (-process.schedule.log_snr(uniform_times(n_steps)) / 2).exp()[1:]
    taken = torch.stack([(sigma.unsqueeze(1) / levels - 1).abs().argmin(1) for _, sigma in seen])
    visits = torch.nn.functional.one_hot(taken, n_steps).sum(0) * (n_steps / n_evaluations)
    error = visits.std(0) / math.sqrt(n)
    assert ((visits.mean(0) - 1).abs() <= 5 * error).all()
    # The state of a visit is that of its own time.
    noise = torch.cat([(x.flatten() / sigma) for x, sigma in seen])
    assert stats.kstest(noise.numpy(), stats.norm.cdf).pvalue > 1e-4


@pytest.mark.parametrize("pair", [("laplace", "laplace"), ("uniform", "normal")], ids="/".join)
def test_a_draw_of_the_steps_has_the_mean_of_all(pair):
    x0, steps = proportional(SEVENTEEN_LEVELS, 816, 4), tuple(map(get, pair))
    options = dict(levels=17, n_steps=60, losses=[Loss(*steps), NORMAL_LOSS], batch_size=816)
    point, denoiser = Design(FAR, Loss(*steps)), PerPixel(SEVENTEEN_LEVELS)
    whole = bound(denoiser, point, x0, seeds=range(816), **options)
    drawn = bound(denoiser, point, x0, seeds=range(1000, 1816), n_evaluations=7, **options)
    for every, few in zip(whole, drawn, strict=True):
        for term in ("diffusion", "reconstruction"):
            gap = (getattr(few, term) - getattr(every, term)) / 16
            assert abs(gap.mean()) <= 5 * gap.std() / math.sqrt(816)
        assert torch.equal(every.prior, few.prior)
        assert few.diffusion.std() > every.diffusion.std()  # the price of fewer calls


# ---- the limit of many steps -----------------------------------------------------------------------------------------


def continuous_per_pixel(law, levels, process=FAR, side=8, n=204):
    """Each term of the continuous bound per pixel (n,), nats, and the total."""
    x0 = proportional(law, n, side)
    terms = continuous_bound(PerPixel(law), process, x0, levels=levels, n_evaluations=32, seeds=range(n))
    return terms.prior / side**2, terms.diffusion / side**2, terms.reconstruction / side**2, terms.total / side**2


def assert_means(values, expected):
    error = values.std().item() / math.sqrt(len(values))
    assert abs(values.mean().item() - expected) <= 5 * error + 1e-9


def reconstruction_by_quadrature(law, levels, sigma):
    """−E log softmax_v(−(y − v)²/2σ²) at x0 by the trapezium rule over y."""
    values, eps = np.linspace(-1, 1, levels), np.linspace(-9, 9, 4001)
    total = 0.0
    for centre, weight in zip(law.means[:, 0].numpy(), law.weights.numpy(), strict=True):
        y = centre + sigma * eps
        log_mass = -(((y[:, None] - values) / sigma) ** 2) / 2
        log_p = -(eps**2) / 2 - np.logaddexp.reduce(log_mass, axis=1)
        total -= weight * np.trapezoid(log_p * stats.norm.pdf(eps), eps)
    return total


@pytest.mark.parametrize("process", [FAR, VP(LinearLogSNR(4.0, -3.0))], ids=["far ends", "near ends"])
@pytest.mark.parametrize(("law", "levels"), DISCRETE.values(), ids=DISCRETE.keys())
def test_continuous_terms_are_those_of_quadrature(law, levels, process):
    """½ ∫ e^λ mmse(λ) dλ between the ends, the prior's KL and the softmax over levels, none of them by drawing."""
    prior, diffusion, reconstruction, _ = continuous_per_pixel(law, levels, process)
    high, low = process.schedule.log_snr_max, process.schedule.log_snr_min
    log_snr = np.linspace(low, high, 31)
    integrand = [0.5 * math.exp(value) * mmse(law, math.exp(-value / 2)) for value in log_snr]
    assert_means(diffusion, np.trapezoid(integrand, log_snr))
    assert_means(reconstruction, reconstruction_by_quadrature(law, levels, math.exp(-high / 2)))
    second = (law.weights * law.means[:, 0].square()).sum().item()
    alpha2 = 1 / (1 + math.exp(-low))
    # KL(N(αx, 1 − α²) ‖ N(0, 1)), whose mean over the data is exact as each level has its exact share.
    expected = 0.5 * (alpha2 * second - alpha2 - math.log(1 - alpha2))
    assert prior.mean().item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("law", "levels"), DISCRETE.values(), ids=DISCRETE.keys())
def test_continuous_bound_is_the_entropy_where_ends_are_far(law, levels):
    """I-MMSE: with the exact denoiser and all of the log-SNR nothing is lost. Near ends leave a gap, and never less."""
    *_, total = continuous_per_pixel(law, levels)
    assert_means(total, law.entropy)
    *_, near = continuous_per_pixel(law, levels, VP(LinearLogSNR(1.0, -1.0)))
    assert near.mean() > law.entropy + 4 * near.std() / math.sqrt(len(near))


@pytest.mark.parametrize(("law", "levels"), DISCRETE.values(), ids=DISCRETE.keys())
def test_continuous_bound_is_what_the_bound_in_t_steps_goes_to(law, levels):
    """The gap is of first order in 1/T: extrapolated from 32 and 128 steps."""
    *_, total = continuous_per_pixel(law, levels)
    limit, error = total.mean().item(), total.std().item() / math.sqrt(len(total))
    (few, few_error), (many, many_error) = (bound_per_pixel(law, levels, n_steps) for n_steps in (32, 128))
    assert limit < many < few
    extrapolated = (4 * many - few) / 3
    spread = math.hypot(4 * many_error / 3, few_error / 3, error)
    assert abs(extrapolated - limit) < 5 * spread
    assert spread < 0.02 * limit


def test_continuous_bound_on_normal_data_has_its_closed_form(between_levels):
    """½ ∫ s² e^λ / (1 + s² e^λ) dλ = ½ log (1 + s² SNR_0) / (1 + s² SNR_1)."""
    process, n = VPS["vp-digits"], 400
    draws = torch.Generator().manual_seed(0)
    x0 = NORMAL_STD * torch.randn(n, 1, 8, 8, generator=draws, dtype=torch.float64)
    options = dict(levels=17, n_evaluations=20, seeds=range(n))
    found = continuous_bound(PerPixel(NORMAL_1D), process, x0, **options).diffusion / 64
    first, last = (1 + NORMAL_STD**2 * math.exp(end) for end in (9.0, -7.0))
    assert_means(found, 0.5 * math.log(first / last))


# ---- the bridge walk -------------------------------------------------------------------------------------------------

SIDE, COPIES, WALK_STEPS = 64, 50, 16
SHARE = 1 - math.exp(-16 / WALK_STEPS)  # f of vp-digits, whose log-SNR falls by 16


def walk(q, process, marginals="bridge"):
    """[(noise, log_snr)] along the walk that the bound takes: noise = (x − x0) / sigma in VE coordinates, 2e5 draws."""
    x0 = torch.linspace(-1, 1, SIDE * SIDE, dtype=torch.float64).reshape(1, 1, SIDE, SIDE).repeat(COPIES, 1, 1, 1)
    recorder = Recorder(lambda x, sigma: x)
    design = Design(process, Loss(get(q), get("normal")))
    options = dict(levels=SIDE * SIDE, n_steps=WALK_STEPS, seeds=range(COPIES), losses=[NORMAL_LOSS])
    bound(recorder, design, x0, marginals=marginals, **options)
    return [((x - x0).flatten() / sigma, -2 * math.log(sigma)) for x, sigma in recorder.seen]


def assert_mean(values, expected, what):
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < 5 * error, what


def assert_has_mean_and_variance_of_the_limit(states, process):
    for k, (noise, log_snr) in enumerate(states):
        assert log_snr == pytest.approx(process.schedule.log_snr(1 - k / WALK_STEPS).item(), abs=1e-9)
        assert_mean(noise, 0.0, f"mean after {k} steps")
        assert_mean(noise.square(), 1.0, f"variance after {k} steps")
        assert_mean(noise[:-1] * noise[1:], 0.0, f"covariance of neighbours after {k} steps")


@pytest.fixture(params=STEPS, scope="module")  # tests of one step follow each other, so that its walk is made once
def walked(request):
    """(step, its walk on the linear schedule)."""
    return get(request.param), walk(request.param, VPS["vp-digits"])


def test_bridge_walk_has_mean_and_variance_of_the_limit(walked):
    assert_has_mean_and_variance_of_the_limit(walked[1], VPS["vp-digits"])


def test_bridge_walk_skewness_follows_formula(walked):
    """Third cumulants of e_s = √(1 − f) e_t + √f z add as κ ← (1 − f)^{3/2} κ + f^{3/2} κ_z, from 0 at the prior."""
    step, states = walked
    if str(step) == "student_t(df=5)":
        pytest.skip("the standard error of a third moment needs the sixth, which df = 5 has not")
    keep, expected = (1 - SHARE) ** 1.5, 0.0
    for k, (noise, _) in enumerate(states):
        assert_mean(noise**3, expected, f"skewness after {k} steps")  # variance and mean are known
        expected = keep * expected + SHARE**1.5 * step.skewness
    assert expected == pytest.approx(step.skewness * SHARE**1.5 / (1 - keep), rel=1e-8)  # where it settles


def test_bridge_walk_kurtosis_follows_formula(walked):
    """κ ← (1 − f)² κ + f² κ_z with f = 1 − exp(−Δγ), from 0 at the prior; it settles at κ_z f / (2 − f)."""
    step, states = walked
    if str(step) == "student_t(df=5)":
        pytest.skip("the standard error of a fourth moment needs the eighth, which df = 5 has not")
    expected = 0.0
    for k, (noise, _) in enumerate(states):
        assert_mean(noise**4 - 3, expected, f"excess kurtosis after {k} steps")  # variance and mean are known
        expected = (1 - SHARE) ** 2 * expected + SHARE**2 * step.excess_kurtosis
    assert expected == pytest.approx(step.excess_kurtosis * SHARE / (2 - SHARE), rel=1e-10)


def test_a_skewed_walk_is_skewed_to_its_steps_side(walked):
    """Far from 0 in standard errors, so the formula's test can fail."""
    step, states = walked
    if step.skewness:
        cubes = states[-1][0] ** 3
        assert cubes.mean() > 20 * cubes.std() / math.sqrt(len(cubes))


@pytest.mark.parametrize("q", ["normal", "laplace", "student_t(df=5)", "gumbel", "rademacher"])
def test_bridge_walk_on_another_schedule_has_mean_and_variance_of_the_limit(q):
    assert_has_mean_and_variance_of_the_limit(walk(q, VPS["vp-cosine"]), VPS["vp-cosine"])


@pytest.mark.parametrize("q", ["normal", "laplace", "exponential", "rademacher"])
def test_limit_states_are_normal_whatever_the_step(q):
    """Checked at the first and the last state."""
    states = walk(q, VPS["vp-digits"], marginals="limit")
    for noise, _ in (states[0], states[-1]):
        assert stats.kstest(noise[:20_000].numpy(), stats.norm.cdf).pvalue > 1e-4


@pytest.mark.parametrize("q", ["laplace", "gumbel", "rademacher"])
def test_bridge_states_are_not_normal_where_the_step_is_not(q):
    noise, _ = walk(q, VPS["vp-digits"])[-1]
    assert stats.kstest(noise.numpy(), stats.norm.cdf).pvalue < 1e-10
