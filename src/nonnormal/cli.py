"""Command line: one command for each thing that the pipeline does.

Commands read a study and find their files by `layout`; each writes its outputs whole or not at all. Heavy imports stay
inside the commands, so that `--help` and errors in a study file answer at once.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nonnormal.layout import FIGURES, GEOMETRY_FIGURES, INVARIANCE_PARTS, TABLES, Layout, data_path

app = typer.Typer(
    help="Diffusion models with any step distribution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
evaluate_app = typer.Typer(help="Measure bounds and distances.", no_args_is_help=True)
app.add_typer(evaluate_app, name="evaluate")

StudyFile = Annotated[Path, typer.Argument(help="Study file, e.g. config/digits.yaml.")]
RunName = Annotated[str, typer.Option("--run", help="Name of a run of the study.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")]
# 75 is EX_TEMPFAIL of sysexits.h: nothing is wrong, try again.
EXIT_CODES = {"TrainingDiverged": 3, "TrainingStopped": 75}
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves torch's choice.")]


def main() -> None:
    """Runs the command line; mistakes of the user end in one line each and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph of a PDF
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if type(error).__name__ not in EXIT_CODES:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_CODES[type(error).__name__])


@app.command()
def schema(out: Annotated[Path, typer.Option(help="Where to write it.")] = Path("workflow/schemas/study.json")) -> None:
    """Write the JSON schema of study files."""
    from nonnormal.files import write_json
    from nonnormal.study import json_schema

    write_json(out, json_schema())
    print(out)


@app.command()
def steps() -> None:
    """Print the step families with their moments, and the matrix of K(0)."""
    from nonnormal import tables

    print(tables.step_families().to_markdown(floatfmt=".5g"))
    print("\nK(0), nats per coordinate and step; rows q (true process), columns p (model)\n")
    print(tables.step_constants().to_markdown(floatfmt=".4f"))


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="Name of the data set, e.g. digits.")],
    source: Annotated[
        str, typer.Option(help="Where its files come from, as in a study, e.g. '{path: photos, size: 32}'.")
    ] = "{}",
) -> None:
    """Make a data set: grey levels, splits, labels. All studies on it share the file."""
    from nonnormal import data as data_sets

    found = data_sets.Source.parse(source)
    images = data_sets.load(name, found)
    path = data_path(data_sets.file_name(name, found))
    data_sets.write(path, images, name)
    print(path)


@app.command()
def features(study_file: StudyFile, device: Device = "auto", threads: Threads = 1) -> None:
    """Train or fetch the feature network of the Fréchet distance, and measure the training split in its features."""
    from nonnormal import data as data_sets
    from nonnormal.metrics import features as classifier
    from nonnormal.metrics import reference
    from nonnormal.metrics.weights import INCEPTION
    from nonnormal.seeds import derive

    study, layout = _open(study_file)
    device, settings = _torch(device, threads), study.features
    if settings.kind == "inception":
        weights = settings.source.obtain(INCEPTION)  # before the data, which takes a while to read
        images = data_sets.read(layout.data)
        reference.write_inception_reference(layout.features, *weights, images.train.images, layout.data, device)
        print(f"{layout.features}: {weights[0]}, SHA-256 {weights[1]}")
        return
    images = data_sets.read(layout.data)
    training = settings.model_dump(exclude={"kind"})
    network = classifier.train_classifier(images, **training, seed=derive(study.seed, "features"))
    facts = {"held_out_accuracy": classifier.accuracy(network, images.test.images, images.test.labels)}
    reference.write_classifier_reference(
        layout.features, network, images.train.images, layout.data, data_name=study.data, **facts
    )
    print(f"{layout.features}: held-out accuracy {facts['held_out_accuracy']:.4f}")


