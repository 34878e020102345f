"""Bases: the coordinates in which the steps of an image are counted.

PIXEL, DCT(), Fourier(), Haar(levels), PCA.fit(images), LeadingPCA.fit(images) where those are large, and
Whitened.fit(basis, images) on top of any of them. `BasisStatistics` are a basis and the statistics of the data in it.
"""

from nonnormal.bases.base import PIXEL, Basis, Pixel
from nonnormal.bases.fixed import DCT, Fourier, Haar
from nonnormal.bases.leading_pca import LeadingPCA
from nonnormal.bases.moments import Scale
from nonnormal.bases.own import check, named, source_files
from nonnormal.bases.pca import PCA, Whitened
from nonnormal.bases.statistics import KINDS, BasisStatistics, rotation

__all__ = [
    "DCT",
    "KINDS",
    "PCA",
    "PIXEL",
    "Basis",
    "BasisStatistics",
    "Fourier",
    "Haar",
    "LeadingPCA",
    "Pixel",
    "Scale",
    "Whitened",
    "check",
    "named",
    "rotation",
    "source_files",
]
