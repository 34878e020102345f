"""Objectives: the whitened error, antithetic times, and what a pair changes in a loss and what it does not."""

import numpy as np
import pytest
import torch
from problems import MIXTURE_1D, PROCESSES, VPS, ComponentWiseVP, PerPixel, PhaseSpace, Rotation, normals

from nonnormal.objectives.losses import (
    ELBO,
    Design,
    EDMLoss,
    HybridScoreMatching,
    Loss,
    antithetic,
    marginal_state,
    whitened_error,
)
from nonnormal.processes import PSLD
from nonnormal.steps import get
from nonnormal.steps.divergence import constant, shift_kl

DENOISER = PerPixel(MIXTURE_1D)
PAIRS = [
    *(("normal", "normal"), ("laplace", "laplace"), ("uniform", "normal"), ("uniform", "laplace")),
    *(("gumbel", "logistic"), ("gumbel", "gumbel"), ("exponential", "student_t(df=5)"), ("arcsine", "normal")),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def design(q, p, **other):
    return Design(VPS["vp-digits"], Loss(q, p), **other)


def objectives(point):
    return [ELBO(point, 20), EDMLoss(point, 0.5)]


class Recorder:
    """Remembers what a denoiser is asked and what it answers."""

    def __init__(self, denoiser):
        self.denoiser, self.calls = denoiser, []

    def __call__(self, x, sigma):
        answer = self.denoiser(x, sigma)
        self.calls.append((x, torch.as_tensor(sigma), answer))
        return answer


@pytest.mark.parametrize("process", VPS.values(), ids=VPS.keys())
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.01), (0.2, 0.21), (0.4, 0.9), (0.0, 1.0)])
def test_whitened_error_is_the_root_of_the_gain_in_snr(process, s, t):
    x0, x0_hat = normals(3, 1, 2, 2), normals(3, 1, 2, 2, seed=1)
    high, low = process.schedule.log_snr(s), process.schedule.log_snr(t)
    gain = low.exp() * torch.expm1(high - low)  # SNR(s) − SNR(t)
    found = whitened_error(process, s, t, x0_hat, x0)[0]
    torch.testing.assert_close(found, gain.sqrt() * (x0_hat - x0), rtol=1e-12, atol=0)


def test_whitened_error_takes_times_for_each_image_and_keeps_the_type():
    process = VPS["vp-digits"]
    x0, x0_hat = normals(2, 1, 2, 2).float(), normals(2, 1, 2, 2, seed=1).float()
    s, t = torch.tensor([0.1, 0.5]), torch.tensor([0.2, 0.9])
    both = whitened_error(process, s, t, x0_hat, x0)[0]
    assert both.dtype == torch.float32
    for i in range(2):
        torch.testing.assert_close(both[i], whitened_error(process, s[i], t[i], x0_hat[i : i + 1], x0[i : i + 1])[0][0])


