"""Denoisers: every parametrisation finds x0 from its own target; exact denoisers against quadrature and Tweedie."""

import itertools
import math
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from problems import (
    MIXTURE_1D,
    MIXTURE_2D,
    NORMAL_1D,
    NORMAL_STD,
    VPS,
    ComponentWiseVP,
    PhaseSpace,
    Rotation,
    normals,
    small_denoiser,
)
from scipy.integrate import quad
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nonnormal.bases import DCT, PIXEL, Whitened
from nonnormal.denoisers import (
    PARAMETRISATIONS,
    GaussianMixtureDenoiser,
    NetworkDenoiser,
    NFECounter,
    NormalDenoiser,
    OptimalDenoiser,
    alpha_and_level,
    fourier_features,
    predict_x0,
    score,
)
from nonnormal.denoisers.exact import Chunk
from nonnormal.processes import PSLD, VE, VP
from nonnormal.samplers import sample_euler

SIGMAS = [1e-3, 0.3, 2.0, 80.0]
SIGMA_DATA = 0.6


class Answer(nn.Module):
    """A network that answers what it is told and remembers what it was asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, z, log_snr):
        self.z, self.log_snr = z, log_snr
        return self.answer


def target(kind, x0, eps, sigma):
    """What each network should predict, in the papers' words."""
    alpha, noise = 1 / math.sqrt(1 + sigma**2), sigma / math.sqrt(1 + sigma**2)  # of the VP state
    total = sigma**2 + SIGMA_DATA**2
    return {
        "eps": eps,
        "v": alpha * eps - noise * x0,
        "x0": x0,
        "edm": (x0 - SIGMA_DATA**2 / total * (x0 + sigma * eps)) * math.sqrt(total) / (sigma * SIGMA_DATA),
    }[kind]


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_the_exact_target_gives_back_the_image(kind, sigma):
    x0, eps = normals(4, 1, 3, 3), normals(4, 1, 3, 3, seed=1)
    network = Answer(target(kind, x0, eps, sigma))
    denoiser = NetworkDenoiser(network, parametrisation=kind, sigma_data=SIGMA_DATA)
    torch.testing.assert_close(denoiser(x0 + sigma * eps, sigma), x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_the_network_sees_a_state_of_unit_scale_and_its_log_snr(kind, sigma):
    x = normals(4, 1, 3, 3)
    network = Answer(torch.zeros_like(x))
    NetworkDenoiser(network, parametrisation=kind, sigma_data=SIGMA_DATA)(x, sigma)
    scale = math.hypot(sigma, SIGMA_DATA) if kind == "edm" else math.hypot(sigma, 1)
    torch.testing.assert_close(network.z, x / scale)
    torch.testing.assert_close(network.log_snr, torch.full((4,), -2 * math.log(sigma), dtype=torch.float64))


@pytest.mark.parametrize("log_snr", [-160.0, -90.0, 90.0, 160.0])
@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_coefficients_hold_where_sigma_squared_leaves_single_precision(kind, log_snr):
    sigma = torch.tensor(math.exp(-log_snr / 2), dtype=torch.float64)
    exact = PARAMETRISATIONS[kind](sigma, torch.tensor(SIGMA_DATA, dtype=torch.float64))
    found = PARAMETRISATIONS[kind](sigma.float(), torch.tensor(SIGMA_DATA))
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-37)


@pytest.mark.parametrize("log_snr", [-160.0, 160.0])
def test_a_network_sees_the_share_of_any_level(log_snr):
    network = Answer(torch.zeros(2, 1, 2, 2))
    denoiser = NetworkDenoiser(network, parametrisation="edm", sigma_data=SIGMA_DATA, sees_levels=True).float()
    denoiser(torch.ones(2, 1, 2, 2), torch.full((1, 2, 2), math.exp(-log_snr / 2)))
    assert (network.z[:, 1] == math.copysign(1, -log_snr)).all()


