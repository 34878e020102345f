"""Ancestral sampler: what a sample may depend on, and what is refused."""

from functools import partial

import pytest
import torch
from problems import MIXTURE_1D, STEPS, VPS, PerPixel, Rotation, small_denoiser

from nonnormal.denoisers import NormalDenoiser
from nonnormal.processes import PSLD, VP, apply, uniform_times, vp_sde
from nonnormal.samplers import (
    sample_ancestral,
    sample_em,
    sample_flow_adaptive,
    sample_flow_euler,
    sample_flow_heun,
    sample_sscs,
)
from nonnormal.seeds import ImageNoise
from nonnormal.steps import get

EXACT = PerPixel(MIXTURE_1D)
PROCESS = VPS["vp-digits"]
SHAPE = (16, 1, 8, 8)


def sample(denoiser=EXACT, step="laplace", shape=SHAPE, **other):
    options = dict(times=uniform_times(5), seeds=range(100, 100 + shape[0])) | other
    return sample_ancestral(denoiser, PROCESS, get(step), shape, **options)


@pytest.mark.parametrize("step", STEPS)
def test_sample_is_the_chain_written_out(step):
    times = uniform_times(3)
    noise = ImageNoise([4, 5], (1, 8, 8), torch.float64)
    x = noise.draw(get("normal"))
    pairs = ((times[2], times[3]), (times[1], times[2]), (times[0], times[1]))
    for (s, t), z in zip(pairs, noise.draws(get(step), 3), strict=True):
        a, c = (part.item() for part in PROCESS.marginal(t))
        x0_hat = EXACT(x / a, c**0.5 / a)
        coef_xt, coef_x0, chol = PROCESS.posterior(s, t)
        x = apply(coef_xt, x) + apply(coef_x0, x0_hat) + apply(chol, z)
    x = x / PROCESS.marginal(0.0)[0].item()
    found = sample(step=step, shape=(2, 1, 8, 8), times=times, seeds=[4, 5], dtype=torch.float64)
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("step", STEPS)
def test_image_i_does_not_depend_on_batch_size_with_an_exact_denoiser(step, batch_size):
    assert torch.equal(sample(step=step), sample(step=step, batch_size=batch_size))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_image_i_does_not_depend_on_batch_size_with_a_network(batch_size):
    network = small_denoiser(parametrisation="edm", fourier=(2,)).eval()
    torch.testing.assert_close(sample(network), sample(network, batch_size=batch_size), rtol=0, atol=1e-5)


def test_image_i_depends_on_its_own_seed_alone():
    assert torch.equal(sample()[3:5], sample(shape=(2, *SHAPE[1:]), seeds=[103, 104]))
    assert not torch.equal(sample()[:2], sample(shape=(2, *SHAPE[1:]), seeds=[103, 104]))