def test_whitened_error_in_phase_space_is_the_whitened_shift_of_the_mean():
    process = PhaseSpace()
    x0, x0_hat = normals(3, 2, 2, 2), normals(3, 2, 2, 2, seed=1)
    _, coef_x0, chol = (part.numpy() for part in process.posterior(0.2, 0.5))
    column = (np.linalg.inv(chol) @ coef_x0)[:, 0]
    expected = np.concatenate([entry * (x0_hat - x0).numpy() for entry in column], 1)
    found = whitened_error(process, 0.2, 0.5, x0_hat, x0)[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
    snr_s, snr_t = (process.observation(t)[1].item() ** -2 for t in (0.2, 0.5))
    blocks = found.square().reshape(3, 2, 2, 2, 2).sum(1)
    torch.testing.assert_close(blocks, (snr_s - snr_t) * (x0_hat - x0).square(), rtol=1e-8, atol=0)


def test_whitened_error_with_a_schedule_for_each_component():
    process = ComponentWiseVP()
    x0, x0_hat = normals(3, 1, 2, 3), normals(3, 1, 2, 3, seed=1)
    snr_s, snr_t = (process._log_snr(torch.tensor(t)).exp() for t in (0.25, 0.75))
    expected = (snr_s - snr_t).sqrt() * (x0_hat - x0)
    torch.testing.assert_close(whitened_error(process, 0.25, 0.75, x0_hat, x0)[0], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("process", VPS.values(), ids=VPS.keys())
def test_marginal_state_is_signal_plus_noise(process):
    x0, noise, t = normals(2, 1, 2, 2), normals(2, 1, 2, 2, seed=1), torch.tensor([0.0, 0.7], dtype=torch.float64)
    log_snr = process.schedule.log_snr(t)[:, None, None, None]
    expected = torch.sigmoid(log_snr).sqrt() * x0 + torch.sigmoid(-log_snr).sqrt() * noise
    torch.testing.assert_close(marginal_state(process, x0, t, noise), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_antithetic_times_are_equally_spaced_on_the_circle(n):
    times = antithetic(n, generator())
    assert ((times >= 0) & (times < 1)).all()
    gaps = torch.cat([times.sort().values, times.min().unsqueeze(0) + 1]).diff()
    torch.testing.assert_close(gaps, torch.full((n,), 1 / n, dtype=torch.float64), rtol=0, atol=1e-12)


def test_antithetic_times_move_with_the_generator():
    draws = generator()
    assert not torch.equal(antithetic(4, draws), antithetic(4, draws))


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_losses_are_one_number_an_image_and_zero_for_a_perfect_denoiser(q, p):
    x0 = normals(6, 1, 2, 2)
    for objective in objectives(design(q, p)):
        loss = objective(lambda x, sigma: x0, x0, generator())
        assert loss.shape == (6,)
        torch.testing.assert_close(loss, torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [0, 1], ids=["elbo", "perceptual"])
def test_uniform_normal_and_normal_normal_lose_the_same(kind):
    x0 = normals(8, 1, 2, 2).requires_grad_()
    losses = [objectives(design(q, "normal"))[kind](DENOISER, x0, generator()) for q in ("uniform", "normal")]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    # What moves the weights is the same to the bit: the constant is left out of it.
    gradients = [torch.autograd.grad(loss.sum(), x0)[0] for loss in losses]
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_elbo_loss_is_t_times_the_excess_divergence_at_its_draw(q, p):
    """The states that the denoiser saw give the step k of each image, and from it the loss by the formula."""
    n_steps, process, x0 = 20, VPS["vp-digits"], normals(16, 1, 2, 2)
    recorder = Recorder(DENOISER)
    loss = ELBO(design(q, p), n_steps)(recorder, x0, generator(3))
    [(_, sigma, x0_hat)] = recorder.calls
    t = (9.0 + 2 * sigma.log()) / 16  # log-SNR falls from 9 to −7
    k = (t * n_steps).round()
    torch.testing.assert_close(t * n_steps, k, rtol=0, atol=1e-9)  # on the grid
    assert k.min() >= 1
    assert k.max() <= n_steps
    snr_s, snr_t = (process.schedule.log_snr(step / n_steps).exp() for step in (k - 1, k))
    delta = (snr_s - snr_t).sqrt()[:, None, None, None] * (x0_hat - x0)
    excess = (shift_kl(q, p, delta) - constant(q, p)).flatten(1).mean(1)
    torch.testing.assert_close(loss, n_steps * excess, rtol=1e-9, atol=1e-12)


def test_elbo_steps_are_spread_evenly_over_the_batch():
    recorder = Recorder(DENOISER)
    ELBO(design("normal", "normal"), 20)(recorder, normals(40, 1, 2, 2), generator())
    k = ((9.0 + 2 * recorder.calls[0][1].log()) / 16 * 20).round().long()
    assert torch.bincount(k)[1:].tolist() == [2] * 20


def test_perceptual_loss_of_the_normal_pair_is_half_of_edms():
    sigma_data, x0 = 0.5, normals(16, 1, 2, 2)
    recorder = Recorder(DENOISER)
    loss = EDMLoss(design("normal", "normal"), sigma_data)(recorder, x0, generator())
    [(_, sigma, x0_hat)] = recorder.calls
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    edm = weight * (x0_hat - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, edm / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [0, 1], ids=["elbo", "perceptual"])
def test_the_denoiser_sees_pixels_whatever_the_basis(kind):
    """A denoiser that knows x0 loses nothing in any basis only if it is asked, and answers, in pixels."""
    x0 = normals(6, 1, 2, 2)
    point = design("laplace", "laplace", basis=Rotation(4))
    seen = Recorder(lambda x, sigma: x0)
    loss = objectives(point)[kind](seen, x0, generator())
    torch.testing.assert_close(loss, torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-10)
    x, sigma, _ = seen.calls[0]
    noise = (x - x0) / sigma[:, None, None, None]
    assert 0.3 < noise.square().mean() < 3


@pytest.mark.parametrize("kind", [0, 1], ids=["elbo", "perceptual"])
def test_losses_depend_on_the_generator_alone(kind):
    x0 = normals(6, 1, 2, 2).float()
    objective = objectives(design("uniform", "laplace"))[kind]
    first, second = (objective(DENOISER, x0, generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert not torch.equal(first, objective(DENOISER, x0, generator(6)))


def test_every_process_of_the_shelf_whitens_to_finite_numbers():
    for process in PROCESSES.values():
        delta = whitened_error(process, 0.05, 0.1, normals(2, 1, 2, 3), normals(2, 1, 2, 3, seed=1))[0]
        assert delta.shape == (2, process.n, 2, 3)
        assert delta.isfinite().all()


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [0, -1])
def test_a_chain_has_one_step_or_more(n_steps):
    with pytest.raises(ValueError, match=f"n_steps must be 1 or more, found {n_steps}"):
        ELBO(design("normal", "normal"), n_steps)


@pytest.mark.parametrize(("q", "p"), [("uniform", "uniform"), ("normal", "uniform"), ("laplace", "arcsine")])
def test_a_pair_of_infinite_divergence_has_no_loss(q, p):
    for make in (lambda d: ELBO(d, 20), lambda d: EDMLoss(d, 0.5), lambda d: HybridScoreMatching(d, "hsm")):
        with pytest.raises(
            ValueError, match=f"the divergence of the pair {q}/{p} is infinite; take a p with wider tails"
        ):
            make(design(q, p))


def test_grey_levels_are_no_images():
    grey = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    of_states = HybridScoreMatching(Design(PSLD(), Loss("normal", "normal")), "hsm")
    for each in (*objectives(design("normal", "normal")), of_states):
        with pytest.raises(
            ValueError, match=r"images are numbers in \[−1, 1\], found torch\.uint8; nonnormal\.data\.scale"
        ):
            each.loss(DENOISER, grey, *each.draw(grey.shape, generator()))
        with pytest.raises(ValueError, match=r"images are numbers in \[−1, 1\], found torch\.uint8"):
            each(DENOISER, grey, generator())


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((PSLD, Loss("normal", "normal")), "process of a design must be an object of LinearProcess; found <class"),
        ((PSLD(), "laplace"), "loss of a design must be an object of Loss; found 'laplace'"),
        ((PSLD(), Loss("normal", "normal"), "haar"), "basis of a design must be an object of Basis; found 'haar'"),
    ],
)
def test_a_design_is_made_of_objects(parts, words):
    with pytest.raises(ValueError, match=words):
        Design(*parts)


def test_a_pair_may_be_named():
    assert Design(PSLD(), Loss("laplace", "student_t(df=5)")) == Design(
        PSLD(), Loss(get("laplace"), get("student_t", df=5))
    )
    assert Loss("uniform", "laplace") == Loss(get("uniform"), get("laplace"))
    with pytest.raises(ValueError, match="unknown step family 'laplac'; known families: normal"):
        Design(PSLD(), Loss("laplac", "normal"))
