"""Trajectories: states and denoised states of chosen images at every step, written to disk while they are sampled.

`record` opens a file and hands out a `Recorder`, which is any sampler's callback. What it is shown goes straight into
the mapped file, so memory holds no more than one step. The file has a temporary name until it is complete, and is an
ordinary safetensors file of

    states (T + 1, n, ...) · denoised (T, n, ...) · levels (T + 1,) float64 · images (n,) int64

that `read` or any reader of that format opens without running anything. Knows nothing of samplers but their callback.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nonnormal.files import SEAL, atomic, check_seal, reading, seal

DTYPES = {torch.float16: ("F16", "<f2"), torch.float32: ("F32", "<f4"), torch.float64: ("F64", "<f8")}


@dataclass(frozen=True, eq=False)
class Trajectories:
    """states (T + 1, n, ...), denoised (T, n, ...), levels (T + 1,) and images (n,), as `record` wrote them."""

    states: Tensor
    denoised: Tensor
    levels: Tensor
    images: Tensor


class Recorder:
    """callback(at): at["x"] and at["denoised"] of the chosen images into step at["i"] of the file.

    A step 0 begins a new batch, whose images follow those of the batch before: one recorder serves a sampler that works
    in batches, and one that is called for each. `end` takes the final states, which no callback sees.
    """

    def __init__(self, path: Path, levels: Tensor, images: Sequence[int], dtype: torch.dtype):
        self._path, self._dtype = path, dtype
        self._levels = torch.as_tensor(levels, dtype=torch.float64).flatten().cpu()
        self._images = torch.as_tensor(list(images), dtype=torch.long)
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(map(str, DTYPES))}, found {dtype}")
        if len(self._levels) < 2 or not self._levels.isfinite().all():
            raise ValueError(f"a trajectory has two or more finite levels, found {self._levels.tolist()}")
        if not len(self._images) or self._images.min() < 0 or len(self._images.unique()) < len(self._images):
            raise ValueError(f"images must be one or more distinct indices from 0, found {self._images.tolist()}")
        self._file: dict[str, np.memmap] = {}
        self._written = torch.zeros(len(self._levels), dtype=torch.long)  # images at each step
        self._first = self._next = 0  # image with which this batch, and the next, begins

    def __call__(self, at: dict) -> None:
        """Writes one step of one batch: at = {"i", "sigma" or "t", "x", "denoised"}.

        Raises:
            ValueError: the step is not one of the grid's.
        """
        i, level = at["i"], float(at["sigma"] if "sigma" in at else at["t"])
        if not 0 <= i < len(self._levels) - 1 or level != self._levels[i]:
            raise ValueError(f"step {i} at level {level} is none of the grid {self._levels.tolist()}")
        if i == 0:
            self._first, self._next = self._next, self._next + len(at["x"])
        self._write(i, self._first, states=at["x"], denoised=at["denoised"])

    def end(self, x: Tensor) -> None:
        """Writes the final states x of all images of all batches, (N, ...).

        Raises:
            ValueError: a chosen image is missing, here or at a step before.
        """
        self._write(len(self._levels) - 1, 0, states=x)
        if (self._written != len(self._images)).any():
            found = self._written.tolist()
            raise ValueError(f"each step must show all {len(self._images)} chosen images once, found {found}")

    def close(self) -> None:
        """Brings all to disk and lets go of the file.

        Raises:
            ValueError: `end` has not been called.
        """
        if self._written[-1] == 0:
            raise ValueError("a recording is complete once end(x) has been called with the final states")
        for part in self._file.values():
            part.flush()
        self._file = {}
        seal(self._path)

    def _write(self, i: int, first: int, **parts: Tensor) -> None:
        for name, x in parts.items():
            file = self._file or self._allocate(tuple(x.shape[1:]))
            rows = ((self._images >= first) & (self._images < first + len(x))).nonzero().squeeze(1)
            chosen = x.detach()[(self._images[rows] - first).to(x.device)]
            file[name][i, rows.numpy()] = chosen.to("cpu", self._dtype).numpy()
        self._written[i] += len(rows)

    def _allocate(self, event: tuple[int, ...]) -> dict[str, np.memmap]:
        """Lays out the safetensors file, length of the header, header, each tensor's bytes, and maps its tensors."""
        steps, n, kind = len(self._levels) - 1, len(self._images), DTYPES[self._dtype]
        layout = {  # the widest types first, so that each tensor is aligned
            "levels": ("F64", "<f8", (steps + 1,)),
            "images": ("I64", "<i8", (n,)),
            "states": (*kind, (steps + 1, n, *event)),
            "denoised": (*kind, (steps, n, *event)),
        }
        entries: dict[str, dict] = {"__metadata__": {"header": json.dumps(SEAL)}}
        stop = 0
        for name, (code, dtype, shape) in layout.items():
            start, stop = stop, stop + np.dtype(dtype).itemsize * math.prod(shape)
            entries[name] = {"dtype": code, "shape": shape, "data_offsets": [start, stop]}
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)
        with self._path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.flush()
            # All room is taken now: of a full disk a mapped file learns by a signal that kills.
            os.posix_fallocate(file.fileno(), 0, 8 + len(header) + stop)
        for name, (_, dtype, shape) in layout.items():
            offset = 8 + len(header) + entries[name]["data_offsets"][0]
            self._file[name] = np.memmap(self._path, dtype, "r+", offset, shape)
        self._file["levels"][:], self._file["images"][:] = self._levels.numpy(), self._images.numpy()
        return self._file


@contextmanager
def record(
    path: Path | str, levels: Tensor, images: Sequence[int], dtype: torch.dtype = torch.float32
) -> Iterator[Recorder]:
    """A `Recorder` into `path`, which appears when the block ends well and `end` has been called, else not at all.

        with record(path, sigmas, images=range(16)) as recorder:
            recorder.end(sample_heun(denoiser, x, sigmas, callback=recorder))

    Args:
        path: of the file; missing folders are made.
        levels: (T + 1,), the sigmas or times of the grid, in the order in which the sampler meets them.
        images: indices of the chosen images among all that are sampled, in the order of the file.
        dtype: of the file, float16, float32 or float64.

    Raises:
        ValueError: an argument is out of range, or the recording is incomplete; nothing is left behind.
    """
    with atomic(path) as temporary:
        recorder = Recorder(temporary, levels, images, dtype)
        yield recorder
        recorder.close()


def read(path: Path | str, rows: slice = slice(None)) -> Trajectories:
    """The trajectories of a file, or of those of its images that `rows` picks, which alone are kept.

    Raises:
        ValueError: the file is not a complete recording, or no longer what was written.
        FileNotFoundError: there is no such file.
    """
    try:
        with safe_open(reading(path), framework="pt") as file:
            check_seal(path)
            states, denoised = (file.get_slice(name)[:, rows] for name in ("states", "denoised"))
            return Trajectories(states, denoised, file.get_tensor("levels"), file.get_tensor("images")[rows])
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete recording ({error}); delete it to have it made again") from None
