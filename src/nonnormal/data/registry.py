"""The data sets that a study can name: their shape, levels and loader, and what a study may say of their source."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass

from nonnormal.data.cifar10 import CIFAR10, load_cifar10
from nonnormal.data.colour_digits import load_colour_digits
from nonnormal.data.digits import load_digits
from nonnormal.data.folder import labels_of, load_folder, places_of
from nonnormal.data.imagenet32 import NEW, OLD, load_imagenet32_new, load_imagenet32_old
from nonnormal.data.images import ImageData, need_enough
from nonnormal.data.photos import PHOTOS, SIZES, load_photos
from nonnormal.data.source import Source, local


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is loaded.

    Attributes:
        shape: (C, H, W) of an image.
        levels: number of grey levels.
        classes: number of labels, 0 where there are none, None where nobody knows before loading.
        load: makes the data set from its source.
        files: names of the files that the source may place, mirror or vouch for.
        keys: what the source of a data set without such files must say.
        sizes: heights and widths that the source may choose from, where the images come in several; none are all.
        mem_mb: memory that making it takes.
        look: refuses a source that lacks what the data set needs, as far as is seen without reading images.
    """

    shape: tuple[int, int, int]
    levels: int
    classes: int | None
    load: Callable[[Source], ImageData]
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    mem_mb: int = 2000
    look: Callable[[Source], object] | None = None


def _names(files: dict) -> tuple[str, ...]:
    return tuple(file.name for file in files.values())


DATASETS: dict[str, DataSet] = {
    "digits": DataSet((1, 8, 8), 17, 10, load_digits),
    "colour_digits": DataSet((3, 8, 8), 256, 10, load_colour_digits),
    "photos": DataSet((3, 0, 0), 256, len(PHOTOS), load_photos, keys=("size",), sizes=SIZES),
    "cifar10": DataSet((3, 32, 32), 256, 10, load_cifar10, (CIFAR10.name,)),
    "imagenet32_old": DataSet((3, 32, 32), 256, 0, load_imagenet32_old, _names(OLD), mem_mb=16000),
    "imagenet32_new": DataSet((3, 32, 32), 256, 1000, load_imagenet32_new, _names(NEW), mem_mb=16000),
    "folder": DataSet((3, 0, 0), 256, None, load_folder, keys=("path", "size"), mem_mb=8000, look=places_of),
}


def describe(name: str, source: Source | None = None) -> DataSet:
    """What is known of a data set from that source, which gives `folder` and `photos` their size, `folder` its labels.

    Raises:
        ValueError: the name is unknown, or the source says what does not fit it.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    found, source = DATASETS[name], source or Source()
    allowed = ("path", "mirrors", "sha256") if found.files else found.keys
    if unfit := source.named - set(allowed):
        takes = f"takes {', '.join(allowed)}" if allowed else "is built in and has none"
        raise ValueError(f"source.{', source.'.join(sorted(unfit))}: does not fit {name}, which {takes}")
    if missing := set(found.keys) - source.named:
        raise ValueError(f"source.{', source.'.join(sorted(missing))}: missing; {name} needs it")
    if strange := set(source.sha256) - set(found.files):
        raise ValueError(f"source.sha256: {', '.join(sorted(strange))}: {name} has the files {', '.join(found.files)}")
    if found.sizes and source.size not in found.sizes:
        raise ValueError(f"source.size: found {source.size}; {name} has the sizes {', '.join(map(str, found.sizes))}")
    if "size" in found.keys:
        found = dataclasses.replace(found, shape=(found.shape[0], source.size, source.size))
    if "path" in found.keys:
        folder = local(source.path)
        classes = len(labels_of(folder)) if os.path.isdir(folder) else None  # noqa: PTH112 (Path's raises where it is not known)
        found = dataclasses.replace(found, classes=classes)
    return found


def full_name(name: str, source: Source | None = None) -> str:
    """Name of the images: the data set's own, followed by their size where it has several sizes, e.g. photos16."""
    return f"{name}{source.size}" if DATASETS[name].sizes else name


def file_name(name: str, source: Source | None = None) -> str:
    """Name of a data set's file: that of its images, with a mark of what else the source says that changes them."""
    keys = () if DATASETS[name].sizes else DATASETS[name].keys
    return full_name(name, source) + (source or Source()).suffix((*keys, "sha256"))


def load(name: str, source: Source | None = None) -> ImageData:
    """The data set of that name, from that source.

    Raises:
        ValueError: the name is unknown, the source does not fit it or has not got it, or what was loaded is not what
            the registry says of it.
    """
    expected = describe(name, source)
    data = expected.load(source or Source())
    need_enough(len(data.train.images), len(data.test.images), f"data set {name!r}")
    for split in (data.train, data.test):
        found = (tuple(split.images.shape[1:]), data.levels, int(split.images.max()))
        if found[:2] != (expected.shape, expected.levels) or found[2] >= expected.levels:
            raise ValueError(
                f"data set {name!r}: expected {expected.shape} with {expected.levels} levels, found {found}"
            )
    return data


def look(name: str, source: Source) -> None:
    """Refuse a source that lacks what the data set needs, as far as is seen without reading images.

    Raises:
        ValueError: naming the key.
    """
    if DATASETS[name].look:
        DATASETS[name].look(source)
