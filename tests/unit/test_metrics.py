"""Metrics: intervals against known values, distances against their formulas."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from nonnormal import data
from nonnormal.metrics.features import Classifier, accuracy, load_classifier, save_classifier, train_classifier
from nonnormal.metrics.fidelity import fidelity
from nonnormal.metrics.intervals import mean_interval, proportion_interval

N = 200


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def weights(digits, tmp_path_factory):
    """A classifier of two epochs: rough, but with features that are not degenerate."""
    path = tmp_path_factory.mktemp("features") / "features.safetensors"
    network = train_classifier(digits, epochs=2, batch_size=64, learning_rate=3e-3, seed=0)
    share = accuracy(network, digits.test.images, digits.test.labels)
    save_classifier(path, network, data="digits", held_out_accuracy=share)
    return path


def compare(generated, real, weights, seed=0):
    return fidelity(generated, real, weights, resamples=10, seed=seed)


def test_mean_interval_by_hand():
    mean, low, high = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    error = math.sqrt((4 + 1 + 0 + 9) / 3 / 4)
    assert (mean, low, high) == pytest.approx((3.0, 3 - 1.959964 * error, 3 + 1.959964 * error), rel=1e-6)


def test_wilson_interval_has_its_published_values():
    # Newcombe (1998), Table I, method 3: 81/263, 15/148, 0/20.
    assert proportion_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert proportion_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert proportion_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_a_set_has_no_distance_to_itself(digits, weights):
    images = digits.train.images[:N]
    found = compare(images, images, weights)
    assert abs(found["fid"].value) < 1e-4
    assert found["precision"].value == found["recall"].value == 1.0


def features(weights, images):
    return load_classifier(weights)[0].features(images).double().numpy()


def test_fid_is_the_frechet_distance_of_normals_fitted_to_the_features(digits, weights):
    first, second = digits.train.images[:N], digits.test.images[:N]
    a, b = features(weights, first), features(weights, second)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    assert compare(first, second, weights)["fid"].value == pytest.approx(expected, rel=1e-3)


def test_kid_is_near_the_unbiased_squared_mmd_of_all_images(digits, weights):
    """torch-fidelity averages over subsets; the mean over them scatters around the estimate from all images."""
    first, second = digits.train.images[:N], 16 - digits.test.images[:N]
    a, b = features(weights, first), features(weights, second)

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    within = sum((k.sum() - np.trace(k)) / (N * (N - 1)) for k in (kernel(a, a), kernel(b, b)))
    expected = within - 2 * kernel(a, b).mean()
    assert compare(first, second, weights)["kid"].value == pytest.approx(expected, rel=0.1)


def test_estimates_lie_in_their_intervals_and_are_reproducible(digits, weights):
    first, second = digits.train.images[:N], digits.test.images[:N]
    found = compare(first, second, weights)
    assert set(found) == {"fid", "kid", "precision", "recall"}
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == N
    assert found["fid"].low >= 0
    assert found == compare(first, second, weights)


def test_distances_grow_as_images_get_worse(digits, weights):
    real = digits.train.images[:N]
    noise = torch.randint(17, digits.test.images[:N].shape, generator=torch.Generator().manual_seed(0))
    good = compare(digits.test.images[:N], real, weights)
    bad = compare(noise.to(torch.uint8), real, weights)
    assert bad["fid"].value > 3 * good["fid"].value
    assert bad["kid"].value > 3 * good["kid"].value


def test_classifier_is_loaded_as_it_was_saved(digits, weights):
    network, header = load_classifier(weights)
    assert header["data"] == "digits"
    assert accuracy(network, digits.test.images, digits.test.labels) == header["held_out_accuracy"] > 0.5
    assert not network.training
    assert network.features(digits.test.images[:3]).shape == (3, 64)


def test_classifier_training_is_reproducible(digits):
    small = data.ImageData(*(data.Split(s.images[:64], s.labels[:64]) for s in (digits.train, digits.test)), levels=17)
    first, again, other = (
        train_classifier(small, epochs=1, batch_size=32, learning_rate=1e-3, seed=seed).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_classifier_has_scores_for_each_class_of_any_image_size():
    network = Classifier(channels=3, size=16, classes=7, levels=256).eval()
    assert network(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).shape == (2, 7)
