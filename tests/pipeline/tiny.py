"""A tiny study with every stage, made once without faults, and its commands as processes."""

import json
import os
import time
from pathlib import Path

import forked
import yaml
from conftest import copy_project

from nonnormal.study.config import load
from nonnormal.study.results import paths as layout
from nonnormal.study.results.paths import FIGURE_FORMATS, INVARIANCE_PARTS, TABLE_FORMATS, Layout

LAYOUT = Layout("tiny", "digits")
RUNS = ("normal-normal", "laplace-laplace")
FILE = "config/tiny.yaml"
DESIGN, STATES = "columns", "psld"  # networks of the sections designs and recipe
NETWORKS = (*RUNS, DESIGN, STATES)
# Those of the sections that it has.
FIGURES = [name for name in layout.FIGURES if name not in layout.PRETRAINED_FIGURES]
TABLES = [name for name in layout.TABLES if name != "pretrained"]


def tiny() -> dict:
    """The smoke study with two runs and little else, but every kind of stage."""
    study = yaml.safe_load((Path(__file__).parents[2] / "config/smoke.yaml").read_text())
    study |= {"name": "tiny", "runs": {run: study["runs"][run] for run in RUNS}, "features": {"epochs": 1}}
    study["defaults"]["training"] |= {"n_steps": 3, "steps": 12, "batch_size": 8, "checkpoint_every": 2, "log_every": 2}
    study["sampling"] = {"n_images": 16, "n_steps": [2], "batch_size": 16}
    study["evaluation"] = {"n_images": 8, "n_steps": [2], "n_evaluations": 2, "flow_tolerance": None, "bootstrap": 10}
    law = {"points": 256, "n_paths": 100, "n_samples": 100}
    study["invariance"] = {"steps": ["normal", "gumbel"], "n_steps": [2, 4], **law}
    study["exchange"] = {"steps": ["normal", "rademacher"], "n_steps": [2], "n_images": 8}
    study["geometry"] = {"n_images": 8, "n_levels": 4, "nfe": [3], "steps": ["laplace"], "n_steps": [2], "n_paths": 4}
    study["designs"] |= {"n_images": 8, "n_steps": [2], "runs": {DESIGN: study["designs"]["runs"][DESIGN]}}
    counts = {"nfe": [3], "step_nfe": [3], "n_images": 8, "n_bounds": 2, "bound_steps": 2, "law_steps": [2]}
    study["recipe"] |= counts | {"samplers": ["sscs"], "tolerances": [], "n_samples": 100}
    study["recipe"]["networks"] = {STATES: study["recipe"]["networks"][STATES]}
    study["crossing"] |= {"n_steps": [2], "n_images": 8, "bound_steps": [2]}
    return study


