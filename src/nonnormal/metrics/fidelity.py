"""FID, KID, precision and recall of generated images against real ones: torch-fidelity, with intervals of our own.

torch-fidelity computes every number; this room registers the feature network with it and adds the intervals: bootstrap
over images for FID and KID, Wilson's for precision and recall (each a share of images, given the other set's manifold).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nonnormal import _torchvision
from nonnormal.metrics.features import load_classifier
from nonnormal.metrics.intervals import bootstrap_interval, proportion_interval

_torchvision.ensure_importable()
import torch_fidelity  # noqa: E402  (torchvision must be importable first)
from torch_fidelity.feature_extractor_base import FeatureExtractorBase  # noqa: E402
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # noqa: E402
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


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and the number of generated images behind it."""

    value: float
    low: float
    high: float
    n: int


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
    a, b = network.features(generated).numpy(), network.features(real).numpy()

    def fid(i, j):
        statistics = (fid_features_to_statistics(torch.from_numpy(x)) for x in (a[i], b[j]))
        return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]

    k_aa, k_bb, k_ab = (kernel_poly(*pair, **kid) for pair in ((a, a), (b, b), (a, b)))

    def squared_mmd(i, j):
        # The resampled sums as quadratic forms in the number of times that each image was drawn.
        u, v = (np.bincount(index, minlength=len(index)).astype(float) for index in (i, j))
        within = [(w @ k @ w - w @ k.diagonal()) / (len(w) * (len(w) - 1)) for w, k in ((u, k_aa), (v, k_bb))]
        return sum(within) - 2 * (u @ k_ab @ v) / (len(u) * len(v))

    estimates = {}
    for name, key, statistic in (
        ("fid", "frechet_inception_distance", fid),
        ("kid", "kernel_inception_distance_mean", squared_mmd),
    ):
        value = values[key]
        low, high = bootstrap_interval(statistic, value, (len(a), len(b)), resamples=resamples, seed=seed)
        low = max(low, 0.0) if name == "fid" else low  # a distance is not negative; KID's estimator may be
        estimates[name] = Estimate(value, low, high, len(a))
    for name, trials in (("precision", len(a)), ("recall", len(b))):
        estimates[name] = Estimate(values[name], *proportion_interval(values[name], trials), len(a))
    return estimates
