"""Commands for DVC: the stages of a study, written and run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonnormal.study.cli.common import StudyFile

app = typer.Typer()


@app.command()
def dvc(
    study_file: StudyFile,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write it; if left out, dvc.yaml for the headline study, pipelines/NAME/dvc.yaml for others."
        ),
    ] = None,
) -> None:
    """Write the dvc.yaml of a study, with the stages data, train, evaluate and report."""
    from nonnormal.study import stages

    out = out or stages.place_of(study_file)
    stages.write(study_file, out)
    print(out)


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="Name of the stage: data, train, evaluate or report.")],
    study_file: StudyFile,
    pipeline: Annotated[Path, typer.Option(help="File that `nonnormal dvc` wrote.")] = Path("dvc.yaml"),
) -> None:
    """Run one stage of a dvc.yaml with Snakemake; the environment variable PROFILE names the profile."""
    from nonnormal.study import stages

    stages.run(name, study_file, pipeline)
