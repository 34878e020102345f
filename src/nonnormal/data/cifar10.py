"""`cifar10`: 50,000 training and 10,000 test images 32×32×3 in ten classes, from the binary version.

A record is one byte of label and 3072 of image: 1024 red, 1024 green, 1024 blue, row by row.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009); https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import numpy as np
import torch

from nonnormal.data.archives import tar_members
from nonnormal.data.download import File
from nonnormal.data.images import ImageData, Split
from nonnormal.data.source import Source

CIFAR10 = File(
    "cifar-10-binary.tar.gz",
    size=170_052_171,  # MD5 c32a1d4ab5d03f1284b67883e8d87530
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
RECORD = 1 + 3 * 32 * 32
TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))
TEST = ("cifar-10-batches-bin/test_batch.bin",)
LIMIT = 10_000 * RECORD


def load_cifar10(source: Source) -> ImageData:
    """The two splits in the order of the archive's records.

    Raises:
        ValueError: a member is missing or does not consist of whole records.
    """
    path, digest = source.obtain(CIFAR10)
    members = {}
    for name, content in tar_members(path, limit=LIMIT):
        if (name := name.removeprefix("./")) in (*TRAIN, *TEST):
            members[name] = content
    if missing := [name for name in (*TRAIN, *TEST) if name not in members]:
        raise ValueError(f"{path}: has no member {', '.join(missing)}")
    train, test = (_split({name: members[name] for name in names}) for names in (TRAIN, TEST))
    return ImageData(train, test, 256, {CIFAR10.name: digest})


def _split(members: dict[str, bytes]) -> Split:
    """Images and labels of the records in several members, one after the other."""
    for name, content in members.items():
        if not content or len(content) % RECORD:
            raise ValueError(f"{CIFAR10.name}: {name} has {len(content):,} bytes, not a multiple of {RECORD}")
    records = np.frombuffer(b"".join(members.values()), dtype=np.uint8).reshape(-1, RECORD)
    if (largest := records[:, 0].max()) > 9:
        raise ValueError(f"{CIFAR10.name}: found the label {largest}; CIFAR-10 has 0 to 9")
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy())
    return Split(images, torch.from_numpy(records[:, 0].astype(np.int64)))
