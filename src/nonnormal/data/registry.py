"""The data sets that a study can name: shape, levels and loader, and the keys of their source in a study.

A data set of the user's own is a `DataSet` that a study names as "module:NAME".
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nonnormal.data.cifar10 import CIFAR10, load_cifar10
from nonnormal.data.colour_digits import load_colour_digits
from nonnormal.data.digits import load_digits
from nonnormal.data.folder import labels_of, load_folder, places_of
from nonnormal.data.imagenet32 import NEW, OLD, load_imagenet32_new, load_imagenet32_old
from nonnormal.data.images import ImageData, Split, need_enough
from nonnormal.data.photos import PHOTOS, SIZES, load_photos
from nonnormal.data.source import Source, local
from nonnormal.files import own


@dataclass(frozen=True)
class DataSet:
    """Description of a data set before it is loaded.

    Attributes:
        shape: (C, H, W) of an image; of keys or options size and channels, the source's count instead.
        levels: number of grey levels, 2 to 256.
        classes: number of labels, 0 if there are none, None if unknown before loading.
        load: function that makes the data set from its source.
        files: names of files for which the source may give a path, mirrors or SHA-256.
        keys: required keys of the source, for a data set without such files.
        sizes: allowed heights and widths, if images come in several sizes; empty: all sizes.
        options: optional keys of the source.
        mem_mb: memory needed to make it.
        look: function that refuses an unusable source without reading images.
        count: function that counts the labels of a source, if `classes` is None.
    """

    shape: tuple[int, int, int]
    levels: int
    classes: int | None
    load: Callable[[Source], ImageData]
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    options: tuple[str, ...] = ()
    mem_mb: int = 2000
    look: Callable[[Source], object] | None = None
    count: Callable[[Source], int | None] | None = None


def _names(files: dict) -> tuple[str, ...]:
    return tuple(file.name for file in files.values())


def _subfolders(source: Source) -> int | None:
    folder = local(source.path)
    return len(labels_of(folder)) if os.path.isdir(folder) else None  # noqa: PTH112 (Path's raises where it is not known)


_FOLDER = dict(keys=("path", "size"), options=("channels",), mem_mb=8000, look=places_of, count=_subfolders)

DATASETS: dict[str, DataSet] = {
    "digits": DataSet((1, 8, 8), 17, 10, load_digits),
    "colour_digits": DataSet((3, 8, 8), 256, 10, load_colour_digits),
    "photos": DataSet((3, 0, 0), 256, len(PHOTOS), load_photos, keys=("size",), sizes=SIZES),
    "cifar10": DataSet((3, 32, 32), 256, 10, load_cifar10, (CIFAR10.name,)),
    "imagenet32_old": DataSet((3, 32, 32), 256, 0, load_imagenet32_old, _names(OLD), mem_mb=16000),
    "imagenet32_new": DataSet((3, 32, 32), 256, 1000, load_imagenet32_new, _names(NEW), mem_mb=16000),
    "folder": DataSet((3, 0, 0), 256, None, load_folder, **_FOLDER),
}


def dataset(name: str) -> DataSet:
    """The data set of that name, or of "module:NAME", whose module is imported.

    Raises:
        ValueError: the name is unknown, or the user's data set is not valid.
    """
    if name in DATASETS:
        return DATASETS[name]
    if not re.fullmatch(own.PATTERN, name):
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}, or module:NAME of your own")
    found = own.loaded(name, DataSet, "data set")
    if wrong := next(_mistakes(found), None):
        raise ValueError(f"data set {name!r}: {wrong}")
    return found


def source_files(name: str) -> tuple[Path, ...]:
    """Source files of a user's data set: its module and that of its loader; none for our data sets."""
    if name in DATASETS:
        return ()
    return own.files_of({name.partition(":")[0], getattr(dataset(name).load, "__module__", None) or __name__})


def _mistakes(found: DataSet):
    """Mistake in the attributes of a data set: attribute, what was found, what it must be."""
    sizes = found.shape if isinstance(found.shape, tuple) else ()
    if not (len(sizes) == 3 and all(type(side) is int for side in sizes) and sizes[0] in (1, 3)):
        yield f"shape: found {found.shape!r}; must be (C, H, W) with C = 1 or 3"
    elif "size" not in found.keys and min(sizes[1:]) < 4:
        yield f"shape: found {found.shape!r}; images have 4 pixels a side or more"
    if not (type(found.levels) is int and 2 <= found.levels <= 256):
        yield f"levels: found {found.levels!r}; must be a whole number from 2 to 256"
    if found.classes is not None and not (type(found.classes) is int and found.classes >= 0):
        yield f"classes: found {found.classes!r}; must be a number of labels, or None"
    if not callable(found.load):
        yield f"load: found {found.load!r}; must be a function of the source"
    if strange := {*found.keys, *found.options} - {"path", "size", "channels"}:
        yield f"keys: found {', '.join(sorted(strange))}; allowed are path, size, channels"


