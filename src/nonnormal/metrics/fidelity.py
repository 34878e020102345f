"""FID, KID, precision and recall of generated images against the training split, with intervals of our own.

Features are those of a `Reference`. The values are those of torch-fidelity's own functions, on features in float64.
Their last digits depend on numpy's linear algebra, which takes its kernels from the processor or OPENBLAS_CORETYPE.

Intervals are ours: bootstrap over images for FID and KID, Wilson's for precision and recall (each a share of images,
given the other set's manifold). The bootstrap computes each distance many times, by torch's linear algebra: Fréchet's
with a nuclear norm, S = FᵀF ⇒ tr √(S_a S_b) = ‖F_a F_bᵀ‖_*, without the eigenvalues of a product that is not symmetric,
and without D × D matrices where images are few; KID's from one matrix of kernels, or from blocks where images are many.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from nonnormal.denoisers._torchvision import ensure_importable
from nonnormal.metrics import DISTANCES
from nonnormal.metrics.intervals import Z95, Estimate, bootstrap_interval, proportion_interval
from nonnormal.metrics.reference import Reference

TOOL = f"torch-fidelity {importlib.metadata.version('torch-fidelity')}"  # of the values
INTERVAL_TOOL = "nonnormal"  # of the intervals
_SUBSET = 1000  # images of a KID subset: torch-fidelity's default, as is their number of 100 where images are enough
_KERNEL = 5000  # images whose whole kernel matrix is held in memory: 200 MB


def _torch_fidelity(module: str) -> ModuleType:
    """A module of torch-fidelity, imported where a distance is computed, since it takes seconds."""
    ensure_importable()  # torchvision, which torch-fidelity imports
    return importlib.import_module(f"torch_fidelity.{module}")


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
    a, b, found = reference.of(generated, device), reference.features, {}
    options = dict(resamples=resamples, seed=seed)
    if "fid" in metrics:
        found["fid"] = _fid(a, reference, device, **options)
    if "kid" in metrics:
        found["kid"] = _kid(a, b, device, **options)
    if {"precision", "recall"} & set(metrics):
        shares = _torch_fidelity("metric_prc").prc_features_to_metric(
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
    rows = [reference.of(images, device) for images in (generated, other)]
    return _frechet_estimate(rows, reference, device, resamples=resamples, seed=seed)


# ---- FID -------------------------------------------------------------------------------------------------------------


def _fid(features: Tensor, reference: Reference, device, *, resamples: int, seed: int) -> Estimate:
    """|m_a − m_b|² + tr S_a + tr S_b − 2 tr √(S_a S_b), m and S the mean and covariance of features a and b.

    Both sets are resampled for the interval, the training split only where all of its features were kept.
    """
    found = _frechet_estimate([features], reference, device, resamples=resamples, seed=seed)
    return replace(found, low=max(found.low, 0.0))  # a distance is not negative


def _frechet_estimate(
    rows: list[Tensor], reference: Reference, device: torch.device | str, *, resamples: int, seed: int
) -> Estimate:
    """Distance of the first rows (N, D) to the reference, minus that of the second where there are any."""
    rows, b = [features.double().to(device) for features in rows], reference.features.double().to(device)
    whole = reference.mean.to(device), _root(reference.covariance.to(device))

    def resampled(counts: np.ndarray, against: tuple[Tensor, Tensor]) -> float:
        first, *second = (_frechet(*_moments(a, counts), *against) for a in rows)
        return first - sum(second)

    def distances(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        complete = len(b) == reference.n
        pairs = zip(u, v, strict=True)
        return np.array([resampled(counts, _moments(b, others) if complete else whole) for counts, others in pairs])

    n = len(rows[0])
    first, *second = (_frechet_value(a, reference) for a in rows)
    value = first - sum(second)
    return Estimate(value, *bootstrap_interval(distances, value, (n, len(b)), resamples=resamples, seed=seed), n)


def _frechet_value(rows: Tensor, reference: Reference) -> float:
    """torch-fidelity's distance of rows (N, D) to the whole training split."""
    split = {"mu": reference.mean.numpy(), "sigma": reference.covariance.numpy()}
    theirs = _torch_fidelity("metric_fid")
    statistics = theirs.fid_features_to_statistics(rows.cpu())
    return theirs.fid_statistics_to_metric(statistics, split, verbose=False)[theirs.KEY_METRIC_FID]


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
    """The mean over subsets of the unbiased squared MMD with the kernel (xᵀy/D + 1)³.

    Raises:
        ValueError: there are fewer than four rows of either.
    """
    if (smaller := min(len(features), len(reference))) < 4:
        raise ValueError(f"KID with its interval needs 4 images or more on either side, found {smaller}")
    options = {"kid_subsets": 100 if smaller >= 2 * _SUBSET else 20, "kid_subset_size": min(smaller // 2, _SUBSET)}
    options |= {"rng_seed": seed % 2**32, "verbose": False}
    theirs = _torch_fidelity("metric_kid")
    value = theirs.kid_features_to_metric(features.double(), reference.double(), **options)[theirs.KEY_METRIC_KID_MEAN]
    a, b = (rows.double().to(device) for rows in (features, reference))
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
    """
    smaller = min(len(a), len(b))
    count = smaller // max(2, min(_SUBSET, smaller // 5))
    blocks = zip(a.tensor_split(count), b.tensor_split(count), strict=True)
    size = smaller // count
    values = [_squared_mmd(x[:size], y[:size]) for x, y in blocks]
    return float(np.std(values, ddof=1)) / math.sqrt(count)
