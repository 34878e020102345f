"""Claims of the source texts with verdicts, and below them the printed numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from nonnormal.files import track_input
from nonnormal.metrics import DISTANCES
from nonnormal.study.experiments.claims.judgement import BY_TEST, NOT_TESTED, VERDICTS, judge
from nonnormal.study.experiments.claims.ledger import rank
from nonnormal.study.experiments.claims.stated import EMPIRICAL, KINDS, Claims, load
from nonnormal.study.experiments.claims.words import described, threshold
from nonnormal.study.report.names import measurement_name, source_name
from nonnormal.study.report.text import read_numbers
from nonnormal.study.results.context import Context

NUMBER = "number"
_COLUMNS = (
    "kind",
    "id",
    "source",
    "where",
    "statement",
    "unit",
    "null_case",
    "measurement",
    "threshold",
    "study",
    "data",
    "n",
)
_COLUMNS += ("trainings", "value", "value_low", "value_high", "value_unit", "verdict", "needs", "reason")


def claims(
    stated: Claims, summary: pd.DataFrame, published: pd.DataFrame, study: str, names: Mapping[str, str]
) -> pd.DataFrame:
    """One row per claim, and one for each printed number of the sources that `stated.numbers` names.

    Args:
        stated: `paper/claims.yaml`.
        summary: rows of a study.
        published: `paper/references/published.csv`.
        study: its name.
        names: the study's names of fid, kid, precision and recall.

    Returns:
        DataFrame with `kind` (of the claim, or number), `id`, `source`, `where`, `statement`, `unit` (what is drawn
        anew), `null_case`, `measurement`, `threshold`, `study`, `data`, `n` (rows or comparisons), `trainings`,
        `value`, `value_low`, `value_high`, `value_unit`, `verdict`, `needs`, `reason`.
    """
    table = []
    for claim in stated.claims:
        found = judge(claim, summary, study, names)
        row = claim.model_dump(include={"kind", "id", "source", "where", "statement", "unit"})
        row |= {"verdict": found.verdict, "needs": found.needs, "reason": found.reason}
        row |= {"measurement": ", ".join(claim.tested_by or ()), "data": ", ".join(found.data)}
        row |= {"null_case": claim.null_case.statement if claim.null_case else "", "value_unit": found.value_unit}
        if claim.test:
            row |= {"measurement": described(claim.test, names), "threshold": threshold(claim.test)}
        if number := found.estimate:
            row |= {"study": study, "n": number.n, "trainings": found.trainings}
            row |= {"value": number.value, "value_low": number.low, "value_high": number.high}
        table.append(row)
    for entry in stated.numbers:
        for i, its in enumerate(published[published.key == entry.source].to_dict("records"), start=1):
            calls = "" if pd.isna(its["nfe"]) else f" with {its['nfe']:g} network calls"
            row = {"kind": NUMBER, "id": f"{entry.source}-{i}", "source": entry.source, "where": its["source"]}
            row |= {"statement": f"{its['model']}: {its['metric']} {its['value']}{calls}", "verdict": NOT_TESTED}
            table.append(row | {"data": "", "reason": f"{entry.untested} {its['dataset']}"})
    return pd.DataFrame(table, columns=_COLUMNS).astype({"n": "Int64", "trainings": "Int64"})


def with_better(table: pd.DataFrame, ledger: pd.DataFrame) -> pd.DataFrame:
    """A table of `claims` with rows from the ledger if its study tests a claim better (`rank`), or is the only one."""
    rows, known = table.to_dict("records"), ledger[ledger.study.notna()].set_index("id").to_dict("index")
    for row in rows:
        better = known.get(row["id"])
        if better is None or better["study"] == row["study"]:
            continue
        its = rank(row["unit"], better["trainings"], better["high"] - better["low"])
        if pd.notna(row["value"]) and rank(row["unit"], row["trainings"], row["value_high"] - row["value_low"]) <= its:
            continue
        row |= {name: better[name] for name in ("study", "trainings", "value", "value_unit", "verdict", "needs")}
        row |= {"value_low": better["low"], "value_high": better["high"], "reason": "", "n": pd.NA, "data": ""}
    return pd.DataFrame(rows, columns=table.columns).astype({"n": "Int64", "trainings": "Int64"})


def readable_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The claims of a table of `claims` for reading, empirical ones first."""
    table = _with_words(table)
    rows = sorted(table[table.kind != NUMBER].to_dict("records"), key=lambda row: KINDS.index(row["kind"]))
    several = len(set(table.study) - {""}) > 1
    columns = {
        "source": [source_name(row["source"]) for row in rows],
        "kind": [
            row["kind"] + (f", by {row['unit']}" if row["kind"] == EMPIRICAL and row["unit"] else "") for row in rows
        ],
        "measurement": [_measurement(row) for row in rows],
        "measured": [_measured(row) + f" in {row['study']}" * (several and row["study"] != "") for row in rows],
        "threshold": [row["threshold"] or "–" for row in rows],
        "verdict": [row["verdict"] + (f", needs {row['needs']}" if row["needs"] else "") for row in rows],
    }
    return pd.DataFrame(columns, index=pd.Index([row["statement"] for row in rows], name="claim"))


