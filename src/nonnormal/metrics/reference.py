"""Reference of a distance: a feature network and the features of the training split. Made once per study.

The network is a `Classifier` trained on the data set's labels, or Inception. Mean and covariance are those of the whole
split; as many of its features are kept as KID, precision and recall compare. The file names, by SHA-256, the weights
and the data that it was made from, and is refused for any other data. Knows nothing of studies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from nonnormal.files import read_tensors, sha256_of, write_tensors
from nonnormal.metrics.features import BATCH, Classifier
from nonnormal.metrics.inception import NAME, Inception
from nonnormal.seeds import generator

KEPT = 50_000


@dataclass(frozen=True)
class Reference:
    """A feature network with the features of the training split.

    Attributes:
        network: features (B, D) of uint8 grey levels (B, C, H, W).
        name: of the network.
        weights: SHA-256 of its weights.
        n: images of the training split.
        features: (M, D) float32, of all images where M = n, else of a random draw of them in random order.
        mean: (D,) float64, of all images.
        covariance: (D, D) float64, of all images.
        facts: what else is known of the network, e.g. its held-out accuracy.
    """

    network: Callable[[Tensor], Tensor]
    name: str
    weights: str
    n: int
    features: Tensor
    mean: Tensor
    covariance: Tensor
    facts: dict[str, Any]

    def of(self, images: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Features (N, D), float32, of uint8 grey levels (N, C, H, W)."""
        return extract(self.network, images, device)


@torch.no_grad()
def extract(network: Callable[[Tensor], Tensor], images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Features (N, D), float32, on the CPU, of uint8 grey levels (N, C, H, W), a batch at a time on the device."""
    if isinstance(network, nn.Module):
        network = network.to(device)
    return torch.cat([network(batch.to(device)).float().cpu() for batch in images.split(BATCH)])


def write_classifier_reference(
    path: Path,
    network: Classifier,
    images: Tensor,
    data: Path,
    device: torch.device | str = "cpu",
    *,
    data_name: str,
    held_out_accuracy: float,
) -> None:
    """Measures the training images (N, C, H, W) of the data file and writes them with the classifier itself."""
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    facts = {"kind": "classifier", "name": f"classifier of {data_name}", "recipe": network.recipe}
    facts |= {"weights": hashlib.sha256(save(state)).hexdigest(), "held_out_accuracy": held_out_accuracy}
    tensors = {f"network.{name}": value for name, value in state.items()}
    _write(path, _Features(network), images, data, tensors, facts, device)


def write_inception_reference(
    path: Path, weights: Path, sha256: str, images: Tensor, data: Path, device: torch.device | str = "cpu"
) -> None:
    """Measures the training images (N, 1 or 3, H, W) of the data file; of the weights, path and SHA-256 are written.

    Raises:
        DownloadError: the weights are not those of the SHA-256.
    """
    network = Inception(weights, sha256)
    facts = {"kind": "inception", "name": NAME, "weights": sha256, "path": str(weights)}
    _write(path, network, images, data, {}, facts, device)


def read_reference(path: Path, data: Path) -> Reference:
    """The reference of `write_…_reference` for that data file.

    Raises:
        ValueError: it was made from other data, or the weights are no longer those it was made with.
    """
    tensors, header = read_tensors(path)
    if header.get("data") != sha256_of(data):
        raise ValueError(f"{path}: was made from other data than {data}; delete it to have it made again")
    if header["kind"] == "inception":
        network = Inception(Path(header["path"]), header["weights"])
    else:
        classifier = Classifier(**header["recipe"])
        state = {name.removeprefix("network."): tensors[name] for name in tensors if name.startswith("network.")}
        classifier.load_state_dict(state)
        network = _Features(classifier.eval().requires_grad_(False))
    measured = (tensors[name] for name in ("features", "mean", "covariance"))
    return Reference(network, header["name"], header["weights"], header["n"], *measured, facts=header)


def _write(path, network, images, data, tensors, facts, device="cpu") -> None:
    tensors = tensors | dict(zip(("features", "mean", "covariance"), _measured(network, images, device), strict=True))
    write_tensors(path, tensors, facts | {"data": sha256_of(data), "n": len(images)})


def _measured(
    network: Callable[[Tensor], Tensor], images: Tensor, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor]:
    """(features that are kept, mean, covariance); no other features are in memory but those of one batch.

    With a the first batch's mean and s = Σ (f − a), mean = a + s/n and (n − 1) covariance = Σ (f − a)(f − a)ᵀ − s sᵀ/n:
    without a, squares would drown what they differ by.
    """
    n, batches = len(images), images.split(BATCH)
    kept = torch.randperm(n, generator=generator(0, "reference"))[:KEPT] if n > KEPT else torch.arange(n)
    places = torch.full((n,), -1).index_copy(0, kept, torch.arange(len(kept)))
    start = extract(network, batches[0], device)
    shift, features = start.double().mean(0), start.new_empty(len(kept), start.shape[1])
    total, products = torch.zeros_like(shift), shift.new_zeros(len(shift), len(shift))
    for batch, place in zip(batches, places.split(BATCH), strict=True):
        found = start if batch is batches[0] else extract(network, batch, device)
        features[place[place >= 0]] = found[place >= 0]
        centred = found.double() - shift
        total += centred.sum(0)
        products += centred.T @ centred
    return features, shift + total / n, (products - total.outer(total) / n) / (n - 1)


class _Features(nn.Module):
    """A classifier up to its features."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)