def describe(name: str, source: Source | None = None) -> DataSet:
    """Description of a data set from that source, which gives `folder` and `photos` their size, `folder` its labels.

    Raises:
        ValueError: the name is unknown, or the source has keys that do not fit it.
    """
    found, source = dataset(name), source or Source()
    allowed = ("path", "mirrors", "sha256") if found.files else (*found.keys, *found.options)
    if unfit := source.named - set(allowed):
        takes = f"takes {', '.join(allowed)}" if allowed else "is built in and has none"
        raise ValueError(f"source.{', source.'.join(sorted(unfit))}: does not fit {name}, which {takes}")
    if missing := set(found.keys) - source.named:
        raise ValueError(f"source.{', source.'.join(sorted(missing))}: missing; {name} needs it")
    if strange := set(source.sha256) - set(found.files):
        raise ValueError(f"source.sha256: {', '.join(sorted(strange))}: {name} has the files {', '.join(found.files)}")
    if found.sizes and source.size not in found.sizes:
        raise ValueError(f"source.size: found {source.size}; {name} has the sizes {', '.join(map(str, found.sizes))}")
    channels, *sides = found.shape
    if "channels" in allowed:
        channels = source.channels
    if source.size is not None:
        sides = source.shape[1:]
    found = dataclasses.replace(found, shape=(channels, *sides))
    return dataclasses.replace(found, classes=found.count(source)) if found.count else found


def full_name(name: str, source: Source | None = None) -> str:
    """Name of the images in files and metrics: the data set's, with the size if it has several, e.g. photos16."""
    return name.replace(":", "-") + (f"{source.size}" if dataset(name).sizes else "")


def file_name(name: str, source: Source | None = None) -> str:
    """Name of a data set's file: that of its images, with a hash of other keys of the source that change them."""
    found = dataset(name)
    keys = {*found.keys, *found.options} - ({"size"} if found.sizes else set())  # which the name has already
    return full_name(name, source) + (source or Source()).suffix((*keys, "sha256"))


def load(name: str, source: Source | None = None) -> ImageData:
    """The data set of that name, from that source.

    Raises:
        ValueError: the name is unknown, the source does not fit it or lacks files, or the loaded data set differs from
            its description.
    """
    expected = describe(name, source)
    data = expected.load(source or Source())
    if name not in DATASETS:
        _need_images(name, data)
    need_enough(len(data.train.images), len(data.test.images), f"data set {name!r}")
    for split in (data.train, data.test):
        found = (tuple(split.images.shape[1:]), data.levels, int(split.images.max()))
        if found[:2] != (expected.shape, expected.levels) or found[2] >= expected.levels:
            raise ValueError(
                f"data set {name!r}: expected {expected.shape} with {expected.levels} levels, found {found}"
            )
    return data


def _need_images(name: str, data: ImageData) -> None:
    """Refuse the result of a user's loader unless its splits are tensors as `Split` describes.

    Raises:
        ValueError: what was found, what it must be.
    """
    if not (isinstance(data, ImageData) and all(isinstance(part, Split) for part in (data.train, data.test))):
        raise ValueError(f"data set {name!r}: load returns {data!r:.80}; must be an ImageData with two Splits")
    if not isinstance(data.files, Mapping):
        raise ValueError(f"data set {name!r}: files: found {data.files!r:.80}; must be SHA-256 by file name")
    for key, split in (("train", data.train), ("test", data.test)):
        _need_tensor(f"data set {name!r}: {key}.images", split.images, "uint8", 4)
        _need_tensor(f"data set {name!r}: {key}.labels", split.labels, "int64", 1)
        if len(split.labels) not in (0, len(split.images)) or (len(split.labels) and split.labels.min() < 0):
            raise ValueError(
                f"data set {name!r}: {key}.labels: found {len(split.labels)} for {len(split.images)} images; must be "
                "one from 0 for each, or none"
            )


def _need_tensor(label: str, value: object, dtype: str, dims: int) -> None:
    found = f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else f"{value!r:.80}"
    if not (isinstance(value, Tensor) and str(value.dtype) == f"torch.{dtype}" and value.dim() == dims):
        raise ValueError(f"{label}: found {found}; must be {dims}-dimensional, of torch.{dtype}")


def look(name: str, source: Source) -> None:
    """Refuse a source that lacks what the data set needs, as far as can be checked without reading images.

    Raises:
        ValueError: naming the key.
    """
    if check := dataset(name).look:
        check(source)
