"""Named seeds, and noise with one generator for each image.

Every random number of a study comes from a generator whose seed is derived from a path of names, study seed → run →
purpose → item. Torch's global generator is the source only where a library gives no choice (initial weights, dropout,
randomised linear algebra), seeded before or put back after. Splits of data sets have fixed seeds.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nonnormal.steps import Step, get

_AHEAD = 1 << 16  # numbers that an image draws at once: 128 MB of float32 for 500 images


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for a named purpose: the first 8 bytes of SHA-256 of "seed/name/…", so that no two collide.

    A path with a slash in a name is written as a JSON list instead, which no other path is. A number is its digits.
    """
    parts = list(map(str, (operator.index(seed), *names)))
    path = json.dumps(parts) if any("/" in part for part in parts) else "/".join(parts)
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device`, seeded by `derive`."""
    return torch.Generator(device).manual_seed(derive(seed, *names))


def one_seed_an_image(seeds: Sequence[int], images: Tensor) -> None:
    """Raises an error if the numbers of seeds and images differ.

    Raises:
        ValueError: they differ; the message has both.
    """
    if len(seeds) != len(images):
        raise ValueError(f"one seed an image: found {len(seeds)} seeds for {len(images)} images")


class ImageNoise:
    """Noise for a batch, with one generator for each image: image i depends on its own seed only.

    Args:
        seeds: one seed an image.
        shape: shape of one image's state.
        dtype, device: of the noise.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self.shape, self.dtype, self.device = tuple(shape), dtype, device
        self.generators = [torch.Generator(device).manual_seed(operator.index(seed)) for seed in seeds]

    def draw(self, step: Step | str) -> Tensor:
        """The next z of every image, (B, *shape)."""
        step = get(step)
        draws = [step.sample(self.shape, generator=g, dtype=self.dtype, device=self.device) for g in self.generators]
        return torch.stack(draws)

    def draws(self, step: Step | str, n: int) -> Iterator[Tensor]:
        """The next n draws of every image, (B, *shape) each. For speed, several are drawn from a generator at a time.

        How many depends on the image's shape and n alone. Draws by other methods in between continue after them.
        """
        step, ahead = get(step), max(_AHEAD // max(math.prod(self.shape), 1), 1)
        for first in range(0, n, ahead):
            shape = (min(ahead, n - first), *self.shape)
            parts = [step.sample(shape, generator=g, dtype=self.dtype, device=self.device) for g in self.generators]
            yield from torch.stack(parts, dim=1)

    def uniform(self) -> Tensor:
        """The next number in [0, 1) of every image, (B,), float64 on the CPU."""
        draws = [torch.rand((), generator=g, dtype=torch.float64, device=self.device) for g in self.generators]
        return torch.stack(draws).cpu()
