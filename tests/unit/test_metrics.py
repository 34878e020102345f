"""Metrics: intervals against known values, distances against their formulas, style against closed forms."""

import dataclasses
import json
import math
import os
import platform
import subprocess
import sys
import weakref

import elsewhere
import numpy as np
import pytest
import scipy.linalg
import torch
from problems import random_inception
from scipy.stats import spearmanr

from nonnormal import data
from nonnormal.data.download import DownloadError, sha256_of
from nonnormal.denoisers._torchvision import ensure_importable
from nonnormal.metrics import fidelity as module
from nonnormal.metrics.features import Classifier, accuracy, train_classifier
from nonnormal.metrics.fidelity import fidelity
from nonnormal.metrics.inception import Inception
from nonnormal.metrics.intervals import (
    Z95,
    bootstrap_interval,
    mean_interval,
    paired_bootstrap_interval,
    paired_rank_correlation,
    proportion_interval,
    ratio_interval,
)
from nonnormal.metrics.reference import (
    Reference,
    _measured,
    extract,
    read_reference,
    write_classifier_reference,
    write_inception_reference,
)
from nonnormal.metrics.style import style, style_difference
from nonnormal.seeds import generator

ensure_importable()  # torchvision, which torch-fidelity imports
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # isort: skip # noqa: E402
from torch_fidelity.metric_kid import kid_features_to_metric  # isort: skip # noqa: E402
from torch_fidelity.utils import create_feature_extractor, extract_featuresdict_from_input_id_cached  # isort: skip # noqa: E402

N = 200


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def files(digits, tmp_path_factory):
    """(data set, reference) with a classifier of two epochs: rough, but with features that are not degenerate."""
    folder = tmp_path_factory.mktemp("features")
    stored, path = folder / "digits.safetensors", folder / "features.safetensors"
    data.write(stored, digits, "digits")
    network = train_classifier(digits, epochs=2, batch_size=64, learning_rate=3e-3, seed=0)
    share = accuracy(network, digits.test.images, digits.test.labels)
    images = digits.train.images
    write_classifier_reference(path, network, images, stored, data_name="digits", held_out_accuracy=share)
    return stored, path


@pytest.fixture(scope="module")
def trained(files):
    return read_reference(files[1], files[0])


def compare(generated, real, trained, seed=0, resamples=10):
    return fidelity(generated, against(real, trained), resamples=resamples, seed=seed)


def against(real, trained, kept=None):
    """The trained network with other images in place of the training split."""
    features = trained.of(real)
    moments = features.double().mean(0), torch.cov(features.double().T)
    return Reference(trained.network, "a", "b", len(real), features[:kept], *moments, facts={})


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


def test_rank_correlation_is_spearmans_whatever_all_rows_share():
    rng = np.random.default_rng(0)
    order, values = np.array([3.0, -1.2, 6.0, -2.0, 1.2]), rng.normal(size=(5, 40)) + np.arange(5)[:, None]
    found = paired_rank_correlation(order, values, resamples=200, seed=1)
    assert found.value == pytest.approx(spearmanr(order, values.mean(1)).statistic)
    shifted = paired_rank_correlation(np.exp(order), 1e3 * rng.normal(size=40) + values, resamples=200, seed=1)
    assert dataclasses.astuple(shifted) == pytest.approx(dataclasses.astuple(found))
    sure = paired_rank_correlation(order, -order[:, None] + values / 1e6, resamples=50, seed=1)
    assert (sure.value, sure.low, sure.high, sure.n) == pytest.approx((-1, -1, -1, 40))
    assert paired_rank_correlation(order, np.zeros((5, 4)), resamples=20, seed=1).value == 0


def test_a_set_has_no_distance_to_itself(digits, trained):
    images = digits.train.images[:N]
    found = compare(images, images, trained)
    assert abs(found["fid"].value) < 1e-4
    assert found["precision"].value == found["recall"].value == 1.0


def features(trained, images):
    return trained.of(images).double().numpy()


def test_fid_is_the_frechet_distance_of_normals_fitted_to_the_features(digits, trained):
    first, second = digits.train.images[:N], digits.test.images[:N]
    a, b = features(trained, first), features(trained, second)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    assert compare(first, second, trained)["fid"].value == pytest.approx(expected, rel=1e-3)


