"""The training loop, from initial to averaged weights.

AdamW with linear warm-up and cosine or constant decay, gradient clipping, EMA, atomic checkpoints. Learning rate and
EMA decay are functions of the step, all randomness comes from one generator (dropout from torch's own) whose state is
saved, and the log is part of the checkpoint: on a CPU, a training that was killed at any point and started again ends
in the same bits. A batch is drawn as a whole and then split, over processes and over passes, so that neither changes
what is drawn.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import math
import os
import shutil
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from nonnormal.denoisers import NetworkDenoiser
from nonnormal.seeds import derive, generator
from nonnormal.training import throughput
from nonnormal.training.checkpoints import TrainingState, archive_checkpoint
from nonnormal.training.distributed import ALONE, Group
from nonnormal.training.log import COLUMNS as LOG_COLUMNS
from nonnormal.training.log import Watcher

logger = logging.getLogger(__name__)

_FIRST = 20  # steps that the speed leaves out: in them kernels are compiled, chosen and loaded


class Objective(Protocol):
    """Interface of an objective: draws of a batch, and the loss of each image given its draws."""

    def draw(self, shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Random tensors for a batch of images of that shape, each (B, ...)."""

    def loss(self, denoiser: NetworkDenoiser, x0: Tensor, *draws: Tensor) -> Tensor:
        """Loss (B,) of the images x0 (B, C, H, W) with their draws."""


class TrainingDiverged(RuntimeError):
    """The loss or its gradient is no longer a finite number."""


class TrainingStopped(RuntimeError):
    """The training was asked to stop before its end, and saved its state."""