def readable_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers of a table of `claims` for reading, a row for those of a source with the same verdict."""
    table = _with_words(table)
    numbers = table[table.kind == NUMBER]
    reasons = [f", because {reason}" if reason else "" for reason in numbers.reason]
    numbers = numbers.assign(verdict=numbers.verdict + reasons)
    rows = numbers.groupby(["source", "verdict"], sort=False).statement.agg("; ".join).reset_index()
    columns = {"source": [*map(source_name, rows.source)], "verdict": [*rows.verdict]}
    return pd.DataFrame(columns, index=pd.Index([*rows.statement], name="printed numbers"))


def _with_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table with empty texts for missing cells of a file."""
    words = ["unit", "null_case", "measurement", "threshold", "study", "data", "value_unit", "needs", "reason"]
    words = [name for name in words if name in table]
    return table.astype(dict.fromkeys(words, object)).fillna(dict.fromkeys(words, ""))


def counted(table: pd.DataFrame) -> str:
    """Number of empirical claims by verdict, in words."""
    found = table[table.kind == EMPIRICAL].verdict.value_counts()
    return ", ".join(f"{verdict}: {found[verdict]}" for verdict in VERDICTS if verdict in found)


def _measurement(row: Mapping) -> str:
    """Tests, with the names of their files only."""
    if row["verdict"] != BY_TEST:
        return measurement_name(row["measurement"]) or "–"
    return ", ".join(dict.fromkeys(name.split("::")[0] for name in row["measurement"].split(", ")))


def _measured(row: Mapping) -> str:
    """The number with its interval and its number of trainings, or the reason why there is none."""
    if pd.isna(row["value"]):
        return row["reason"] or "–"
    unit = {"1": "", "share": "", "ratio": ", a ratio"}.get(row["value_unit"], f" {row['value_unit']}")
    value, low, high = (f"{row[key]:.3g}".replace("-", "−") for key in ("value", "value_low", "value_high"))
    trainings = f", {row['trainings']:.0f} trainings" if row["trainings"] > 1 else ""
    return f"{value} ({low} to {high}){unit}{trainings}"


def claims_of(context: Context) -> pd.DataFrame:
    """The claims judged by the study; in a headline study also by another one that tests them better."""
    names = {distance: context.study.metric(distance) for distance in DISTANCES}
    table = claims(load(), context.rows, context.published, context.study.name, names)
    for path in context.layout.ledger:
        table = with_better(table, read_numbers(track_input(path)))
    return table


def readable(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(claims, printed numbers) for reading."""
    return readable_claims(table), readable_numbers(table)
