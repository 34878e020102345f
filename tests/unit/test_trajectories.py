"""Trajectories: a recorder keeps what a sampler went through, in any batches."""

import pytest
import torch
from problems import MIXTURE_1D, MIXTURE_2D, VPS, PerPixel

from nonnormal.analysis.recorder import Recorder, Trajectories
from nonnormal.files import read_tensors, write_tensors
from nonnormal.processes import uniform_times
from nonnormal.samplers import SOLVERS, polynomial, sample_ancestral, sample_euler, sample_heun
from nonnormal.steps import get

SIGMAS = polynomial(6, 0.05, 5.0)
DENOISER = MIXTURE_2D.denoiser


def noise(n=10):
    return 5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def remembered(solver, x, sigmas=SIGMAS):
    """(states, denoised) of all images, in memory."""
    seen = []
    end = solver(DENOISER, x, sigmas, callback=seen.append)
    return torch.stack([*(at["x"] for at in seen), end]), torch.stack([at["denoised"] for at in seen])


def recorded(solver, x, sigmas=SIGMAS, images=(0,)):
    recorder = Recorder(sigmas, images)
    return recorder.end(solver(DENOISER, x, sigmas, callback=recorder))


@pytest.mark.parametrize("to_zero", [True, False])
@pytest.mark.parametrize("name", SOLVERS)
def test_what_the_solver_went_through_is_kept(name, to_zero):
    sigmas, images = polynomial(6, 0.05, 5.0, to_zero=to_zero), [7, 0, 3]
    found = recorded(SOLVERS[name], noise(), sigmas, images)
    states, denoised = remembered(SOLVERS[name], noise(), sigmas)
    assert torch.equal(found.states, states[:, images])
    assert torch.equal(found.denoised, denoised[:, images])
    assert torch.equal(found.levels, sigmas)
    assert found.images.tolist() == images


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
def test_batches_do_not_matter(batch_size):
    images = [9, 2, 4, 3]
    recorder = Recorder(SIGMAS, images)
    ends = [sample_heun(DENOISER, part, SIGMAS, callback=recorder) for part in noise().split(batch_size)]
    found = recorder.end(torch.cat(ends))
    states, denoised = remembered(sample_heun, noise())
    torch.testing.assert_close(found.states, states[:, images], rtol=0, atol=1e-13)
    torch.testing.assert_close(found.denoised, denoised[:, images], rtol=0, atol=1e-13)


def test_the_ancestral_sampler_is_recorded_by_its_times():
    seen, times = [], uniform_times(4)
    settings = dict(times=times, seeds=range(5), batch_size=2)
    chain = (PerPixel(MIXTURE_1D), VPS["vp-digits"], get("laplace"), (5, 1, 2, 2))
    recorder = Recorder(times.flip(0), [4, 1])
    found = recorder.end(sample_ancestral(*chain, **settings, callback=recorder))
    end = sample_ancestral(*chain, **(settings | dict(batch_size=None)), callback=seen.append)
    assert found.levels.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    torch.testing.assert_close(found.states, torch.stack([*(at["x"] for at in seen), end])[:, [4, 1]])
    torch.testing.assert_close(found.denoised, torch.stack([at["denoised"] for at in seen])[:, [4, 1]])


def test_states_that_change_in_place_afterwards_stay_as_they_were():
    x, recorder = torch.ones(2, 3), Recorder(torch.tensor([1.0, 0.0]), [0, 1])
    recorder({"i": 0, "sigma": 1.0, "x": x, "denoised": x})
    assert torch.equal(recorder.end(x.zero_()).states[:, 0, 0], torch.tensor([1.0, 0.0]))


def test_a_file_keeps_trajectories(tmp_path):
    found = recorded(sample_euler, noise(), images=range(10))
    write_tensors(tmp_path / "a.safetensors", found.tensors())
    again = Trajectories(**read_tensors(tmp_path / "a.safetensors")[0])
    assert all(torch.equal(tensor, found.tensors()[name]) for name, tensor in again.tensors().items())


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="all 2 chosen images"):
        recorded(sample_euler, noise(10), images=[0, 10])
    with pytest.raises(ValueError, match=r"found \[0, 0, 0, 0, 0, 0, 1\]"):
        Recorder(SIGMAS, [0]).end(noise())


def test_steps_of_another_grid_are_refused():
    for sigmas in (polynomial(6, 0.04, 5.0), polynomial(7, 0.05, 5.0)):
        with pytest.raises(ValueError, match="none of the grid"):
            sample_euler(DENOISER, noise(), sigmas, callback=Recorder(SIGMAS, [0]))


@pytest.mark.parametrize(
    ("levels", "images", "found"),
    [
        (SIGMAS, [], r"images .* \[\]"),
        (SIGMAS, [1, 1], r"\[1, 1\]"),
        (SIGMAS, [-1], r"\[-1\]"),
        (SIGMAS[:1], [0], "two or more finite levels"),
    ],
)
def test_what_cannot_be_recorded_is_refused(levels, images, found):
    with pytest.raises(ValueError, match=found):
        Recorder(levels, images)
