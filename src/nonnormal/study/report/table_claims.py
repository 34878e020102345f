"""What the source texts say, with verdicts: the claims, and below them the printed numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from nonnormal.study.report.claims import BY_TEST, NOT_TESTED, VERDICTS, Claims, described, judge, threshold

CLAIM, NUMBER = "claim", "number"
_COLUMNS = ("kind", "id", "source", "where", "statement", "measurement", "threshold", "data", "n")
_COLUMNS += ("value", "value_low", "value_high", "unit", "verdict", "reason")


def claims(
    stated: Claims, summary: pd.DataFrame, published: pd.DataFrame, study: str, names: Mapping[str, str]
) -> pd.DataFrame:
    """One row a claim, and one for each printed number of the sources that `stated.numbers` names.

    Args:
        stated: `paper/claims.yaml`.
        summary: rows of a study.
        published: `paper/references/published.csv`.
        study: its name.
        names: what the study calls fid, kid, precision and recall.

    Returns:
        DataFrame with `kind` (claim or number), `id`, `source`, `where`, `statement`, `measurement`, `threshold`,
        `data`, `n` (rows or comparisons), `value`, `value_low`, `value_high`, `unit`, `verdict`, `reason`.
    """
    table = []
    for claim in stated.claims:
        found = judge(claim, summary, study, names)
        row = {"kind": CLAIM, "id": claim.id, "source": claim.source, "where": claim.where}
        row |= {"statement": claim.statement, "verdict": found.verdict, "reason": found.reason}
        row |= {"measurement": ", ".join(claim.tested_by or ()), "data": ", ".join(found.data), "unit": found.unit}
        if claim.test:
            row |= {"measurement": described(claim.test, names), "threshold": threshold(claim.test)}
        if number := found.estimate:
            row |= {"n": number.n, "value": number.value, "value_low": number.low, "value_high": number.high}
        table.append(row)
    for entry in stated.numbers:
        for i, its in enumerate(published[published.key == entry.source].to_dict("records"), start=1):
            calls = "" if pd.isna(its["nfe"]) else f" with {its['nfe']:g} network calls"
            row = {"kind": NUMBER, "id": f"{entry.source}-{i}", "source": entry.source, "where": its["source"]}
            row |= {"statement": f"{its['model']}: {its['metric']} {its['value']}{calls}", "verdict": NOT_TESTED}
            table.append(row | {"data": "", "reason": f"{entry.untested} {its['dataset']}"})
    return pd.DataFrame(table, columns=_COLUMNS).astype({"n": "Int64"})


def readable_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The claims of a table of `claims` for reading."""
    table = _with_words(table)
    rows = table[table.kind == CLAIM].to_dict("records")
    columns = {
        "source": [row["source"] for row in rows],
        "measurement": [_measurement(row) for row in rows],
        "measured": [_measured(row) for row in rows],
        "threshold": [row["threshold"] if isinstance(row["threshold"], str) else "–" for row in rows],
        "verdict": [row["verdict"] for row in rows],
    }
    return pd.DataFrame(columns, index=pd.Index([row["statement"] for row in rows], name="claim"))


def readable_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers of a table of `claims` for reading."""
    table = _with_words(table)
    rows = table[table.kind == NUMBER].to_dict("records")
    columns = {"source": [row["source"] for row in rows], "verdict": [_verdict(row) for row in rows]}
    return pd.DataFrame(columns, index=pd.Index([row["statement"] for row in rows], name="printed number"))


def _with_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table with empty texts where a file has nothing."""
    words = ["measurement", "data", "unit", "reason"]
    return table.astype(dict.fromkeys(words, object)).fillna(dict.fromkeys(words, ""))


def counted(table: pd.DataFrame) -> str:
    """How many claims have which verdict, in words."""
    found = table[table.kind == CLAIM].verdict.value_counts()
    return ", ".join(f"{verdict}: {found[verdict]}" for verdict in VERDICTS if verdict in found)


def _measurement(row: Mapping) -> str:
    """Of tests the files alone."""
    if row["verdict"] != BY_TEST:
        return row["measurement"] or "–"
    return ", ".join(dict.fromkeys(name.split("::")[0] for name in row["measurement"].split(", ")))


def _measured(row: Mapping) -> str:
    """The number with its interval, or why there is none."""
    if pd.isna(row["value"]):
        return row["reason"] or "–"
    unit = {"1": "", "ratio": ", a ratio", "share": ", a share"}.get(row["unit"], f" {row['unit']}")
    value, low, high = (f"{row[key]:.3g}".replace("-", "−") for key in ("value", "value_low", "value_high"))
    return f"{value} ({low} to {high}){unit}"


def _verdict(row: Mapping) -> str:
    return f"{row['verdict']}, because {row['reason']}" if row["reason"] else row["verdict"]
