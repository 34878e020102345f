"""The Makefile, with stand-ins for Python and Snakemake: where it looks for files, and how it quotes their names."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
echo "$@" >> "$CALLS"
[ "$2" != venv ] || { mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/snakemake"; }
"""


@pytest.fixture
def make(tmp_path):
    """make(folder, *arguments): what it calls in a folder of that name with little else than the Makefile."""

    def run(name, *arguments):
        folder, python = tmp_path / name, tmp_path / "python"
        (folder / "config").mkdir(parents=True)
        (folder / "profiles/default").mkdir(parents=True)
        for file in ("Makefile", "pyproject.toml", "constraints.txt", "config/digits.yaml"):
            shutil.copy(ROOT / file, folder / file)
        subprocess.run(["git", "init", "--quiet", folder], check=True)  # `make clean` asks git what it keeps
        python.write_text(PYTHON)
        python.chmod(0o755)
        calls = tmp_path / "calls"
        environment = {**os.environ, "CALLS": str(calls)}
        command = ["make", f"PYTHON={python}", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return calls.read_text().splitlines(), folder

    return run


@pytest.mark.parametrize("name", ["plain", "with a blank", "it's quoted"])
def test_a_clone_may_lie_in_any_folder(make, name):
    calls, folder = make(name, "reproduce", "clean")
    assert [call.split()[:3] for call in calls[1:]] == [
        ["-m", "venv", ".venv"],
        ["-m", "pip", "install"],
        ["--workflow-profile", "profiles/default", "--configfile"],
    ]
    assert not (folder / ".venv").exists()