def test_global_random_state_neither_matters_nor_moves():
    torch.manual_seed(0)
    first, state = sample(), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(first, sample())
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_order_of_the_times_does_not_matter():
    times = uniform_times(5)
    assert torch.equal(sample(times=times), sample(times=times.flip(0)))
    assert torch.equal(sample(times=times), sample(times=times[torch.tensor([3, 0, 5, 2, 1, 4])]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_state_has_the_type_asked_for(dtype):
    seen = []
    image = sample(
        small_denoiser(parametrisation="v").eval(), dtype=dtype, callback=lambda at: seen.append(at["x"].dtype)
    )
    assert image.dtype == dtype
    assert set(seen) == {dtype}


def test_callback_sees_every_call_from_prior_to_data():
    seen = []
    sample(times=uniform_times(4), callback=seen.append)
    assert [at["i"] for at in seen] == [0, 1, 2, 3]
    assert [at["t"] for at in seen] == [1.0, 0.75, 0.5, 0.25]
    for at in seen:
        assert at["x"].shape == at["denoised"].shape == SHAPE


def test_a_step_without_noise_at_its_end_returns_the_last_prediction():
    """From t to a time 0 that is all but free of noise, x0 is the last x̂0 up to sigma_0 / alpha_0."""
    seen = []
    found = sample_ancestral(
        EXACT, VPS["vp-vdm"], get("normal"), SHAPE, times=[0.0, 1.0], seeds=range(16), callback=seen.append
    )
    assert (found - seen[0]["denoised"]).abs().max() < 6 * 0.0013  # exp(−13.3/2) = 0.0013


def test_samples_in_a_basis_come_back_as_images():
    """The denoiser of a point mass sends all noise to that image, in whatever basis the steps are counted."""
    image = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    found = sample_ancestral(
        lambda x, sigma: image.expand_as(x),
        *(VPS["vp-vdm"], get("laplace"), (3, 1, 8, 8)),
        **dict(times=uniform_times(5), seeds=[0, 1, 2], basis=Rotation(64)),
    )
    assert (found - image).abs().max() < 10 * 0.0013


@pytest.mark.parametrize("n_seeds", [0, 15, 17])
def test_another_number_of_seeds_than_images_is_refused(n_seeds):
    with pytest.raises(ValueError, match=f"found {n_seeds} seeds"):
        sample(seeds=range(n_seeds))


@pytest.mark.parametrize("times", [[], [0.5], [0.0, 0.5, 0.5, 1.0]])
def test_a_grid_without_distinct_times_is_refused(times):
    with pytest.raises(ValueError, match="two or more distinct times"):
        sample(times=times)


@pytest.mark.parametrize("times", [[-0.1, 1.0], [0.0, 1.1]])
def test_a_grid_that_leaves_the_unit_interval_is_refused(times):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        sample(times=times)


@pytest.mark.parametrize("sampler", [sample_ancestral, sample_em, sample_sscs])
def test_a_step_may_be_named(sampler):
    options = dict(times=uniform_times(3), seeds=[0, 1])
    named, made = (sampler(EXACT, VP(), step, (2, 1, 2, 2), **options) for step in ("laplace", get("laplace")))
    assert torch.equal(named, made)
    with pytest.raises(ValueError, match="unknown step family 'laplac'; known families: normal"):
        sampler(EXACT, VP(), "laplac", (2, 1, 2, 2), **options)


OF_TIMES = {
    **{"ancestral": partial(sample_ancestral, step="normal"), "em": partial(sample_em, step="normal")},
    **{"sscs": partial(sample_sscs, step="normal"), "euler": sample_flow_euler, "heun": sample_flow_heun},
    "adaptive": partial(sample_flow_adaptive, rtol=1e-2, atol=1e-2),
}


@pytest.mark.parametrize("name", OF_TIMES)
def test_a_grid_goes_from_the_prior_to_no_earlier_time_than_the_process_has(name):
    sampler, options = OF_TIMES[name], dict(shape=(1, 1, 2, 2), seeds=[0])
    for process in (PSLD(), vp_sde()):
        kind, t_min = type(process).__name__, f"{process.t_min:g}"
        with pytest.raises(ValueError, match=rf"{kind} has times from t_min = {t_min} to 1, found 0$"):
            sampler(EXACT, process, times=uniform_times(3), **options)
        with pytest.raises(ValueError, match=r"a grid begins at t = 1, where the prior is drawn, found 0\.9$"):
            sampler(EXACT, process, times=[process.t_min, 0.5, 0.9], **options)
        rounded = uniform_times(3, process.t_min).float()  # may lie below t_min, which is no number of float32
        for times in (rounded, [1.0, 0.5, 0.1]):
            assert sampler(EXACT, process, times=times, **options).isfinite().all()


def test_phase_space_is_walked_with_the_same_denoiser():
    """With no denoiser but that of images: samples of a normal have its mean and deviation, x without its momentum."""
    process = PSLD()
    times = uniform_times(200, process.t_min)
    law = NormalDenoiser(torch.full((1, 1, 1), 0.3), torch.tensor([[0.25]]))
    for step in ("normal", "laplace"):
        options = dict(times=times, seeds=range(4000), dtype=torch.float64)
        drawn = sample_ancestral(law, process, get(step), (4000, 1, 1, 1), **options)
        assert drawn.shape == (4000, 1, 1, 1)
        assert drawn.mean().item() == pytest.approx(0.3, abs=5 * 0.5 / 4000**0.5)
        assert drawn.std().item() == pytest.approx(0.5, rel=0.06)
