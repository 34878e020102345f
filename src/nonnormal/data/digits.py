"""`digits`: 1797 real 8×8 images of handwritten digits with 17 grey levels, embedded in scikit-learn.

Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), test part.
"""

from __future__ import annotations

import torch

from nonnormal.data.images import ImageData, Split
from nonnormal.data.source import Source

TEST_IMAGES = 297


def load_digits(source: Source) -> ImageData:
    """1500 training and 297 test images, split at random with a fixed seed, in equal shares of each digit."""
    from sklearn import datasets, model_selection

    bunch = datasets.load_digits()
    parts = model_selection.train_test_split(
        bunch.images, bunch.target, test_size=TEST_IMAGES, stratify=bunch.target, random_state=0
    )
    train_images, test_images = (torch.tensor(part, dtype=torch.uint8).unsqueeze(1) for part in parts[:2])
    train_labels, test_labels = (torch.tensor(part, dtype=torch.int64) for part in parts[2:])
    return ImageData(Split(train_images, train_labels), Split(test_images, test_labels), levels=17)
