"""Probability flow: its density against closed forms, and what a bound made of it may depend on."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import MIXTURE_1D, MIXTURE_2D, NORMAL_1D, NORMAL_STD, Levels, PerPixel, mixture, small_denoiser
from scipy import stats

from nonnormal.denoisers import NormalDenoiser
from nonnormal.objectives.bounds import categorical_log_prob
from nonnormal.objectives.probability_flow import flow_bound, log_density
from nonnormal.processes import VE, VP
from nonnormal.processes.schedules import Cosine, LinearLogSNR, column_labels, sequential
from nonnormal.samplers import sample_flow_adaptive

DOUBLE = torch.float64
NORMAL = PerPixel(NORMAL_1D)
PROCESSES = {
    "vp": VP(LinearLogSNR(9.0, -7.0)),
    "vp-noisy": VP(LinearLogSNR(3.0, -2.0)),
    "ve": VE(0.01, 20.0),
}
FINE = dict(rtol=1e-8, atol=1e-8)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def pulled_back(y, sigma, sigma_max, prior_std):
    """Log-density of y, which the flow of normal data carries to y √((s²+σ_max²)/(s²+σ²)) ~ N(0, prior_std²)."""
    gain = math.sqrt((NORMAL_STD**2 + sigma_max**2) / (NORMAL_STD**2 + sigma**2))
    return (stats.norm(0, prior_std).logpdf(gain * y.numpy()) + math.log(gain)).reshape(len(y), -1).sum(1)


def density(denoiser, y, sigma, *, sigma_max, prior_std, **options):
    """Log-density and calls of VE states at level sigma, with any prior at sigma_max."""
    return log_density(denoiser, Levels(sigma, sigma_max, prior_std), y, 0.0, **options)


class Recorder:
    """Keeps what a denoiser is asked."""

    def __init__(self, denoiser):
        self.denoiser, self.seen = denoiser, []

    def __call__(self, x, sigma):
        self.seen.append((x.detach(), float(sigma)))
        return self.denoiser(x, sigma)


# ---- the density -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "sigma_max", "prior_std"), [(0.01, 80.0, 80.0), (0.3, 5.0, 5.1), (1.0, 1.5, 0.7)])
@pytest.mark.parametrize("shape", [(7, 1), (5, 3), (4, 1, 4, 4)])
def test_density_of_a_normal_is_the_pulled_back_prior(shape, sigma, sigma_max, prior_std):
    y = draws(*shape)
    found, _ = density(NORMAL, y, sigma, sigma_max=sigma_max, prior_std=prior_std, **FINE)
    assert (found.shape, found.dtype) == (shape[:1], DOUBLE)
    np.testing.assert_allclose(found, pulled_back(y, sigma, sigma_max, prior_std), rtol=1e-6, atol=1e-6)


def test_error_falls_with_the_tolerance_and_calls_grow():
    y, ends = draws(8, 1, 2, 2), dict(sigma_max=80.0, prior_std=80.0)
    errors, calls = [], []
    for tolerance in (1e-3, 1e-5, 1e-7):
        found, n = density(NORMAL, y, 0.01, **ends, rtol=tolerance, atol=tolerance)
        errors.append(np.abs(found.numpy() - pulled_back(y, 0.01, 80.0, 80.0)).max())
        calls.append(n)
    assert errors[0] > 30 * errors[1] > 900 * errors[2]
    assert errors[2] < 1e-5
    assert calls == sorted(calls)


@pytest.mark.parametrize("probed", [True, False])
def test_calls_are_those_of_the_denoiser(probed):
    recorder, y = Recorder(NORMAL), draws(3, 1, 2, 2)
    probe = draws(3, 1, 2, 2).sign() if probed else None
    _, calls = density(recorder, y, 0.1, sigma_max=10.0, prior_std=10.0, probe=probe)
    assert calls == len(recorder.seen) > 6
    levels = [sigma for _, sigma in recorder.seen]
    assert levels[0] == pytest.approx(0.1)
    assert min(levels) > 0.1 * (1 - 1e-9)


@pytest.mark.parametrize(("law", "sigma"), [(MIXTURE_1D, 0.05), (MIXTURE_1D, 0.5), (MIXTURE_2D, 0.05)])
def test_density_of_a_mixture_is_its_noisy_density_the_closer_the_farther_the_end(law, sigma):
    """Only the prior at the far end is wrong: it takes the data there for noise of mean 0 and variance 1 + σ_max².

    The mean of the data is so missed by |mean|/σ_max, the square root of the SNR there.
    """
    y = law.means.repeat(6, 1)[:12] + 0.3 * draws(12, law.means.shape[1])
    expected, errors = law.noisy(sigma).log_prob(y), []
    for log_snr in (-4.0, -7.0, -10.0):
        sigma_max = math.exp(-log_snr / 2)
        ends = dict(sigma_max=sigma_max, prior_std=math.sqrt(1 + sigma_max**2))
        found, _ = density(law.denoiser, y, sigma, **ends, rtol=1e-7, atol=1e-7)
        errors.append((found - expected).abs().max().item())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 0.01


@pytest.mark.parametrize("sigma", [0.1, 1.0])
@pytest.mark.parametrize(
    "denoiser",
    [MIXTURE_1D.denoiser, lambda x, sigma: torch.tanh(x / (1 + sigma**2)), lambda x, sigma: 0.3 * torch.sin(3 * x)],
    ids=["exact", "tanh", "sine"],
)
def test_density_integrates_to_one_for_any_denoiser(denoiser, sigma):
    """The flow is a change of variables, whoever directs it."""
    y = torch.linspace(-8, 8, 1601, dtype=DOUBLE).unsqueeze(1)
    found, _ = density(denoiser, y, sigma, sigma_max=6.0, prior_std=3.0, **FINE)
    assert np.trapezoid(found.exp(), y[:, 0]) == pytest.approx(1, abs=1e-5)


MATRIX = torch.tensor([[0.5, -0.8, 0.1], [0.3, 0.2, 0.9], [-0.4, 0.6, -0.3]], dtype=DOUBLE)
PROBES = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=DOUBLE)


def linear_density(y, trace, ends, prior_std):
    """Closed form for r(x) = A x: x moves by exp((1 − A) Δu), the divergence is D − tr A throughout."""
    span = math.log(ends[1] / ends[0])
    last = y @ torch.linalg.matrix_exp((torch.eye(3, dtype=DOUBLE) - MATRIX) * span).T
    return stats.norm(0, prior_std).logpdf(last.numpy()).sum(1) + (3 - np.asarray(trace)) * span


def test_hutchinson_of_a_linear_denoiser_is_a_probe_of_its_trace():
    """V·A v for each probe v; over all eight sign vectors their mean is tr A, and so is the density's."""
    y, ends = draws(1, 3).expand(8, 3), dict(sigma_max=3.0, prior_std=2.0)
    probed, _ = density(lambda x, sigma: x @ MATRIX.T, y, 0.5, probe=PROBES, **ends, **FINE)
    traces = torch.einsum("bi,ij,bj->b", PROBES, MATRIX, PROBES)
    np.testing.assert_allclose(probed, linear_density(y, traces, (0.5, 3.0), 2.0), rtol=1e-6)
    exact, _ = density(lambda x, sigma: x @ MATRIX.T, y[:1], 0.5, **ends, **FINE)
    np.testing.assert_allclose(exact, linear_density(y[:1], MATRIX.trace(), (0.5, 3.0), 2.0), rtol=1e-6)
    assert probed.mean().item() == pytest.approx(exact.item(), rel=1e-6)
    assert probed.std() > 0.5, "a probe alone is off where the Jacobian is not diagonal"


