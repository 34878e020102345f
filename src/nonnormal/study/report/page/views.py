"""Views: numbers of the page that belong together, by claim, by part of the study, and two runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.experiments.claims import judgement, stated
from nonnormal.study.registry import experiments_of
from nonnormal.study.report.page.numbers import conditions, told
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.summary import CONDITIONS, read_table
from nonnormal.study.results.trainings import differences

_NOT_TOLD = {"against", "limit", "of_run", "of_other"}  # of two runs side by side, which may differ in them


def of_claims(study: Study, numbers: pd.DataFrame) -> dict[str, list[int]]:
    """Places of the rows that test each claim, by the claim's id; none for claims without rows in the study.

    Args:
        numbers: those of the page, one row for all trainings of a run.
    """
    names = {distance: study.metric(distance) for distance in stated.DISTANCES}
    numbers = numbers.reset_index(drop=True)
    found = {claim.id: judgement.rows_of(claim, numbers, names).to_list() for claim in stated.load().claims}
    return {name: rows for name, rows in found.items() if rows}


def presets(study: Study, numbers: pd.DataFrame, parts: Mapping[str, str]) -> dict[str, list[int]]:
    """Places of rows by title: the table of pairs that the source prints, then each experiment's numbers.

    Args:
        numbers: those of the page.
        parts: experiment by metric, `metrics_of`.
    """
    found = {}
    if study.runs:
        timesteps = numbers.run.map({name: run.training.timesteps for name, run in study.runs.items()})
        bounds = (
            (numbers.metric == "bpd_total") & (numbers["T"] == timesteps) & numbers.bound.isin(("native", "normal"))
        )
        samples = (numbers.metric == study.metric("fid")) & (numbers.nfe == study.headline_steps)
        found["Table 2 of Li (2024): the pairs"] = bounds | (samples & numbers.run.isin(study.runs))
    for experiment in experiments_of(study):
        found[experiment.title] = numbers.metric.map(parts) == experiment.name
    places = {title: np.flatnonzero(chosen.fillna(False)).tolist() for title, chosen in found.items()}
    return {title: rows for title, rows in places.items() if rows}


def metrics_of(study: Study, layout: Layout) -> dict[str, str]:
    """Name of the experiment that measures each metric, from the rows that its jobs wrote, as far as they are there."""
    return {
        metric: experiment.name
        for experiment in experiments_of(study)
        for job in experiment.jobs_of(study)
        if job.rows
        for path in (layout.rows(job.name, run) for run in job.networks(study) or [None])
        if path.is_file()
        for metric in read_table(path).metric.unique()
    }


def compared(
    study: Study, rows: pd.DataFrame, numbers: pd.DataFrame, common: Mapping[str, Any]
) -> dict[str, list[list[Any]]]:
    """Two runs of one experiment side by side, by "run|other" for each pair of runs that share numbers.

    Args:
        rows: of the summary, one a training.
        numbers: those of the page.
        common: conditions that the page tells once.

    Returns:
        Of each number that both have: metric, number of the run, of the other, difference with its interval (low,
        high), unit, calls, conditions. Differences that the study itself took, seed by seed, come last, without the
        numbers of the runs.
    """
    found = {}
    names = dict.fromkeys(map(run_of, study.networks))
    for other, run in combinations(names, 2):  # the later run minus the earlier
        if study.owner(run) == study.owner(other):
            paired = numbers[(numbers.run == run) & (numbers.against == other)]
            seen = differences(_without_own(rows, run, other), run, other)
            seen = seen.assign(trainings=seen.trainings.mask(seen.trainings == 1).astype("Int64"))
            if lines := [*_lines(seen, common), *_lines(paired.assign(step=None), common)]:
                found[f"{run}|{other}"] = lines
    return found


def _without_own(rows: pd.DataFrame, run: str, other: str) -> pd.DataFrame:
    """Rows of two runs without the conditions that are a run's own: its basis where it has one alone, and so on."""
    rows = rows[rows.run.isin((run, other))]
    groups = rows.groupby(["run", "metric"])
    own = [name for name in CONDITIONS if name != "against" and (groups[name].nunique(dropna=False) < 2).all()]
    return rows.assign(**dict.fromkeys(own))


def _lines(rows: pd.DataFrame, common: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Lines of `compared`, of which those with equal numbers are one."""
    rows = rows.astype(object)
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows.where(rows.notna(), None).to_dict("records"):
        numbers = [row.get(name) for name in ("of_run", "of_other", "value", "low", "high")]
        numbers = [None if number is None else float(f"{number:.6g}") for number in numbers]
        calls = None if row["nfe"] is None else int(row["nfe"])
        its = {name: value for name, value in row.items() if name not in _NOT_TOLD}
        found.setdefault((row["metric"], *numbers, row["unit"], calls), []).append(conditions(its, common))
    return ([*key, told(alike)] for key, alike in found.items())
