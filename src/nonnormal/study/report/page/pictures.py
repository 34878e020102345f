"""Pictures of the page: PNG in data URIs, small enough for one file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

SHOWN, COLUMNS = 32, 16  # samples of a grid, and of a row of it
PHOTOGRAPH = 1 << 15  # colours of a picture above which 256 would show


@dataclass(frozen=True)
class Picture:
    """A picture for an <img>.

    Attributes:
        uri: data URI.
        width: pixels.
        height: pixels.
        colours: how many it has, before any are merged; `PHOTOGRAPH` where there are more.
    """

    uri: str
    width: int
    height: int
    colours: int


def grid(images: np.ndarray, levels: int) -> bytes:
    """PNG of the first 32 images, 16 a row, a transparent pixel between them; grey ones dark on light, as in figures.

    Args:
        images: uint8 grey levels (N, C, H, W) with C = 1 or 3.
        levels: number of grey levels.
    """
    shown = images[:SHOWN].astype(float) / (levels - 1)
    grey = shown.shape[1] == 1
    shown = np.rint(255 * (1 - shown if grey else shown)).astype(np.uint8).transpose(0, 2, 3, 1)
    opaque = np.full((*shown.shape[:3], 1), 255, np.uint8)
    tiles = np.pad(np.concatenate([shown, opaque], axis=-1), ((0, 0), (0, 1), (0, 1), (0, 0)))
    empty = -len(tiles) % COLUMNS if len(tiles) > COLUMNS else 0
    tiles = np.pad(tiles, ((0, empty), (0, 0), (0, 0), (0, 0)))
    n, height, width, depth = tiles.shape
    columns = min(n, COLUMNS)
    joined = tiles.reshape(-1, columns, height, width, depth).swapaxes(1, 2)
    joined = joined.reshape(n // columns * height, columns * width, depth)[:-1, :-1]
    factor = max(1, 32 // (height - 1))
    return _png(Image.fromarray(joined.repeat(factor, 0).repeat(factor, 1), "LA" if grey else "RGBA"))


def embedded(png: bytes) -> Picture:
    """The picture in a data URI, with 256 colours where it is drawn and not photographed, since that is a third."""
    image = Image.open(io.BytesIO(png), formats=("PNG",))
    opaque = image.getextrema()[-1] == (255, 255) or image.mode == "RGB"
    image = image.convert("RGB") if opaque else image
    found = image.getcolors(PHOTOGRAPH)
    if opaque:
        png = _png(image if found is None else image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))
    colours = PHOTOGRAPH if found is None else len(found)
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode()}", *image.size, colours)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return buffer.getvalue()