@pytest.mark.parametrize("sigma", SIGMAS)
def test_edm_with_a_zero_network_is_optimal_for_normal_data(sigma):
    x = normals(4, 1, 3, 3)
    denoiser = NetworkDenoiser(Answer(torch.zeros_like(x)), parametrisation="edm", sigma_data=SIGMA_DATA)
    optimal = GaussianMixtureDenoiser(torch.zeros(1, 1, 3, 3), torch.tensor([SIGMA_DATA], dtype=torch.float64))
    torch.testing.assert_close(denoiser(x, sigma), optimal(x, sigma))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_edms_target_has_unit_variance(sigma):
    c_skip, c_out, c_in = (
        c.item() for c in PARAMETRISATIONS["edm"](torch.tensor(sigma, dtype=torch.float64), SIGMA_DATA)
    )
    residual = (1 - c_skip) ** 2 * SIGMA_DATA**2 + c_skip**2 * sigma**2
    assert residual / c_out**2 == pytest.approx(1, rel=1e-9)
    assert c_in**2 * (SIGMA_DATA**2 + sigma**2) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_each_image_has_its_own_sigma(kind):
    denoiser = small_denoiser(parametrisation=kind).eval()
    x, sigmas = normals(4, 1, 8, 8).float(), torch.tensor(SIGMAS)
    together = denoiser(x, sigmas)
    for i, sigma in enumerate(SIGMAS):
        torch.testing.assert_close(together[i : i + 1], denoiser(x[i : i + 1], sigma), rtol=1e-4, atol=1e-4)


def test_a_float64_state_stays_float64_around_a_float32_network():
    assert small_denoiser()(normals(2, 1, 8, 8), 0.5).dtype == torch.float64


def test_fourier_features_are_periods_of_the_vp_state():
    x, sigma = normals(2, 1, 3, 3), 0.5
    network = Answer(torch.zeros_like(x))
    NetworkDenoiser(network, parametrisation="edm", sigma_data=SIGMA_DATA, fourier=(0, 3))(x, sigma)
    state = x / math.sqrt(1 + sigma**2)  # of the VP state, also where the network's own input is scaled as EDM's
    expected = [torch.sin(math.pi * state), torch.cos(math.pi * state)]
    expected += [torch.sin(8 * math.pi * state), torch.cos(8 * math.pi * state)]
    torch.testing.assert_close(network.z[:, 1:], torch.cat(expected, dim=1))
    assert fourier_features(x, ()) == []


@pytest.mark.parametrize("shape", [(4, 1), (2,), (4, 3), (1, 2)])
def test_a_network_of_another_shape_is_refused_even_where_it_could_be_broadcast(shape):
    with pytest.raises(ValueError, match=r"the network returns .* for \(4, 2\); the shapes must be equal"):
        NetworkDenoiser(Answer(torch.zeros(shape)))(torch.zeros(4, 2), 0.5)


def test_unknown_parametrisation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'score'.*eps, v, x0, edm"):
        NetworkDenoiser(nn.Linear(1, 1), parametrisation="score")


