"""Copies of training images among samples: all, none, and as many as among new images."""

import pytest
import torch

from nonnormal.data import scale
from nonnormal.metrics.copies import copied_share, nearest_distances

LEVELS = 17


def drawn(n, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(LEVELS, (n, 1, 2, 3), generator=g, dtype=torch.uint8)


def test_the_nearest_distance_is_the_least_root_mean_square():
    images, training = scale(drawn(5, 0), LEVELS), drawn(7, 1)
    expected = torch.cdist(images.flatten(1), scale(training, LEVELS).flatten(1)).amin(1) / 6**0.5
    torch.testing.assert_close(nearest_distances(images, training, LEVELS), expected)


def test_copies_are_counted_and_new_images_are_not():
    training = drawn(100, 1)
    held_out = nearest_distances(scale(drawn(1000, 2), LEVELS), training, LEVELS)
    copies = nearest_distances(scale(training, LEVELS), training, LEVELS)
    assert copied_share(copies, held_out).value == 1
    assert copied_share(held_out, held_out).value == pytest.approx(0.01, abs=0.003)
    assert copied_share(held_out + held_out.max(), held_out).value == 0
    half = copied_share(torch.cat([copies, held_out[:100] + held_out.max()]), held_out)
    assert half.value == 0.5 and half.low < 0.5 < half.high and half.n == 200
