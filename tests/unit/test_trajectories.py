"""Trajectories: what a sampler went through is what the file says, in any batches, or there is no file."""

import resource
from pathlib import Path

import pytest
import torch
from problems import MIXTURE_1D, MIXTURE_2D, VPS, PerPixel
from safetensors.torch import load_file

from nonnormal.analysis.recorder import read, record
from nonnormal.files import read_tensors
from nonnormal.processes import uniform_times
from nonnormal.samplers import SOLVERS, polynomial, sample_ancestral, sample_euler, sample_heun
from nonnormal.steps import get

SIGMAS = polynomial(6, 0.05, 5.0)
DENOISER = MIXTURE_2D.denoiser
STATM = Path("/proc/self/statm")


def noise(n=10):
    return 5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def remembered(solver, x, sigmas=SIGMAS):
    """(states, denoised) of all images, in memory."""
    seen = []
    end = solver(DENOISER, x, sigmas, callback=seen.append)
    return torch.stack([*(at["x"] for at in seen), end]), torch.stack([at["denoised"] for at in seen])


@pytest.mark.parametrize("to_zero", [True, False])
@pytest.mark.parametrize("name", SOLVERS)
def test_the_file_holds_what_the_solver_went_through(tmp_path, name, to_zero):
    sigmas, images = polynomial(6, 0.05, 5.0, to_zero=to_zero), [7, 0, 3]
    with record(tmp_path / "a.safetensors", sigmas, images, torch.float64) as recorder:
        recorder.end(SOLVERS[name](DENOISER, noise(), sigmas, callback=recorder))
    found, (states, denoised) = read(tmp_path / "a.safetensors"), remembered(SOLVERS[name], noise(), sigmas)
    assert torch.equal(found.states, states[:, images])
    assert torch.equal(found.denoised, denoised[:, images])
    assert torch.equal(found.levels, sigmas)
    assert found.images.tolist() == images


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
def test_batches_do_not_matter(tmp_path, batch_size):
    images = [9, 2, 4, 3]
    with record(tmp_path / "a", SIGMAS, images, torch.float64) as recorder:
        parts = noise().split(batch_size)
        recorder.end(torch.cat([sample_heun(DENOISER, part, SIGMAS, callback=recorder) for part in parts]))
    states, denoised = remembered(sample_heun, noise())
    found = read(tmp_path / "a")
    torch.testing.assert_close(found.states, states[:, images], rtol=0, atol=1e-13)
    torch.testing.assert_close(found.denoised, denoised[:, images], rtol=0, atol=1e-13)


