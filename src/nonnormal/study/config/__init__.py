"""Studies: the keys and values of a study file, and the objects that they describe.

A study is one YAML file: a data set, default settings of a run, runs that replace some of them, and how samples and
scores are made. `Study`, its settings and those of the experiments are the only place that defines what is allowed;
the JSON schema is exported from them (`nonnormal schema`).

The names below are loaded on first use, since the settings of an experiment need some of these modules, and the study
needs those settings.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nonnormal.study.config.reading import load, read, validate
    from nonnormal.study.config.schema import json_schema
    from nonnormal.study.config.study import Study, StudyError

_HOME = {
    "Study": "study",
    "StudyError": "study",
    "json_schema": "schema",
    "load": "reading",
    "read": "reading",
    "validate": "reading",
}
__all__ = ["Study", "StudyError", "json_schema", "load", "read", "validate"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
