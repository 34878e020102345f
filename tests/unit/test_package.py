"""The package as others get it: what is in the wheel, what it depends on, and the library without the study."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest

from nonnormal.study import command
from nonnormal.study.report.page import TEMPLATES

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "src/nonnormal"
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
ABSENT = ("dvc", "itables", "nonnormal.study", "pandas", "seaborn", "snakemake", "tabulate", "typer", "typst")


def name_of(requirement):
    return re.sub("[-_.]+", "-", re.match("[A-Za-z0-9._-]+", requirement)[0]).lower()


def imported(folder, but=()):
    """Top-level packages that the files of a folder import."""
    found = set()
    for path in folder.rglob("*.py"):
        if any(path.is_relative_to(each) for each in but):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"nonnormal", "__future__"}


@pytest.mark.parametrize("wing", ["library", "study"])
def test_every_import_is_of_a_declared_package(wing):
    """By the wing itself, not by something that another package happens to bring."""
    study = PACKAGE / "study"
    declared = set(map(name_of, DECLARED["dependencies"]))
    modules = imported(PACKAGE, [study])
    if wing == "study":
        declared |= set(map(name_of, DECLARED["optional-dependencies"]["study"]))
        modules = imported(study)
    homes = importlib.metadata.packages_distributions()
    assert len(modules) > 10
    assert not {module for module in modules if not {name_of(home) for home in homes[module]} & declared}


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    """Built from a copy: a build writes beside what it builds."""
    shutil.copytree(PROJECT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, tmp_path / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(*(tmp_path / "dist").glob("*.whl")) as wheel:
        names = set(wheel.namelist())
        [metadata] = [wheel.read(name).decode() for name in names if name.endswith("/METADATA")]
        [entries] = [wheel.read(name).decode() for name in names if name.endswith("/entry_points.txt")]
    assert {name.partition("/")[0] for name in names} == {"nonnormal", f"nonnormal-{DECLARED['version']}.dist-info"}
    sources = {str(path.relative_to(PROJECT / "src")) for path in PACKAGE.rglob("*.py")}
    templates = {f"nonnormal/study/report/page/{name}" for name in TEMPLATES}
    assert {name for name in names if name.startswith("nonnormal/")} == sources | templates | {"nonnormal/py.typed"}
    assert "nonnormal = nonnormal.study.command:main" in entries
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert {name_of(line.removeprefix("Requires-Dist: ")) for line in needed} == set(
        map(name_of, DECLARED["dependencies"])
    )


def test_the_library_trains_without_the_study(tmp_path):
    """And without its packages; `make package-test` does the same with the wheel in an environment of its own."""
    script = f"""
        import runpy, sys
        from importlib.machinery import PathFinder

        class Installed(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name in {ABSENT} else PathFinder.find_spec(name, path, target)

        sys.meta_path[:] = [Installed if finder is PathFinder else finder for finder in sys.meta_path]
        runpy.run_path({str(PROJECT / "tests/package/own_loop.py")!r})
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "samples (16, 1, 8, 8)" in done.stdout


def test_the_command_without_its_packages_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name in ("pandas", "typer") else name)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: the command needs pandas, typer; in a clone: pip install '.[study]'\n"
    assert set(command.PACKAGES) <= set(map(name_of, DECLARED["optional-dependencies"]["study"]))
