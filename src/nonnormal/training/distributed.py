"""Distributed training: several processes, each with its part of every batch.

All processes hold the same weights, draw the same global batch from equal generators, take their part of it and add up
their gradients. So weights depend on the number of processes only through the order of sums. torchrun starts the
processes and sets their ranks in environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Group:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: of this process; 0 writes files.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, n: int, pieces: int = 1) -> list[slice]:
        """This process's part of 0 … n − 1, in pieces; over all ranks a partition, whose sizes differ by one at most.

        Raises:
            ValueError: there are fewer items than pieces of all processes.
        """
        total = self.size * pieces
        if n < total:
            raise ValueError(f"batch_size: found {n}; {self.size} processes times accumulate = {pieces} need {total}")
        edges = [n * i // total for i in range(self.rank * pieces, (self.rank + 1) * pieces + 1)]
        return [slice(*pair) for pair in pairwise(edges)]

    def sum_(self, tensors: list[Tensor]) -> None:
        """Each x ← Σ x over the processes, in place and in one message; all processes get the same bits."""
        if self.size == 1:
            return
        flat = torch.cat([x.flatten() for x in tensors])
        distributed.all_reduce(flat)
        for x, total in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
            x.copy_(total.view_as(x))

    def wait(self) -> None:
        """Waits until all processes have called it."""
        if self.size > 1:
            distributed.barrier()


ALONE = Group()


@contextmanager
def joined(device: str) -> Iterator[tuple[Group, str]]:
    """(group, device of this process): the processes that torchrun started, or this process alone.

    Args:
        device: "cpu", or "cuda", of which each process of a machine gets one.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE, device
        return
    if device == "cpu":
        distributed.init_process_group("gloo")
    else:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
        distributed.init_process_group("nccl", device_id=torch.device(device))
    yield Group(distributed.get_rank(), size), device
    distributed.destroy_process_group()  # waits for all, so not after an error, which it would keep others from seeing
