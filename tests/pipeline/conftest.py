"""A copy of the project in an empty folder, and the commands of its users in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from forks import forked

from nonnormal.study.results.paths import BORROWED

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Workspace:
    """A folder with the workflow, in which commands run as a user would run them.

    `commands` is the folder of `nonnormal` and `snakemake`: those that are installed, or forks, which start at once.
    """

    folder: Path
    commands: Path = BIN

    @property
    def installed(self) -> Workspace:
        """The same with the commands that are installed."""
        return replace(self, commands=BIN)

    def __call__(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        """Runs a command to its end; stdout and stderr together in `.stdout`."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,  # a busy machine is slow, a hung one is slower
        )
        assert not check or done.returncode == 0, done.stdout[-4000:]
        return done

    def start(self, *command: str) -> subprocess.Popen:
        """Starts an installed command, whose process takes signals itself, and returns at once."""
        environment, nowhere = self.installed.environment(), subprocess.DEVNULL
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=nowhere, stderr=nowhere)

    def environment(self, **extra: str) -> dict[str, str]:
        path = os.pathsep.join([str(self.commands), str(BIN), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PROFILE": "default", "DVC_NO_ANALYTICS": "1", **extra}

    def planned(self, *arguments: str) -> set[str]:
        """Rules, with their wildcards, that a dry run would run: {"train run=normal-normal", "paper", …}."""
        output = self("snakemake", "--dry-run", *arguments).stdout
        jobs, rule = set(), ""
        for line in output.splitlines():
            if line.startswith(("rule ", "localrule ")):
                rule = line.split()[1].rstrip(":")
                jobs.add(rule)
            elif line.strip().startswith("wildcards:"):
                jobs.discard(rule)
                jobs.add(f"{rule} {line.split(':', 1)[1].strip()}")
        return jobs - {"all"}

    def study(self) -> dict:
        """The default study's file."""
        return yaml.safe_load((self.folder / "config/digits.yaml").read_text())

    def write_study(self, study: dict) -> None:
        """Replaces the default study's file."""
        (self.folder / "config/digits.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def copy_project(folder: Path) -> Workspace:
    """Copies what a clone holds, except the package, which is imported from where it is installed."""
    for name in ("Snakefile", "dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder / name)
    for name in ("workflow", "config", "src", "paper/references", "paper/sections"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    photographs, files = BORROWED["photographs"]
    for name in ("paper/paper.typ", "paper/claims.yaml", *(photographs / name for name in files)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    (folder / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore"):
        shutil.copy(PROJECT / name, folder / name)
    return Workspace(folder)


def shrink(study: dict, iterations: int) -> dict:
    """Cut down everything that costs time; runs, names and files stay."""
    study["defaults"]["training"] |= {"timesteps": 3, "iterations": iterations, "batch_size": 8}
    study["defaults"]["training"] |= {"checkpoint_every": 2, "log_every": 2}
    study["features"] = {"epochs": 1}
    study["sampling"] = {"n_images": 16, "nfe": [2]}
    study["evaluation"] = {"n_images": 8, "timesteps": [2], "n_evaluations": 2, "flow_tolerance": 1e-4, "bootstrap": 10}
    law = {"points": 256, "n_paths": 100, "n_samples": 100}
    study["convergence"] = {"step_families": ["normal", "gumbel"], "timesteps": [2, 4], **law}
    study["step_swap"] = {"step_families": ["normal", "rademacher"], "nfe": [2], "n_images": 8}
    study["geometry"] = {"n_images": 8, "n_levels": 4, "nfe": [3], "step_families": ["laplace"]}
    study["geometry"] |= {"ancestral_nfe": [2], "n_paths": 4}
    study["representations"] |= {"n_images": 8, "nfe": [2]}
    counts = {"nfe": [3], "step_nfe": [3], "n_images": 8, "n_bounds": 2, "bound_timesteps": 2, "law_timesteps": [2]}
    study["phase_space"] |= counts | {"samplers": ["sscs"], "n_samples": 100}
    study["ablation"] |= {"nfe": [2], "n_images": 8, "bound_timesteps": [2]}
    return study


def miniature(study: dict) -> dict:
    """The default study, shrunk."""
    study = shrink(study, iterations=6)
    study["defaults"]["network"] |= {"widths": [8, 16], "groups": 4, "fourier": [3]}
    for run in study["representations"]["networks"].values():
        run["training"] = {}
    study["phase_space"] |= {"comparisons": [], "step_families": ["normal", "laplace"]}
    study["phase_space"]["processes"] = {"vp-sde": {"kind": "vp_sde"}, "psld-0.01": {"kind": "psld"}}
    study["ablation"] |= {"step_families": ["laplace"], "n_bounds": 2, "bases": {"haar": {"kind": "haar"}}}
    study["ablation"]["processes"] = {"cld": {"kind": "psld", "friction_x": 0}}
    return study


@pytest.fixture(scope="session")
def forks():
    """Folder of commands that start at once."""
    with forked() as folder:
        yield folder


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A fresh copy in which nothing has been made."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def new_workspace(tmp_path_factory):
    """Makes fresh copies for fixtures that live longer than a test."""
    return lambda: copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(new_workspace, forks) -> Workspace:
    """A copy in which the miniature of the default study was made by `dvc repro`, under git."""
    space = replace(new_workspace(), commands=forks)
    space.write_study(miniature(space.study()))
    space("nonnormal", "dvc", "config/digits.yaml")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    space("git", "init", "--quiet")
    space("git", "add", "--all")
    space("git", *identity, "commit", "--quiet", "--message", "start")
    space("dvc", "repro", "--quiet")
    return space


@pytest.fixture
def browser():
    """A real browser without a window; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (program and driver):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # No sandbox, since tests may run as root; the page is the pipeline's own. Reduced motion, which the page respects:
    # while it scrolls smoothly, what is clicked moves away.
    arguments = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1200")
    for argument in (*arguments, "--force-prefers-reduced-motion"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    found.implicitly_wait(20)
    yield found
    found.quit()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The tiny study, made once without faults for all files of tests that try some."""
    import tiny  # which imports all that commands do

    return tiny.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(made):
    """The tiny study; afterwards it is as it was."""
    yield made
    for path, content in made.reference.items():
        if not (made.folder / path).exists() or (made.folder / path).read_bytes() != content:
            (made.folder / path).write_bytes(content)
