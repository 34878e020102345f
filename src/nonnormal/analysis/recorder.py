"""Trajectories: states and denoised states of chosen images at every step of a sampler.

A `Recorder` is any sampler's callback. Knows nothing of samplers but that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trajectories:
    """states (T + 1, n, ...), denoised (T, n, ...), levels (T + 1,) float64 and images (n,) int64, on the CPU."""

    states: Tensor
    denoised: Tensor
    levels: Tensor
    images: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """The four by name, for `files.write_tensors`; `Trajectories(**tensors)` is their inverse."""
        return dict(vars(self))


class Recorder:
    """callback(at): keeps at["x"] and at["denoised"] of the chosen images at step at["i"].

        recorder = Recorder(sigmas, images=range(16))
        trajectories = recorder.end(sample_heun(denoiser, x, sigmas, callback=recorder))

    A step 0 begins a new batch, whose images follow those of the batch before. So one recorder serves a sampler that
    works in batches, and a sampler that is called once for each batch.

    Args:
        levels: (T + 1,), the sigmas or times of the grid, in the order in which the sampler meets them.
        images: indices of the chosen images among all that are sampled, in the order of the result.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, levels: Tensor, images: Sequence[int]):
        self._levels = torch.as_tensor(levels, dtype=torch.float64).flatten().cpu()
        self._images = torch.as_tensor(list(images), dtype=torch.long)
        if len(self._levels) < 2 or not self._levels.isfinite().all():
            raise ValueError(f"a trajectory has two or more finite levels, found {self._levels.tolist()}")
        if not len(self._images) or self._images.min() < 0 or len(self._images.unique()) < len(self._images):
            raise ValueError(f"images must be one or more distinct indices from 0, found {self._images.tolist()}")
        steps = len(self._levels) - 1
        self._states: list[list[Tensor]] = [[] for _ in range(steps)]  # of each step the parts of each batch
        self._denoised: list[list[Tensor]] = [[] for _ in range(steps)]
        self._first = self._next = 0  # image with which this batch, and the next, begins

    def __call__(self, at: dict) -> None:
        """Keeps one step of one batch: at = {"i", "sigma" or "t", "x", "denoised"}.

        Raises:
            ValueError: the step is not one of the grid's.
        """
        i, level = at["i"], float(at["sigma"] if "sigma" in at else at["t"])
        if not 0 <= i < len(self._states) or level != self._levels[i]:
            raise ValueError(f"step {i} at level {level} is none of the grid {self._levels.tolist()}")
        if i == 0:
            self._first, self._next = self._next, self._next + len(at["x"])
        self._states[i].append(self._chosen(at["x"], self._first))
        self._denoised[i].append(self._chosen(at["denoised"], self._first))

    def end(self, x: Tensor) -> Trajectories:
        """The trajectories, with the final states x of all images of all batches, (N, ...), which no callback sees.

        Raises:
            ValueError: a chosen image is missing, here or at a step before.
        """
        states = [*self._states, [self._chosen(x, 0)]]
        found = [sum(map(len, parts)) for parts in states]
        if any(n != len(self._images) for n in found):
            raise ValueError(f"each step must show all {len(self._images)} chosen images once, found {found}")
        order = self._images.argsort().argsort()  # batches show images in rising order
        joined = [torch.stack([torch.cat(parts) for parts in kept])[:, order] for kept in (states, self._denoised)]
        return Trajectories(*joined, self._levels, self._images)

    def _chosen(self, x: Tensor, first: int) -> Tensor:
        """Copies of the chosen images of a batch that begins with image `first`, on the CPU."""
        places = self._images.sort().values - first
        return x.detach()[places[(places >= 0) & (places < len(x))].to(x.device)].cpu()
