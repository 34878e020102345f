"""A feature network trained on a data set's labels, for Fréchet distances where Inception's weights cannot be had.

A small convolutional classifier; its features are the 64 activations before the last layer, standardised over the
training images so that distances have a scale. Its held-out accuracy is reported with every number made from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nonnormal.data import ImageData, one_number, scale
from nonnormal.denoisers.unet import initialised
from nonnormal.seeds import derive, generator

FEATURES = 64
BATCH = 256  # images measured at once; fixed, since sums in another order differ in the last bits


class Classifier(nn.Module):
    """Three convolutions, two poolings, 64 features, class scores.

    Args:
        channels: of the images.
        size: their height and width, 4 or more: one number, or both.
        classes: number of labels.
        levels: number of grey levels; inputs are uint8 levels (B, C, H, W).
    """

    def __init__(self, *, channels: int, size: int | Sequence[int], classes: int, levels: int):
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        self.recipe = dict(channels=channels, size=size, classes=classes, levels=levels)
        self.levels = levels
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(64 * (height // 4) * (width // 4), FEATURES),
            nn.BatchNorm1d(FEATURES, affine=False),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, classes))

    def features(self, images: Tensor) -> Tensor:
        """Standardised activations (B, 64) of uint8 images (B, C, H, W)."""
        return self.body(scale(images, self.levels))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, classes) of uint8 images (B, C, H, W)."""
        return self.head(self.features(images))


def train_classifier(
    data: ImageData,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    device: torch.device | str = "cpu",
) -> Classifier:
    """A classifier of the training split, on the device: cross-entropy, AdamW, one-cycle learning rate.

    torch's global random state is left as it was.
    """
    _, channels, *size = data.train.images.shape
    classes, device = int(data.train.labels.max()) + 1, torch.device(device)
    build = dict(channels=channels, size=one_number(size), classes=classes, levels=data.levels)
    network = initialised(lambda: Classifier(**build), derive(seed, "init")).to(device)
    order, n = generator(seed, "order"), len(data.train.images)
    # A last batch of a single image has no statistics for batch normalisation, and is left out.
    batches = -(-n // batch_size) - (n % batch_size == 1)
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * batches)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, "dropout"))
        for _ in range(epochs):
            for index in torch.randperm(n, generator=order).split(batch_size)[:batches]:
                optimiser.zero_grad()
                scores = network(data.train.images[index].to(device))
                nn.functional.cross_entropy(scores, data.train.labels[index].to(device)).backward()
                optimiser.step()
                schedule.step()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(network: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of images whose highest score is their label's, on the network's device, a batch at a time."""
    device = next(network.parameters()).device
    guesses = torch.cat([network(batch.to(device)).argmax(1).cpu() for batch in images.split(BATCH)])
    return (guesses == labels).double().mean().item()