def test_kid_is_near_the_unbiased_squared_mmd_of_all_images(digits, trained):
    """torch-fidelity averages over subsets; the mean over them scatters around the estimate from all images."""
    first, second = digits.train.images[:N], 16 - digits.test.images[:N]
    a, b = features(trained, first), features(trained, second)

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    within = sum((k.sum() - np.trace(k)) / (N * (N - 1)) for k in (kernel(a, a), kernel(b, b)))
    expected = within - 2 * kernel(a, b).mean()
    assert compare(first, second, trained)["kid"].value == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("subset", "subsets"), [(50, 100), (1000, 20)], ids=["many images", "few images"])
def test_kid_is_torch_fidelitys(digits, trained, monkeypatch, subset, subsets):
    monkeypatch.setattr(module, "_SUBSET", subset)
    first, second = digits.train.images[:150], digits.test.images[:N]
    found = compare(first, second, trained, seed=5)["kid"].value
    options = dict(kid_subsets=subsets, kid_subset_size=min(subset, 75), rng_seed=5, verbose=False)
    expected = kid_features_to_metric(*(trained.of(images).double() for images in (first, second)), **options)
    assert found == expected["kernel_inception_distance_mean"]


def random_estimates(offset=0):
    """Estimates of random features that lie in memory so many bytes behind a multiple of 64."""

    def placed(rows):
        start = offset // rows.element_size()
        space = torch.empty(start + rows.numel(), dtype=rows.dtype)  # itself at a multiple of 64
        space[start:] = rows.flatten()
        return space[start:].view(rows.shape)

    source = torch.Generator().manual_seed(0)
    a, b = (torch.rand(n, 64, generator=source) for n in (150, N))
    moments = b.double().mean(0), torch.cov(b.double().T)
    reference = Reference(placed, "a", "b", N, placed(b), *map(placed, moments), facts={})
    return fidelity(placed(a), reference, resamples=10, seed=0)


def random_numbers():
    """All numbers of `random_estimates`."""
    return [number for found in random_estimates().values() for number in dataclasses.astuple(found)]


def test_estimates_do_not_depend_on_where_features_lie_in_memory():
    found = random_estimates()
    assert all(random_estimates(offset) == found for offset in range(8, 64, 8))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names kernels of x86-64")
def test_estimates_differ_in_their_last_digits_alone_by_the_kernels_of_numpy():
    """OpenBLAS takes those of the processor, or of the one that this variable names; their sums differ in order."""
    script = "import torch, test_metrics; torch.set_num_threads(1); print(test_metrics.random_numbers())"
    paths = os.pathsep.join(sys.path)
    other = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_CORETYPE": "Prescott"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(other.stdout) == pytest.approx(random_numbers(), rel=1e-9)


def test_estimates_lie_in_their_intervals_and_are_reproducible(digits, trained):
    first, second = digits.train.images[:N], digits.test.images[:N]
    found = compare(first, second, trained)
    assert set(found) == {"fid", "kid", "precision", "recall"}
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == N
    assert found["fid"].low >= 0
    assert found == compare(first, second, trained)


@pytest.mark.parametrize("wanted", [("fid",), ("recall", "kid"), ()])
def test_those_that_are_wanted_do_not_depend_on_the_others(digits, trained, wanted):
    first, reference = digits.train.images[:N], against(digits.test.images[:N], trained)
    every = fidelity(first, reference, resamples=10, seed=0)
    some = fidelity(first, reference, resamples=10, seed=0, metrics=wanted)
    assert list(some.items()) == [(name, every[name]) for name in wanted]


def test_distances_grow_as_images_get_worse(digits, trained):
    real = digits.train.images[:N]
    noise = torch.randint(17, digits.test.images[:N].shape, generator=torch.Generator().manual_seed(0))
    good = compare(digits.test.images[:N], real, trained)
    bad = compare(noise.to(torch.uint8), real, trained)
    assert bad["fid"].value > 3 * good["fid"].value
    assert bad["kid"].value > 3 * good["kid"].value


