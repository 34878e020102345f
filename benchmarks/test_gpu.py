"""Training on a GPU: the CIFAR-10 FID recipe in bfloat16 and compiled, against plain float32, by turns in one run.

Skips without a GPU. Wall-clock time between two waits for the device, after the steps in which it compiles.
"""

import gc
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nonnormal import data
from nonnormal.study import config as study
from nonnormal.study.config.build import model_config, objective
from nonnormal.study.results import provenance
from nonnormal.training.checkpoints import build_denoiser
from nonnormal.training.loop import train
from nonnormal.training.throughput import flops_per_image, peak

STUDY = Path(__file__).parents[1] / "config" / "cifar10.yaml"
RUN = "edm-normal-normal"
PLAIN = {"precision": "float32", "compile": False, "channels_last": False}
FAST = {"precision": "bfloat16", "compile": True, "channels_last": True}


class Clock:
    """Called at each step: the times at which the device had done the steps so far."""

    def __init__(self, device: torch.device):
        self.device, self.times = device, []

    def __call__(self) -> bool:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter())
        return False


def measured(run, dataset, images, *, warm: int, steps: int, **how) -> dict:
    """Images/s, share of the peak and GiB of one way to train the run on the images' device.

    Args:
        run: settings of the network, its batch size among them.
        dataset: shape and levels of the images.
        images: uint8 (N, C, H, W).
        warm: steps that are not counted.
        steps: steps that are.
        **how: settings of the training in place of the run's.
    """
    device = images.device
    denoiser = build_denoiser(model_config(run, dataset, sigma_data=0.5)).to(device)
    flops = flops_per_image(denoiser, dataset.shape)
    if device.type == "cuda":
        gc.collect()  # a compiled network of the last round refers to itself
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    clock = Clock(device)
    options = run.training.optimisation | how | {"steps": warm + steps + 1, "seed": 0, "fingerprint": {}}
    train(
        denoiser,
        objective(run, 0.5),
        images,
        **options,
        checkpoint=Path(os.devnull, "none"),
        scale=lambda x: data.scale(x, dataset.levels),
        stop=clock,
    )
    # Each time is taken in its step, after the backward pass: between these two lie as many steps as are counted.
    speed = steps * run.training.batch_size / (clock.times[warm + steps] - clock.times[warm])
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    known = peak(card, how["precision"])
    return {
        "images_per_s": speed,
        "flops_per_s": speed * flops,
        "share_of_peak": speed * flops / known if known else None,
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    }


def compared(run, dataset, images, *, rounds: int, warm: int, steps: int) -> Iterator[dict]:
    """After each round of both ways by turns: their medians so far, and the ratio of speeds with its quartiles."""
    found = {"plain": [], "fast": []}
    for i in range(rounds):
        turns = [("plain", PLAIN), ("fast", FAST)]
        for name, how in turns if i % 2 else reversed(turns):
            found[name].append(measured(run, dataset, images, warm=warm, steps=steps, **how))
        ratios = [a["images_per_s"] / b["images_per_s"] for a, b in zip(found["fast"], found["plain"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        medians = {name: _medians(rows) for name, rows in found.items()}
        yield medians | {"ratio": middle, "quartiles": [low, high], "rounds": len(ratios), "steps": steps}


def _medians(rows: list[dict]) -> dict:
    return {key: None if rows[0][key] is None else statistics.median(row[key] for row in rows) for key in rows[0]}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_training_on_a_gpu():
    chosen = study.load(STUDY)
    shape, levels = chosen.dataset.shape, chosen.dataset.levels
    # The speed does not depend on what the images show, so the archive is not needed.
    images = torch.randint(levels, (50_000, *shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    convolutions = "TF32" if torch.backends.cudnn.allow_tf32 else "float32"
    conditions = provenance.describe() | {"convolutions of plain": convolutions}
    path = Path(__file__).parent / "gpu.json"
    for result in compared(chosen.run(RUN), chosen.dataset, images.cuda(), rounds=5, warm=30, steps=100):
        path.write_text(json.dumps({"run": RUN, **result, "conditions": conditions}, indent=1) + "\n")
    print(path.read_text())