@pytest.mark.parametrize("law", [NORMAL_1D, MIXTURE_1D], ids=["normal", "mixture"])
def test_signs_probe_a_diagonal_jacobian_exactly(law):
    """For pixels denoised one by one v·Jv = tr J for every v of signs, not for one of other numbers."""
    y, ends = 0.5 * draws(5, 1, 3, 3), dict(sigma_max=10.0, prior_std=10.0)
    exact, _ = density(PerPixel(law), y, 0.2, **ends, **FINE)
    signs, _ = density(PerPixel(law), y, 0.2, probe=draws(5, 1, 3, 3, seed=1).sign(), **ends, **FINE)
    other, _ = density(PerPixel(law), y, 0.2, probe=draws(5, 1, 3, 3, seed=1), **ends, **FINE)
    torch.testing.assert_close(signs, exact, rtol=1e-6, atol=1e-6)
    assert (other - exact).abs().min() > 1e-2


def test_density_by_a_network_is_the_same_within_the_solvers_error_in_company_and_without_gradients():
    network, y = small_denoiser().eval(), 0.5 * draws(3, 1, 8, 8)
    probe, ends = draws(3, 1, 8, 8, seed=1).sign(), dict(sigma_max=5.0, prior_std=5.0)
    together, _ = density(network, y, 0.3, probe=probe, **ends)
    with torch.no_grad():
        alone, _ = density(network, y[1:2], 0.3, probe=probe[1:2], **ends)
    assert not together.requires_grad
    assert together.isfinite().all()
    assert alone.item() == pytest.approx(together[1].item(), abs=0.2)
    assert all(parameter.grad is None for parameter in network.parameters())


