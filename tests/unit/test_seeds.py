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


def test_a_slash_in_a_name_is_no_separator():
    paths = [(0, *names) for names in (("a/b",), ("a", "b"), ("a/", "b"), ("a", "/b"), ("a", "", "b"), ("a//b",))]
    assert len({derive(*path) for path in paths}) == len(paths)


def test_seeds_fit_a_generator():
    assert all(0 <= derive(0, i) < 2**63 for i in range(1000))
    assert generator(0, "a").initial_seed() == derive(0, "a")


def test_noise_of_an_image_does_not_depend_on_its_company():
    together, alone = ImageNoise([3, 5, 7], (2, 4)), ImageNoise([5], (2, 4))
    for step in (NORMAL, LAPLACE, NORMAL):
        assert torch.equal(together.draw(step)[1], alone.draw(step)[0])


def test_many_draws_of_an_image_depend_on_nothing_but_its_seed_and_their_number(monkeypatch):
    monkeypatch.setattr("nonnormal.seeds._AHEAD", 20)  # two draws at a time, and one at the end
    for step in (NORMAL, LAPLACE):
        together, alone = (list(ImageNoise(seeds, (2, 4)).draws(step, 5)) for seeds in ([3, 5, 7], [5]))
        assert [z.shape for z in together] == [(3, 2, 4)] * 5
        assert all(torch.equal(z[1], other[0]) for z, other in zip(together, alone, strict=True))
        assert torch.stack(together).unique().numel() == 5 * 3 * 8


def test_many_draws_follow_what_was_drawn_before():
    noise = ImageNoise([3], (16,))
    first = noise.draw(NORMAL)
    assert not torch.equal(first, next(noise.draws(NORMAL, 2)))
    assert torch.equal(first, next(ImageNoise([3], (16,)).draws(NORMAL, 2)))  # whole blocks of normals: one stream


def test_noise_goes_on_from_draw_to_draw():
    noise = ImageNoise([3], (4,))
    assert not torch.equal(noise.draw(NORMAL), noise.draw(NORMAL))


def test_noise_has_shape_and_type_asked_for():
    z = ImageNoise([1, 2], (3, 4), torch.float64).draw(LAPLACE)
    assert (z.shape, z.dtype) == ((2, 3, 4), torch.float64)


def test_uniform_numbers_are_in_the_unit_interval_and_spread_over_it():
    """A hundred images, a hundred numbers each: 1e4 draws, mean ½ and variance 1/12 within five standard errors."""
    noise = ImageNoise(range(100), (2,))
    numbers = torch.stack([noise.uniform() for _ in range(100)])
    assert (numbers.shape, numbers.dtype, numbers.device.type) == ((100, 100), torch.float64, "cpu")
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert numbers.unique().numel() == 10_000
    for values, expected in ((numbers, 1 / 2), ((numbers - 0.5).square(), 1 / 12)):
        assert abs(values.mean() - expected) < 5 * values.std() / 100


def test_uniform_numbers_of_an_image_do_not_depend_on_its_company_shape_or_dtype():
    together, alone = ImageNoise([3, 5, 7], (2, 4)), ImageNoise([5], (1,), torch.float64)
    for _ in range(3):
        assert together.uniform()[1] == alone.uniform()[0]


def test_uniform_numbers_and_noise_come_from_one_stream():
    """A number drawn between moves what follows, so no two draws share their bits."""
    plain, moved = ImageNoise([3], (4,)), ImageNoise([3], (4,))
    moved.uniform()
    assert not torch.equal(plain.draw(NORMAL), moved.draw(NORMAL))
