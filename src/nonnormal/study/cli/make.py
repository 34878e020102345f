"""Commands that make data sets, feature networks, trained and pretrained networks, and samples."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from nonnormal.study.cli.common import (
    Device,
    RunName,
    StudyFile,
    Threads,
    open_study,
    prepare_torch,
    recorded,
    require_section,
)
from nonnormal.study.results.paths import data_path

app = typer.Typer()
logger = logging.getLogger(__name__)


@app.command()
@recorded
def data(
    name: Annotated[str, typer.Argument(help="Name of the data set, e.g. digits, or module:NAME.")],
    source: Annotated[
        str, typer.Option(help="Source of its files, as in a study, e.g. '{path: photos, size: 32}'.")
    ] = "{}",
) -> None:
    """Make a data set: grey levels, splits, labels. All studies that use it share the file."""
    from nonnormal import data as data_sets
    from nonnormal.files import track_input

    if name.endswith((".yaml", ".yml")):
        raise ValueError(
            f"{name}: a study file, but this command takes the name of a data set and its --source: the study's keys "
            "data and source"
        )
    for file in data_sets.source_files(name):
        track_input(file)
    found = data_sets.Source.parse(source)
    images = data_sets.load(name, found)
    path = data_path(data_sets.file_name(name, found))
    data_sets.write(path, images, data_sets.full_name(name, found))
    print(path)


@app.command()
@recorded
def features(study_file: StudyFile, device: Device = "auto", threads: Threads = 1) -> None:
    """Train or fetch the feature network of the Fréchet distance, and compute the training split's features."""
    from nonnormal import data as data_sets
    from nonnormal.metrics import features as classifier
    from nonnormal.metrics import reference
    from nonnormal.metrics.weights import INCEPTION
    from nonnormal.seeds import derive

    study, layout = open_study(study_file)
    device, settings = prepare_torch(device, threads), study.features
    if settings.kind == "inception":
        weights = settings.source.obtain(INCEPTION)  # before the data, which takes a while to read
        images = data_sets.read(layout.data)
        reference.write_inception_reference(layout.features, *weights, images.train.images, layout.data, device)
        print(f"{layout.features}: {weights[0]}, SHA-256 {weights[1]}")
        return
    images = data_sets.read(layout.data)
    training = settings.model_dump(exclude={"kind"})
    network = classifier.train_classifier(images, **training, seed=derive(study.seed, "features"), device=device)
    facts = {"held_out_accuracy": classifier.accuracy(network, images.test.images, images.test.labels)}
    reference.write_classifier_reference(
        layout.features, network, images.train.images, layout.data, device, data_name=study.images_name, **facts
    )
    print(f"{layout.features}: held-out accuracy {facts['held_out_accuracy']:.4f}")


