"""FID, KID, precision and recall of generated images against real ones: torch-fidelity, with intervals of our own.

torch-fidelity computes every number; this room registers the feature network with it and adds the intervals: bootstrap
over images for FID and KID, Wilson's for precision and recall (each a share of images, given the other set's manifold).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from nonnormal import _torchvision
from nonnormal.metrics.features import load_classifier
from nonnormal.metrics.intervals import Estimate, bootstrap_interval, proportion_interval

_torchvision.ensure_importable()
import torch_fidelity  # noqa: E402  (torchvision must be importable first)
from torch_fidelity.feature_extractor_base import FeatureExtractorBase  # noqa: E402
from torch_fidelity.metric_fid import fid_statistics_to_metric  # noqa: E402
from torch_fidelity.metric_kid import kernel_poly  # noqa: E402

_LAYER = "features"


class _ClassifierFeatures(FeatureExtractorBase):
    """Adapts a stored `Classifier` to torch-fidelity."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None, **_):
        super().__init__(name, features_list)
        self.classifier, _ = load_classifier(feature_extractor_weights_path)

    @staticmethod
    def get_provided_features_list():
        return (_LAYER,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return _LAYER

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        raise RuntimeError("the classifier is not compiled")

    def forward(self, images):
        return (self.classifier.features(images),)


_EXTRACTOR = "nonnormal-classifier"
torch_fidelity.register_feature_extractor(_EXTRACTOR, _ClassifierFeatures)


class _Images(Dataset):
    """Bare uint8 tensors (C, H, W), which is what torch-fidelity takes."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def fidelity(generated: Tensor, real: Tensor, weights: Path, *, resamples: int, seed: int) -> dict[str, Estimate]:
    """{"fid", "kid", "precision", "recall"} of generated against real images in the features of a stored classifier.

    Args:
        generated, real: uint8 grey levels (N, C, H, W).
        weights: file of `save_classifier`.
        resamples: bootstrap resamples for FID and KID.
        seed: of KID's subsets and of the bootstrap.

    Source: Heusel et al. (1706.08500), Bińkowski et al. (1801.01401), Kynkäänniemi et al. (1904.06991, 3 neighbours).
    """
    size = min(len(generated), len(real))
    kid = dict(kid_subsets=20, kid_subset_size=size // 2, verbose=False)
    values = torch_fidelity.calculate_metrics(
        input1=_Images(generated),
        input2=_Images(real),
        feature_extractor=_EXTRACTOR,
        feature_extractor_weights_path=str(weights),
        fid=True,
        kid=True,
        prc=True,
        prc_neighborhood=3,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no loader processes
        batch_size=256,
        rng_seed=seed % 2**32,
        **kid,
    )
    network, _ = load_classifier(weights)
    a, b = (network.features(images).double().numpy() for images in (generated, real))

    def fids(u, v):
        return np.array([_fid(*resampled) for resampled in zip(_moments(a, u), _moments(b, v), strict=True)])

    k_aa, k_bb, k_ab = (kernel_poly(*pair, **kid) for pair in ((a, a), (b, b), (a, b)))

    def squared_mmds(u, v):
        within = [((w @ k) * w).sum(1) - w @ k.diagonal() for w, k in ((u, k_aa), (v, k_bb))]
        pairs = [n * (n - 1) for n in (len(a), len(b))]
        return within[0] / pairs[0] + within[1] / pairs[1] - 2 * ((u @ k_ab) * v).sum(1) / (len(a) * len(b))

    estimates = {}
    for name, key, statistic in (
        ("fid", "frechet_inception_distance", fids),
        ("kid", "kernel_inception_distance_mean", squared_mmds),
    ):
        value = values[key]
        low, high = bootstrap_interval(statistic, value, (len(a), len(b)), resamples=resamples, seed=seed)
        low = max(low, 0.0) if name == "fid" else low  # a distance is not negative; KID's estimator may be
        estimates[name] = Estimate(value, low, high, len(a))
    for name, trials in (("precision", len(a)), ("recall", len(b))):
        estimates[name] = Estimate(values[name], *proportion_interval(values[name], trials), len(a))
    return estimates


def _moments(features: np.ndarray, counts: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Mean and covariance of features (N, D), as torch-fidelity has them, of each resample in counts (R, N)."""
    n, centre = len(features), features.mean(0)
    centred = features - centre
    for count in counts:
        shift, weighted = count @ centred / n, np.sqrt(count)[:, None] * centred
        yield {"mu": centre + shift, "sigma": (weighted.T @ weighted - n * np.outer(shift, shift)) / (n - 1)}


def _fid(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return fid_statistics_to_metric(a, b, verbose=False)["frechet_inception_distance"]
