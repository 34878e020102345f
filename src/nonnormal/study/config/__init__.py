"""Studies: what a study file may say, and the objects that its words stand for.

A study is one YAML file: a data set, default settings of a run, runs that differ from them in what they name, and how
samples and scores are made. `Study` and its settings are the single source of what is allowed; the JSON schema that
Snakemake validates against is exported from them (`nonnormal schema`).
"""

from nonnormal.study.config.reading import load, read, validate
from nonnormal.study.config.schema import json_schema
from nonnormal.study.config.study import Study, StudyError

__all__ = ["Study", "StudyError", "json_schema", "load", "read", "validate"]
