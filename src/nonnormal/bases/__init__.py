"""Bases: the coordinates in which the steps of an image are counted.

PIXEL, DCT(), Fourier(), Haar(levels), PCA.fit(images), and Whitened.fit(basis, images) on top of any of them.
"""

from nonnormal.bases.base import PIXEL, Basis, Pixel
from nonnormal.bases.fitted import PCA, Whitened
from nonnormal.bases.transforms import DCT, Fourier, Haar

__all__ = ["DCT", "PCA", "PIXEL", "Basis", "Fourier", "Haar", "Pixel", "Whitened"]