# ---- the bound -------------------------------------------------------------------------------------------------------


def grey_images(n, levels, side=4):
    values = torch.randint(levels, (n, 1, side, side), generator=torch.Generator().manual_seed(0))
    return values.to(DOUBLE) * 2 / (levels - 1) - 1


def ends_of(process):
    """(σ at t = 0, σ at t = 1, standard deviation of the prior), in VE coordinates."""
    (a0, c0), (a1, c1) = (process.marginal(t) for t in (0.0, 1.0))
    first, last = math.sqrt(c0.item()) / a0.item(), math.sqrt(c1.item()) / a1.item()
    return first, last, last if isinstance(process, VE) else math.sqrt(1 + last**2)


@pytest.mark.parametrize("trace", ["hutchinson", "exact"])
@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
@pytest.mark.parametrize("dequantisation", ["uniform", "normal"])
def test_bound_is_the_dequantised_images_price(dequantisation, process, levels, trace):
    """On the y that the flow starts from: its density in closed form, and what its law given x0 adds."""
    recorder, x0 = Recorder(NORMAL), grey_images(3, levels, side=2)
    options = dict(levels=levels, seeds=range(3), dequantisation=dequantisation, trace=trace)
    found, calls = flow_bound(recorder, process, x0, **options, rtol=1e-7, atol=1e-7)
    assert calls == len(recorder.seen)
    (y, sigma), (first, last, prior_std), spacing = recorder.seen[0], ends_of(process), 2 / (levels - 1)
    noise = y - x0
    if dequantisation == "uniform":
        assert sigma == pytest.approx(max(first, spacing / math.sqrt(12)))
        assert 0.3 * spacing < noise.abs().max() <= spacing / 2
        extra = -4 * math.log(spacing)
    else:
        assert sigma == pytest.approx(first)
        given = stats.norm(0, first).logpdf(noise.numpy()).reshape(3, -1).sum(1)
        extra = given - categorical_log_prob(x0, y, first, levels).flatten(1).sum(1).numpy()
    expected = extra - pulled_back(y, sigma, last, prior_std)
    assert (found.shape, found.dtype) == ((3,), DOUBLE)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dequantisation", ["uniform", "normal"])
def test_dequantisation_of_an_image_depends_on_its_seed_alone(dequantisation):
    x0, seen = grey_images(4, 17), []
    for images, seeds in ((x0, range(4)), (x0[2:3], [2]), (x0[2:3], [3])):
        recorder = Recorder(NORMAL)
        flow_bound(recorder, PROCESSES["vp"], images, levels=17, seeds=seeds, dequantisation=dequantisation)
        seen.append(recorder.seen[0][0])
    together, alone, other = seen
    assert torch.equal(together[2:3], alone)
    assert not torch.equal(alone, other)
    assert len(together.sub(x0).flatten(1).unique(dim=0)) == 4


@pytest.mark.parametrize("dequantisation", ["uniform", "normal"])
def test_bound_of_an_image_depends_on_its_seed_alone_within_the_solvers_error(dequantisation):
    """With a denoiser that mixes pixels, so that the probe counts as well."""
    denoiser, x0 = mixing_denoiser(4), grey_images(4, 17, side=2)
    options = dict(levels=17, dequantisation=dequantisation, rtol=1e-7, atol=1e-7)
    together, _ = flow_bound(denoiser, PROCESSES["vp"], x0, seeds=range(4), **options)
    alone, _ = flow_bound(denoiser, PROCESSES["vp"], x0[2:3], seeds=[2], **options)
    other, _ = flow_bound(denoiser, PROCESSES["vp"], x0[2:3], seeds=[3], **options)
    assert alone.item() == pytest.approx(together[2].item(), abs=1e-4)
    assert abs(alone - other) > 1e-2