@app.command()
@recorded
def train(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Train one run's network; resume from its checkpoint if there is one.

    SIGTERM and SIGINT save a checkpoint after the current step and exit with code 75; the same command then resumes.
    Under torchrun each process trains on its part of every batch.
    """
    from functools import partial

    import pandas as pd

    from nonnormal import data as data_sets
    from nonnormal.files import atomic, sha256_of
    from nonnormal.seeds import derive
    from nonnormal.steps import get
    from nonnormal.study.config.build import components, model_config, objective
    from nonnormal.training import loop as training
    from nonnormal.training.checkpoints import build_denoiser, initial_weights, save_weights
    from nonnormal.training.distributed import joined
    from nonnormal.training.log import watchers
    from nonnormal.training.throughput import flops_per_image

    study, layout = open_study(study_file)
    settings = study.run(run)
    for name in dict.fromkeys((settings.q, settings.p)):
        if get(name).excess_kurtosis == math.inf:
            logger.warning(
                "run %s: %s has no fourth moment, which the invariance principle asks for; its walks converge, but "
                "slower than with any step that has one (docs/mathematics/steps.md)",
                run,
                name,
            )
    with joined(prepare_torch(device, threads)) as (group, device), _signals() as stop:
        images = data_sets.read(layout.data)
        sigma_data = data_sets.std(images.train.images, images.levels)
        recipe = model_config(settings, study.dataset, sigma_data)
        parts = components(settings, images.train.images, images.levels)
        seed, fingerprint = study.train_seed(run), study.training_facts(run, sha256_of(layout.data))
        denoiser = build_denoiser(recipe, derive(seed, "init"), parts)
        if (start := study.initial_weights(run)) is not None:
            denoiser.network.load_state_dict(initial_weights(start, recipe))
        denoiser = denoiser.to(device)
        averaged, log = training.train(
            denoiser,
            objective(settings, sigma_data, parts),
            images.train.images.to(device),
            **settings.training.optimisation,
            seed=seed,
            checkpoint=layout.checkpoint(run),
            fingerprint=fingerprint,
            scale=partial(data_sets.scale, levels=images.levels),
            group=group,
            flops=flops_per_image(denoiser, study.dataset.shape),
            stop=stop,
            watch=watchers(layout.log(run), layout.events(run) if study.resources.tensorboard else None),
        )
        if group.rank > 0:
            return
        with atomic(layout.log(run)) as temporary:
            pd.DataFrame(log).to_csv(temporary, index=False)
        save_weights(layout.weights(run), averaged, recipe, study=study.name, **fingerprint)
        layout.checkpoint(run).unlink(missing_ok=True)
        print(layout.weights(run))


@app.command()
@recorded
def pretrained(study_file: StudyFile) -> None:
    """Load the study's pretrained network, with its noise schedule, from a folder or the Hub."""
    from pathlib import Path

    from nonnormal.diffusers import pretrained as networks

    study, layout = open_study(study_file)
    require_section(study_file, study, "pretrained")
    settings = study.pretrained
    schedule = settings.schedule and settings.schedule.model_dump()
    if settings.path is not None:
        network = networks.from_folder(Path(settings.path).expanduser(), schedule=schedule)
    else:
        folder = networks.fetch(settings.hub_id, settings.revision)
        network = networks.from_folder(folder, schedule=schedule, origin=f"{settings.hub_id}@{settings.revision}")
    if network.shape != study.dataset.shape:
        raise ValueError(f"data: {study.data} has images {study.dataset.shape}, the network makes {network.shape}")
    if max(settings.nfe) > (levels := network.scheduler("normal").config.num_train_timesteps):
        raise ValueError(f"pretrained.nfe: found {max(settings.nfe)}; the network knows {levels} noise levels")
    for n_steps in settings.nfe:
        try:
            network.scheduler("normal").set_timesteps(n_steps)
        except ValueError as error:
            raise ValueError(f"pretrained.nfe: found {n_steps}; {error}") from None
    networks.write(layout.pretrained_network, network)
    print(f"{layout.pretrained_network}: {network.origin}, SHA-256 {network.sha256}")


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Function that tells whether SIGTERM or SIGINT arrived; inside, they do not end this process by themselves."""
    came = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: came.set()) for number in numbers]
    try:
        yield came.is_set
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@app.command()
@recorded
def sample(
    study_file: StudyFile,
    run: RunName,
    nfe: Annotated[
        int | None, typer.Option(min=1, help="Network calls per image; all numbers of the study if left out.")
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Draw samples of one training; image i has the same seed in the k-th training of every run."""
    from nonnormal.study.results.artifacts import network, write_samples
    from nonnormal.study.results.drawing import ancestral

    study, layout = open_study(study_file)
    device = prepare_torch(device, threads)
    denoiser = network(study, layout, run, device)
    seeds = study.image_seeds("sample", study.sampling.n_images, run)
    for n in study.sample_steps if nfe is None else [nfe]:
        levels = ancestral(study, run, denoiser, n, seeds, device=device)
        print(write_samples(study, layout, run, n, levels))
