"""Training: one loop, from initial weights to averaged ones.

AdamW with linear warm-up and cosine or constant decay, gradient clipping, EMA, atomic checkpoints. Learning rate and
EMA decay are functions of the step, all randomness comes from one generator whose state is saved, and the log is part
of the checkpoint: a training that was killed at any point and started again ends in the same bits.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from nonnormal.checkpoints import TrainingState
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.seeds import derive, generator

logger = logging.getLogger(__name__)

LOG_COLUMNS = ("step", "loss_nats_per_dim", "gradient_norm", "learning_rate")

Objective = Callable[[NetworkDenoiser, Tensor, torch.Generator], Tensor]


class TrainingDiverged(RuntimeError):
    """The loss or its gradient is no longer a finite number."""


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
    fingerprint: str,
) -> tuple[NetworkDenoiser, pd.DataFrame]:
    """Minimises E objective over the weights θ; θ_EMA ← d θ_EMA + (1 − d) θ with d = min(ema_decay, (1+k)/(10+k)).

    Args:
        denoiser: its network is trained in place, on the device where it is.
        objective: loss per image (B,) from (denoiser, images (B, C, H, W), generator).
        images: training images (N, C, H, W) in [−1, 1], on the network's device.
        steps: optimiser steps in all.
        batch_size: images a step, drawn with replacement.
        learning_rate: its maximum.
        warmup: steps over which it rises linearly from 0.
        decay: "cosine" to 0 at the last step, or "constant".
        betas, weight_decay: of AdamW.
        clip_norm: largest norm of the gradient over all weights.
        ema_decay: limit of d.
        seed: of batches, times, noise and dropout.
        checkpoint: file from which a training goes on and to which it is saved; removed by nobody but the caller.
        checkpoint_every: steps between two saves.
        log_every: steps between two rows of the log; loss and gradient norm are means over them.
        fingerprint: names the settings; a checkpoint with another one is ignored.

    Returns:
        (denoiser with the averaged weights, log with the columns `LOG_COLUMNS`).

    Raises:
        TrainingDiverged: the loss or the gradient is not finite; the message names the step.
    """
    parameters = list(denoiser.network.parameters())
    device = parameters[0].device
    optimiser = torch.optim.AdamW(parameters, learning_rate, betas=betas, weight_decay=weight_decay)
    ema = [p.detach().clone() for p in parameters]
    state = TrainingState(denoiser.network, ema, optimiser, generator(seed, "train", device=device), 0, [], [])
    torch.manual_seed(derive(seed, "dropout"))
    if checkpoint.exists():
        if state.restore(checkpoint, fingerprint):
            logger.info("going on from step %d of %s", state.step, checkpoint)
        else:
            logger.info("%s belongs to other settings: training from the start", checkpoint)

    denoiser.train()
    start, first = time.perf_counter(), state.step
    bar = tqdm(total=steps, initial=state.step, unit="step", dynamic_ncols=True, mininterval=1.0)
    with bar:
        while state.step < steps:
            rate = learning_rate * _rate(state.step, steps, warmup, decay)
            loss, norm = _step(state, denoiser, objective, images, parameters, batch_size, rate, clip_norm)
            d = min(ema_decay, (1 + state.step) / (10 + state.step))
            torch._foreach_lerp_(state.ema, [p.detach() for p in parameters], 1 - d)
            state.step += 1
            state.window.append((loss, norm))
            if state.step % log_every == 0 or state.step == steps:
                loss, norm = (sum(column) / len(column) for column in zip(*state.window, strict=True))
                state.log.append((state.step, loss, norm, rate))
                state.window.clear()
                bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{_speed(state.step - first, batch_size, start):.0f}")
            if state.step % checkpoint_every == 0 and state.step < steps:
                state.save(checkpoint, fingerprint)
            bar.update()
    logger.info("%d steps, %.0f images/s", state.step - first, _speed(state.step - first, batch_size, start))

    averaged = copy.deepcopy(denoiser)
    with torch.no_grad():
        for parameter, value in zip(averaged.network.parameters(), state.ema, strict=True):
            parameter.copy_(value)
    log = pd.DataFrame(state.log, columns=list(LOG_COLUMNS)).astype({"step": int})
    return averaged.eval().requires_grad_(False), log


def _step(state, denoiser, objective, images, parameters, batch_size, rate, clip_norm) -> tuple[float, float]:
    """One optimiser step; (loss, gradient norm before clipping)."""
    index = torch.randint(len(images), (batch_size,), generator=state.generator, device=images.device)
    state.optimiser.zero_grad(set_to_none=True)
    loss = objective(denoiser, images[index], state.generator).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    values = loss.item(), norm.item()
    if not all(map(math.isfinite, values)):
        raise TrainingDiverged(
            f"training diverged at step {state.step + 1}: loss {values[0]:.4g} nats per dim, "
            f"gradient norm {values[1]:.4g}; try a smaller learning_rate ({rate:.3g}) or clip_norm ({clip_norm:.3g})"
        )
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.step()
    return values


def _rate(step: int, steps: int, warmup: int, decay: str) -> float:
    """Learning rate of the step as a share of its maximum."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rise * (0.5 * (1 + math.cos(math.pi * step / steps)) if decay == "cosine" else 1.0)


def _speed(steps: int, batch_size: int, start: float) -> float:
    """Images per second since `start`."""
    return steps * batch_size / (time.perf_counter() - start)
