"""FID, KID, precision and recall of generated images against the training split, with intervals of our own.

Features are those of a `Reference`; precision and recall are torch-fidelity's. The Fréchet distance is written with a
nuclear norm, S = FᵀF ⇒ tr √(S_a S_b) = ‖F_a F_bᵀ‖_*, which is torch-fidelity's number without the eigenvalues of a
product that is not symmetric, and without D × D matrices where images are few. KID is torch-fidelity's number with its
draw of subsets, by torch's linear algebra: numpy's takes its kernels, and with them the order of its sums, from
OPENBLAS_* of the environment. Intervals: bootstrap over images for FID and KID, Wilson's for precision and recall (each
a share of images, given the other set's manifold).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nonnormal.denoisers._torchvision import ensure_importable
from nonnormal.metrics import DISTANCES
from nonnormal.metrics.intervals import (
    Z95,
    Estimate,
    bootstrap_counts,
    bootstrap_interval,
    bootstrap_interval_of,
    proportion_interval,
)
from nonnormal.metrics.reference import Reference

TOOL = f"torch-fidelity {importlib.metadata.version('torch-fidelity')}"
_SUBSET = 1000  # images of a KID subset: torch-fidelity's default, as is their number of 100 where images are enough
_KERNEL = 5000  # images whose whole kernel matrix is held in memory: 200 MB
_HELD = 1 << 24  # numbers of the training split's resampled moments that are held in memory: 128 MB


def fidelity(
    generated: Tensor,
    reference: Reference,
    *,
    resamples: int,
    seed: int,
    device: torch.device | str = "cpu",
    metrics: Sequence[str] = DISTANCES,
) -> dict[str, Estimate]:
    """Distances of generated images to the training split in the reference's features.

    Args:
        generated: uint8 grey levels (N, C, H, W).
        reference: feature network and training split.
        resamples: bootstrap resamples for FID and KID.
        seed: of KID's subsets and of the bootstrap.
        device: of the network and of the linear algebra.
        metrics: which of `metrics.DISTANCES`.

    Source: Heusel et al. (1706.08500), Bińkowski et al. (1801.01401), Kynkäänniemi et al. (1904.06991, 3 neighbours).
    """
    images = _Images(generated)
    a, b, found = _features(images, reference, device), reference.features, {}
    options = dict(resamples=resamples, seed=seed)
    if "fid" in metrics:
        found["fid"] = _fid(images, reference, device, **options)
    if "kid" in metrics:
        found["kid"] = _kid(a, b, device, **options)
    if {"precision", "recall"} & set(metrics):
        ensure_importable()  # torchvision, which torch-fidelity imports
        from torch_fidelity.metric_prc import prc_features_to_metric

        shares = prc_features_to_metric(
            *(rows.to(device) for rows in (a, b)), prc_neighborhood=3, save_cpu_ram=True, verbose=False
        )
        for name, trials in (("precision", len(a)), ("recall", len(b))):
            found[name] = Estimate(shares[name], *proportion_interval(shares[name], trials), len(a))
    return {name: found[name] for name in metrics}


def fid_difference(
    generated: Tensor,
    other: Tensor,
    reference: Reference,
    *,
    resamples: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Estimate:
    """FID of generated images minus that of others from the same seeds, with an interval for the difference itself.

    Image i of both is drawn together, and so is the training split: what both share moves the difference little.

    Args:
        generated, other: uint8 grey levels (N, C, H, W); image i of both has the same seed.
        reference, resamples, seed, device: as in `fidelity`.

    Raises:
        ValueError: not as many of one as of the other.
    """
    if len(generated) != len(other):
        raise ValueError(f"images in pairs are needed, found {len(generated)} and {len(other)}")
    options = dict(resamples=resamples, seed=seed)
    (a, each_a), (b, each_b) = (_distances(_Images(x), reference, device, **options) for x in (generated, other))
    return Estimate(a - b, *bootstrap_interval_of(each_a - each_b, a - b), len(generated))


class _Images:
    """Images as the key of a cache: equal to others that show the same."""

    def __init__(self, images: Tensor):
        self.images = images
        content = hashlib.sha256(images.detach().cpu().contiguous().numpy())
        self._content = content.digest(), images.dtype, images.shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Images) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


# Images are measured by themselves and then against others, and one set may be the other of many: two are kept.


@lru_cache(2)
def _features(images: _Images, reference: Reference, device: torch.device | str) -> Tensor:
    return reference.of(images.images, device)


# ---- FID -------------------------------------------------------------------------------------------------------------


def _fid(images: _Images, reference: Reference, device, *, resamples: int, seed: int) -> Estimate:
    """|m_a − m_b|² + tr S_a + tr S_b − 2 tr √(S_a S_b), m and S the mean and covariance of features a and b.

    Both sets are resampled for the interval, the training split only where all of its features were kept.
    """
    value, each = _distances(images, reference, device, resamples=resamples, seed=seed)
    found = Estimate(value, *bootstrap_interval_of(each, value), len(images.images))
    return replace(found, low=max(found.low, 0.0))  # a distance is not negative


@lru_cache(2)
def _distances(
    images: _Images, reference: Reference, device: torch.device | str, *, resamples: int, seed: int
) -> tuple[float, np.ndarray]:
    """(distance of the images to the reference, that of each resample of both, (R,))."""
    rows = _features(images, reference, device).double().to(device)
    whole = reference.mean.to(device), _root(reference.covariance.to(device))
    options = dict(resamples=resamples, seed=seed)
    counts, _ = bootstrap_counts((len(rows), len(reference.features)), **options)
    others: Iterable[tuple[Tensor, Tensor]] = [whole] * resamples
    if len(reference.features) == reference.n:
        held = resamples * reference.features.shape[1] ** 2 <= _HELD
        others = (_held_moments if held else _resampled_moments)(reference, len(rows), device, **options)
    each = [_frechet(*_moments(rows, drawn), *against) for drawn, against in zip(counts, others, strict=True)]
    return _frechet(*_moments(rows, np.ones(len(rows))), *whole), np.array(each)


def _resampled_moments(
    reference: Reference, n: int, device: torch.device | str, *, resamples: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Moments of the training split in each resample of it and of n images."""
    b = reference.features.double().to(device)
    _, counts = bootstrap_counts((n, len(b)), resamples=resamples, seed=seed)
    return (_moments(b, drawn) for drawn in counts)


