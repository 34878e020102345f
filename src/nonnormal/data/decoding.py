"""Image files opened with Pillow, which must not guess the format of a file.

Without a list of formats Pillow tries all that it knows, and one of them (PostScript) runs another program on the file.
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
"""Formats that are read, by suffix of the file."""


@contextlib.contextmanager
def opened(file: BinaryIO, *, label: str, formats: tuple[str, ...] = tuple(FORMATS.values())) -> Iterator[Image.Image]:
    """The image in a file, not yet decoded; errors here and in the `with` block name the file.

    Args:
        file: open for reading.
        label: name of the file in messages.
        formats: allowed formats.

    Raises:
        ValueError: the file has none of the formats, is damaged, or the block refuses the image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=formats)
        with image:
            yield image
    except UnidentifiedImageError:  # its message names an object in memory
        allowed = ", ".join(dict.fromkeys(formats))
        raise ValueError(f"{label}: is not a readable image; allowed formats: {allowed}") from None
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
