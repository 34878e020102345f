"""Samplers of states: laws carried exactly through the samplers' linear maps, what an image depends on, refusals."""

import math
from itertools import pairwise

import pytest
import torch
from problems import MIXTURE_1D, NORMAL_STD, VPS, ComponentWiseVP, PerPixel, Rotation

from nonnormal.denoisers import Counted, NormalDenoiser, predict_x0, score
from nonnormal.objectives.probability_flow import velocity
from nonnormal.processes import PSLD, VE, apply, cholesky, contract, quadratic_times, uniform_times, vp_recipe
from nonnormal.samplers import (
    sample_ancestral,
    sample_em,
    sample_flow_adaptive,
    sample_flow_euler,
    sample_flow_heun,
    sample_sscs,
)
from nonnormal.samplers import (
    sde as states,
)
from nonnormal.seeds import ImageNoise
from nonnormal.steps import get

NORMAL = get("normal")
WALKS = {"em": sample_em, "sscs": sample_sscs}
FLOWS = {"euler": sample_flow_euler, "heun": sample_flow_heun}
DRAWS_A_STEP = {"em": 1, "sscs": 2}
PSLDS = {
    "cld": PSLD(friction_x=0.0, friction_m=4.0),
    "psld": PSLD(),
    "psld-0.25": PSLD(friction_x=0.25, friction_m=4.25),
}
# Begins late and with the prior's momentum, so that a few steps already show an order.
GENTLE = {"vp": vp_recipe((4.0, 12.0)), "psld": PSLD(1.0, 0.5, 2.5, beta=4.0, momentum_var=1.0, t_min=0.2)}


def call(sampler, denoiser, process, shape, step=NORMAL, **options):
    options = dict(seeds=range(100, 100 + shape[0])) | options
    between = (step,) if sampler in WALKS else ()
    return (WALKS | FLOWS)[sampler](denoiser, process, *between, shape, **options)


class Units:
    """Noise of which image j has its j-th number 1 and all others 0: the columns of a sampler's linear map."""

    def __init__(self, seeds, shape, dtype, device):
        self.images, self.shape, self.drawn, self.dtype = len(seeds), shape, 0, dtype

    def draw(self, step):
        size = math.prod(self.shape)
        z = torch.zeros(self.images, size, dtype=self.dtype)
        for i in range(size):
            z[self.drawn + i, i] = 1
        self.drawn += size
        return z.reshape(-1, *self.shape)


def shrink(x, sigma):
    """Exact denoiser of N(0, NORMAL_STD²)."""
    return x * NORMAL_STD**2 / (NORMAL_STD**2 + sigma**2)


def variance_error(monkeypatch, sampler, process, n_steps, grid=uniform_times):
    """Variance of the samples less that of x_0 + sigma eps, without sampling: the sum of squares of the linear map."""
    monkeypatch.setattr(states, "ImageNoise", Units)
    numbers = process.n * (1 + n_steps * DRAWS_A_STEP.get(sampler, 0))
    times = grid(n_steps, process.t_min)
    options = dict(times=times, seeds=range(numbers), dtype=torch.float64, denoise=False)
    out = call(sampler, shrink, process, (numbers, 1, 1, 1), **options)
    return out.square().sum().item() - NORMAL_STD**2 - process.observation(process.t_min)[1].item() ** 2


@pytest.mark.parametrize("process", GENTLE.values(), ids=GENTLE)
@pytest.mark.parametrize(("sampler", "order"), [("em", 1), ("sscs", 1), ("euler", 1), ("heun", 2)])
def test_weak_order_on_normal_data(monkeypatch, process, sampler, order):
    # Differences, as the prior leaves out what it keeps of the data, which no number of steps brings back.
    errors = [variance_error(monkeypatch, sampler, process, n) for n in (30, 60, 120)]
    first, second = (coarse - fine for coarse, fine in pairwise(errors))
    assert math.log2(first / second) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("grid", [uniform_times, quadratic_times])
@pytest.mark.parametrize("process", PSLDS.values(), ids=PSLDS)
def test_sscs_is_nearer_to_the_data_than_em_with_few_calls(monkeypatch, process, grid):
    """1.8 to 20 times nearer with 10 or 20 steps."""
    for n_steps in (10, 20):
        em, sscs = (abs(variance_error(monkeypatch, name, process, n_steps, grid)) for name in ("em", "sscs"))
        assert sscs < 0.55 * em


