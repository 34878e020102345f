"""Metrics of samples: distances to the data, style statistics, and the effect of another step on a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from nonnormal.data import ImageData
from nonnormal.metrics import DISTANCES
from nonnormal.metrics.fidelity import INTERVAL_TOOL, TOOL, fid_difference, fidelity
from nonnormal.metrics.intervals import Estimate, mean_interval, proportion_interval
from nonnormal.metrics.reference import Reference
from nonnormal.metrics.style import style, style_difference
from nonnormal.seeds import derive
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.results.rows import frame, row

_UNITS = {"precision": "share", "recall": "share", "total_variation": "grey range", "high_frequency": "share of power"}
_SQUARED = "squared feature distance"
HELD_OUT = "held_out"  # of held-out images, for comparison with samples
_RESAMPLES = 1000  # of the paired bootstrap, which is cheap


def fidelity_rows(
    study: Study, run: str, samples: Mapping[int, Tensor], reference: Reference, device: str = "cpu"
) -> pd.DataFrame:
    """FID, KID, precision and recall of the run's samples for each number of steps, against the training split.

    Args:
        samples: uint8 images (N, C, H, W) by number of sampling steps.
        reference: feature network and training split; `Study.metric` names the metrics.
    """
    rows, conditions = [], sampled_with(study, run, study.run(run).p)
    for n_steps, images in samples.items():
        rows += distance_rows(study, run, images, reference, n_steps, conditions, device)
    return frame(rows)


def style_rows(study: Study, run: str, samples: Mapping[str, Mapping[int, Tensor]], data: ImageData) -> pd.DataFrame:
    """Style statistics of the run's samples, and their differences to those of its normal pair.

    Args:
        samples: of both, uint8 images (N, C, H, W) by run and number of sampling steps; image i has the same seed in
            all.
    """
    rows, conditions, reference = [], sampled_with(study, run, study.run(run).p), study.baseline(run)
    for n_steps, images in samples[run].items():
        rows += mean_rows(study, run, images, data.levels, n_steps, conditions)
        if reference and run != reference:
            against = {**conditions, "against": run_of(reference)}
            rows += difference_rows(study, run, images, samples[reference][n_steps], data, n_steps, against)
    return frame(rows)


def held_out_rows(study: Study, data: ImageData, reference: Reference, device: str = "cpu") -> pd.DataFrame:
    """Distances of the test split to the training split, `of` held_out, and style statistics of the test split.

    A perfect sampler has these distances with the same number of images. A Fréchet distance falls with the number of
    images, so a value from fewer images than are sampled is an upper bound for a perfect sampler.
    """
    images, conditions = data.test.images, {"split": "test"}
    rows = distance_rows(study, None, images, reference, None, conditions | {"of": HELD_OUT}, device)
    return frame([*rows, *mean_rows(study, None, images, data.levels, None, conditions)])


def with_each_step(
    study: Study,
    run: str,
    step_families: Sequence[str],
    n_images: Mapping[int, int],
    purpose: str,
    draw: Callable[[str, int, list[int]], Tensor],
) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """(step, n_steps, images, images with the normal step) of one network, uint8, for each step and number of steps.

    Args:
        n_images: by number of steps.
        draw: uint8 images by step, number of steps and seeds.
    """
    for n_steps in sorted(n_images):
        seeds = study.image_seeds(purpose, n_images[n_steps], run)
        normal = draw("normal", n_steps, seeds).cpu()
        for step in step_families:
            images = normal if step == "normal" else draw(step, n_steps, seeds).cpu()
            yield step, n_steps, images, normal


def feature_rows(study: Study, header: Mapping[str, Any], data: ImageData) -> pd.DataFrame:
    """Held-out accuracy of the feature network; no rows for a network that was not trained here."""
    if "held_out_accuracy" not in header:
        return frame([])
    share, n = header["held_out_accuracy"], len(data.test.images)
    estimate = Estimate(share, *proportion_interval(share, n), n)
    return frame([row(study, None, "feature_accuracy", estimate, "share", None, {"split": "test"})])


def distance_rows(
    study: Study,
    run: str | None,
    images: Tensor,
    reference: Reference,
    nfe: int | None,
    conditions: Mapping,
    device: str,
    prefix: str = "",
    metrics: Sequence[str] = DISTANCES,
) -> list[dict]:
    """FID and its relatives of uint8 images."""
    found = fidelity(images, reference, device=device, metrics=metrics, **resampling(study))
    against = {**conditions, **_against(reference)}
    return [
        row(study, run, prefix + study.metric(name), estimate, _UNITS.get(name, _SQUARED), nfe, against)
        for name, estimate in found.items()
    ]


def fid_difference_row(study, run, images, other, reference, nfe, conditions, device, prefix) -> dict:
    """FID of uint8 images minus that of others, whose image i has the same seed."""
    found = fid_difference(images, other, reference, device=device, **resampling(study))
    return row(study, run, f"{prefix}{study.metric('fid')}_difference", found, _SQUARED, nfe, conditions)


def resampling(study: Study) -> dict[str, int]:
    """Arguments of `fidelity` and `fid_difference` for the study's subsets and resamples."""
    return {"resamples": study.evaluation.bootstrap, "seed": derive(study.seed, "fidelity")}


def sampled_with(study: Study, run: str, step: str) -> dict:
    """Conditions of samples that the ancestral sampler draws from a run's network with a step."""
    training = study.run(run).training
    return {
        "sampler": "ancestral",
        "step": step,
        "weighting": training.weighting,
        "ema": training.ema_decay,
        "dtype": study.sampling.dtype,
    }


def _against(reference: Reference) -> dict:
    return {
        "reference": "train",
        "n_reference": reference.n,
        "features": reference.name,
        "weights_sha256": reference.weights,
        "tool": TOOL,
        "interval_tool": INTERVAL_TOOL,
    }


def mean_rows(study, run, images, levels, nfe, conditions, prefix="") -> list[dict]:
    """Style statistics of uint8 images, averaged over images."""
    found = {name: Estimate(*mean_interval(values), len(values)) for name, values in style(images, levels).items()}
    return [
        row(study, run, f"{prefix}style_{name}", estimate, _UNITS.get(name, "1"), nfe, conditions)
        for name, estimate in found.items()
    ]


def difference_rows(study, run, images, reference, data, nfe, conditions, prefix="") -> list[dict]:
    """Style statistics of uint8 images minus those of the reference, image by image."""
    seed = derive(study.seed, "style")
    found = style_difference(images, reference, data.levels, resamples=_RESAMPLES, seed=seed)
    return [
        row(study, run, f"{prefix}style_{name}_difference", estimate, _UNITS.get(name, "1"), nfe, conditions)
        for name, estimate in found.items()
    ]