def stages() -> dict[str, tuple[list[str], list[Path]]]:
    """Arguments and outputs by stage, in the order of the DAG."""
    one = ["--threads", "1"]
    found = {
        "data": (["data", "digits"], [LAYOUT.data]),
        "features": (["features", FILE, *one], [LAYOUT.features]),
        "style": (["evaluate", "style", FILE, *one], [LAYOUT.style]),
        "geometry": (["evaluate", "geometry", FILE, *one], [LAYOUT.geometry, LAYOUT.trajectories]),
        f"design {DESIGN}": (["evaluate", "design", FILE, "--run", DESIGN, *one], [LAYOUT.design(DESIGN)]),
        "extend": (["extend", FILE, *one], [LAYOUT.extension]),
        "recipe-law": (["evaluate", "recipe-law", FILE], [LAYOUT.recipe_law]),
        "crossing": (["evaluate", "crossing", FILE, *one], [LAYOUT.crossing, LAYOUT.crossing_samples]),
        "summary": (["evaluate", "summary", FILE], [LAYOUT.summary, LAYOUT.provenance, LAYOUT.metrics]),
        "paper": (["paper", FILE], [LAYOUT.paper]),
        "page": (["page", FILE], [LAYOUT.page]),
    }
    for run in NETWORKS:
        train = ["train", FILE, "--run", run, *one]
        found[f"train {run}"] = train, [LAYOUT.weights(run), LAYOUT.log(run)]
    for run in (RUNS[0], STATES):
        found[f"recipe {run}"] = ["evaluate", "recipe", FILE, "--run", run, *one], [LAYOUT.recipe(run)]
    for run in RUNS:
        this = [FILE, "--run", run, *one]
        found |= {
            f"sample {run}": (["sample", *this, "--n-steps", "2"], [LAYOUT.samples(run, 2)]),
            f"bounds {run}": (["evaluate", "bounds", *this], [LAYOUT.bounds(run)]),
            f"fidelity {run}": (["evaluate", "fidelity", *this], [LAYOUT.fidelity(run)]),
            f"exchange {run}": (["evaluate", "exchange", *this], [LAYOUT.exchange(run)]),
        }
    for part in INVARIANCE_PARTS:
        found[f"invariance {part}"] = (["evaluate", "invariance", FILE, "--part", part], [LAYOUT.invariance(part)])
    for name in FIGURES:
        outputs = [LAYOUT.figure(name, extension) for extension in FIGURE_FORMATS]
        found[f"figure {name}"] = (["figure", FILE, "--name", name], outputs)
    for name in TABLES:
        outputs = [LAYOUT.table(name, extension) for extension in TABLE_FORMATS]
        found[f"table {name}"] = (["table", FILE, "--name", name], outputs)
    order = ["data", "features", "train", "sample", "bounds", "fidelity", "exchange", "style", "invariance", "geometry"]
    order += ["design", "extend", "recipe", "recipe-law", "crossing", "summary", "figure", "table", "paper", "page"]
    return dict(sorted(found.items(), key=lambda entry: order.index(entry[0].split()[0])))


STAGES = stages()
OUTPUTS = [output for _, outputs in STAGES.values() for output in outputs]


class Project:
    """A folder with the tiny study, and its commands as processes."""

    def __init__(self, folder: Path, context):
        self.folder, self.context = folder, context
        self.log = folder / "command.log"

    def start(self, arguments: list[str]):
        process = self.context.Process(target=forked.run, args=(self.folder, arguments, self.log))
        process.start()
        return process

    def run(self, stage: str | list[str], code: int = 0) -> str:
        """Runs a stage, or a command, to its end; what it says."""
        process = self.start(STAGES[stage][0] if isinstance(stage, str) else stage)
        process.join(600)
        said = self.log.read_text()
        assert process.exitcode == code, (stage, process.exitcode, said[-3000:])
        assert "Traceback" not in said
        return said

    def contents(self, outputs: list[Path] = OUTPUTS) -> dict[str, bytes]:
        return {str(path): (self.folder / path).read_bytes() for path in outputs if (self.folder / path).exists()}

    def remove(self, stage: str) -> None:
        for output in STAGES[stage][1]:
            (self.folder / output).unlink(missing_ok=True)

    def temporary_files(self) -> list[str]:
        """What a write in progress, or one that was killed, has beside its target."""
        walked = (entry for name in ("data", "results") for entry in os.walk(self.folder / name))
        return [f"{at}/{name}" for at, folders, files in walked for name in (*folders, *files) if name.startswith(".")]


def new_project(folder: Path) -> Path:
    space = copy_project(folder)
    (space.folder / FILE).write_text(yaml.safe_dump(tiny(), sort_keys=False))
    return space.folder


def make(folder: Path) -> Project:
    """The tiny study made by its commands in turn; contents by path and seconds by stage of a run without faults."""
    project = Project(new_project(folder), forked.context())
    (project.folder / LAYOUT.root).mkdir(parents=True)
    (project.folder / LAYOUT.study).write_text(
        json.dumps(load(project.folder / FILE).resolved, indent=2, ensure_ascii=False) + "\n"
    )
    seconds = {}
    project.run(["--help"])  # which starts the server: its time is no stage's
    for stage in STAGES:
        start = time.monotonic()
        project.run(stage)
        seconds[stage] = time.monotonic() - start
    project.seconds, project.reference = seconds, project.contents()
    assert list(project.reference) == [str(path) for path in OUTPUTS]
    return project
