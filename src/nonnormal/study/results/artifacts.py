"""What was made before: networks and samples of a study's runs, refused where they belong to other settings than its.

Files name in their headers what they depend on; files that were written before they did are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonnormal.denoisers import NetworkDenoiser
from nonnormal.files import read_tensors, write_tensors
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.results.paths import Layout
from nonnormal.training.checkpoints import changes, load_denoiser


def network(study: Study, layout: Layout, run: str, device: torch.device | str = "cpu") -> NetworkDenoiser:
    """The run's network on the device, in evaluation mode.

    Raises:
        ValueError: the file is damaged, or belongs to other settings; the message says which.
    """
    path = layout.weights(run)

    def check(header: Mapping[str, Any]) -> None:
        if "training" in header:
            _same(path, header, study.training_facts(run), f"train run {run} again")

    return load_denoiser(path, device, check)


def samples(study: Study, layout: Layout, run: str, n_steps: int) -> Tensor:
    """The run's samples in n_steps steps, uint8 (N, C, H, W).

    Raises:
        ValueError: the file is damaged, or belongs to other settings; the message says which.
    """
    path, facts = layout.samples(run, n_steps), _of_samples(study, run, n_steps)
    tensors, header = read_tensors(path)
    if "sampling" not in header:
        header, facts = ({"sampling.n_images": n} for n in (len(tensors["images"]), study.sampling.n_images))
    _same(path, header, facts, f"sample run {run} again")
    return tensors["images"]


def write_samples(study: Study, layout: Layout, run: str, n_steps: int, images: Tensor) -> Path:
    """Writes samples for `samples`; their file."""
    path = layout.samples(run, n_steps)
    write_tensors(path, {"images": images}, {"study": study.name, **_of_samples(study, run, n_steps)})
    return path


def _of_samples(study: Study, run: str, n_steps: int) -> dict[str, Any]:
    """All that samples depend on, as JSON values."""
    sampling = study.sampling.model_dump(mode="json", include={"n_images", "dtype"})
    return {"run": run_of(run), "n_steps": n_steps, "sampling": sampling, "network": study.training_facts(run)}


def _same(path: Path, known: Mapping[str, Any], facts: Mapping[str, Any], advice: str) -> None:
    """Refuses a file whose header has not all these facts."""
    if found := changes(known, facts):
        raise ValueError(f"{path} belongs to other settings of the study: {'; '.join(found)}; {advice}")
