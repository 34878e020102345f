"""Seeds: stable names, and noise that belongs to an image."""

import pytest
import torch

from nonnormal.seeds import ImageNoise, derive, generator
from nonnormal.steps import get

NORMAL, LAPLACE = get("normal"), get("laplace")


@pytest.mark.parametrize(
    ("path", "seed"), [((0,), 3456079177858693020), ((0, "normal-normal", "train", 1), 312510136047019140)]
)
def test_derived_seeds_never_change(path, seed):
    """Pinned: another value would silently change every published number."""
    assert derive(*path) == seed


def test_different_names_give_different_seeds():
    paths = [(seed, *names) for seed in (0, 1) for names in ((), ("a",), ("b",), ("a", "b"), ("a", 0), ("a", 1), (1,))]
    assert len({derive(*path) for path in paths}) == len(paths)


def test_seeds_fit_a_generator():
    assert all(0 <= derive(0, i) < 2**63 for i in range(1000))
    assert generator(0, "a").initial_seed() == derive(0, "a")


def test_noise_of_an_image_does_not_depend_on_its_company():
    together, alone = ImageNoise([3, 5, 7], (2, 4)), ImageNoise([5], (2, 4))
    for step in (NORMAL, LAPLACE, NORMAL):
        assert torch.equal(together.draw(step)[1], alone.draw(step)[0])


def test_noise_goes_on_from_draw_to_draw():
    noise = ImageNoise([3], (4,))
    assert not torch.equal(noise.draw(NORMAL), noise.draw(NORMAL))


def test_noise_has_shape_and_type_asked_for():
    z = ImageNoise([1, 2], (3, 4), torch.float64).draw(LAPLACE)
    assert (z.shape, z.dtype) == ((2, 3, 4), torch.float64)
