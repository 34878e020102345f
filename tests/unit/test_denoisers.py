"""Denoisers: every parametrisation finds x0 from its own target; exact denoisers against quadrature and Tweedie."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import MIXTURE_1D, MIXTURE_2D, NORMAL_1D, NORMAL_STD, VPS, PhaseSpace, Rotation, small_denoiser
from scipy.integrate import quad
from torch import nn

from nonnormal.denoisers import PARAMETRISATIONS, GaussianMixtureDenoiser, NetworkDenoiser, fourier_features, predict_x0

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


def normals(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_predict_x0_refuses_phase_space():
    with pytest.raises(ValueError, match=r"one variable per component, PhaseSpace has 2"):
        predict_x0(MIXTURE_2D.denoiser, PhaseSpace(), normals(3, 2), 0.3)
