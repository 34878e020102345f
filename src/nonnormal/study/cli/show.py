"""Commands that show: figures, tables, the paper, the README's results, and what is known of steps and studies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from nonnormal.study.cli.common import StudyFile, open_study, recorded
from nonnormal.study.results.paths import (
    CROSSING_FIGURES,
    DESIGN_FIGURES,
    FIGURES,
    GEOMETRY_FIGURES,
    PHOTOGRAPHS,
    RECIPE_FIGURES,
    RECIPE_TABLES,
    TABLES,
    Layout,
    figures_of,
    tables_of,
)

app = typer.Typer()


@app.command()
def check(study_file: StudyFile) -> None:
    """Check a study file, and tell what it trains."""
    study, layout = open_study(study_file)
    print(f"{study.name}: {study.data} {' × '.join(map(str, study.dataset.shape))}, results in {layout.root}")
    for name, run in study.networks.items():
        print(f"  {name}: {run.q}/{run.p}, {run.basis}, {run.process.kind}, {run.training.steps} steps")


@app.command()
def schema(out: Annotated[Path, typer.Option(help="Where to write it.")] = Path("workflow/schemas/study.json")) -> None:
    """Write the JSON schema of study files."""
    from nonnormal.files import write_json
    from nonnormal.study.config import json_schema

    write_json(out, json_schema())
    print(out)


@app.command()
def steps() -> None:
    """Print the step families with their moments, and the matrix of K(0)."""
    from nonnormal.study.experiments import all_tables as tables

    print(tables.step_families().to_markdown(floatfmt=".5g"))
    print("\nK(0), nats per coordinate and step; rows q (true process), columns p (model)\n")
    print(tables.step_constants().to_markdown(floatfmt=".4f"))


@app.command()
@recorded
def figure(study_file: StudyFile, name: Annotated[str, typer.Option(help=f"One of {', '.join(FIGURES)}.")]) -> None:
    """Draw one figure, as PDF and PNG."""
    from nonnormal.study.report import theme
    from nonnormal.study.results.paths import FIGURE_FORMATS

    study, layout = open_study(study_file)
    _one_of(name, figures_of(study), "figure")
    drawn = _draw(name, study, layout)
    for extension in FIGURE_FORMATS:
        theme.save(drawn, layout.figure(name, extension))
        print(layout.figure(name, extension))


def _one_of(name: str, known: Iterable[str], kind: str) -> None:
    if name not in known:
        raise ValueError(f"--name: found {name!r}; this study has no such {kind}, but {', '.join(known)}")


def _draw(name: str, study, layout: Layout):
    """The figure of that name, from the files of the study."""
    import pandas as pd

    from nonnormal.files import read_tensors, reading
    from nonnormal.study.results.summary import read_rows

    pairs = {run: (settings.q, settings.p) for run, settings in study.runs.items()}
    if name == "cost":
        from nonnormal.study.experiments.pairs.figure_cost import cost

        return cost(read_rows(layout.summary), study.labels)
    if name in GEOMETRY_FIGURES:
        from nonnormal.analysis import recorder as trajectories
        from nonnormal.study.experiments.geometry import figures as drawings

        if name == "projection":
            return drawings.projection(trajectories.read(layout.trajectories))
        more = [study.metric("fid")] if name in ("denoising", "solvers") else []
        return getattr(drawings, name)(read_rows(layout.summary), *more)
    if name in DESIGN_FIGURES:
        return _draw_design(name, study, layout)
    if name in RECIPE_FIGURES:
        from nonnormal.study.experiments.phase_space import figures as drawings

        if name == "phase_space":
            return drawings.phase_space({key: chosen.build() for key, chosen in study.recipe.processes.items()})
        more = [study.metric("fid")] if name == "recipe" else []
        return getattr(drawings, name)(read_rows(layout.summary), *more)
    if name in CROSSING_FIGURES:
        from nonnormal.study.experiments.ablation import figures as drawings

        if name == "crossing":
            return drawings.crossing(read_rows(layout.summary), study.metric("fid"))
        names = study.run(study.crossing_run).basis.kind, *study.crossing.bases
        images = read_tensors(layout.crossing_samples)[0]
        return drawings.crossing_samples(images, names, study.crossing.steps, study.dataset.levels)
    if name == "exchange":
        from nonnormal.study.experiments.step_swap.figures import exchange

        return exchange(read_rows(layout.summary), study.metric("fid"), study.labels)
    if name == "invariance":
        from nonnormal.study.experiments.convergence.figures import invariance

        return invariance(read_rows(layout.summary))
    if name == "losses":
        from nonnormal.study.experiments.pairs.figure_losses import loss_shapes

        return loss_shapes(list(dict.fromkeys(pairs[run] for run, its in study.runs.items() if its.has_native_bound)))
    if name == "pretrained":
        from nonnormal.study.experiments.pretrained.figures import pretrained

        return pretrained(read_rows(layout.summary), study.metric("fid"))
    if name == "pretrained_samples":
        from nonnormal.study.results.sample_grid import sample_rows

        images, settings = read_tensors(layout.pretrained_samples)[0], study.pretrained
        rows = {
            f"{step}, {n} calls": images[f"{n}/{step}"].numpy()
            for n in sorted(set(settings.n_steps))
            for step in settings.steps
        }
        return sample_rows(rows, study.dataset.levels)
    if name == "samples":
        from nonnormal.study.results.artifacts import samples
        from nonnormal.study.results.sample_grid import sample_rows

        rows = {study.labels[run]: samples(study, layout, run, study.headline_steps).numpy() for run in pairs}
        return sample_rows(rows, study.dataset.levels)
    if name == "steps":
        from nonnormal.study.experiments.pairs.figure_steps import number_of_steps

        return number_of_steps(read_rows(layout.summary), study.metric("fid"), study.labels)
    if name == "style":
        from nonnormal.study.experiments.pairs.figure_style import style_differences

        return style_differences(read_rows(layout.summary), study.labels)
    from nonnormal.study.experiments.pairs.figure_training import training_curves

    logs = {run: pd.read_csv(reading(layout.log(run))) for run in pairs}
    return training_curves({study.labels[run]: (*pairs[run], log) for run, log in logs.items()})


def _draw_design(name: str, study, layout: Layout):
    """A figure of the networks of other designs."""
    from nonnormal import data as data_sets
    from nonnormal.files import read_tensors
    from nonnormal.study.config.build import design
    from nonnormal.study.experiments.representations import figures as drawings
    from nonnormal.study.results.artifacts import network
    from nonnormal.study.results.summary import read_rows

    if name == "designs":
        return drawings.designs(read_rows(layout.summary), study.metric("fid"), study.design_labels)
    if name == "extension":
        return drawings.extension(read_tensors(layout.extension)[0], study.dataset.levels)
    parts = {run: network(study, layout, run).components for run in study.shown_designs}
    points = {}
    for run, its in parts.items():
        settings = study.run(run)
        points[f"{settings.basis}, {settings.process.schedule}"] = design(settings, its), its
    if name == "order":
        return drawings.order(points)
    images = data_sets.read(layout.data)
    return drawings.corruption(points, data_sets.scale(images.test.images[0], images.levels))


@app.command()
@recorded
def table(
    study_file: StudyFile, name: Annotated[str, typer.Option(help=f"One of {', '.join(TABLES)}.")] = "pairs"
) -> None:
    """Write one table, as CSV, Markdown and Typst."""
    from nonnormal.study.experiments import all_tables as tables
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    _one_of(name, tables_of(study), "table")
    content = numbers_of(name, study, layout)
    readable = readable_of(name, study, content)
    write_rows(layout.table(name, "csv"), content)
    for extension in ("md", "typ"):
        tables.write_readable(layout.table(name, extension), *readable, prose=name == "claims")
    print(layout.table(name, "csv"))


def readable_of(name: str, study, content) -> tuple:
    """A table of `numbers_of` for reading, in one or more parts."""
    from nonnormal.study.experiments import all_tables as tables

    if name == "pairs":
        return (tables.readable_pairs(content, study.metric, study.labels),)
    if name == "designs":
        return (tables.readable_designs(content, study.metric("fid")),)
    if name == "pretrained":
        return (tables.readable_pretrained(content, study.metric),)
    if name == "claims":
        return tables.readable_claims(content), tables.readable_numbers(content)
    if name == "crossing":
        return tables.readable_crossing(content)
    readable = {
        "conventions": tables.readable_differences,
        "cost": tables.readable_costs,
        "geometry": tables.readable_geometry,
        "solvers": tables.readable_solvers,
        "processes": tables.readable_processes,
        "recipe": tables.readable_recipe,
        "recipe_bounds": tables.readable_bounds,
    }
    return (readable[name](content),)


def numbers_of(name: str, study, layout: Layout):
    """The numbers of a table, of a study whose summary is made."""
    import pandas as pd

    from nonnormal.files import reading
    from nonnormal.study.experiments import all_tables as tables
    from nonnormal.study.results.summary import read_rows

    runs = {run: settings.training.n_steps for run, settings in study.runs.items()}
    summary, published = read_rows(layout.summary), pd.read_csv(reading("paper/references/published.csv"))
    if name == "pairs":
        return tables.pairs(summary, published, study.metric, runs, study.headline_steps)
    if name == "claims":
        from nonnormal.metrics import DISTANCES
        from nonnormal.study.report import claims

        names = {distance: study.metric(distance) for distance in DISTANCES}
        return tables.claims(claims.load(), summary, published, study.name, names)
    if name == "cost":
        return tables.costs(summary)
    if name == "crossing":
        return tables.crossing(summary, study.metric("fid"))
    if name == "designs":
        return tables.designs(summary, study.metric("fid"), study.design_labels)
    if name == "pretrained":
        return tables.pretrained(summary, study.metric)
    if name in ("geometry", "solvers"):
        return (
            tables.geometry(summary, published) if name == "geometry" else tables.solvers(summary, study.metric("fid"))
        )
    if name in RECIPE_TABLES:
        chosen = {key: settings.build() for key, settings in study.recipe.processes.items()}
        if name == "processes":
            return tables.processes(chosen)
        if name == "recipe_bounds":
            return tables.recipe_bounds(summary)
        frictions = {key: getattr(process, "friction_x", None) for key, process in chosen.items()}
        return tables.recipe(summary, published, study.metric("fid"), frictions)
    return tables.differences(summary, published, runs)


@app.command()
@recorded
def paper(
    study_file: StudyFile,
    source: Annotated[Path, typer.Option(help="Typst source.")] = Path("paper/paper.typ"),
) -> None:
    """Typeset the paper from figures, tables and the summary."""
    import typst

    from nonnormal.files import reading, write_bytes

    study, layout = open_study(study_file)
    references = source.parent / "references"
    made = [*layout.figures(figures_of(study)), *layout.tables(tables_of(study)), layout.summary, layout.provenance]
    for path in (source, *references.iterdir(), layout.study, *made, *layout.photographs):
        reading(path)
    inputs = {"study": f"/{layout.study}", "folder": f"/{layout.paper_folder}", "results": f"/{layout.root}"}
    if layout.photographs:
        inputs["photographs"] = f"/{PHOTOGRAPHS}"
    write_bytes(layout.paper, typst.compile(str(source), root=".", sys_inputs=inputs, ignore_system_fonts=True))
    print(layout.paper)


@app.command()
@recorded
def page(
    study_file: StudyFile,
    captions: Annotated[Path, typer.Option(help="Folder of the captions of figures and tables.")] = Path(
        "workflow/report"
    ),
) -> None:
    """Write the results page: one HTML file with tables, figures, samples and provenance, which needs no network."""
    import pandas as pd

    from nonnormal.files import reading, write_text
    from nonnormal.study.report.page.document import render

    study, layout = open_study(study_file)
    numbers, readable = {}, {}
    for name in tables_of(study):
        if not (path := layout.table(name, "csv")).is_file():
            continue
        numbers[name] = pd.read_csv(reading(path))
        try:
            readable[name] = readable_of(name, study, numbers[name])
        except KeyError as error:
            raise ValueError(
                f"{path}: has no {error}, which tables have now; delete it to have it made again"
            ) from None
    write_text(layout.page, render(study, layout, numbers, readable, captions))
    print(layout.page)


@app.command()
def provenance(
    file: Annotated[Path, typer.Argument(help="A result, e.g. paper/figures/steps.pdf.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the file's record instead.")] = False,
    as_crate: Annotated[bool, typer.Option("--crate", help="Write the chain to ro-crate-metadata.json.")] = False,
) -> None:
    """Print the chain from a result back to the data, and which of its files have changed since; if any, end with 1."""
    import json

    from nonnormal.files import write_json
    from nonnormal.study.results import crate
    from nonnormal.study.results.records import chain, lines

    found = chain(file)
    if as_crate:
        write_json(crate.PLACE, crate.describe(found))
        print(crate.PLACE)
    elif as_json:
        print(json.dumps(found.record, indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines(found)))
    if any(link.state == "changed since" for link in found.walk()):
        raise typer.Exit(1)


@app.command()
def readme(
    study_file: StudyFile, target: Annotated[Path, typer.Option(help="File with the markers.")] = Path("README.md")
) -> None:
    """Put a study's table and samples into the README, between its markers."""
    from nonnormal.study.report.readme import insert

    study, layout = open_study(study_file)
    insert(target, study, layout)
    print(target)