@lru_cache(1)  # the same for all images of a study, as many as they are
def _held_moments(*args, **options) -> list[tuple[Tensor, Tensor]]:
    return list(_resampled_moments(*args, **options))


def _moments(rows: Tensor, counts: np.ndarray) -> tuple[Tensor, Tensor]:
    """(mean, F) with FᵀF the covariance of rows (N, D), each taken as often as counted; F has N or D rows."""
    weights = torch.tensor(counts).to(rows)
    mean = weights @ rows / len(rows)
    centred = (rows - mean) * (weights / (len(rows) - 1)).sqrt().unsqueeze(1)
    return mean, centred if len(rows) <= rows.shape[1] else _root(centred.T @ centred)


def _root(covariance: Tensor) -> Tensor:
    """F (D, D) with FᵀF = covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()).T


def _frechet(mean_a: Tensor, root_a: Tensor, mean_b: Tensor, root_b: Tensor) -> float:
    """The Fréchet distance of two normal laws, squared, from their means and roots F of their covariances."""
    traces = root_a.square().sum() + root_b.square().sum()
    shared = torch.linalg.matrix_norm(root_a @ root_b.T, ord="nuc")
    return ((mean_a - mean_b).square().sum() + traces - 2 * shared).item()


# ---- KID -------------------------------------------------------------------------------------------------------------


def _kid(features: Tensor, reference: Tensor, device, *, resamples: int, seed: int) -> Estimate:
    """The mean over subsets of the unbiased squared MMD with the kernel (xᵀy/D + 1)³."""
    a, b = (rows.double().to(device) for rows in (features, reference))
    value = float(np.mean([_squared_mmd(x, y) for x, y in _subsets(a, b, seed)]))
    if max(len(a), len(b)) > _KERNEL:
        half = Z95 * _kid_error(a, b)
        return Estimate(value, value - half, value + half, len(a))
    k_aa, k_bb, k_ab = (_kernel(*pair) for pair in ((a, a), (b, b), (a, b)))

    def squared_mmds(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        u, v = (torch.tensor(counts).to(device) for counts in (u, v))
        within = [((w @ k) * w).sum(1) - w @ k.diagonal() for w, k in ((u, k_aa), (v, k_bb))]
        pairs = [n * (n - 1) for n in (len(a), len(b))]
        between = ((u @ k_ab) * v).sum(1) / (len(a) * len(b))
        return (within[0] / pairs[0] + within[1] / pairs[1] - 2 * between).cpu().numpy()

    low, high = bootstrap_interval(squared_mmds, value, (len(a), len(b)), resamples=resamples, seed=seed)
    return Estimate(value, low, high, len(a))  # the estimator may be negative


def _subsets(a: Tensor, b: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of subsets of equal size, those that torch-fidelity draws with this seed."""
    rng = np.random.RandomState(seed % 2**32)
    smaller = min(len(a), len(b))
    size = min(smaller // 2, _SUBSET)
    for _ in range(100 if smaller >= 2 * _SUBSET else 20):
        x, y = (rows[torch.from_numpy(rng.choice(len(rows), size, replace=False))] for rows in (a, b))
        yield x, y


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """(xᵀy/D + 1)³ for each of rows x (N, D) with each of rows y (M, D)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of rows x and y, both (N, D)."""
    n = len(x)
    within = sum(k.sum() - k.trace() for k in (_kernel(x, x), _kernel(y, y)))
    return (within / (n * (n - 1)) - 2 * _kernel(x, y).mean()).item()


def _kid_error(a: Tensor, b: Tensor) -> float:
    """Standard error of the squared MMD of (N, D) and (M, D), from its scatter over disjoint blocks of both.

    The mean over blocks is itself an unbiased estimate of the MMD, of no less variance than that of all pairs. There
    are two blocks at least, of two rows at least.

    Raises:
        ValueError: there are fewer than four rows.
    """
    smaller = min(len(a), len(b))
    if smaller < 4:
        raise ValueError(f"an interval of KID needs 4 images or more on either side, found {smaller}")
    count = smaller // max(2, min(_SUBSET, smaller // 5))
    blocks = zip(a.tensor_split(count), b.tensor_split(count), strict=True)
    size = smaller // count
    values = [_squared_mmd(x[:size], y[:size]) for x, y in blocks]
    return float(np.std(values, ddof=1)) / math.sqrt(count)
