"""A tiny study with every stage, made once without faults, and its commands as processes."""

import os
import time
from pathlib import Path

import forked
import yaml
from conftest import copy_project, shrink

from nonnormal.study.config import validate
from nonnormal.study.registry import experiments_of, jobs_of
from nonnormal.study.results.paths import Layout

LAYOUT = Layout("tiny", "digits")
RUNS = ("normal-normal", "laplace-laplace")
FILE = "config/tiny.yaml"
DESIGN, STATES = "columns", "psld"  # networks of the sections representations and phase_space
NETWORKS = (*RUNS, DESIGN, STATES)


def tiny() -> dict:
    """The smoke study with two runs and little else, but every kind of stage."""
    study = yaml.safe_load((Path(__file__).parents[2] / "config/smoke.yaml").read_text())
    study |= {"name": "tiny", "runs": {run: study["runs"][run] for run in RUNS}}
    study = shrink(study, iterations=12)
    study["sampling"]["batch_size"], study["evaluation"]["flow_tolerance"] = 16, None
    study["phase_space"]["tolerances"] = []
    for section, name in (("representations", DESIGN), ("phase_space", STATES)):
        study[section]["networks"] = {name: study[section]["networks"][name]}
    return study


def stages() -> dict[str, tuple[list[str], list[Path]]]:
    """Arguments and outputs by stage, in the order of the DAG."""
    one = ["--threads", "1"]
    found = {
        "data": (["data", "digits"], [LAYOUT.data]),
        "features": (["features", FILE, *one], [LAYOUT.features]),
    }
    for run in NETWORKS:
        train = ["train", FILE, "--run", run, *one]
        found[f"train {run}"] = train, [LAYOUT.weights(run), LAYOUT.log(run)]
    for run in RUNS:
        found[f"sample {run}"] = ["sample", FILE, "--run", run, *one], [LAYOUT.samples(run, 2)]
    for _, job in jobs_of(STUDY).values():
        for run in job.networks(STUDY) or [None]:
            named = ["--run", run] if run else []
            stage = f"{job.name} {run}" if run else job.name
            found[stage] = ["evaluate", job.name, FILE, *named, *one], job.outputs(LAYOUT, run)
    found["summary"] = ["summary", FILE], [LAYOUT.summary, LAYOUT.means, LAYOUT.provenance, LAYOUT.metrics]
    for experiment in experiments_of(STUDY):
        outputs = LAYOUT.figures([figure.name for figure in experiment.figures_of(STUDY)])
        outputs += LAYOUT.tables([table.name for table in experiment.tables])
        if outputs:
            found[f"show {experiment.name}"] = ["show", experiment.name, FILE], outputs
    return found | {"paper": (["paper", FILE], [LAYOUT.paper]), "page": (["page", FILE], [LAYOUT.page])}


STUDY = validate(tiny(), FILE)
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
    seconds = {}
    project.run(["--help"])  # which starts the server: its time is no stage's
    for stage in STAGES:
        start = time.monotonic()
        project.run(stage)
        seconds[stage] = time.monotonic() - start
    project.seconds, project.reference = seconds, project.contents()
    assert list(project.reference) == [str(path) for path in OUTPUTS]
    return project
