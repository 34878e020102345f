"""Commands that measure: each writes rows of the summary."""

from __future__ import annotations

from pathlib import Path
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
from nonnormal.study.results.paths import INVARIANCE_PARTS, Layout

app = typer.Typer(help="Measure bounds and distances.", no_args_is_help=True)


@app.command()
@recorded
def bounds(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Bits/dim of the held-out split: native, normal-limit and continuous-time bounds, probability-flow likelihood."""
    from nonnormal import data as data_sets
    from nonnormal.study.experiments.pairs.bounds import bound_rows
    from nonnormal.study.results.artifacts import network
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    device = prepare_torch(device, threads)
    denoiser = network(study, layout, run, device)
    write_rows(layout.bounds(run), bound_rows(study, run, denoiser, data_sets.read(layout.data), device))
    print(layout.bounds(run))


@app.command()
@recorded
def fidelity(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """FID, KID, precision and recall of one run's samples against the training split."""
    from nonnormal.metrics.reference import read_reference
    from nonnormal.study.results.artifacts import samples
    from nonnormal.study.results.distances import fidelity_rows
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    device = prepare_torch(device, threads)
    images = {n: samples(study, layout, run, n) for n in study.sample_steps}
    rows = fidelity_rows(study, run, images, read_reference(layout.features, layout.data), device)
    write_rows(layout.fidelity(run), rows)
    print(layout.fidelity(run))


@app.command()
@recorded
def style(study_file: StudyFile, threads: Threads = 0) -> None:
    """Style of all runs' samples, and differences to the normal pair's from the same seeds."""
    from nonnormal import data as data_sets
    from nonnormal.study.results.artifacts import samples
    from nonnormal.study.results.distances import style_rows
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    prepare_torch("cpu", threads)
    images = {run: {n: samples(study, layout, run, n) for n in study.sample_steps} for run in study.runs}
    write_rows(layout.style, style_rows(study, images, data_sets.read(layout.data)))
    print(layout.style)


@app.command()
@recorded
def exchange(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Sample one run's network with every step of the study's exchange, and measure what comes out."""
    from nonnormal.study.results.distances import exchange_rows
    from nonnormal.study.results.summary import write_rows

    study, layout, device = _open(study_file, "exchange", device, threads)
    write_rows(layout.exchange(run), exchange_rows(study, run, *_measured(study, layout, run, device), device))
    print(layout.exchange(run))


@app.command()
@recorded
def invariance(
    study_file: StudyFile, part: Annotated[str, typer.Option(help=f"One of {', '.join(INVARIANCE_PARTS)}.")] = "line"
) -> None:
    """Convergence in law of walks and samplers with any step, without training."""
    from nonnormal.study.experiments.convergence import measure as measured
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    require_section(study_file, study, "invariance")
    if part not in INVARIANCE_PARTS:
        raise ValueError(f"--part: found {part!r}; allowed: {', '.join(INVARIANCE_PARTS)}")
    prepare_torch("cpu", 1)
    write_rows(layout.invariance(part), (measured.line_rows if part == "line" else measured.plane_rows)(study))
    print(layout.invariance(part))


@app.command()
@recorded
def geometry(study_file: StudyFile, device: Device = "auto", threads: Threads = 0) -> None:
    """Trajectories, solvers, the optimal denoiser and the paths of other steps, with one network of the study."""
    import torch

    from nonnormal.study.experiments.geometry.measure import geometry_rows
    from nonnormal.study.results.summary import write_rows

    study, layout, device = _open(study_file, "geometry", device, threads)
    torch.backends.cudnn.allow_tf32 = False  # solvers are compared with a solution that is far closer than it rounds
    measured = _measured(study, layout, study.geometry_run, device)
    write_rows(layout.geometry, geometry_rows(study, *measured, layout.trajectories, device))
    print(layout.geometry)


@app.command()
@recorded
def design(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Bits/dim and FID of a network of another representation or schedule."""
    from nonnormal.study.experiments.representations.measure import design_rows
    from nonnormal.study.results.summary import write_rows

    study, layout, device = _open(study_file, "designs", device, threads)
    write_rows(layout.design(run), design_rows(study, run, *_measured(study, layout, run, device), device))
    print(layout.design(run))


@app.command()
@recorded
def pretrained(study_file: StudyFile, device: Device = "auto", threads: Threads = 0) -> None:
    """Sample a network that existed already with every step of the study, and measure what comes out."""
    from nonnormal import data as data_sets
    from nonnormal.diffusers import pretrained as networks
    from nonnormal.files import write_tensors
    from nonnormal.metrics.reference import read_reference
    from nonnormal.study.experiments.pretrained.measure import pretrained_rows
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    require_section(study_file, study, "pretrained")
    device = prepare_torch(device, threads)
    network = networks.read(layout.pretrained_network, device)
    images, reference = data_sets.read(layout.data), read_reference(layout.features, layout.data)
    rows, shown = pretrained_rows(study, network, images, reference, device)
    write_tensors(layout.pretrained_samples, shown, {"study": study.name, "network": network.origin})
    write_rows(layout.pretrained, rows)
    print(layout.pretrained)


@app.command()
@recorded
def recipe(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Sample and bound one run's network in the processes of the complete recipe."""
    from nonnormal.study.experiments.phase_space.measure import recipe_rows
    from nonnormal.study.results.summary import write_rows

    study, layout, device = _open(study_file, "recipe", device, threads)
    write_rows(layout.recipe(run), recipe_rows(study, run, *_measured(study, layout, run, device), device))
    print(layout.recipe(run))


@app.command()
@recorded
def recipe_law(study_file: StudyFile) -> None:
    """Convergence in law of the complete recipe's processes on a mixture with its exact score, without training."""
    from nonnormal.study.experiments.phase_space.measure import law_rows
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    require_section(study_file, study, "recipe")
    prepare_torch("cpu", 1)
    write_rows(layout.recipe_law, law_rows(study))
    print(layout.recipe_law)


@app.command()
@recorded
def crossing(study_file: StudyFile, device: Device = "auto", threads: Threads = 0) -> None:
    """Sample and bound one network with each step in other bases, processes and grids of times."""
    from nonnormal.files import write_tensors
    from nonnormal.study.experiments.ablation.measure import crossing_rows
    from nonnormal.study.results.summary import write_rows

    study, layout, device = _open(study_file, "crossing", device, threads)
    rows, shown = crossing_rows(study, *_measured(study, layout, study.crossing_run, device), device)
    write_tensors(layout.crossing_samples, shown, {"study": study.name, "run": study.crossing_run})
    write_rows(layout.crossing, rows)
    print(layout.crossing)


@app.command()
@recorded
def summary(study_file: StudyFile) -> None:
    """Gather all numbers of the study, and say which code and machine made them."""
    import pandas as pd

    from nonnormal import data as data_sets
    from nonnormal.files import read_tensors, write_json
    from nonnormal.study.cli.show import numbers_of
    from nonnormal.study.experiments import all_tables as tables
    from nonnormal.study.results.distances import feature_rows
    from nonnormal.study.results.provenance import describe
    from nonnormal.study.results.summary import read_rows, write_rows

    study, layout = open_study(study_file)
    _, header = read_tensors(layout.features)
    rows = [
        read_rows(layout.parts(study.runs, study.design_runs, recipe_runs=study.recipe_runs, **study.sections)),
        feature_rows(study, header, data_sets.read(layout.data)),
    ]
    write_json(layout.provenance, describe())
    write_rows(layout.summary, pd.concat(rows, ignore_index=True))
    headline = tables.headline(numbers_of("pairs", study, layout)) if study.runs else {}
    if study.pretrained:
        headline |= {"pretrained": tables.pretrained_headline(numbers_of("pretrained", study, layout))}
    write_json(layout.metrics, headline)
    print(layout.summary)


def _open(study_file: Path, section: str, device: str, threads: int):
    """The study, which must have the section, the layout of its results, and the device with "auto" resolved."""
    study, layout = open_study(study_file)
    require_section(study_file, study, section)
    return study, layout, prepare_torch(device, threads)


def _measured(study, layout: Layout, run: str, device: str):
    """What a network is measured with: itself on the device, the data, and the reference of distances."""
    from nonnormal import data as data_sets
    from nonnormal.metrics.reference import read_reference
    from nonnormal.study.results.artifacts import network

    return (
        network(study, layout, run, device),
        data_sets.read(layout.data),
        read_reference(layout.features, layout.data),
    )
