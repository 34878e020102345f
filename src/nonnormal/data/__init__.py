"""Data sets behind one interface: uint8 grey levels, train and test splits, labels if there are any.

Models see images scaled to [−1, 1]; files hold grey levels. Independent of models.
"""

from nonnormal.data.images import ImageData, Split, one_number, quantise, read, scale, std, write
from nonnormal.data.registry import DATASETS, DataSet, dataset, describe, file_name, full_name, load, look, source_files
from nonnormal.data.source import Source

__all__ = [
    "DATASETS",
    "DataSet",
    "ImageData",
    "Source",
    "Split",
    "dataset",
    "describe",
    "file_name",
    "full_name",
    "load",
    "look",
    "one_number",
    "quantise",
    "read",
    "scale",
    "source_files",
    "std",
    "write",
]
