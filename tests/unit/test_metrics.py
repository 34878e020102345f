"""Metrics: intervals against known values, distances against their formulas, style against closed forms."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from nonnormal import data
from nonnormal.metrics.features import Classifier, accuracy, load_classifier, save_classifier, train_classifier
from nonnormal.metrics.fidelity import _fid, _moments, fidelity
from nonnormal.metrics.intervals import (
    Z95,
    bootstrap_interval,
    mean_interval,
    paired_bootstrap_interval,
    proportion_interval,
    ratio_interval,
)
from nonnormal.metrics.style import style, style_difference

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


def test_ratio_interval_by_hand():
    above, below = np.array([1.0, 2.0, 6.0]), np.array([2.0, 1.0, 3.0])
    ratio = 9 / 6
    residuals = above - ratio * below  # −2, ½, 1½, whose sum is 0
    error = math.sqrt(np.square(residuals).sum() / 2 / 3) / 2
    assert ratio_interval(above, below) == pytest.approx((ratio, ratio - Z95 * error, ratio + Z95 * error))


@pytest.mark.parametrize("factor", [1.0, -3.0, 0.0])
def test_the_ratio_of_proportional_pairs_is_known_exactly(factor):
    below = np.array([0.5, 2.0, 8.0, 0.25])
    assert ratio_interval(factor * below, below) == (factor, factor, factor)


def test_ratio_interval_has_no_unit_and_does_not_hang_on_signs():
    rng = np.random.default_rng(0)
    above, below = rng.gamma(2.0, 1.0, 50), rng.gamma(3.0, 1.0, 50)
    found = ratio_interval(above, below)
    assert ratio_interval(4 * above, 4 * below) == pytest.approx(found)
    assert ratio_interval(-above, -below) == pytest.approx(found)
    assert found[1] < found[0] < found[2]


def test_intervals_of_equal_differences_have_no_width():
    assert paired_bootstrap_interval(np.full(20, 0.5), resamples=50, seed=0) == (0.5, 0.5)
    constant = bootstrap_interval(lambda u, v: u.sum(1) + v.sum(1), 7.0, (10, 20), resamples=50, seed=0)
    assert constant == (7.0, 7.0)


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


@pytest.fixture(scope="module")
def two_sets(digits, weights):
    """Features of two sets of images of different sizes."""
    return features(weights, digits.train.images[:N]), features(weights, digits.test.images[: N + 37])


def test_a_resample_that_draws_each_image_once_is_the_sample(two_sets):
    """Its moments are torch-fidelity's: mean and unbiased covariance."""
    for found in two_sets:
        [moments] = _moments(found, np.ones((1, len(found))))
        np.testing.assert_allclose(moments["mu"], np.mean(found, axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments["sigma"], np.cov(found, rowvar=False), rtol=1e-10, atol=1e-12)


def test_a_resample_is_the_sample_with_images_repeated(two_sets):
    found, _ = two_sets
    index = np.random.default_rng(0).integers(len(found), size=(3, len(found)))
    counts = np.stack([np.bincount(row, minlength=len(found)) for row in index]).astype(float)
    for row, moments in zip(index, _moments(found, counts), strict=True):
        np.testing.assert_allclose(moments["mu"], found[row].mean(0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments["sigma"], np.cov(found[row], rowvar=False), rtol=1e-10, atol=1e-12)


def test_the_interval_of_fid_is_that_of_resampled_images(digits, weights, two_sets):
    """Drawn here by indices, and fitted anew for each draw."""
    resamples = 200
    estimate = fidelity(digits.train.images[:N], digits.test.images[: N + 37], weights, resamples=resamples, seed=0)[
        "fid"
    ]
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(resamples):
        sets = [found[rng.integers(len(found), size=len(found))] for found in two_sets]
        drawn.append(_fid(*({"mu": s.mean(0), "sigma": np.cov(s, rowvar=False)} for s in sets)))
    # Each standard deviation of 200 draws is known to 5 %.
    assert (estimate.high - estimate.value) / Z95 == pytest.approx(np.std(drawn, ddof=1), rel=0.3)
    assert estimate.n == N


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


# ---- style -----------------------------------------------------------------------------------------------------------

LEVELS = 17
SIZE = 8
ROWS, COLUMNS = np.indices((SIZE, SIZE))


def grey(values):
    """One image of shares of the grey range (H, W), as uint8 levels (1, 1, H, W)."""
    return torch.from_numpy(np.rint(np.asarray(values) * (LEVELS - 1))).to(torch.uint8)[None, None]


def coloured(*rgb, levels=LEVELS):
    """One image of one colour, given as shares of the grey range."""
    level = torch.tensor(rgb, dtype=torch.float64) * (levels - 1)
    return level.round().to(torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)


PATTERNS = {
    # total variation: the mean of the 2 · 7 · 8 differences of neighbours.
    "constant": (np.full((SIZE, SIZE), 0.5), 0.0, 0.0),
    "black": (np.zeros((SIZE, SIZE)), 0.0, 0.0),
    "checkerboard": ((ROWS + COLUMNS) % 2, 1.0, 1.0),
    "stripes of one pixel": (COLUMNS % 2, 0.5, 1.0),
    "upright stripes of one pixel": (ROWS % 2, 0.5, 1.0),
    # Period 4 is half the Nyquist frequency, and not above it; of 7 differences in a row 3 are edges.
    "stripes of two pixels": (COLUMNS // 2 % 2, 3 / 7 / 2, 0.0),
    "half and half": (COLUMNS // 4, 1 / 7 / 2, None),
    "an edge of half the range": (COLUMNS // 4 / 2, 0.5 / 7 / 2, None),
}


@pytest.mark.parametrize(("values", "total_variation", "high_frequency"), PATTERNS.values(), ids=list(PATTERNS))
def test_style_of_patterns(values, total_variation, high_frequency):
    found = style(grey(values), LEVELS)
    assert set(found) == {"total_variation", "high_frequency"}  # grey images have no saturation
    assert found["total_variation"] == pytest.approx([total_variation], abs=1e-12)
    if high_frequency is not None:
        assert found["high_frequency"] == pytest.approx([high_frequency], abs=1e-12)


def test_the_power_of_an_edge_by_its_fourier_series():
    """Of a square wave of period 8 the waves 1, 3, 5 and 7 have power 1/sin²(πk/8); 3 and 5 are fast."""
    slow, fast = (1 / math.sin(math.pi * k / 8) ** 2 for k in (1, 3))
    assert style(grey(COLUMNS // 4), LEVELS)["high_frequency"] == pytest.approx([fast / (slow + fast)])


@pytest.mark.parametrize("wave", [1, 2, 3, 4])
@pytest.mark.parametrize("angle", [COLUMNS, ROWS, ROWS + COLUMNS], ids=["across", "down", "diagonal"])
def test_a_wave_is_fast_above_half_the_nyquist_frequency(wave, angle):
    """With 256 levels a wave is one but for its rounding."""
    values = 0.5 + 0.5 * np.cos(2 * math.pi * wave * angle / SIZE)
    image = torch.from_numpy(np.rint(values * 255)).to(torch.uint8)[None, None]
    assert style(image, 256)["high_frequency"] == pytest.approx([float(wave > 2)], abs=1e-4)


COLOURS = {
    "red": ((1, 0, 0), 1.0),
    "dark red": ((0.5, 0, 0), 1.0),
    "pink": ((1, 0.5, 0.5), 0.5),
    "mud": ((0.5, 0.25, 0.375), 0.5),
    "grey": ((0.5, 0.5, 0.5), 0.0),
    "white": ((1, 1, 1), 0.0),
    "black": ((0, 0, 0), 0.0),
}


@pytest.mark.parametrize(("rgb", "saturation"), COLOURS.values(), ids=list(COLOURS))
def test_saturation_of_colours(rgb, saturation):
    found = style(coloured(*rgb), LEVELS)
    assert found["saturation"] == pytest.approx([saturation])
    assert found["total_variation"] == found["high_frequency"] == [0.0]


def test_saturation_is_the_mean_over_pixels():
    image = torch.cat([coloured(1, 0, 0)[..., :2], coloured(1, 1, 1)[..., 2:]], dim=-1)  # two columns of eight are red
    assert style(image, LEVELS)["saturation"] == pytest.approx([0.25])


def random_images(n, channels, seed):
    source = torch.Generator().manual_seed(seed)
    return torch.randint(LEVELS, (n, channels, SIZE, SIZE), generator=source, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_style_is_that_of_each_image_by_itself_and_of_either_direction(channels):
    images = random_images(5, channels, seed=0)
    found = style(images, LEVELS)
    for name, values in found.items():
        assert values.shape == (5,)
        alone = [style(image[None], LEVELS)[name].item() for image in images]
        assert values == pytest.approx(alone)
        for same in (images.flip(2), images.flip(3), images.transpose(2, 3), images.flip(1)):
            assert style(same, LEVELS)[name] == pytest.approx(values)
    negative = style(LEVELS - 1 - images, LEVELS)  # differences and powers are the same, colours are not
    assert negative["total_variation"] == pytest.approx(found["total_variation"])
    assert negative["high_frequency"] == pytest.approx(found["high_frequency"])


def test_style_is_in_units_of_the_grey_range():
    """The same images with 5 and with 17 levels."""
    coarse = random_images(4, 1, seed=0) % 5
    few, many = style(coarse, 5), style(4 * coarse, 17)
    for name in few:
        assert few[name] == pytest.approx(many[name])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_do_not_differ_in_style_from_themselves(channels):
    images = random_images(10, channels, seed=0)
    found = style_difference(images, images, LEVELS, resamples=20, seed=0)
    assert set(found) == {"total_variation", "high_frequency"} | ({"saturation"} if channels == 3 else set())
    for estimate in found.values():
        assert (estimate.value, estimate.low, estimate.high, estimate.n) == (0.0, 0.0, 0.0, 10)


def test_style_differences_are_those_of_pairs():
    """Images that differ much from each other and little from their partners: by one pixel of one level."""
    images = random_images(40, 1, seed=0)
    images[::2] = images[::2] // 8
    images[:, :, 0, 0] = 0
    other = images.clone()
    other[:, :, 0, 0] = 1
    found = style_difference(other, images, LEVELS, resamples=200, seed=0)
    ours, theirs = style(other, LEVELS), style(images, LEVELS)
    for name, estimate in found.items():
        gaps = ours[name] - theirs[name]
        assert estimate.value == pytest.approx(gaps.mean())
        paired, unpaired = (Z95 * spread / math.sqrt(40) for spread in (gaps.std(), math.sqrt(2) * theirs[name].std()))
        assert (estimate.high - estimate.low) / 2 == pytest.approx(paired, rel=0.3)
        assert (estimate.high - estimate.low) / 2 < 0.3 * unpaired
    swapped = style_difference(images, other, LEVELS, resamples=200, seed=0)
    for name, estimate in found.items():
        assert swapped[name].value == pytest.approx(-estimate.value)
        assert (swapped[name].low, swapped[name].high) == pytest.approx((-estimate.high, -estimate.low))
