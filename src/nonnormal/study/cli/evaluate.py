"""Commands that measure: a job writes rows of the summary, or arrays, or both; the summary collects all rows."""

from __future__ import annotations

from typing import Annotated

import typer

from nonnormal.study.cli.common import Device, StudyFile, Threads, open_study, prepare_torch, recorded, track_code
from nonnormal.study.registry import experiments_of, job_named, packaged, parts

app = typer.Typer()
_JOBS = {job.name: job.about for experiment in packaged() for job in experiment.jobs}
_HELP = "Run one measurement of a study.\n\nJobs of this package:\n\n" + "\n\n".join(
    f"{n}: {a}" for n, a in _JOBS.items()
)


@app.command(help=_HELP)
@recorded
def evaluate(
    job: Annotated[str, typer.Argument(help="Name of the job, e.g. bounds.")],
    study_file: StudyFile,
    run: Annotated[
        str | None, typer.Option("--run", help="Name of the network, for a job that runs once per network.")
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Run one measurement of a study."""
    from nonnormal.files import write_tensors
    from nonnormal.study.results.context import Context
    from nonnormal.study.results.summary import write_rows

    study, layout = open_study(study_file)
    experiment, chosen = job_named(study, job)
    if chosen.each and run not in (known := chosen.networks(study)):
        found = "missing" if run is None else f"found {run}"
        raise ValueError(f"--run: {found}; {job} takes one of {', '.join(known)}")
    if run is not None and not chosen.each:
        raise ValueError(f"--run: found {run}; {job} runs once for the whole study, without --run")
    track_code(experiment, chosen.function)
    device = prepare_torch(device if chosen.gpu else "cpu", threads)
    made = experiment.call(chosen.function, Context(study, layout, run or chosen.network(study), device))
    rows, arrays = made if isinstance(made, tuple) else (made, None) if chosen.rows else (None, made)
    if arrays is not None:
        write_tensors(layout.arrays(job, run), arrays, {"study": study.name, "job": job})
    if rows is not None:
        write_rows(layout.rows(job, run), rows)
    print(*chosen.outputs(layout, run), sep="\n")


@app.command()
@recorded
def summary(study_file: StudyFile) -> None:
    """Collect all numbers of the study, by training and as means over trainings; record the code that made them."""
    import pandas as pd

    from nonnormal.files import read_tensors, write_json
    from nonnormal.study.results.context import Context
    from nonnormal.study.results.distances import feature_rows
    from nonnormal.study.results.provenance import describe
    from nonnormal.study.results.summary import read_rows, write_rows

    study, layout = open_study(study_file)
    context = Context(study, layout)
    _, header = read_tensors(layout.features)
    rows = [read_rows(parts(study, layout)), feature_rows(study, header, context.data)]
    write_json(layout.provenance, describe())
    write_rows(layout.summary, pd.concat(rows, ignore_index=True))
    write_rows(layout.means, context.summary)
    headline = {}
    for experiment in experiments_of(study):
        if experiment.headline:
            numbers = experiment.numbers(experiment.tables[0], context)
            headline |= experiment.call(experiment.headline, numbers)
    write_json(layout.metrics, headline)
    print(layout.summary)
