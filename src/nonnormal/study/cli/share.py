"""Commands that carry networks and images out of a study: a pipeline for diffusers, any number of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonnormal.study.cli.common import Device, RunName, StudyFile, Threads, open_study, prepare_torch, recorded

app = typer.Typer()


@app.command()
@recorded
def export(
    study_file: StudyFile,
    folder: Annotated[Path, typer.Argument(help="New folder for the pipeline.")],
    run: RunName,
    step: Annotated[str | None, typer.Option(help="Step of the sampler; the run's p if left out.")] = None,
    timesteps: Annotated[
        int | None, typer.Option(min=2, help="Timesteps of the pipeline; training.timesteps of the run if left out.")
    ] = None,
) -> None:
    """Write a run's network as a diffusers pipeline: safetensors, scheduler, model card. Ready for `push_to_hub`."""
    from nonnormal.files import read_tensors
    from nonnormal.steps import get
    from nonnormal.study.config.build import design
    from nonnormal.study.results.artifacts import network
    from nonnormal.study.results.exporting import refuse_own_step, refuse_unexportable
    from nonnormal.study.results.model_card import model_card

    study, layout = open_study(study_file)
    settings = study.run(run)
    refuse_unexportable(study, run)
    refuse_own_step(f"{study.path(run)}.p" if step is None else "--step", name := step or settings.p)
    get(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: exists, and is no empty folder; give the name of a new one")
    denoiser = network(study, layout, run)
    from nonnormal.diffusers.export import pipeline_of, write

    recipe, timesteps = read_tensors(layout.weights(run))[1]["recipe"], timesteps or settings.training.timesteps
    pipeline = pipeline_of(denoiser, recipe, design(settings, denoiser.components).process, name, timesteps)
    write(folder, pipeline, model_card(study, layout, run, folder, name, timesteps))
    print(folder)