def train(
    denoiser: NetworkDenoiser,
    objective: Objective,
    images: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    warmup: int,
    decay: Literal["cosine", "constant"],
    betas: tuple[float, float],
    weight_decay: float,
    clip_norm: float,
    ema_decay: float,
    seed: int,
    checkpoint: Path,
    checkpoint_every: int,
    log_every: int,
    fingerprint: Mapping[str, Any],
    precision: Literal["float32", "bfloat16"] = "float32",
    channels_last: bool = False,
    compile: bool = False,
    accumulate: int = 1,
    scale: Callable[[Tensor], Tensor] = lambda images: images,
    group: Group = ALONE,
    flops: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    watch: Watcher = lambda rows, images_per_s: None,
) -> tuple[NetworkDenoiser, dict[str, np.ndarray]]:
    """Trains a denoiser: minimises the mean of the objective by AdamW, with averaged weights.

    θ_EMA ← d θ_EMA + (1 − d) θ with d = min(ema_decay, (1+k)/(10+k)) in step k.

    Args:
        denoiser: its network is trained in place, on the device where it is.
        objective: what is minimised.
        images: training images (N, C, H, W) as `scale` takes them, on the network's device.
        steps: optimiser steps in all.
        batch_size: images a step, over all processes, drawn with replacement.
        learning_rate: its maximum.
        warmup: steps over which it rises linearly from 0.
        decay: "cosine" to 0 at the last step, or "constant".
        betas, weight_decay: of AdamW.
        clip_norm: largest norm of the gradient over all weights.
        ema_decay: limit of d.
        seed: of batches, times, noise and dropout.
        checkpoint: file from which a training resumes and to which it is saved; only the caller removes it.
        checkpoint_every: steps between two saves.
        log_every: steps between two rows of the log; loss and gradient norm are means over them.
        fingerprint: everything that the weights depend on, as JSON values; a checkpoint with another one is renamed.
        precision: of the network's matrix products; weights, loss and sums are float32 in any case.
        channels_last: weights in that memory format, which tensor cores read faster; no gain on a CPU.
        compile: by torch.compile, where that works; else the log says why not.
        accumulate: passes into which each process splits its part of a batch, for the memory's sake.
        scale: from a batch of `images` to x0 in [−1, 1].
        group: the processes that train together; each calls this function alike.
        flops: of one image, for the log.
        stop: called at each step; if it returns True in any process, all save and stop after that step.
        watch: called by the first process with the rows of the log so far and images/s, at the start and with each row.

    Returns:
        (denoiser with the averaged weights, log: an array for each of `LOG_COLUMNS`).

    Raises:
        TrainingDiverged: the loss or the gradient is not finite; the message names the step.
        TrainingStopped: `stop` returned True.
        ValueError: a batch has fewer images than pieces, or the checkpoint is damaged.
    """
    parts = group.share(batch_size, accumulate)
    parameters = list(denoiser.network.parameters())
    device = parameters[0].device
    worker = _prepared(denoiser, device, precision, channels_last, compile)
    optimiser = torch.optim.AdamW(parameters, learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
    values = [p.detach() for p in parameters]
    ema = [value.clone() for value in values]
    state = TrainingState(denoiser.network, ema, optimiser, generator(seed, "train", device=device), 0, [], [])
    torch.manual_seed(derive(seed, "dropout"))
    if checkpoint.exists():
        if state.restore(checkpoint, fingerprint):
            logger.info("going on from step %d of %s", state.step, checkpoint)
        else:
            group.wait()  # all have seen it
            if group.rank == 0:
                kept, changes = archive_checkpoint(checkpoint, fingerprint)
                logger.warning(
                    "%s is of another training: starting anew, and keeping it as %s; %s",
                    *(checkpoint, kept, "; ".join(changes)),
                )

    denoiser.train()
    start, first = time.perf_counter(), (begun := state.step)

    def speed() -> float:
        return (state.step - first) * batch_size / (time.perf_counter() - start)

    bar = tqdm(
        total=steps, initial=state.step, unit="step", dynamic_ncols=True, mininterval=1.0, disable=group.rank > 0
    )
    if group.rank == 0:
        watch(state.log, 0.0)
    with bar:
        while state.step < steps:
            rate = learning_rate * _rate(state.step, steps, warmup, decay)
            if group.size > 1:  # each process has masks of its own, from seeds that need no saving
                torch.manual_seed(derive(seed, "dropout", group.rank, state.step))
            index = torch.randint(len(images), (batch_size,), generator=state.generator, device=device)
            draws = objective.draw((batch_size, *images.shape[1:]), state.generator)
            optimiser.zero_grad(set_to_none=True)
            total = torch.zeros((), device=device)
            for part in parts:
                x0 = scale(images[index[part]])
                loss = objective.loss(worker, x0, *(draw[part] for draw in draws)).sum() / batch_size
                loss.backward()
                total += loss.detach()
            stopping = torch.full((), float(stop()), device=device)
            group.sum_([total, stopping, *(p.grad for p in parameters)])
            norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
            loss, norm, stopping = torch.stack((total, norm, stopping)).tolist()  # waits for the device
            _check(state.step + 1, loss, norm, rate, clip_norm)
            for settings in optimiser.param_groups:
                settings["lr"] = rate
            optimiser.step()
            d = min(ema_decay, (1 + state.step) / (10 + state.step))
            torch._foreach_lerp_(ema, values, 1 - d)
            state.step += 1
            state.window.append((loss, norm))
            if state.step % log_every == 0 or state.step == steps:
                loss, norm = (sum(column) / len(column) for column in zip(*state.window, strict=True))
                state.log.append((state.step, loss, norm, rate))
                state.window.clear()
                bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{speed():.0f}")
                if group.rank == 0:
                    watch(state.log, speed())
            stopped = stopping > 0 and state.step < steps
            if group.rank == 0 and (stopped or (state.step % checkpoint_every == 0 and state.step < steps)):
                state.save(checkpoint, fingerprint)
            bar.update()
            if stopped:
                break
            if state.step == begun + _FIRST < steps:
                start, first = time.perf_counter(), state.step
    logger.info("%d steps, %s", state.step - begun, throughput.report(speed(), flops, device, precision, group.size))
    if state.step < steps:
        group.wait()  # for the file: where one process ends, torchrun ends the others
        raise TrainingStopped(f"stopped at step {state.step} of {steps} as asked; the same command goes on from there")

    averaged = copy.deepcopy(denoiser)
    with torch.no_grad():
        for parameter, value in zip(averaged.network.parameters(), ema, strict=True):
            parameter.copy_(value)
    log = dict(zip(LOG_COLUMNS, np.array(state.log, dtype=float).reshape(-1, len(LOG_COLUMNS)).T, strict=True))
    log["step"] = log["step"].astype(int)
    return averaged.eval().requires_grad_(False), log


def _check(step: int, loss: float, norm: float, rate: float, clip_norm: float) -> None:
    """Raises an error if the loss or the gradient norm is not finite."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise TrainingDiverged(
            f"training diverged at step {step}: loss {loss:.4g} nats per dim, gradient norm {norm:.4g}; "
            f"try a smaller learning_rate ({rate:.3g}) or clip_norm ({clip_norm:.3g})"
        )


def _rate(step: int, steps: int, warmup: int, decay: str) -> float:
    """Learning rate of the step as a share of its maximum."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rise * (0.5 * (1 + math.cos(math.pi * step / steps)) if decay == "cosine" else 1.0)


# ---- the network on its device ---------------------------------------------------------------------------------------


class _Autocast(nn.Module):
    """A network with bfloat16 matrix products; the loss around it stays float32, as it needs the digits."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        with torch.autocast(z.device.type, torch.bfloat16):
            return self.network(z, log_snr).float()


def _prepared(
    denoiser: NetworkDenoiser, device: torch.device, precision: str, channels_last: bool, compiled: bool
) -> NetworkDenoiser:
    """A denoiser with the same weights, prepared for the device; in the network only the memory format changes."""
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision: found {precision!r}; allowed: float32, bfloat16")
    network = denoiser.network
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes stay the same: the fastest kernels are worth a search
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if compiled and (reason := _no_compiler(device)):
        logger.info("compile is left off: %s", reason)
    elif compiled:
        network.compile()
    if precision == "float32":
        return denoiser
    return denoiser.around(_Autocast(network))


def _no_compiler(device: torch.device) -> str | None:
    """Why torch.compile would not work here; None where it does."""
    if device.type != "cuda":
        return f"the device is {device.type}, and it is for cuda"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if not any(map(shutil.which, [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"])):
        return "no C compiler was found"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "Python's headers (Python.h) are not installed"
    return None