@app.command()
def train(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Train one run's network, going on from its checkpoint where there is one.

    SIGTERM and SIGINT save a checkpoint after the step in hand and end with code 75: the same command goes on from it.
    Under torchrun each process trains on its part of every batch.
    """
    from functools import partial

    from nonnormal import data as data_sets
    from nonnormal import training
    from nonnormal.checkpoints import build_denoiser, save_weights
    from nonnormal.distributed import joined
    from nonnormal.files import atomic
    from nonnormal.recipes import denoiser_recipe, objective
    from nonnormal.seeds import derive
    from nonnormal.throughput import flops_per_image

    study, layout = _open(study_file)
    settings = study.run(run)
    with joined(_torch(device, threads)) as (group, device), _signals() as stop:
        images = data_sets.read(layout.data)
        sigma_data = data_sets.std(images.train.images, images.levels)
        recipe = denoiser_recipe(settings, study.dataset, sigma_data)
        seed = study.train_seed(run)
        denoiser = build_denoiser(recipe, seed=derive(seed, "init")).to(device)
        averaged, log = training.train(
            denoiser,
            objective(settings, sigma_data),
            images.train.images.to(device),
            **settings.training.optimisation,
            seed=seed,
            checkpoint=layout.checkpoint(run),
            fingerprint=study.fingerprint(run),
            scale=partial(data_sets.scale, levels=images.levels),
            group=group,
            flops=flops_per_image(denoiser, study.dataset.shape),
            stop=stop,
        )
        if group.rank > 0:
            return
        with atomic(layout.log(run)) as temporary:
            log.to_csv(temporary, index=False)
        facts = dict(study=study.name, run=run, fingerprint=study.fingerprint(run))
        save_weights(layout.weights(run), averaged, recipe, **facts)
        layout.checkpoint(run).unlink(missing_ok=True)
        print(layout.weights(run))


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT has come; inside, they do not end this process by themselves."""
    came = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: came.set()) for number in numbers]
    try:
        yield came.is_set
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@app.command()
def sample(
    study_file: StudyFile,
    run: RunName,
    n_steps: Annotated[int, typer.Option(min=1, help="Steps, which are network calls an image.")] = 100,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Draw samples of one run; image i has the same seed in every run."""
    import torch

    from nonnormal import data as data_sets
    from nonnormal.checkpoints import load_denoiser
    from nonnormal.files import write_tensors
    from nonnormal.processes import uniform_times
    from nonnormal.recipes import design
    from nonnormal.samplers import sample_ancestral

    study, layout = _open(study_file)
    device = _torch(device, threads)
    sampling, point = study.sampling, design(study.run(run))
    images = sample_ancestral(
        load_denoiser(layout.weights(run), device),
        point.process,
        point.p,
        (sampling.n_images, *study.dataset.shape),
        times=uniform_times(n_steps),
        seeds=study.image_seeds("sample", sampling.n_images),
        basis=point.basis,
        dtype=getattr(torch, sampling.dtype),
        device=device,
        batch_size=sampling.batch_size,
    )
    levels = data_sets.quantise(images, study.dataset.levels)
    path = layout.samples(run, n_steps)
    write_tensors(path, {"images": levels}, {"study": study.name, "run": run, "n_steps": n_steps})
    print(path)


@evaluate_app.command()
def bounds(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Bits/dim of the held-out split: native, normal-limit and continuous-time bounds, probability-flow likelihood."""
    from nonnormal import data as data_sets
    from nonnormal.checkpoints import load_denoiser
    from nonnormal.evaluation.bounds import bound_rows
    from nonnormal.tables import write_rows

    study, layout = _open(study_file)
    device = _torch(device, threads)
    denoiser = load_denoiser(layout.weights(run), device)
    write_rows(layout.bounds(run), bound_rows(study, run, denoiser, data_sets.read(layout.data), device))
    print(layout.bounds(run))


@evaluate_app.command()
def fidelity(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """FID, KID, precision and recall of one run's samples against the training split."""
    from nonnormal.evaluation.samples import fidelity_rows
    from nonnormal.files import read_tensors
    from nonnormal.metrics.reference import read_reference
    from nonnormal.tables import write_rows

    study, layout = _open(study_file)
    device = _torch(device, threads)
    samples = {n: read_tensors(layout.samples(run, n))[0]["images"] for n in study.sample_steps}
    rows = fidelity_rows(study, run, samples, read_reference(layout.features, layout.data), device)
    write_rows(layout.fidelity(run), rows)
    print(layout.fidelity(run))


@evaluate_app.command()
def style(study_file: StudyFile, threads: Threads = 0) -> None:
    """Style of all runs' samples, and differences to the normal pair's from the same seeds."""
    from nonnormal import data as data_sets
    from nonnormal.evaluation.samples import style_rows
    from nonnormal.files import read_tensors
    from nonnormal.tables import write_rows

    study, layout = _open(study_file)
    _torch("cpu", threads)
    samples = {
        run: {n: read_tensors(layout.samples(run, n))[0]["images"] for n in study.sample_steps} for run in study.runs
    }
    write_rows(layout.style, style_rows(study, samples, data_sets.read(layout.data)))
    print(layout.style)


@evaluate_app.command()
def exchange(study_file: StudyFile, run: RunName, device: Device = "auto", threads: Threads = 0) -> None:
    """Sample one run's network with every step of the study's exchange, and measure what comes out."""
    from nonnormal import data as data_sets
    from nonnormal.checkpoints import load_denoiser
    from nonnormal.evaluation.samples import exchange_rows
    from nonnormal.metrics.reference import read_reference
    from nonnormal.tables import write_rows

    study, layout = _open(study_file)
    _in_study(study_file, study, "exchange")
    device = _torch(device, threads)
    denoiser = load_denoiser(layout.weights(run), device)
    reference = read_reference(layout.features, layout.data)
    rows = exchange_rows(study, run, denoiser, data_sets.read(layout.data), reference, device)
    write_rows(layout.exchange(run), rows)
    print(layout.exchange(run))


@evaluate_app.command()
def invariance(
    study_file: StudyFile, part: Annotated[str, typer.Option(help=f"One of {', '.join(INVARIANCE_PARTS)}.")] = "line"
) -> None:
    """Convergence in law of walks and samplers with any step, without training."""
    from nonnormal.evaluation import invariance as measured
    from nonnormal.tables import write_rows

    study, layout = _open(study_file)
    _in_study(study_file, study, "invariance")
    if part not in INVARIANCE_PARTS:
        raise ValueError(f"--part: found {part!r}; allowed: {', '.join(INVARIANCE_PARTS)}")
    _torch("cpu", 1)
    write_rows(layout.invariance(part), (measured.line_rows if part == "line" else measured.plane_rows)(study))
    print(layout.invariance(part))


@evaluate_app.command()
def geometry(study_file: StudyFile, device: Device = "auto", threads: Threads = 0) -> None:
    """Trajectories, solvers, the optimal denoiser and the paths of other steps, with one network of the study."""
    from nonnormal import data as data_sets
    from nonnormal.checkpoints import load_denoiser
    from nonnormal.evaluation.geometry import geometry_rows
    from nonnormal.metrics.reference import read_reference
    from nonnormal.tables import write_rows

    study, layout = _open(study_file)
    _in_study(study_file, study, "geometry")
    device = _torch(device, threads)
    denoiser = load_denoiser(layout.weights(study.geometry_run), device)
    images, reference = data_sets.read(layout.data), read_reference(layout.features, layout.data)
    rows = geometry_rows(study, denoiser, images, reference, layout.trajectories, device)
    write_rows(layout.geometry, rows)
    print(layout.geometry)


@evaluate_app.command()
def summary(study_file: StudyFile) -> None:
    """Gather all numbers of the study, and say which code and machine made them."""
    import pandas as pd

    from nonnormal import data as data_sets
    from nonnormal import tables
    from nonnormal.evaluation.samples import feature_rows
    from nonnormal.files import read_tensors, write_json
    from nonnormal.provenance import describe

    study, layout = _open(study_file)
    _, header = read_tensors(layout.features)
    rows = [
        tables.read_rows(layout.parts(study.runs, **study.sections)),
        feature_rows(study, header, data_sets.read(layout.data)),
    ]
    write_json(layout.provenance, describe())
    tables.write_rows(layout.summary, pd.concat(rows, ignore_index=True))
    write_json(layout.metrics, tables.headline(_table("pairs", study, layout)))
    print(layout.summary)


@app.command()
def figure(study_file: StudyFile, name: Annotated[str, typer.Option(help=f"One of {', '.join(FIGURES)}.")]) -> None:
    """Draw one figure, as PDF and PNG."""
    from nonnormal.figures import theme
    from nonnormal.layout import FIGURE_FORMATS

    study, layout = _open(study_file)
    drawn = _draw(name, study, layout)
    for extension in FIGURE_FORMATS:
        theme.save(drawn, layout.figure(name, extension))
        print(layout.figure(name, extension))


def _draw(name: str, study, layout: Layout):
    """The figure of that name, from the files of the study."""
    import pandas as pd

    from nonnormal.files import read_tensors
    from nonnormal.tables import read_rows

    pairs = {run: (settings.q, settings.p) for run, settings in study.runs.items()}
    if name == "cost":
        from nonnormal.figures.cost import cost

        return cost(read_rows(layout.summary), study.labels)
    if name in GEOMETRY_FIGURES:
        from nonnormal import trajectories
        from nonnormal.figures import geometry as drawings

        if name == "projection":
            return drawings.projection(trajectories.read(layout.trajectories))
        more = [study.metric("fid")] if name in ("denoising", "solvers") else []
        return getattr(drawings, name)(read_rows(layout.summary), *more)
    if name == "exchange":
        from nonnormal.figures.exchange import exchange

        return exchange(read_rows(layout.summary), study.metric("fid"), study.labels)
    if name == "invariance":
        from nonnormal.figures.invariance import invariance

        return invariance(read_rows(layout.summary))
    if name == "losses":
        from nonnormal.figures.losses import loss_shapes

        return loss_shapes(list(dict.fromkeys(pairs[run] for run, its in study.runs.items() if its.has_native_bound)))
    if name == "samples":
        from nonnormal.figures.samples import sample_rows

        files = {run: layout.samples(run, study.headline_steps) for run in pairs}
        rows = {study.labels[run]: read_tensors(file)[0]["images"].numpy() for run, file in files.items()}
        return sample_rows(rows, study.dataset.levels)
    if name == "steps":
        from nonnormal.figures.steps import number_of_steps

        return number_of_steps(read_rows(layout.summary), study.metric("fid"), study.labels)
    if name == "style":
        from nonnormal.figures.style import style_differences

        return style_differences(read_rows(layout.summary), study.labels)
    if name == "training":
        from nonnormal.figures.training import training_curves

        logs = {run: pd.read_csv(layout.log(run)) for run in pairs}
        return training_curves({study.labels[run]: (*pairs[run], log) for run, log in logs.items()})
    raise ValueError(f"unknown figure {name!r}; known: {', '.join(FIGURES)}")


@app.command()
def table(
    study_file: StudyFile, name: Annotated[str, typer.Option(help=f"One of {', '.join(TABLES)}.")] = "pairs"
) -> None:
    """Write one table, as CSV, Markdown and Typst."""
    from nonnormal import tables

    if name not in TABLES:
        raise ValueError(f"unknown table {name!r}; known: {', '.join(TABLES)}")
    study, layout = _open(study_file)
    content = _table(name, study, layout)
    if name == "pairs":
        readable = tables.readable_pairs(content, study.metric, study.labels)
    else:
        readable = {
            "conventions": tables.readable_differences,
            "cost": tables.readable_costs,
            "geometry": tables.readable_geometry,
            "solvers": tables.readable_solvers,
        }[name](content)
    tables.write_rows(layout.table(name, "csv"), content)
    for extension in ("md", "typ"):
        tables.write_readable(layout.table(name, extension), readable)
    print(layout.table(name, "csv"))


def _table(name: str, study, layout: Layout):
    """The table of that name, of a study whose summary is made."""
    import pandas as pd

    from nonnormal import tables

    runs = {run: settings.training.n_steps for run, settings in study.runs.items()}
    summary, published = tables.read_rows(layout.summary), pd.read_csv(Path("paper/references/published.csv"))
    if name == "pairs":
        return tables.pairs(summary, published, study.metric, runs, study.headline_steps)
    if name == "cost":
        return tables.costs(summary)
    if name in ("geometry", "solvers"):
        _in_study(layout.study, study, "geometry")
        return (
            tables.geometry(summary, published) if name == "geometry" else tables.solvers(summary, study.metric("fid"))
        )
    return tables.differences(summary, published, runs)


@app.command()
def paper(
    study_file: StudyFile,
    source: Annotated[Path, typer.Option(help="Typst source.")] = Path("paper/paper.typ"),
) -> None:
    """Typeset the paper from figures, tables and the summary."""
    import typst

    from nonnormal.files import atomic

    _, layout = _open(study_file)
    inputs = {"study": f"/{layout.study}", "folder": f"/{layout.paper_folder}", "results": f"/{layout.root}"}
    with atomic(layout.paper) as temporary:
        typst.compile(str(source), output=str(temporary), root=".", sys_inputs=inputs, ignore_system_fonts=True)
    print(layout.paper)


@app.command()
def readme(
    study_file: StudyFile, target: Annotated[Path, typer.Option(help="File with the markers.")] = Path("README.md")
) -> None:
    """Put a study's table and samples into the README, between its markers."""
    from nonnormal.readme import insert

    study, layout = _open(study_file)
    insert(target, study, layout)
    print(target)


def _open(study_file: Path):
    """The study of a file and the layout of its results."""
    from nonnormal.study import load

    study = load(study_file)
    return study, Layout(study.name, study.data_name, study.headline)


def _in_study(study_file: Path, study, section: str) -> None:
    """Refuses a study that leaves the section out."""
    if getattr(study, section) is None:
        raise ValueError(f"{study_file}: {section} is left out of this study; give it its settings")


def _torch(device: str, threads: int) -> str:
    """Sets the number of threads; the device's name with "auto" resolved."""
    import torch
    from threadpoolctl import threadpool_limits

    if threads:
        torch.set_num_threads(threads)
        threadpool_limits(threads)  # of numpy's linear algebra, whose last digits depend on their number
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device: found {device!r}; allowed: cpu, cuda, auto")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: cuda asked for, but torch sees no GPU here")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


if __name__ == "__main__":
    main()
