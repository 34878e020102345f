"""The study behind the rules: checked before any job starts, with all defaults filled in."""

import json
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job
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
ELSEWHERE = {each.section for each in STUDY.known if not each.is_packaged}  # sections that the schema has not
OURS = {key: value for key, value in STUDY.resolved.items() if key not in ELSEWHERE}
validate(OURS, "../schemas/study.json", set_default=False)

LAYOUT = Layout(STUDY.name, STUDY.data_name, STUDY.headline)
RESOLVED = STUDY.with_code  # what rules declare: an edit of one's own step re-runs what it made
RUNS = list(STUDY.runs)
LOGS = LAYOUT.root / "logs"
BENCHMARKS = LAYOUT.root / "benchmarks"
GPUS = STUDY.resources.gpus or None  # of a training; None asks for none, some executors take 0 for a request
GPU = GPUS and 1  # of all other jobs, which have one process
ENVIRONMENT = "../envs/gpu.yaml" if GPUS else "../envs/cpu.yaml"


def retries_of(job):
    """How often a job may start again: never if its log has an error of the command, which would end the same again.

    A training that was told to stop (code 75) and a job that was killed, e.g. for its memory, have no such line.
    """
    said = [Path(log).read_text(errors="replace") for log in job.log if Path(log).is_file()]
    failed = any(line.startswith("error: ") for text in said for line in text.splitlines())
    return 0 if failed else job.rule.restart_times


# Snakemake itself retries whatever the exit code is, and has no setting for it.
Job.restart_times = property(retries_of)


def growing(amount):
    """The amount once, twice and at most three times: what the first, second and each further attempt asks for."""
    return lambda wildcards, attempt: amount * min(attempt, 3)


def caption_of(kind, shown):
    """File of the caption of a figure or table, which the job that makes it writes, for Snakemake's report."""
    return str(LAYOUT.caption(kind, shown.name).resolve())


def inputs_of(job):
    """The files that a job reads, by its network."""
    if not job.each:
        return job.inputs(STUDY, LAYOUT, job.network(STUDY))
    return lambda wildcards: job.inputs(STUDY, LAYOUT, wildcards.run)


def settings_of(section, *keys):
    """The study's values of some keys of a section, of all where none is named: a change of one re-runs a rule."""
    found = RESOLVED[section] or {}
    return [found[key] for key in keys or found]


wildcard_constraints:
    run="|".join(map(re.escape, STUDY.networks)),


# Commands read the study from a file that is no rule's input: each rule declares in its params the settings it uses, so
# a setting of one run concerns that run alone.
onstart:
    write_json(LAYOUT.study, STUDY.resolved)
