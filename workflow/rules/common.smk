"""The study behind the rules: checked before any job starts, with all defaults filled in."""

import json

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from nonnormal.files import write_json
from nonnormal.study.registry import experiments_of, figures_of, jobs_of, parts, tables_of
from nonnormal.study.results.paths import Layout
from nonnormal.study.report.page import needed, templates
from nonnormal.study.results.provenance import body, digest
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
LOGS = LAYOUT.root / "logs"
BENCHMARKS = LAYOUT.root / "benchmarks"
GPUS = STUDY.resources.gpus or None  # of a training; None asks for none, some executors take 0 for a request
GPU = GPUS and 1  # of all other jobs, which have one process
ENVIRONMENT = "../envs/gpu.yaml" if GPUS else "../envs/cpu.yaml"


def growing(amount):
    """The amount once, twice and at most three times: what the first, second and each further attempt asks for."""
    return lambda wildcards, attempt: amount * min(attempt, 3)


def caption_of(kind, shown):
    """File of the caption of a figure or table, which the job that makes it writes, for Snakemake's report."""
    return str(LAYOUT.caption(kind, shown.name).resolve())


def settings_of(section, *keys):
    """The study's values of some keys of a section, of all where none is named: a change of one re-runs a rule."""
    found = RESOLVED[section] or {}
    return [found[key] for key in keys or found]


wildcard_constraints:
    run="|".join(STUDY.networks),


# Commands read the study from a file that is no rule's input: each rule declares in its params the settings it uses, so
# a setting of one run concerns that run alone.
onstart:
    write_json(LAYOUT.study, STUDY.resolved)