def test_reference_is_read_as_it_was_measured(digits, files, trained):
    images, features = digits.train.images, trained.features
    assert trained.n == len(features) == len(images)
    assert features.shape[1] == 64
    torch.testing.assert_close(trained.mean, features.double().mean(0))
    torch.testing.assert_close(trained.covariance, torch.cov(features.double().T))
    assert torch.equal(trained.of(images), features)
    assert accuracy(trained.network.classifier, digits.test.images, digits.test.labels) > 0.5
    assert accuracy(trained.network.classifier, digits.test.images, digits.test.labels) == pytest.approx(
        trained.facts["held_out_accuracy"]
    )
    assert trained.name == "classifier of digits"


def test_reference_of_other_data_is_refused(digits, files, tmp_path):
    other = tmp_path / "other.safetensors"
    fewer = data.Split(digits.train.images[:9], digits.train.labels[:9])
    data.write(other, dataclasses.replace(digits, train=fewer), "digits")
    with pytest.raises(ValueError, match=r"was made from other data than .*other\.safetensors; delete it"):
        read_reference(files[1], other)


def test_weights_of_the_reference_are_named_by_their_content(digits, files, trained, tmp_path):
    network = trained.network.classifier
    facts = dict(data_name="digits", held_out_accuracy=0.5)
    path = tmp_path / "again.safetensors"
    write_classifier_reference(path, network, digits.train.images[:50], files[0], **facts)
    assert read_reference(path, files[0]).weights == trained.weights
    other = Classifier(**network.recipe)
    write_classifier_reference(path, other.eval(), digits.train.images[:50], files[0], **facts)
    assert read_reference(path, files[0]).weights != trained.weights


