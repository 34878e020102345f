"""Ledger: one row per claim over all kept studies, `results/claims.csv`, judged by the study that tests it best.

Among the studies with the rows, the best one has the narrowest interval; for a claim that compares trained networks, it
is among those with the most trainings. Neither the verdict nor the data set affects the choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nonnormal.data import DATASETS, Source, full_name
from nonnormal.files import read_json
from nonnormal.metrics import DISTANCES
from nonnormal.study.experiments.claims.judgement import BY_TEST, NOT_TESTED, Outcome, judge
from nonnormal.study.experiments.claims.stated import TRAINING, Claim, Claims
from nonnormal.study.experiments.claims.words import of_queries, threshold
from nonnormal.study.results.paths import remade
from nonnormal.study.results.summary import read_rows

COLUMNS = ("id", "source", "kind", "statement", "study", "unit", "trainings", "value", "low", "high", "value_unit")
COLUMNS += ("threshold", "verdict", "needs")


@dataclass(frozen=True)
class Kept:
    """A finished study: its name, its summary, and its names of fid, kid, precision and recall."""

    name: str
    summary: pd.DataFrame
    names: Mapping[str, str]


def read_kept(folder: Path) -> Kept:
    """The study whose summary.csv and study.json are in the folder.

    Raises:
        FileNotFoundError: one of them is missing.
        ValueError: one of them is damaged.
    """
    facts = read_json(folder / "study.json", remade(folder / "study.json"))
    inception = facts["features"]["kind"] == "inception"
    images = _images_name(facts["data"], facts.get("source", {}))
    names = {name: name if inception else f"{name}_{images}" for name in DISTANCES}
    return Kept(facts["name"], read_rows(folder / "summary.csv"), names)


def _images_name(data: str, source: Mapping[str, object]) -> str:
    """What distances are named after, as in `Study.images_name`; no module that the file names is imported."""
    return full_name(data, Source.model_validate(source)) if data in DATASETS else data.replace(":", "-")


def rank(unit: str, trainings: int, width: float) -> tuple[float, float]:
    """Least for the study that tests a claim of that unit best; width is that of its interval, NaN if it has none."""
    return -trainings if unit == TRAINING else 0, math.inf if math.isnan(width) else width


def best(found: Mapping[str, Outcome], unit: str) -> str | None:
    """The study that tests a claim of that unit best, from its outcomes in all studies; None if none measures it."""
    measured = {study: outcome for study, outcome in found.items() if outcome.verdict != NOT_TESTED}

    def place(study: str) -> tuple:
        number = measured[study].estimate
        return *rank(unit, measured[study].trainings, number.high - number.low if number else math.nan), study

    return min(measured, key=place, default=None)


def ledger(stated: Claims, studies: Iterable[Kept]) -> pd.DataFrame:
    """One row per claim, with `COLUMNS`; `study` is empty if a test verifies the claim or no study measures it."""
    studies = {each.name: each for each in studies}
    rows = []
    for claim in stated.claims:
        found = {name: judge(claim, each.summary, name, each.names) for name, each in studies.items()}
        rows.append(_row(claim, found))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"trainings": "Int64"})


def _row(claim: Claim, found: Mapping[str, Outcome]) -> dict[str, object]:
    row = claim.model_dump(include={"id", "source", "kind", "statement", "unit"})
    if claim.test:
        row |= {"threshold": threshold(claim.test)}
    if claim.tested_by:
        return row | {"verdict": BY_TEST}
    if (study := best(found, claim.unit)) is None:
        own = dict(zip(DISTANCES, DISTANCES, strict=True))
        needs = claim.untested or f"a study that measures {of_queries(claim.test.rows, own)}"
        return row | {"verdict": NOT_TESTED, "needs": needs}
    outcome = found[study]
    row |= {"study": study, "trainings": outcome.trainings, "value_unit": outcome.value_unit}
    if number := outcome.estimate:
        row |= {"value": number.value, "low": number.low, "high": number.high}
    return row | {"verdict": outcome.verdict, "needs": outcome.needs}
