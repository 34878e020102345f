"""Command line: one command for each stage of the pipeline.

Commands read a study and find their files by `layout`; each writes its outputs completely or not at all. Heavy imports
stay inside the commands, so that `--help` and errors in a study file appear at once.
"""

from __future__ import annotations

import errno
import importlib.metadata
import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from nonnormal.study.cli import evaluate, make, pipeline, share, show
from nonnormal.study.registry import command_for
from nonnormal.study.results.paths import making

app = typer.Typer(
    help="Diffusion models with any step distribution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(importlib.metadata.version("nonnormal"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


app.add_typer(make.app)
app.add_typer(evaluate.app)
app.add_typer(show.app)
app.add_typer(share.app)
app.add_typer(pipeline.app)

# 75 is EX_TEMPFAIL of sysexits.h: nothing is wrong, try again. 74 is EX_IOERR: no room, or no right to write.
EXIT_CODES = {"TrainingDiverged": 3, "OSError": 74, "TrainingStopped": 75}


def main() -> None:
    """Run the command line. A user's mistakes print one line each and exit with code 2.

    Errors raised inside other libraries keep their traceback and exit with code 1.

    SIGTERM ends a command as an error does, so that no temporary file is left behind.
    """
    told = []

    def end(number: int, _) -> None:
        told.append(number)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # logs every glyph of a PDF
    try:
        try:
            app()
        except Exception:
            if told:  # torch turns an exit inside it into another error
                sys.exit(128 + told[0])
            raise
    except ValueError as error:
        if not _ours(error):
            raise
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except FileNotFoundError as error:
        print(f"error: {_absent(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        advice = "; make room and run the same command again" * (error.errno in (errno.ENOSPC, errno.EDQUOT))
        said = f"{error.filename}: {error.strerror}" if error.filename else error  # some libraries give only a text
        print(f"error: {said}{advice}", file=sys.stderr)
        sys.exit(EXIT_CODES["OSError"])
    except RuntimeError as error:
        if type(error).__name__ not in EXIT_CODES:
            raise
        code = EXIT_CODES[type(error).__name__]
        # The workflow does not retry a job whose log has an error; a training that was asked to stop has none.
        print("error: " * (code != EXIT_CODES["TrainingStopped"]) + str(error), file=sys.stderr)
        sys.exit(code)


def _absent(error: FileNotFoundError) -> str:
    """Message for a missing file; for a result, with the command that makes it."""
    if not error.filename:
        return str(error)
    absent, command = f"{error.filename}: there is no such file", command_for(error.filename)
    if Path(error.filename).parts[:1] not in (("data",), ("results",), ("paper",)):
        return absent
    ways = [*([command] if command else []), making(error.filename)]
    return f"{absent}; make it first: {', or '.join(ways)}"


def _ours(error: Exception) -> bool:
    """Whether this package raised the error itself, with a message for the user."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith("nonnormal.")