@pytest.mark.parametrize("dequantisation", ["uniform", "normal"])
def test_batches_change_a_bound_within_the_solvers_error_alone(dequantisation):
    denoiser, x0, seen = mixing_denoiser(4), grey_images(5, 17, side=2), []

    def counting(x, sigma):
        seen.append(len(x))
        return denoiser(x, sigma)

    options = dict(levels=17, seeds=range(5), dequantisation=dequantisation, rtol=1e-7, atol=1e-7)
    together, _ = flow_bound(denoiser, PROCESSES["vp"], x0, **options)
    apart, calls = flow_bound(counting, PROCESSES["vp"], x0, **options, batch_size=3)
    np.testing.assert_allclose(apart, together, atol=1e-4)
    assert seen == [3] * seen.count(3) + [2] * seen.count(2)
    assert calls == max(seen.count(3), seen.count(2)) < len(seen)


@pytest.mark.parametrize("delay", [2.0, 3.0])
def test_the_flow_strides_over_no_window(delay):
    """Where all components wait between windows, the density of normal data is the exact one, and so are samples."""
    process = VP(sequential(column_labels((1, 2, 4)), delay, 10.0, -8.0))
    denoiser = NormalDenoiser(torch.full((1, 2, 4), 0.5, dtype=DOUBLE), 0.01 * torch.eye(8, dtype=DOUBLE))
    a, c = (part[..., 0, 0] for part in process.marginal(0.0))
    law = torch.distributions.Normal(0.5 * a, (0.01 * a.square() + c).sqrt())
    torch.manual_seed(0)
    z = law.sample((20,))
    found, _ = log_density(denoiser, process, z, 0.0)
    torch.testing.assert_close(found, law.log_prob(z).flatten(1).sum(1), rtol=0, atol=0.2)  # the prior's own
    options = dict(times=torch.tensor([0.0, 1.0]), seeds=range(50), dtype=DOUBLE)
    drawn = sample_flow_adaptive(denoiser, process, (50, 1, 2, 4), rtol=1e-4, atol=1e-4, **options)
    assert (drawn.mean((0, 1, 2)) - 0.5).abs().max() < 0.05
    assert (drawn.std((0, 1, 2)) - 0.1).abs().max() < 0.03


def mixing_denoiser(dims):
    """Exact denoiser of two points in `dims` dimensions, whose Jacobian is not diagonal."""
    point = torch.linspace(-0.5, 0.8, dims, dtype=DOUBLE)
    law = mixture([point.tolist(), (-point).tolist()], [0.4, 0.4], [0.5, 0.5])
    return lambda x, sigma: law.denoiser(x.flatten(1), sigma).reshape(x.shape)


def test_hutchinson_is_the_exact_trace_on_average():
    """Over 400 seeds of one image, the same noise in both."""
    denoiser, x0, n = mixing_denoiser(4), grey_images(1, 17, side=2).expand(400, 1, 2, 2), 400
    options = dict(levels=17, seeds=range(n), dequantisation="normal", rtol=1e-6, atol=1e-6)
    first = Recorder(denoiser)
    probed, _ = flow_bound(first, PROCESSES["vp-noisy"], x0, **options)
    y = first.seen[0][0]
    sigma, sigma_max, prior_std = ends_of(PROCESSES["vp-noisy"])
    ends = dict(sigma_max=sigma_max, prior_std=prior_std, rtol=1e-6, atol=1e-6)
    found, _ = density(denoiser, y, sigma, **ends)
    given = stats.norm(0, sigma).logpdf((y - x0).numpy()).reshape(n, -1).sum(1)
    exact = given - categorical_log_prob(x0, y, sigma, 17).flatten(1).sum(1).numpy() - found.numpy()
    gap = probed.numpy() - exact
    assert gap.std() > 0.05
    assert abs(gap.mean()) < 5 * gap.std() / math.sqrt(n)


def test_bound_knows_of_a_schedule_its_ends_only():
    x0 = grey_images(2, 17)
    linear, cosine = (
        flow_bound(NORMAL, VP(schedule(9.0, -7.0)), x0, levels=17, seeds=[0, 1], **FINE)[0]
        for schedule in (LinearLogSNR, Cosine)
    )
    torch.testing.assert_close(linear, cosine, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seeds", [[], [0], [0, 1, 2]])
def test_another_number_of_seeds_than_images_is_refused(seeds):
    with pytest.raises(ValueError, match=rf"found {len(seeds)} seeds for 2 images"):
        flow_bound(NORMAL, PROCESSES["vp"], grey_images(2, 17), levels=17, seeds=seeds)
