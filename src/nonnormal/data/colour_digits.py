"""`colour_digits`: the handwritten digits of `digits`, each painted in two colours of one photograph of `photos`.

The two colours are the pair furthest apart in luminance of eight random pairs of pixels; which of them is the paper is
random. Grey levels between the two lie on the line between them. The splits are those of `digits` and of `photos`:
neither a digit nor a pixel of a photograph is in both. Labels are the digits.

As for `photos`, the last bit of a colour depends on the decoder of JPEG.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nonnormal.data.digits import load_digits
from nonnormal.data.images import ImageData, Split
from nonnormal.data.photos import photographs, regions
from nonnormal.data.source import Source
from nonnormal.files import sha256_of

PAINTINGS = {
    "train": 4,
    "test": 1,
}  # paintings of each training digit; each test digit is painted once, so that test images are independent
CANDIDATES = 8
LUMINANCE = (299, 587, 114)  # of red, green and blue, in thousandths: ITU-R BT.601


def load_colour_digits(source: Source) -> ImageData:
    """6,000 training and 297 test images (3, 8, 8) with 256 levels."""
    digits, photos = load_digits(source), list(photographs())
    places = [regions(photo) for _, photo in photos]
    splits = []
    for place, (name, times) in enumerate(PAINTINGS.items()):
        split = getattr(digits, name)
        images, labels = split.images.repeat(times, 1, 1, 1), split.labels.repeat(times)
        pixels = [torch.cat([part.flatten(0, 1) for part in each[place]]) for each in places]
        generator = torch.Generator().manual_seed(place)
        paper, ink = torch.stack([_pair(pixels, generator) for _ in images]).unbind(1)
        splits.append(Split(painted(images, digits.levels, paper, ink), labels))
    files = {file.name: sha256_of(file) for file, _ in photos}
    return ImageData(*splits, 256, files)


def painted(images: Tensor, levels: int, paper: Tensor, ink: Tensor) -> Tensor:
    """Images (N, 3, H, W), uint8: paper + (ink − paper) v/(levels − 1), rounded half up, for grey levels v.

    Args:
        images: uint8 (N, 1, H, W).
        levels: number of grey levels.
        paper, ink: colours uint8 (N, 3) of the lowest and of the highest level.
    """
    paper, ink = (colour.long()[:, :, None, None] for colour in (paper, ink))
    top = levels - 1
    return ((2 * (paper * (top - images.long()) + ink * images.long()) + top) // (2 * top)).to(torch.uint8)


def _pair(pixels: list[Tensor], generator: torch.Generator) -> Tensor:
    """(paper, ink), uint8 (2, 3), out of a random one of the photographs, each given as its pixels (P, 3)."""
    photo = pixels[int(torch.randint(len(pixels), (), generator=generator))]
    pairs = photo[torch.randint(len(photo), (CANDIDATES, 2), generator=generator)]
    luminance = (pairs.long() * torch.tensor(LUMINANCE)).sum(-1)
    return pairs[luminance.diff(dim=1).abs().argmax()]
