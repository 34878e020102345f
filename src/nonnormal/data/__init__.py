"""Data sets behind one interface: uint8 grey levels, train and test splits, labels where there are any.

Models see images scaled to [−1, 1]; files hold grey levels. Knows nothing of models.
"""

from nonnormal.data.images import ImageData, Split, quantise, read, scale, std, write
from nonnormal.data.registry import DATASETS, DataSet, describe, file_name, full_name, load, look
from nonnormal.data.source import Source

__all__ = [
    "DATASETS",
    "DataSet",
    "ImageData",
    "Source",
    "Split",
    "describe",
    "file_name",
    "full_name",
    "load",
    "look",
    "quantise",
    "read",
    "scale",
    "std",
    "write",
]
