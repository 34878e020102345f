"""Image files opened with Pillow, which must not guess what a file is.

Without a list of formats Pillow tries all it knows, and one of them (PostScript) starts another program on the file.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""Formats that are read, by the suffixes of their files."""


@contextlib.contextmanager
def opened(file: BinaryIO, *, label: str, formats: tuple[str, ...] = tuple(FORMATS.values())) -> Iterator[Image.Image]:
    """The image in a file, not yet decoded; errors in here and in the block name the file.

    Args:
        file: open for reading.
        label: name of the file in messages.
        formats: those that the file may have.

    Raises:
        ValueError: the file has none of the formats, is damaged, or the block refuses the image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=formats)
        with image:
            yield image
    except UnidentifiedImageError:  # its text names an object in memory
        allowed = ", ".join(dict.fromkeys(formats))
        raise ValueError(f"{label}: is no image that can be read; allowed formats: {allowed}") from None
    except Exception as error:  # Pillow raises nearly all kinds on damaged files
        raise ValueError(f"{label}: {error}") from None


def has_more_than_8_bits(image: Image.Image) -> bool:
    """Whether the file has more than 8 bits per channel, of which Pillow keeps the upper 8 in colour images."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,))) > 8
    # Of PNG "RGB;16B" or the like, of PPM the mode and the largest level; WebP has no tile.
    arguments = image.tile[0].args if image.tile else ""
    if image.format == "PPM":
        return isinstance(arguments, tuple) and arguments[1] > 255
    return str(arguments).endswith(";16B")