def test_of_many_images_some_features_are_kept_but_all_are_in_the_moments(
    digits, files, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr("nonnormal.metrics.reference.KEPT", 100)
    path = tmp_path / "some.safetensors"
    classifier = trained.network.classifier
    write_classifier_reference(
        path, classifier, digits.train.images, files[0], data_name="digits", held_out_accuracy=0.5
    )
    found = read_reference(path, files[0])
    assert (found.n, len(found.features)) == (len(digits.train.images), 100)
    torch.testing.assert_close(found.mean, trained.mean)
    torch.testing.assert_close(found.covariance, trained.covariance)
    rows = {tuple(row) for row in trained.features.tolist()}
    assert all(tuple(row) in rows for row in found.features.tolist())


def test_of_many_images_no_more_features_are_held_than_are_kept(monkeypatch):
    """Far from 0, where a covariance from sums of squares would be lost in their roundings."""
    monkeypatch.setattr("nonnormal.metrics.reference.KEPT", 300)
    images = torch.randn(5000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    alive = weakref.WeakSet()

    def network(batch):
        found = batch.flatten(1) + 1e6
        alive.add(found)
        assert len(alive) <= 2  # this batch's and that before it
        return found

    features, mean, covariance = _measured(network, images, "cpu")
    rows = (images.flatten(1) + 1e6).float()
    order = torch.randperm(5000, generator=generator(0, "reference"))[:300]
    assert torch.equal(features, rows[order])
    torch.testing.assert_close(mean, rows.double().mean(0), rtol=1e-15, atol=0)
    torch.testing.assert_close(covariance, torch.cov(rows.double().T), rtol=0, atol=1e-12)


def test_fid_of_the_whole_split_does_not_depend_on_what_is_kept(digits, trained):
    first, second = digits.test.images[:N], digits.train.images[: 2 * N]
    whole, some = (fidelity(first, against(second, trained, kept), resamples=10, seed=0) for kept in (None, N))
    assert some["fid"].value == pytest.approx(whole["fid"].value, rel=1e-9)
    assert some["fid"].low > whole["fid"].low  # of a split that is not resampled no scatter is counted


def test_fid_is_torch_fidelitys(digits, trained):
    first, second = digits.train.images[:N], digits.test.images[:N]
    ours, theirs = (fid_features_to_statistics(trained.of(images).double()) for images in (first, second))
    expected = fid_statistics_to_metric(ours, theirs, verbose=False)["frechet_inception_distance"]
    assert compare(first, second, trained)["fid"].value == pytest.approx(expected, rel=1e-7)
    reference = against(second, trained)  # whose moments are torch's
    theirs = {"mu": reference.mean.numpy(), "sigma": reference.covariance.numpy()}
    expected = fid_statistics_to_metric(ours, theirs, verbose=False)["frechet_inception_distance"]
    assert compare(first, second, trained)["fid"].value == expected


def test_a_difference_of_fids_is_that_of_torch_fidelitys(digits, trained):
    first, other = digits.train.images[:N], digits.train.images[N : 2 * N]
    reference, options = against(digits.test.images[:N], trained), dict(resamples=10, seed=0)
    one, two = (fidelity(images, reference, **options)["fid"].value for images in (first, other))
    assert module.fid_difference(first, other, reference, **options).value == one - two


@pytest.mark.parametrize("name", ["fid", "kid"])
def test_our_own_distances_are_for_intervals_alone(digits, trained, monkeypatch, name):
    """Where ours are wrong, values stay."""
    first, second = digits.train.images[:N], digits.test.images[:N]
    expected = compare(first, second, trained)[name]
    monkeypatch.setattr(module, "_frechet", lambda *_: float(np.random.default_rng().normal()))
    monkeypatch.setattr(module, "_kernel", lambda x, y: (x @ y.T / 2) ** 2)
    found = compare(first, second, trained)[name]
    assert found.value == expected.value
    assert found.high != expected.high


def test_fid_of_fewer_images_than_features(digits, trained):
    """Covariances have no full rank; the formula with a symmetric root still stands."""
    first, second = digits.train.images[:20], digits.test.images[:30]
    a, b = features(trained, first), features(trained, second)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * shared
    assert compare(first, second, trained)["fid"].value == pytest.approx(expected, rel=1e-5)


def test_kid_of_many_images_has_an_interval_like_that_of_the_bootstrap(digits, trained, monkeypatch):
    """From blocks, which scatter a little more than all pairs."""
    first, second = digits.train.images[:1000], 16 - digits.train.images[500:]
    small = compare(first, second, trained, resamples=200)["kid"]
    monkeypatch.setattr(module, "_KERNEL", 10)
    monkeypatch.setattr(module, "_SUBSET", 25)
    found = compare(first, second, trained)["kid"]
    assert found.value == pytest.approx(small.value, rel=0.05)
    assert 0.5 < (found.high - found.low) / (small.high - small.low) < 2


@pytest.mark.parametrize("few", [4, 5, 7, 9, 11])
def test_kid_of_few_images_against_many_has_an_interval(digits, trained, monkeypatch, few):
    """Blocks of one image have no pairs, and a single block has no scatter."""
    monkeypatch.setattr(module, "_KERNEL", 10)
    found = compare(digits.train.images[:few], digits.test.images[:50], trained)["kid"]
    assert found.low < found.value < found.high


def test_kid_of_too_few_images_against_many_is_refused(digits, trained, monkeypatch):
    monkeypatch.setattr(module, "_KERNEL", 10)
    with pytest.raises(ValueError, match="needs 4 images or more on either side, found 3"):
        compare(digits.train.images[:3], digits.test.images[:50], trained)


class ListOf(torch.utils.data.Dataset):
    """Bare images, which is what torch-fidelity takes."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


# ---- Inception -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos():
    return torch.randint(256, (12, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """A file of random weights in torch-fidelity's format."""
    return random_inception(tmp_path_factory.mktemp("inception") / "weights.pth")


def test_inception_gives_what_torch_fidelity_gives(inception, photos):
    """Features; that a distance of features is torch-fidelity's is shown above, of fewer of them."""
    found = extract(Inception(inception, sha256_of(inception)), photos)
    assert found.shape == (12, 2048)
    assert (found.std(0) > 0).float().mean() > 0.5  # others are shut by the rectifier
    options = dict(cuda=False, cache=False, save_cpu_ram=True, verbose=False)
    extractor = create_feature_extractor(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(inception), **options
    )
    theirs = extract_featuresdict_from_input_id_cached(1, extractor, input1=ListOf(photos), **options)
    torch.testing.assert_close(found, theirs["2048"], rtol=1e-4, atol=1e-5)


def test_inception_sees_grey_images_as_three_equal_channels(inception, photos):
    network, grey = Inception(inception, sha256_of(inception)), photos[:4, :1]
    assert torch.equal(extract(network, grey), extract(network, grey.repeat(1, 3, 1, 1)))


def test_inception_reference_keeps_no_weights_but_their_hash(inception, photos, tmp_path):
    stored, path = tmp_path / "data.safetensors", tmp_path / "features.safetensors"
    train, test = (data.Split(photos[half].clone(), torch.empty(0)) for half in (slice(8), slice(8, 12)))
    data.write(stored, data.ImageData(train, test, 256), "photos32")
    write_inception_reference(path, inception, sha256_of(inception), train.images, stored)
    found = read_reference(path, stored)
    assert (found.name, found.weights, found.n) == ("inception-v3-compat", sha256_of(inception), 8)
    assert torch.equal(found.of(train.images), found.features)


def test_other_weights_are_never_unpickled(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"cos\nabort\n(tR.")  # would end this process
    with pytest.raises(DownloadError, match="expected SHA-256 6726825d…, found"):
        Inception(path, "6726825d")


class Code:
    """What its unpickling would do."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_with_code_in_them_are_refused_whoever_vouches_for_them(tmp_path, zipped):
    """Eight digits of a SHA-256 are soon found again, and a study may name the SHA-256 of any file."""
    path, mark = tmp_path / "weights.pth", tmp_path / "ran"
    torch.save({"weight": torch.zeros(2), "more": Code(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        DownloadError, match=r"weights\.pth: is damaged or holds more than tensors.*not run; put weights-"
    ):
        Inception(path, sha256_of(path)[:8])
    assert not mark.exists()


SHORT = dict(epochs=1, batch_size=32, learning_rate=1e-3)


@pytest.fixture(scope="module")
def small(digits):
    splits = (data.Split(split.images[:64], split.labels[:64]) for split in (digits.train, digits.test))
    return data.ImageData(*splits, levels=17)


def test_classifier_training_is_reproducible(small):
    first, again, other = (train_classifier(small, **SHORT, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("n", [4, 33, 64])
def test_a_classifier_is_trained_on_any_number_of_images(small, n):
    """A last batch of a single image would have no statistics for batch normalisation."""
    few = data.ImageData(data.Split(small.train.images[:n], small.train.labels[:n]), small.test, levels=17)
    network = train_classifier(few, epochs=2, batch_size=min(32, n - 1), learning_rate=1e-3, seed=0)
    assert network.features(few.train.images).isfinite().all()


def test_classifier_training_leaves_the_generator_alone(small):
    torch.manual_seed(1)
    after = torch.rand(1)
    torch.manual_seed(1)
    train_classifier(small, **SHORT, seed=0)
    assert torch.equal(torch.rand(1), after)


def test_the_classifier_is_trained_and_measured_on_the_device(small, tmp_path):
    """Where dropout is drawn as on the CPU, it is the same classifier but for rounding."""
    here = train_classifier(small, **SHORT, seed=0)
    stored, path = tmp_path / "digits.safetensors", tmp_path / "features.safetensors"
    data.write(stored, small, "digits")
    with elsewhere.pretended():
        there = train_classifier(small, **SHORT, seed=0, device=elsewhere.DEVICE)
        assert {value.device.type for value in there.parameters()} == {elsewhere.DEVICE}
        assert accuracy(there, small.test.images, small.test.labels) == accuracy(
            here, small.test.images, small.test.labels
        )
        facts = dict(data_name="digits", held_out_accuracy=0.5)
        write_classifier_reference(path, there, small.train.images, stored, elsewhere.DEVICE, **facts)
    assert all(value.device.type == elsewhere.DEVICE for value in there.parameters())
    found = read_reference(path, stored)
    torch.testing.assert_close(found.of(small.test.images), here.features(small.test.images), rtol=1e-3, atol=1e-3)


def test_accuracy_is_that_of_all_images_at_once_and_keeps_no_gradients(digits):
    torch.manual_seed(0)
    network, seen = Classifier(channels=1, size=8, classes=10, levels=17).eval(), []
    images, labels = digits.train.images[:600], digits.train.labels[:600]
    expected = (network(images).argmax(1) == labels).double().mean().item()
    network.register_forward_hook(lambda _, given, found: seen.append((len(given[0]), found.requires_grad)))
    assert accuracy(network, images, labels) == expected
    assert seen == [(256, False), (256, False), (88, False)]


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