def test_the_ancestral_sampler_is_recorded_by_its_times(tmp_path):
    seen, times = [], uniform_times(4)
    settings = dict(times=times, seeds=range(5), batch_size=2)
    chain = (PerPixel(MIXTURE_1D), VPS["vp-digits"], get("laplace"), (5, 1, 2, 2))
    with record(tmp_path / "a", times.flip(0), [4, 1]) as recorder:
        recorder.end(sample_ancestral(*chain, **settings, callback=recorder))
    end = sample_ancestral(*chain, **(settings | dict(batch_size=None)), callback=seen.append)
    found = read(tmp_path / "a")
    assert found.levels.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    torch.testing.assert_close(found.states, torch.stack([*(at["x"] for at in seen), end])[:, [4, 1]])
    torch.testing.assert_close(found.denoised, torch.stack([at["denoised"] for at in seen])[:, [4, 1]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_type_of_the_file_is_chosen(tmp_path, dtype):
    with record(tmp_path / "a", SIGMAS, [1, 2], dtype) as recorder:
        recorder.end(sample_euler(DENOISER, noise(), SIGMAS, callback=recorder))
    found, (states, _) = read(tmp_path / "a"), remembered(sample_euler, noise())
    assert found.states.dtype == found.denoised.dtype == dtype
    assert torch.equal(found.states, states[:, [1, 2]].to(dtype))


def test_any_reader_of_the_format_opens_it(tmp_path):
    with record(tmp_path / "new" / "a.safetensors", SIGMAS, range(10)) as recorder:
        recorder.end(sample_euler(DENOISER, noise(), SIGMAS, callback=recorder))
    found = read(tmp_path / "new" / "a.safetensors")
    for tensors in (load_file(tmp_path / "new" / "a.safetensors"), read_tensors(tmp_path / "new" / "a.safetensors")[0]):
        assert set(tensors) == {"states", "denoised", "levels", "images"}
        assert all(torch.equal(tensor, getattr(found, name)) for name, tensor in tensors.items())


def test_some_rows_are_read_alone(tmp_path):
    with record(tmp_path / "a", SIGMAS, [8, 6, 4, 2]) as recorder:
        recorder.end(sample_euler(DENOISER, noise(), SIGMAS, callback=recorder))
    part, whole = read(tmp_path / "a", slice(1, 3)), read(tmp_path / "a")
    assert part.images.tolist() == [6, 4]
    assert torch.equal(part.states, whole.states[:, 1:3])
    assert torch.equal(part.denoised, whole.denoised[:, 1:3])
    assert torch.equal(part.levels, whole.levels)


def test_the_file_appears_only_when_it_is_complete(tmp_path):
    with record(tmp_path / "a.safetensors", SIGMAS, [0]) as recorder:
        end = sample_euler(DENOISER, noise(), SIGMAS, callback=recorder)
        assert not (tmp_path / "a.safetensors").exists()
        recorder.end(end)
        assert not (tmp_path / "a.safetensors").exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def breaks(x, sigma):
        if sigma < 1:
            raise RuntimeError("out of memory")
        return DENOISER(x, sigma)

    with pytest.raises(RuntimeError, match="out of memory"), record(tmp_path / "a", SIGMAS, [0]) as recorder:
        sample_euler(breaks, noise(), SIGMAS, callback=recorder)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_its_end_or_with_too_few_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"end\(x\)"), record(tmp_path / "a", SIGMAS, [0]) as recorder:
        sample_euler(DENOISER, noise(), SIGMAS, callback=recorder)
    with pytest.raises(ValueError, match="all 2 chosen images"), record(tmp_path / "a", SIGMAS, [0, 10]) as recorder:
        recorder.end(sample_euler(DENOISER, noise(10), SIGMAS, callback=recorder))
    with pytest.raises(ValueError, match=r"found \[0, 0, 0, 0, 0, 0, 1\]"), record(tmp_path / "a", SIGMAS, [0]) as one:
        one.end(noise())
    assert list(tmp_path.iterdir()) == []


def test_steps_of_another_grid_are_refused(tmp_path):
    for sigmas in (polynomial(6, 0.04, 5.0), polynomial(7, 0.05, 5.0)):
        with pytest.raises(ValueError, match="none of the grid"), record(tmp_path / "a", SIGMAS, [0]) as recorder:
            sample_euler(DENOISER, noise(), sigmas, callback=recorder)


@pytest.mark.parametrize(
    ("levels", "images", "dtype", "found"),
    [
        (SIGMAS, [0], torch.bfloat16, "bfloat16"),
        (SIGMAS, [], torch.float32, r"images .* \[\]"),
        (SIGMAS, [1, 1], torch.float32, r"\[1, 1\]"),
        (SIGMAS, [-1], torch.float32, r"\[-1\]"),
        (SIGMAS[:1], [0], torch.float32, "two or more finite levels"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path, levels, images, dtype, found):
    with pytest.raises(ValueError, match=found), record(tmp_path / "a", levels, images, dtype):
        pytest.fail("entered")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_recording_is_refused_by_name(tmp_path, keep):
    with record(tmp_path / "a.safetensors", SIGMAS, [0]) as recorder:
        recorder.end(sample_euler(DENOISER, noise(), SIGMAS, callback=recorder))
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut\.safetensors is not a complete recording"):
        read(tmp_path / "cut.safetensors")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.safetensors")


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux's account of a process's memory")
def test_memory_is_that_of_one_step(tmp_path):
    """A recording of 160 MB is made where the process may hold 64 MB of data more than it does."""
    x, sigmas = torch.zeros(4, 1000, 250), polynomial(20)
    pages = int(STATM.read_text().split()[5])
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + 2**26, hard))
    try:
        with record(tmp_path / "a", sigmas, range(4)) as recorder:
            recorder.end(sample_euler(lambda x, sigma: x / 2, x, sigmas, callback=recorder))
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    assert (tmp_path / "a").stat().st_size > 160e6
