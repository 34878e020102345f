"""Commands that export from a study: a network as a diffusers pipeline, and any number of images."""

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
        raise ValueError(f"{folder}: exists and is not an empty folder; give the name of a new one")
    denoiser = network(study, layout, run)
    from nonnormal.diffusers.export import pipeline_of, write

    recipe, timesteps = read_tensors(layout.weights(run))[1]["recipe"], timesteps or settings.training.timesteps
    pipeline = pipeline_of(denoiser, recipe, design(settings, denoiser.components).process, name, timesteps)
    write(folder, pipeline, model_card(study, layout, run, folder, name, timesteps))
    print(folder)


@app.command()
@recorded
def generate(
    source: Annotated[Path, typer.Argument(help="Study file, or folder of a diffusers pipeline.")],
    out: Annotated[Path, typer.Argument(help="Folder for PNG files, or a file that ends in .npz.")],
    run: Annotated[str | None, typer.Option("--run", help="Name of a run, if SOURCE is a study.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=1_000_000, help="Number of images.")] = 64,
    nfe: Annotated[
        int | None,
        typer.Option(min=1, help="Network calls per image; default: the study's largest, or all of the pipeline's."),
    ] = None,
    step: Annotated[
        str | None, typer.Option(help="Step of the sampler; default: the run's p, or the pipeline's step.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed; image i depends only on the seed and i.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images drawn at a time.")] = 100,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Draw any number of images from a run or a pipeline; the same command resumes if it was killed."""
    from nonnormal.files import own
    from nonnormal.steps import get, source_files
    from nonnormal.study.results.generation import generate as fill

    if step is not None:
        get(step)
    device = prepare_torch(device, threads)
    load = _of_folder if source.is_dir() else _of_study
    settings, channels, draw = load(source, run, nfe, step, batch_size, device)
    if files := source_files(settings["step"]):
        settings["step_code"] = own.code_of(files)
    # A GPU draws other random numbers than a CPU.
    fill(out, n, batch_size, settings | {"seed": seed, "device": device}, draw, channels)
    print(out)


def _of_study(source, run, nfe, step, batch_size, device):
    """(settings, channels, draw) of a run, in its grey levels, drawn as the study draws them."""
    from nonnormal.files import sha256_of
    from nonnormal.study.results.artifacts import network
    from nonnormal.study.results.drawing import ancestral
    from nonnormal.study.results.generation import to_bytes

    study, layout = open_study(source)
    if run not in study.networks:
        found = "missing" if run is None else f"found {run}"
        raise ValueError(f"--run: {found}; the networks of {source} are {', '.join(study.networks)}")
    denoiser = network(study, layout, run, device)
    nfe, step = nfe or study.headline_steps, step or study.run(run).p
    settings = {
        "study": study.name,
        "run": run,
        "weights_sha256": sha256_of(layout.weights(run)),
        "nfe": nfe,
        "step": step,
        "dtype": study.sampling.dtype,
    }

    def draw(seeds):
        return to_bytes(ancestral(study, run, denoiser, nfe, seeds, step, device, batch_size), study.dataset.levels)

    return settings, study.dataset.shape[0], draw


def _of_folder(source, run, nfe, step, batch_size, device):
    """(settings, channels, draw) of a pipeline, in 256 grey levels."""
    import hashlib
    import json

    from nonnormal.data import quantise
    from nonnormal.diffusers.fitted import STEPS_FILE
    from nonnormal.diffusers.pretrained import from_folder
    from nonnormal.files import sha256_of
    from nonnormal.steps import StepError

    if run is not None:
        raise ValueError(f"--run: found {run}, but {source} is a pipeline's folder, which has one network")
    network = from_folder(source, with_steps=step is None)
    network.unet.to(device)
    try:
        scheduler = network.scheduler(step)
    except StepError as error:
        raise ValueError(f"{source}: {error}; or give --step the name of another") from None
    most = len(scheduler.betas)
    nfe = nfe or len(network.steps.timesteps if network.steps else scheduler.betas)
    if nfe > most:
        raise ValueError(f"--nfe: found {nfe}; {source} has {most} timesteps, one for each call at most")
    try:
        scheduler.set_timesteps(nfe)
    except ValueError as error:
        raise ValueError(f"--nfe: found {nfe}; {error}") from None
    settings = {
        "network_sha256": network.sha256,
        "scheduler_sha256": hashlib.sha256(json.dumps(network.schedule, sort_keys=True).encode()).hexdigest(),
        "nfe": nfe,
        "step": scheduler.config.step_distribution,
    }
    if network.steps is not None:
        places = (source / "scheduler" / STEPS_FILE, source / STEPS_FILE)
        settings["fitted_steps_sha256"] = sha256_of(next(path for path in places if path.is_file()))

    def draw(seeds):
        return quantise(network.sample(step, nfe, seeds, batch_size=batch_size), 256)

    return settings, network.shape[0], draw
