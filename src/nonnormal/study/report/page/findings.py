"""Findings: the claims of a study as the page shows them, first those that were decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nonnormal.study.experiments.claims.judgement import FAILS, HOLDS, VERDICTS
from nonnormal.study.experiments.claims.stated import EMPIRICAL, KINDS
from nonnormal.study.experiments.claims.tables import NUMBER, readable_claims

SHOWN = 6  # findings on the first screen


def claims_of(table: pd.DataFrame, views: Mapping[str, list[int]], parts: Mapping[int, str]) -> list[dict[str, Any]]:
    """Claims of a table of `claims.tables.claims`, empirical ones first, each with what the page says of it.

    Args:
        views: places of the rows that test a claim, by its id.
        parts: experiment by place of a row.
    """
    claims = table[table.kind != NUMBER].sort_values("kind", key=lambda kinds: kinds.map(KINDS.index), kind="stable")
    claims = claims.assign(measured=[*readable_claims(claims).measured])
    claims = claims.astype(object).where(claims.notna(), None)
    found = []
    for row in claims.to_dict("records"):
        rows = views.get(row["id"], [])
        found.append(row | {"rows": len(rows), "part": next((parts[place] for place in rows if place in parts), None)})
    return found


def findings_of(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first empirical claims that were decided: those of the most trainings first, else in the order they stand."""
    decided = [claim for claim in claims if claim["kind"] == EMPIRICAL and claim["verdict"] in (HOLDS, FAILS)]
    return sorted(decided, key=lambda claim: -(claim["trainings"] or 0))[:SHOWN]


def counts_of(claims: list[dict[str, Any]]) -> dict[str, int]:
    """How many empirical claims have which verdict."""
    verdicts = [claim["verdict"] for claim in claims if claim["kind"] == EMPIRICAL]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