@pytest.mark.parametrize("process", [PSLD(), vp_recipe((4.0, 12.0)), VPS["vp-digits"]])
def test_sscs_keeps_the_prior_where_there_are_no_data(monkeypatch, process):
    """Data that are the prior itself have its score, and steps of any size are exact."""
    monkeypatch.setattr(states, "ImageNoise", Units)

    def denoiser(x, sigma):
        return x / (1 + sigma**2)

    if process.n == 2:  # the momentum is at rest at t = 0, so the prior is not the law that the score belongs to
        monkeypatch.setattr(states, "score", lambda d, p, z, t, b: apply(-torch.linalg.inv(p.prior_covariance()), z))
    numbers = process.n * 7
    options = dict(times=uniform_times(3, process.t_min), seeds=range(numbers), dtype=torch.float64, denoise=False)
    kept = []
    call("sscs", denoiser, process, (numbers, 1, 1, 1), callback=kept.append, **options)
    covariance = sum(torch.outer(z, z) for z in kept[-1]["x"].reshape(numbers, process.n))
    torch.testing.assert_close(covariance, process.prior_covariance(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("process", GENTLE.values(), ids=GENTLE)
def test_mean_of_the_data_is_found(process):
    """With all noise 0 the chain is that of the mean."""
    denoiser = NormalDenoiser(torch.full((1, 1, 1), 0.3, dtype=torch.float64), torch.tensor([[0.2]]).double())
    quiet = type("Quiet", (), {"sample": lambda self, shape, **o: torch.zeros(shape, dtype=torch.float64)})()
    options = dict(times=uniform_times(100, process.t_min), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "Normal", lambda: quiet)
        for sampler in ("em", "sscs", "heun"):
            found = call(sampler, denoiser, process, (1, 1, 1, 1), quiet, **options)
            assert found.item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("process", [PSLD(), VPS["vp-digits"]])
def test_em_is_its_equation_written_out(process):
    times, laplace, denoiser = uniform_times(2, process.t_min), get("laplace"), PerPixel(MIXTURE_1D)
    noise = ImageNoise([4, 5], (process.n, 8, 8), torch.float64)
    z = apply(cholesky(process.prior_covariance()), noise.draw(NORMAL))
    for s, t in ((times[1], times[2]), (times[0], times[1])):
        drift, spread = process.sde(t)
        h = (t - s).item()
        mean = z - h * (apply(drift, z) - apply(spread, score(denoiser, process, z, t)))
        z = mean + math.sqrt(h) * apply(cholesky(spread), noise.draw(laplace))
    options = dict(times=times, seeds=[4, 5], dtype=torch.float64)
    found = sample_em(denoiser, process, laplace, (2, 1, 8, 8), **options)
    torch.testing.assert_close(found, predict_x0(denoiser, process, z, times[0]), rtol=1e-8, atol=1e-8)
    found = sample_em(denoiser, process, laplace, (2, 1, 8, 8), denoise=False, **options)
    expected = contract(process.observation(times[0])[0], z)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_adaptive_flow_ends_where_a_fine_one_does():
    process, denoiser = PSLD(), PerPixel(MIXTURE_1D)
    options = dict(seeds=range(3), dtype=torch.float64)
    ends = torch.tensor([process.t_min, 1.0], dtype=torch.float64)
    found = sample_flow_adaptive(denoiser, process, (3, 1, 4, 4), rtol=1e-4, atol=1e-4, times=ends, **options)
    fine = sample_flow_heun(denoiser, process, (3, 1, 4, 4), times=quadratic_times(400, process.t_min), **options)
    torch.testing.assert_close(found, fine, rtol=0, atol=0.02)


@pytest.mark.parametrize(("sampler", "calls"), [("em", 1), ("sscs", 1), ("euler", 1), ("heun", 2)])
def test_network_calls_are_those_of_the_steps_and_of_the_last_denoising(sampler, calls):
    for denoise in (False, True):
        counted = Counted(shrink)
        call(sampler, counted, PSLD(), (2, 1, 1, 1), times=uniform_times(5, 1e-3), denoise=denoise)
        assert counted.nfe == 5 * calls + denoise


@pytest.mark.parametrize("sampler", [*WALKS, *FLOWS])
def test_an_image_depends_on_its_seed_alone(sampler):
    options = dict(times=uniform_times(4, 1e-3), dtype=torch.float64)
    whole = call(sampler, PerPixel(MIXTURE_1D), PSLD(), (5, 1, 2, 2), get("laplace"), **options)
    parts = call(sampler, PerPixel(MIXTURE_1D), PSLD(), (5, 1, 2, 2), get("laplace"), batch_size=2, **options)
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-12)
    alone = call(sampler, PerPixel(MIXTURE_1D), PSLD(), (1, 1, 2, 2), get("laplace"), seeds=[103], **options)
    torch.testing.assert_close(whole[3:4], alone, rtol=0, atol=1e-12)
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sampler", [*WALKS, *FLOWS])
def test_state_has_the_type_asked_for_and_is_seen_by_the_callback(sampler, dtype):
    seen, times = [], uniform_times(4, 1e-3)
    options = dict(times=times, dtype=dtype, callback=seen.append)
    found = call(sampler, PerPixel(MIXTURE_1D), PSLD(), (2, 1, 2, 2), **options)
    assert found.dtype == dtype
    assert [at["t"] for at in seen] == times.flip(0)[:-1].tolist()
    assert all(at["x"].dtype == dtype and at["x"].shape == (2, 2, 2, 2) for at in seen)


def test_samples_in_a_basis_come_back_as_images():
    """Without noise of its own a flow commutes with a rotation of prior and data."""
    basis, process = Rotation(4), PSLD()
    denoiser = NormalDenoiser(torch.zeros(1, 2, 2).double(), torch.diag(torch.tensor([0.1, 0.2, 0.3, 0.4])).double())
    options = dict(times=uniform_times(20, 1e-3), dtype=torch.float64)
    seen: list[dict] = []
    found = call("heun", denoiser, process, (3, 1, 2, 2), basis=basis, callback=seen.append, **options)
    z = torch.cat([basis.inverse(block) for block in seen[0]["x"].chunk(2, 1)], 1)
    for t, s in pairwise(options["times"].flip(0)):
        h, here = (t - s).item(), velocity(denoiser, process, z, t)
        z = z - h / 2 * (here + velocity(denoiser, process, z - h * here, s))
    torch.testing.assert_close(found, predict_x0(denoiser, process, z, 1e-3), rtol=1e-9, atol=1e-9)


def test_component_wise_schedules_are_walked():
    process = ComponentWiseVP()
    covariance = torch.diag(torch.linspace(0.1, 0.6, 6, dtype=torch.float64))
    denoiser = NormalDenoiser(torch.zeros(1, 2, 3).double(), covariance)
    for sampler in ("em", "sscs", "heun"):
        found = call(sampler, denoiser, process, (2000, 1, 2, 3), times=uniform_times(40), denoise=False)
        expected = covariance.diagonal().reshape(1, 2, 3) + process.observation(0.0)[1].square()
        torch.testing.assert_close(found.double().var(0), expected, rtol=0.15, atol=0)


def test_quadratic_times_are_dense_at_the_data():
    assert quadratic_times(4, 0.2).tolist() == pytest.approx([0.2, 0.25, 0.4, 0.65, 1.0])


@pytest.mark.parametrize("process", [VE(), VE(0.01, 2.0)])
def test_sscs_of_a_process_without_a_stationary_prior_is_refused(process):
    with pytest.raises(ValueError, match="keeps its prior, which VE does not"):
        call("sscs", shrink, process, (1, 1, 1, 1), times=uniform_times(3))


@pytest.mark.parametrize("sampler", [*WALKS, *FLOWS])
def test_wrong_grids_and_numbers_of_seeds_are_refused(sampler):
    with pytest.raises(ValueError, match="one seed an image: found 2 seeds"):
        call(sampler, shrink, PSLD(), (3, 1, 1, 1), times=uniform_times(3, 1e-3), seeds=[1, 2])
    with pytest.raises(ValueError, match="two or more distinct times"):
        call(sampler, shrink, PSLD(), (3, 1, 1, 1), times=torch.tensor([0.5, 0.5]))


def test_ancestral_sampling_starts_from_the_same_state():
    seen = []
    options = dict(times=uniform_times(2, 1e-3), seeds=[7, 8], callback=seen.append)
    sample_ancestral(shrink, PSLD(), NORMAL, (2, 1, 2, 2), **options)
    sample_em(shrink, PSLD(), NORMAL, (2, 1, 2, 2), **options)
    assert torch.equal(seen[0]["x"], seen[2]["x"])
