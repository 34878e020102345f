"""Data: the digits' split, grey levels and files."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn import datasets

from nonnormal import data
from nonnormal.data import DATASETS


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_digits_are_1500_and_297_images_with_17_levels(digits):
    for split, n in ((digits.train, 1500), (digits.test, 297)):
        assert (split.images.shape, split.images.dtype) == ((n, 1, 8, 8), torch.uint8)
        assert (split.labels.shape, split.labels.dtype) == ((n,), torch.int64)
        assert split.images.unique().tolist() == list(range(17))
        assert split.labels.unique().tolist() == list(range(10))
    assert digits.levels == 17


def test_splits_together_are_sklearns_images_each_once(digits):
    parts = [np.c_[split.images.flatten(1).numpy(), split.labels.numpy()] for split in (digits.train, digits.test)]
    bunch = datasets.load_digits()
    original = np.c_[bunch.data, bunch.target].astype(int)
    found = np.concatenate(parts).astype(int)
    assert np.array_equal(found[np.lexsort(found.T)], original[np.lexsort(original.T)])


def test_each_digit_has_its_share_of_the_test_split(digits):
    test, train = (torch.bincount(split.labels, minlength=10) for split in (digits.test, digits.train))
    assert ((test - (test + train) * 297 / 1797).abs() < 1).all()


def test_loading_is_deterministic(digits):
    again = data.load("digits")
    assert torch.equal(again.train.images, digits.train.images)
    assert torch.equal(again.test.labels, digits.test.labels)


def test_images_are_not_in_the_order_of_their_labels(digits):
    assert (digits.train.labels.diff() != 0).double().mean() > 0.8


def test_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'mnist'.*digits"):
        data.load("mnist")


@pytest.mark.parametrize("wrong", [{"shape": (1, 9, 9)}, {"levels": 16}, {"levels": 256}])
def test_data_unlike_their_entry_are_refused(monkeypatch, wrong):
    monkeypatch.setitem(DATASETS, "digits", dataclasses.replace(DATASETS["digits"], **wrong))
    with pytest.raises(ValueError, match="data set 'digits': expected"):
        data.load("digits")


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_scale_and_quantise_round_trip(levels):
    grey = torch.arange(levels, dtype=torch.uint8).reshape(1, 1, 1, levels)
    x = data.scale(grey, levels)
    assert x.dtype == torch.float32
    assert (x.min().item(), x.max().item()) == (-1.0, 1.0)
    torch.testing.assert_close(x.flatten().diff(), torch.full((levels - 1,), 2 / (levels - 1)), rtol=1e-4, atol=0)
    assert torch.equal(data.quantise(x, levels), grey)
    # Anything nearer to a level than half-way is that level.
    for shift in (-0.49, 0.49):
        assert torch.equal(data.quantise(x + shift * 2 / (levels - 1), levels), grey)


def test_quantise_clips_what_lies_outside():
    assert data.quantise(torch.tensor([-3.0, -1.01, 1.01, 40.0]), 17).tolist() == [0, 0, 16, 16]
    assert data.quantise(torch.tensor([1.5], dtype=torch.float64), 256).tolist() == [255]  # and does not wrap around


def test_write_and_read_round_trip(digits, tmp_path):
    data.write(tmp_path / "d.safetensors", digits, "digits")
    found = data.read(tmp_path / "d.safetensors")
    assert found.levels == 17
    for name in ("train", "test"):
        first, second = getattr(digits, name), getattr(found, name)
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.labels, second.labels)
    data.write(tmp_path / "again", digits, "digits")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "d.safetensors").read_bytes()
