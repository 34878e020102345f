"""Shared by all commands: arguments, opening a study, preparing torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from nonnormal.study.results.paths import Layout

StudyFile = Annotated[Path, typer.Argument(help="Study file, e.g. config/digits.yaml.")]
RunName = Annotated[str, typer.Option("--run", help="Name of a run of the study.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda if there is one.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves torch's choice.")]


def recorded(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: it records each result, and refuses input files that differ from their records."""

    @functools.wraps(command)
    def run(**arguments) -> None:
        from nonnormal.files import tracking
        from nonnormal.study.results.records import Recorder, called

        given = {name: value for name, value in arguments.items() if name != "study_file"}
        given = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
        with tracking(Recorder(called(), {"arguments": given})):
            command(**arguments)

    return run


def open_study(study_file: Path):
    """The study in a file, and the layout of its results."""
    from nonnormal.files import observer, track_input
    from nonnormal.study.config import load
    from nonnormal.study.results.records import study_facts

    study = load(study_file)
    for path in {path for files in study.own_files.values() for path in files}:
        track_input(path)
    if recorder := observer():
        run = recorder.facts["arguments"].get("run")
        recorder.facts |= study_facts(study, run if run in study.networks else None)
    return study, Layout(study.name, study.data_name, study.headline)


def track_code(experiment, *functions: str) -> None:
    """Record the files of the user's own experiment as inputs of the command."""
    from nonnormal.files import track_input
    from nonnormal.study.results.provenance import own_files

    for path in own_files(experiment, *functions):
        track_input(Path(path))


def require_section(study_file: Path, study, section: str) -> None:
    """Refuse a study without the section."""
    if getattr(study, section) is None:
        raise ValueError(f"{study_file}: this study has no section {section}; add it with its settings")


def prepare_torch(device: str, threads: int) -> str:
    """Sets the number of threads; the device's name with "auto" resolved."""
    import torch
    from threadpoolctl import threadpool_limits

    if threads:
        torch.set_num_threads(threads)
        threadpool_limits(threads)  # of numpy's linear algebra, whose last digits depend on their number
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device: found {device!r}; allowed: cpu, cuda, auto")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: cuda requested, but torch finds no GPU")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
