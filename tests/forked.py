"""Commands of the command line as processes of their own, without the seconds in which they import their libraries."""

import importlib
import multiprocessing
import os
import pkgutil
import sys
from pathlib import Path

import torch

import nonnormal
from nonnormal.study import cli

for found in pkgutil.walk_packages(nonnormal.__path__, "nonnormal."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
torch.set_num_threads(1)


def run(folder: Path, arguments: list[str], log: Path) -> None:
    """What the process does: one command in the folder, its output into the log."""
    os.chdir(folder)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["nonnormal", *arguments]
    cli.main()


def context():
    """Where such processes come from: a server that has imported all, and has no threads yet."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["forked"])
    return found
