"""The study behind the rules: checked before any job starts, with all defaults filled in."""

import json

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from nonnormal.files import write_json
from nonnormal.study.results.paths import (
    CROSSING_FIGURES,
    DESIGN_FIGURES,
    GEOMETRY_FIGURES,
    INVARIANCE_PARTS,
    RECIPE_FIGURES,
)
from nonnormal.study.results.paths import Layout, figures_of, network_files, tables_of
from nonnormal.study.report.page import needed, templates
from nonnormal.study.results.provenance import body, sources
from nonnormal.study.config import StudyError, read, validate as check_study

try:
    SAID = {str(path): read(path) for path in workflow.configfiles}  # Snakemake takes the last of a key given twice
    STUDY = check_study(config, SAID | ({"--config": given} if (given := workflow.config_settings.config) else {}))
except StudyError as error:
    raise WorkflowError(str(error)) from None
validate(STUDY.resolved, "../schemas/study.json", set_default=False)

LAYOUT = Layout(STUDY.name, STUDY.data_name, STUDY.headline)
RESOLVED = STUDY.with_code  # what rules declare: an edit of one's own step re-runs what it made
RUNS = list(STUDY.runs)
DESIGNS = list(STUDY.design_runs)
LOGS = LAYOUT.root / "logs"
BENCHMARKS = LAYOUT.root / "benchmarks"
GPUS = STUDY.resources.gpus or None  # of a training; None asks for none, some executors take 0 for a request
GPU = GPUS and 1  # of all other jobs, which have one process
ENVIRONMENT = "../envs/gpu.yaml" if GPUS else "../envs/cpu.yaml"


def growing(amount):
    """The amount once, twice and at most three times: what the first, second and each further attempt asks for."""
    return lambda wildcards, attempt: amount * min(attempt, 3)


def settings_of(section, *keys):
    """What the resolved study says of some keys of a section, of which a rule is made anew when one changes."""
    return [RESOLVED[section][key] for key in keys]


wildcard_constraints:
    run="|".join(STUDY.networks),
    n_steps=r"\d+",


# Commands read the study from a file that is no rule's input: each rule declares in its params the settings it uses, so
# a setting of one run concerns that run alone.
onstart:
    write_json(LAYOUT.study, STUDY.resolved)