# ---- exact denoisers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("x", [-1.2, -0.3, 0.0, 0.5, 1.5])
def test_mixture_denoiser_is_the_posterior_mean_by_quadrature(x, sigma):
    law = MIXTURE_1D.noisy(0.0)

    def joint(x0):
        return law.log_prob(torch.tensor([x0], dtype=torch.float64)).exp().item() * math.exp(
            -(((x - x0) / sigma) ** 2 - ((x - np.clip(x, -0.9, 1.0)) / sigma) ** 2) / 2
        )

    cuts = np.linspace(-2, 2, 33)  # pieces no wider than the narrowest component
    pairs = list(itertools.pairwise(cuts))
    mass = sum(quad(joint, a, b)[0] for a, b in pairs)
    mean = sum(quad(lambda x0: x0 * joint(x0), a, b)[0] for a, b in pairs) / mass
    found = MIXTURE_1D.denoiser(torch.tensor([[x]], dtype=torch.float64), sigma).item()
    assert found == pytest.approx(mean, abs=1e-7)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_mixture_denoiser_of_one_normal_shrinks(sigma):
    x = normals(5, 1)
    expected = NORMAL_STD**2 / (NORMAL_STD**2 + sigma**2) * x
    torch.testing.assert_close(NORMAL_1D.denoiser(x, sigma), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_mixture_denoiser_obeys_tweedie(sigma):
    x = normals(6, 2).requires_grad_()
    (score,) = torch.autograd.grad(MIXTURE_2D.noisy(sigma).log_prob(x).sum(), x)
    torch.testing.assert_close(MIXTURE_2D.denoiser(x.detach(), sigma), x.detach() + sigma**2 * score)


def test_mixture_denoiser_takes_a_sigma_for_each_point():
    x, sigmas = normals(4, 2), torch.tensor(SIGMAS, dtype=torch.float64)
    single = [MIXTURE_2D.denoiser(x[i : i + 1], sigma) for i, sigma in enumerate(SIGMAS)]
    torch.testing.assert_close(MIXTURE_2D.denoiser(x, sigmas), torch.cat(single), rtol=1e-13, atol=0)


def test_mixture_denoiser_gives_the_same_bits_for_one_sigma_and_for_as_many_of_it():
    denoiser = GaussianMixtureDenoiser(normals(3, 2), torch.tensor([0.0, 0.3, 1.0]), torch.tensor([0.2, 0.3, 0.5]))
    x = normals(50, 2, seed=1)
    assert torch.equal(denoiser(x, 0.7), denoiser(x, torch.full((50,), 0.7, dtype=x.dtype)))


def test_one_axis_of_levels_is_that_of_the_batch():
    """Also where an event has as many numbers as the batch has items; by pixel levels have both axes."""
    denoiser, levels = GaussianMixtureDenoiser(torch.zeros(1, 3), torch.ones(1)), torch.tensor([0.0, 1.0, 2.0])
    x, shrink = torch.ones(3, 3), 1 / (1 + levels**2)
    torch.testing.assert_close(denoiser(x, levels), shrink.unsqueeze(1).expand(3, 3))
    torch.testing.assert_close(denoiser(x, levels.expand(3, 3)), shrink.expand(3, 3))
    with pytest.raises(ValueError, match="for each of the batch of 2, found 3; levels by pixel"):
        denoiser(x[:2], levels)


def test_mixture_denoiser_of_points_is_their_softmax_mean():
    points, x, sigma = normals(7, 1, 2, 3), normals(4, 1, 2, 3, seed=1), 0.8
    distance = (x[:, None] - points).square().flatten(2).sum(-1)
    weight = torch.softmax(-distance / (2 * sigma**2), dim=1)
    expected = torch.einsum("bk,kchw->bchw", weight, points)
    found = GaussianMixtureDenoiser(points, torch.zeros(7, dtype=torch.float64))(x, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_mixture_denoiser_finds_the_nearest_point_as_noise_vanishes():
    points = torch.tensor([[-1.0], [0.0], [1.0]])
    denoiser = GaussianMixtureDenoiser(points, torch.zeros(3))
    assert denoiser(torch.tensor([[-50.0], [0.4], [0.6], [1e3]]), 1e-4).flatten().tolist() == [-1, 0, 1, 1]


def test_mixture_denoiser_tends_to_the_mean_as_noise_grows():
    mean = (MIXTURE_2D.weights[:, None] * MIXTURE_2D.means).sum(0)
    torch.testing.assert_close(MIXTURE_2D.denoiser(normals(3, 2), 1e6), mean.expand(3, 2), rtol=0, atol=1e-5)


# ---- in the coordinates of a process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("process", VPS.values(), ids=VPS.keys())
def test_predict_x0_evaluates_the_ve_denoiser(process):
    xt, t = normals(3, 2), torch.tensor([0.0, 0.4, 1.0])
    log_snr = process.schedule.log_snr(t)
    expected = MIXTURE_2D.denoiser(xt / torch.sigmoid(log_snr).sqrt()[:, None], torch.exp(-log_snr / 2))
    torch.testing.assert_close(predict_x0(MIXTURE_2D.denoiser, process, xt, t), expected, rtol=1e-10, atol=1e-12)
    single = predict_x0(MIXTURE_2D.denoiser, process, xt[1:2], 0.4)
    torch.testing.assert_close(single, expected[1:2], rtol=1e-6, atol=1e-8)  # t was float32 above


def test_predict_x0_goes_into_the_basis_and_back():
    basis, process = Rotation(2), VPS["vp-digits"]
    xt = normals(3, 2)
    plain = predict_x0(MIXTURE_2D.denoiser, process, basis.inverse(xt), 0.3)
    torch.testing.assert_close(predict_x0(MIXTURE_2D.denoiser, process, xt, 0.3, basis), basis.forward(plain))


def test_in_phase_space_predict_x0_is_the_posterior_mean_given_position_and_momentum():
    """By Bayes' rule over the components of a mixture with z | k normal in four variables."""
    process, t, z = PhaseSpace(), 0.1, normals(5, 4)
    a, c = process.marginal(t)
    means, stds, weights = MIXTURE_2D.means, MIXTURE_2D.stds, MIXTURE_2D.weights
    log_weight, posterior = [], []
    for mean, std, weight in zip(means, stds, weights, strict=True):
        covariance = std.square() * a[:, :1] @ a[:, :1].mT + c
        blocks = torch.stack(z.chunk(2, 1), -1)  # (B, pixel, variable)
        gap = blocks - mean[:, None] * a[:, 0]
        log_weight.append(
            weight.log() - 0.5 * torch.einsum("bpi,ij,bpj->b", gap, covariance.inverse(), gap) - covariance.logdet()
        )
        posterior.append(mean + std.square() * gap @ covariance.inverse() @ a[:, 0])
    share = torch.stack(log_weight).softmax(0)
    expected = (share[..., None] * torch.stack(posterior)).sum(0)
    torch.testing.assert_close(predict_x0(MIXTURE_2D.denoiser, process, z, t), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("basis", [PIXEL, Rotation(6)])
@pytest.mark.parametrize("t", [0.3, torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64)])
def test_noise_of_components_needs_a_denoiser_of_their_basis(basis, t):
    process = ComponentWiseVP()
    state = normals(3, 6).reshape(3, 1, 2, 3)
    covariance = 0.2 * torch.eye(6, dtype=torch.float64) + 0.3
    law = NormalDenoiser(torch.full((1, 2, 3), 0.1, dtype=torch.float64), covariance, basis)
    (a, c), u = process.marginal(t), basis.forward(torch.eye(6, dtype=torch.float64).reshape(6, 1, 2, 3)).flatten(1).T
    a, c = (part[..., 0, 0].expand(3, 1, 2, 3).flatten(1) for part in (a, c))
    mean = u @ law.mean.flatten()
    for i in range(3):
        rotated = u @ covariance @ u.T
        total = a[i][:, None] * rotated * a[i] + c[i].diag()
        expected = mean + rotated @ (a[i] * torch.linalg.solve(total, state[i].flatten() - a[i] * mean))
        found = predict_x0(law, process, state, t, basis)[i].flatten()
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    other = NormalDenoiser(law.mean, covariance, DCT())
    for stranger, named in ((other, "NormalDenoiser of DCT"), (lambda x, sigma: x, "function of no basis")):
        with pytest.raises(ValueError, match=named):
            predict_x0(stranger, process, state, t, basis)


def test_whitened_noise_needs_a_denoiser_that_knows_of_it():
    images = normals(50, 8).reshape(50, 1, 2, 4)
    basis = Whitened.fit(DCT(), images)
    law = NormalDenoiser(images.mean(0), torch.cov(images.flatten(1).T), basis)
    predict_x0(law, VP(), images, 0.5, Whitened.fit(DCT(), images))
    with pytest.raises(ValueError, match="noise that is not white"):
        predict_x0(replace(law, basis=DCT()), VP(), images, 0.5, basis)


@pytest.mark.parametrize(
    "process", [VP(), PhaseSpace(), PSLD(), ComponentWiseVP()], ids=["vp", "oscillator", "psld", "each"]
)
def test_score_of_a_normal_is_that_of_its_marginal(process):
    """Against autograd of the log-density of N(A m, A Σ Aᵀ + C)."""
    t, variance = 0.4, torch.linspace(0.1, 0.6, 6, dtype=torch.float64)
    law = NormalDenoiser(torch.full((1, 2, 3), 0.2, dtype=torch.float64), variance.diag())
    z = normals(4, 6 * process.n).reshape(4, process.n, 2, 3).requires_grad_()
    a, c = (part.expand(1, 2, 3, process.n, process.n) for part in process.marginal(t))
    mean = law.mean[..., None] * a[..., 0]
    covariance = variance.reshape(1, 2, 3, 1, 1) * a[..., :1] @ a[..., :1].mT + c
    blocks = torch.stack(z.chunk(process.n, 1), -1)
    total = torch.distributions.MultivariateNormal(mean, covariance).log_prob(blocks).sum()
    (expected,) = torch.autograd.grad(total, z)
    torch.testing.assert_close(score(law, process, z.detach(), t), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "t", [0.25, torch.tensor([0.0, 0.5, 1.0]), torch.rand(2, 3, generator=torch.Generator().manual_seed(0))]
)
@pytest.mark.parametrize("process", VPS)
def test_alpha_and_level_of_a_process_that_preserves_variance(process, t):
    """alpha² = 1/(1 + level²), level² = 1/SNR."""
    alpha, level = alpha_and_level(VPS[process], t)
    assert alpha.shape == level.shape == torch.as_tensor(t).shape
    assert alpha.dtype == level.dtype == torch.float64
    torch.testing.assert_close(level, torch.exp(-VPS[process].schedule.log_snr(t) / 2))
    torch.testing.assert_close(alpha, (1 + level.square()).rsqrt())


def test_where_variance_explodes_the_level_is_sigma_itself():
    process, times = VE(0.01, 50.0), torch.linspace(0, 1, 5)
    alpha, level = alpha_and_level(process, times)
    torch.testing.assert_close(level, process.sigma(times))
    assert alpha.tolist() == [1.0] * 5
    assert [part.item() for part in alpha_and_level(process, 1.0)] == pytest.approx([1, 50])


@pytest.mark.parametrize("t", [0.5, torch.tensor([0.1, 0.9])])
@pytest.mark.parametrize(
    ("process", "found"),
    [
        (PhaseSpace(), "one variable per component, PhaseSpace has 2"),
        (ComponentWiseVP(), r"one for each of \(1, 2, 3\)"),
    ],
)
def test_a_process_without_one_level_an_image_has_no_ve_coordinates(process, found, t):
    with pytest.raises(ValueError, match=found):
        alpha_and_level(process, t)


def test_counted_counts_calls_and_changes_nothing():
    denoiser, x = NFECounter(MIXTURE_2D.denoiser), normals(4, 2)
    assert denoiser.nfe == 0
    for calls in (1, 2, 3):
        assert torch.equal(denoiser(x, 0.5), MIXTURE_2D.denoiser(x, 0.5))
        assert denoiser.nfe == calls


# ---- the optimal denoiser of a set of images -------------------------------------------------------------------------

CHUNKS = [1, 7, 50, 64]
IMAGES = normals(50, 1, 4, 4, seed=3)


def naive(images, x, sigma):
    """The whole matrix of distances at once, float64."""
    images, x = images.double().flatten(1), x.double()
    distance = (x.flatten(1)[:, None] - images).square().sum(-1)
    return (torch.softmax(-distance / (2 * sigma**2), dim=1) @ images).reshape(x.shape)


def noisy(sigma, n=6, images=IMAGES):
    return images[:n] + sigma * normals(n, *images.shape[1:], seed=4)


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 0.05, 0.5, 2.0, 80.0])
def test_optimal_denoiser_is_the_softmax_mean(sigma, chunk_size):
    x = noisy(sigma)
    expected = naive(IMAGES, x, sigma)
    found = OptimalDenoiser(IMAGES, chunk_size=chunk_size)(x, sigma)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    single = OptimalDenoiser(IMAGES.float(), chunk_size=chunk_size)(x.float(), sigma)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), naive(IMAGES.float(), x.float(), sigma), rtol=0, atol=1e-6)


