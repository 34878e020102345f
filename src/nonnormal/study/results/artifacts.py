"""Networks and samples of a study's runs, refused if they were made with other settings than the study's.

Headers of the files hold the settings that they depend on; files of older versions without these are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonnormal.denoisers import NetworkDenoiser
from nonnormal.files import read_tensors, write_tensors
from nonnormal.study.config.build import model_config
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.results.paths import Layout
from nonnormal.training.checkpoints import changes, initial_weights, load_denoiser


def network(study: Study, layout: Layout, run: str, device: torch.device | str = "cpu") -> NetworkDenoiser:
    """The run's network on the device, in evaluation mode.

    Raises:
        ValueError: the file is damaged, or belongs to other settings; the message says which.
    """
    path = layout.weights(run)

    def check(header: Mapping[str, Any]) -> None:
        if "training" in header:
            _same(path, header, _of_network(study, run), f"train run {run} again")

    return load_denoiser(path, device, check, study.run(run).basis.kind)


def check_initial_weights(study: Study, layout: Layout, run: str) -> None:
    """Refuse a run whose training cannot start from the weights that it names.

    Weights of another run of the study may be missing, since that run is trained first.

    Raises:
        ValueError: key, file, and what is wrong with it.
    """
    if (start := study.initial_weights(run)) is None:
        return
    key = f"{study.path(run)}.training.init_from"
    if start.resolve() == layout.weights(run).resolve():
        raise ValueError(f"{key}: {start} is the output of this training; name a copy of it elsewhere")
    if start.resolve() in {layout.checkpoint(name).resolve() for name in study.networks}:
        raise ValueError(f"{key}: {start} is replaced and removed by a training of this study; name a copy elsewhere")
    if not start.is_file():
        if start in map(layout.weights, study.networks):
            return
        raise ValueError(f"{key}: there is no file {start}")
    try:
        initial_weights(start, model_config(study.run(run), study.dataset, sigma_data=1.0))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def samples(study: Study, layout: Layout, run: str, n_steps: int) -> Tensor:
    """The run's samples in n_steps steps, uint8 (N, C, H, W).

    Raises:
        ValueError: the file is damaged, or belongs to other settings; the message says which.
    """
    path, facts = layout.samples(run, n_steps), _of_samples(study, run, n_steps)
    facts["network"] = _of_network(study, run)
    tensors, header = read_tensors(path)
    if "sampling" not in header:
        header, facts = ({"sampling.n_images": n} for n in (len(tensors["images"]), study.sampling.n_images))
    _same(path, header, facts, f"sample run {run} again")
    return tensors["images"]


def write_samples(study: Study, layout: Layout, run: str, n_steps: int, images: Tensor) -> Path:
    """Write the samples that `samples` reads; returns their file."""
    path = layout.samples(run, n_steps)
    write_tensors(path, {"images": images}, {"study": study.name, **_of_samples(study, run, n_steps)})
    return path


def _of_network(study: Study, run: str) -> dict[str, Any]:
    """Facts that a network's header must have; the file of initial weights only if there is one."""
    return {"init_from": {"sha256": None}, **study.training_facts(run)}


def _of_samples(study: Study, run: str, n_steps: int) -> dict[str, Any]:
    """All settings that samples depend on, as JSON values."""
    sampling = study.sampling.model_dump(mode="json", include={"n_images", "dtype"})
    return {"run": run_of(run), "n_steps": n_steps, "sampling": sampling, "network": study.training_facts(run)}


def _same(path: Path, known: Mapping[str, Any], facts: Mapping[str, Any], advice: str) -> None:
    """Refuse a file whose header lacks or contradicts one of these facts."""
    if found := changes(known, facts):
        raise ValueError(f"{path} was made with other settings: {'; '.join(found)}; {advice}")
