"""The data sets that a study can name: their shape, levels and loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nonnormal.data.digits import load_digits
from nonnormal.data.images import ImageData


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is loaded.

    Attributes:
        shape: (C, H, W) of an image.
        levels: number of grey levels.
        classes: number of labels, 0 where there are none.
        load: makes the data set.
    """

    shape: tuple[int, int, int]
    levels: int
    classes: int
    load: Callable[[], ImageData]


DATASETS: dict[str, DataSet] = {
    "digits": DataSet(shape=(1, 8, 8), levels=17, classes=10, load=load_digits),
}


def load(name: str) -> ImageData:
    """The data set of that name.

    Raises:
        ValueError: the name is unknown, or what was loaded is not what the registry says of it.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    expected, data = DATASETS[name], DATASETS[name].load()
    for split in (data.train, data.test):
        found = (tuple(split.images.shape[1:]), data.levels, int(split.images.max()))
        if found[:2] != (expected.shape, expected.levels) or found[2] >= expected.levels:
            raise ValueError(
                f"data set {name!r}: expected {expected.shape} with {expected.levels} levels, found {found}"
            )
    return data