def test_twins_that_differ_in_one_pixel_are_told_apart_in_single_precision():
    """Their distance is lost in ‖x‖² + ‖y‖² − 2xy, whose terms are a million times its square."""
    images = twins(0.03)
    x = images[:1]
    found = OptimalDenoiser(images)(x, 0.02)
    torch.testing.assert_close(found.double(), naive(images, x, 0.02), rtol=0, atol=1e-6)
    assert (found - x).abs().max() > 0.003  # exp(−0.03²/2·0.02²) = 0.32: the twin has its share


@pytest.mark.parametrize("chunk_size", [1, 64])
@pytest.mark.parametrize("gap", [1e-5, 0.03])
def test_without_noise_even_twins_are_told_apart(gap, chunk_size):
    images = twins(gap)
    found = OptimalDenoiser(images, chunk_size=chunk_size)(images[:2], 0.0)
    torch.testing.assert_close(found, images[:2], rtol=0, atol=2e-7)
    assert ((found[1] - found[0])[0, 0, 0] - gap).abs() < 2e-7


def twins(gap):
    """64 images of 3072 pixels, of which the first two differ in one pixel."""
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 1.9 - 1
    images[1] = images[0]
    images[1, 0, 0, 0] += gap
    return images


PHOTOS = torch.nn.functional.interpolate(normals(600, 3, 4, 4, seed=7), 32, mode="bilinear").mul(90).add(128)
PHOTOS = (PHOTOS + 9 * normals(600, 3, 32, 32, seed=8)).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("sigma", [0.0, 0.002, 0.05, 1.0, 5.0, 7.0, 10.0, 20.0, 80.0])
def test_many_pixels_are_denoised_exactly(sigma):
    """Grey levels, in noise from far below a level to beyond all contrast: one, a few, then many have weight."""
    pixels = 2 * PHOTOS.double() / 255 - 1
    x = noisy(sigma, images=pixels)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        found = OptimalDenoiser(PHOTOS, levels=256, chunk_size=256)(x.to(dtype), sigma)
        expected = naive(pixels, x.to(dtype), max(sigma, 1e-9))
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [0.0, 300.0])
def test_distances_err_by_less_than_their_bound_until_they_are_settled(far, dtype):
    pixels = 2 * PHOTOS.double() / 255 - 1
    x = (noisy(0.1, images=pixels) + far).to(dtype)
    exact = (x.double().flatten(1)[:, None] - pixels.flatten(1)).square().sum(-1).split(256, dim=1)
    for chunk, expected in zip(OptimalDenoiser(PHOTOS, levels=256, chunk_size=256).chunks(x), exact, strict=True):
        approximate, where = chunk.square.clone(), expected < expected.median()
        assert ((approximate - expected).abs() <= chunk.bound).all()
        chunk.settle(where)
        torch.testing.assert_close(chunk.square[where], expected[where], rtol=1e-13, atol=0)
        assert torch.equal(chunk.square[~where], approximate[~where])


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("sigma", [0.0, 0.002, 0.5, 80.0])
def test_few_distances_are_taken_again(monkeypatch, sigma, offset):
    """Wherever the images lie: they are centred."""
    settled, settle = [], Chunk.settle
    monkeypatch.setattr(Chunk, "settle", lambda chunk, where: (settled.append(where.sum()), settle(chunk, where)))
    images = (2 * PHOTOS.double() / 255 - 1 + offset).float()
    x = images[:6] + sigma * normals(*images[:6].shape).float()
    OptimalDenoiser(images, chunk_size=256)(x, sigma)
    assert sum(settled) <= 12 if sigma < 80 else sum(settled) == 0


