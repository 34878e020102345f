"""Commands that show: figures, tables, the paper, pages of results, step families, studies and provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonnormal.study.cli.common import StudyFile, open_study, recorded, track_code
from nonnormal.study.registry import experiment_named, figures_of, tables_of

app = typer.Typer()


@app.command()
def check(study_file: StudyFile) -> None:
    """Check a study file, and list what it trains."""
    from nonnormal import data as data_sets
    from nonnormal.data.source import local
    from nonnormal.study.results.artifacts import check_initial_weights

    study, layout = open_study(study_file)
    try:
        data_sets.look(study.data, study.source)
        for name in study.networks:
            check_initial_weights(study, layout, name)
        if study.pretrained and study.pretrained.path and not (folder := local(study.pretrained.path)).is_dir():
            raise ValueError(f"pretrained.path: there is no folder {folder}")
    except ValueError as error:
        raise ValueError(f"{study_file}: {error}") from None
    print(f"{study.name}: {study.data} {' × '.join(map(str, study.dataset.shape))}, results in {layout.root}")
    for name, run in study.networks.items():
        print(f"  {name}: {run.q}/{run.p}, {run.basis}, {run.process.kind}, {run.training.iterations} iterations")


@app.command()
def schema(
    out: Annotated[Path, typer.Option(help="Where to write the schema.")] = Path("workflow/schemas/study.json"),
    keys: Annotated[Path, typer.Option(help="Where to write the list of keys.")] = Path("config/README.md"),
) -> None:
    """Write the JSON schema of study files, and the list of their keys."""
    from nonnormal.files import write_json, write_text
    from nonnormal.study.config import json_schema
    from nonnormal.study.config.reference import reference

    write_json(out, json_schema())
    write_text(keys, reference())
    print(out, keys, sep="\n")


@app.command()
def steps() -> None:
    """Print the step families with their moments, and the matrix of K(0)."""
    from nonnormal.study.report import families as tables

    print(tables.step_families().to_markdown(floatfmt=".5g"))
    print("\nK(0), nats per coordinate and step; rows q (true process), columns p (model)\n")
    print(tables.step_constants().to_markdown(floatfmt=".4f"))


@app.command()
@recorded
def show(
    experiment: Annotated[str, typer.Argument(help="Name of the experiment, e.g. pairs.")], study_file: StudyFile
) -> None:
    """Draw an experiment's figures (PDF and PNG), and write its tables (CSV, Markdown and Typst)."""
    from nonnormal.files import write_text
    from nonnormal.study.report import text, theme
    from nonnormal.study.results.context import Context
    from nonnormal.study.results.paths import FIGURE_FORMATS
    from nonnormal.study.results.summary import write_table

    study, layout = open_study(study_file)
    chosen, context = experiment_named(study, experiment), Context(study, layout)
    track_code(chosen, *chosen.functions(study))
    for figure in chosen.figures_of(study):
        write_text(layout.caption("figure", figure.name), text.restructured(figure.caption))
        drawn = chosen.draw(figure, context)
        for extension in FIGURE_FORMATS:
            theme.save(drawn, layout.figure(figure.name, extension))
        print(layout.figure(figure.name, "png"))
    for table in chosen.tables:
        write_text(layout.caption("table", table.name), text.restructured(table.caption))
        numbers = chosen.numbers(table, context)
        write_table(layout.table(table.name, "csv"), numbers)
        for extension in ("md", "typ"):
            path = layout.table(table.name, extension)
            text.write_readable(path, *chosen.readable(table, numbers, context), prose=table.prose)
        print(layout.table(table.name, "csv"))


@app.command()
@recorded
def paper(
    study_file: StudyFile,
    source: Annotated[Path, typer.Option(help="Typst source.")] = Path("paper/paper.typ"),
) -> None:
    """Typeset the paper, `source` and its sections/, from figures, tables and the summary."""
    import typst

    from nonnormal.files import read_json, track_input, tracking, write_bytes, write_json
    from nonnormal.study.report.paper import inputs
    from nonnormal.study.results.paths import remade

    study, layout = open_study(study_file)
    with tracking(None):  # Snakemake writes the same file before its first job, and leaves no record of it either
        write_json(layout.study, study.resolved)
    parts = [*(source.parent / "sections").glob("*.typ"), *(source.parent / "references").iterdir()]
    made = [*layout.figures(figures_of(study)), *layout.tables(tables_of(study)), layout.means, layout.provenance]
    for path in (source, *parts, layout.study, *made, *layout.borrowed):
        track_input(path)
    # Files that were damaged are refused here, by name, before Typst reads them: rows by `inputs`.
    read_json(layout.provenance, remade(layout.provenance))
    options = dict(root=".", sys_inputs=inputs(layout), ignore_system_fonts=True)
    write_bytes(layout.paper, typst.compile(str(source), **options))
    print(layout.paper)


@app.command()
@recorded
def page(study_file: StudyFile) -> None:
    """Write the results page: one HTML file with tables, figures, samples and provenance, which opens offline."""
    from nonnormal.files import write_text
    from nonnormal.study.report import text
    from nonnormal.study.report.page.document import render
    from nonnormal.study.results.context import Context

    study, layout = open_study(study_file)
    numbers, readable, context = {}, {}, Context(study, layout)
    for name, (experiment, chosen) in tables_of(study).items():
        if not (path := layout.table(name, "csv")).is_file():
            continue
        numbers[name] = text.read_numbers(path)
        try:
            readable[name] = experiment.readable(chosen, numbers[name], context)
        except KeyError as error:
            raise ValueError(
                f"{path}: has no column {error}, which this version writes; delete it to have it made again"
            ) from None
    write_text(layout.page, render(study, layout, numbers, readable))
    print(layout.page)


@app.command()
def provenance(
    file: Annotated[Path, typer.Argument(help="A result, e.g. paper/figures/steps.pdf.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the file's record instead.")] = False,
    as_crate: Annotated[bool, typer.Option("--crate", help="Write the chain to ro-crate-metadata.json.")] = False,
) -> None:
    """Print the chain from a result back to the data, and which files changed since; exit with 1 if any did."""
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
def results(study_file: StudyFile) -> None:
    """Write a finished study's results to docs/results/<study>.md, and its pictures to docs/images/."""
    from nonnormal.study.report.results_page import write

    print(write(*open_study(study_file)))


@app.command()
def ledger(
    folders: Annotated[list[Path], typer.Argument(help="Results folders of finished studies, e.g. results/digits.")],
) -> None:
    """Judge each claim by the study that tests it best; write results/claims.csv and docs/results/claims.md."""
    from nonnormal.study.report.results_page import write_ledger

    print(*write_ledger(folders), sep="\n")