def test_small_weights_do_not_drown_in_a_large_one():
    """2000 images of weight 2e-8, each below half a unit in the last place of a sum that has begun with 1."""
    distance = math.sqrt(2 * math.log(5e7))
    others = torch.tensor([[distance, 1.0], [-99.0, -1.0]]).repeat_interleave(2000, 0)
    images = torch.cat([torch.tensor([[0.0, 0.5]]), others])
    found = OptimalDenoiser(images, chunk_size=5000)(images[:1], 1.0)
    torch.testing.assert_close(found.double(), naive(images, images[:1], 1.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 2.0])
def test_optimal_denoiser_is_the_mixture_of_points(sigma):
    mixture = GaussianMixtureDenoiser(IMAGES, torch.zeros(len(IMAGES)))
    found = OptimalDenoiser(IMAGES, chunk_size=8)(noisy(sigma), sigma)
    torch.testing.assert_close(found, mixture(noisy(sigma), sigma), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize("sigma", [0.0, 1e-30, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_noise_the_optimal_denoiser_is_the_nearest_image(dtype, sigma, chunk_size):
    """Also far from all of them, where no weight but the nearest's is above the smallest number."""
    x = torch.cat([noisy(0.3), noisy(30.0), IMAGES[:2]]).to(dtype)
    images = IMAGES.to(dtype)
    nearest = (x.flatten(1)[:, None] - images.flatten(1)).norm(dim=-1).argmin(1)
    torch.testing.assert_close(OptimalDenoiser(images, chunk_size=chunk_size)(x, sigma), images[nearest])


def test_the_optimal_denoiser_is_the_mean_of_images_that_are_equally_near():
    images = torch.tensor([[-1.0], [1.0], [3.0]])
    assert OptimalDenoiser(images, chunk_size=1)(torch.tensor([[0.0], [2.0], [0.5]]), 0.0).tolist() == [[0], [2], [1]]


def test_optimal_denoiser_takes_a_sigma_for_each_image():
    sigmas = torch.tensor([0.0, 1e-3, 0.3, 1.0, 3.0, 80.0], dtype=torch.float64)
    denoiser, x = OptimalDenoiser(IMAGES, chunk_size=9), noisy(0.5)
    single = [denoiser(x[i : i + 1], sigma) for i, sigma in enumerate(sigmas)]
    torch.testing.assert_close(denoiser(x, sigmas), torch.cat(single), rtol=0, atol=1e-13)


@pytest.mark.parametrize("sigma", [0.02, 0.5])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_images_of_half_precision_are_summed_in_single(dtype, sigma):
    """10,000 images: a half-precision sum of weights would stop at 2048 or 256."""
    images = normals(10_000, 1, 2, 2, seed=5).to(dtype)
    x = normals(3, 1, 2, 2, seed=6).float()
    found = OptimalDenoiser(images)(x, sigma)
    torch.testing.assert_close(found.double(), naive(images, x, sigma), rtol=0, atol=2e-5)
    assert OptimalDenoiser(images)(x.to(dtype), 50.0).dtype == dtype
    mean = images.double().mean(0).expand_as(x)
    torch.testing.assert_close(OptimalDenoiser(images)(x.to(dtype), 1e4).double(), mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("levels", "dtype"), [(256, torch.uint8), (17, torch.uint8), (17, torch.int64)])
def test_grey_levels_are_scaled_to_pixels(levels, dtype):
    grey = torch.randint(levels, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(dtype)
    pixels = 2 * grey.double() / (levels - 1) - 1
    x = noisy(0.4, images=pixels)
    found = OptimalDenoiser(grey, levels=levels, chunk_size=8)(x, 0.4)
    torch.testing.assert_close(found, naive(pixels, x, 0.4), rtol=0, atol=1e-12)
    assert OptimalDenoiser(grey, levels=levels)(x.float(), 0.4).dtype == torch.float32


def test_one_euler_step_to_zero_is_one_iteration_of_mean_shift():
    """Mean shift moves x to Σ_i K(‖x − y_i‖²/sigma²) y_i / Σ_i K(…) with the normal kernel K(u) = exp(−u/2)."""
    denoiser, sigma = OptimalDenoiser(IMAGES, chunk_size=16), 0.7
    x = noisy(sigma)
    for _ in range(3):
        kernel = torch.exp(-(x[:, None] - IMAGES).flatten(2).square().sum(-1) / (2 * sigma**2))
        shifted = torch.einsum("bn,nchw->bchw", kernel / kernel.sum(1, keepdim=True), IMAGES)
        x = sample_euler(denoiser, x, torch.tensor([sigma, 0.0], dtype=torch.float64))
        torch.testing.assert_close(x, shifted, rtol=0, atol=1e-12)


def test_an_euler_step_is_an_annealed_mean_shift():
    """x_s = (s/t) x_t + (1 − s/t) (mean shift of x_t): a convex combination."""
    denoiser, x = OptimalDenoiser(IMAGES), noisy(1.0)
    found = sample_euler(denoiser, x, torch.tensor([1.0, 0.4], dtype=torch.float64))
    torch.testing.assert_close(found, 0.4 * x + 0.6 * denoiser(x, 1.0), rtol=0, atol=1e-12)


class Largest(TorchDispatchMode):
    """The size in bytes of the largest new tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        known = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        for leaf in tree_leaves(result):
            if torch.is_tensor(leaf) and leaf.untyped_storage().data_ptr() not in known:
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_memory_does_not_grow_with_the_number_of_images(dtype):
    x, found = normals(5, 1, 4, 4).float(), []
    for n in (64, 512, 4096):
        images = torch.randint(9, (n, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(dtype)
        with Largest() as largest:
            OptimalDenoiser(images, levels=9 if dtype == torch.uint8 else None, chunk_size=64)(x, 0.5)
        found.append(largest.bytes)
    assert len(set(found)) == 1
    assert found[0] <= 4 * 64 * 16  # one chunk of images in float32


@pytest.mark.parametrize(
    ("images", "options", "found"),
    [
        (torch.zeros(0, 1), {}, "found 0 images"),
        (torch.zeros(3, 1), {"chunk_size": 0}, "chunk_size = 0"),
        (torch.zeros(3, 1, dtype=torch.uint8), {}, r"torch.uint8, None"),
        (torch.zeros(3, 1), {"levels": 17}, r"torch.float32, 17"),
    ],
)
def test_images_that_say_not_what_they_are_are_refused(images, options, found):
    with pytest.raises(ValueError, match=found):
        OptimalDenoiser(images, **options)


@pytest.mark.parametrize(
    "fewer_digits",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: mock.patch.object(torch, "get_float32_matmul_precision", lambda: "high"),
    ],
    ids=["autocast", "TF32"],
)
def test_the_optimal_denoiser_refuses_products_of_fewer_digits(fewer_digits):
    denoiser = OptimalDenoiser(torch.zeros(2, 1, 2, 2))
    with fewer_digits(), pytest.raises(RuntimeError, match="products of full float32"):
        denoiser(torch.zeros(1, 1, 2, 2), 1.0)
