"""Numbers of the page: tables for reading with what they are sorted by, and the whole summary in few bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nonnormal.study.results.summary import COLUMNS

NONE = "–"  # of a cell without a number
_SHORT, _LONG = 26, 40  # characters that a column of numbers has at most, and a column of prose at least
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")
_NUMBER = re.compile(r"([+−-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?:\s|$)")


@dataclass(frozen=True)
class Table:
    """A table for reading.

    Attributes:
        head: titles of the columns.
        kinds: what each column holds: "number", "prose" (long texts), or "".
        body: (text, number to sort by or None) by row and column.
    """

    head: list[str]
    kinds: list[str]
    body: list[list[tuple[str, float | None]]]


def laid_out(readable: pd.DataFrame) -> Table:
    """A table of strings with its index as first column; a column sorts by numbers if each text begins so.

    Columns may have the same title.
    """
    columns = [[*map(str, texts)] for texts in (readable.index, *readable.to_numpy().T)]
    numbers = [_numbers(texts) for texts in columns]
    cells = [[*zip(*pair, strict=True)] for pair in zip(columns, numbers, strict=True)]
    head = [readable.index.name or "", *map(str, readable.columns)]
    return Table(head, [*map(_kind, columns, numbers)], [[*row] for row in zip(*cells, strict=True)])


def _kind(texts: list[str], numbers: list[float | None]) -> str:
    longest = max(map(len, texts), default=0)
    if longest <= _SHORT and any(number is not None for number in numbers):
        return "number"
    return "prose" if longest > _LONG else ""


def _numbers(texts: list[str]) -> list[float | None]:
    """The number that each text begins with; all None unless all texts but those that say nothing do."""
    found = [_NUMBER.match(text) for text in texts]
    if any(match is None and text != NONE for match, text in zip(found, texts, strict=True)):
        return [None] * len(texts)
    return [match and float(match[1].replace("−", "-")) for match in found]


def packed(summary: pd.DataFrame, common: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """(All rows of a summary as JSON values, the place there of each row): words are numbered, numbers have six digits.

    A run's rows with equal numbers are one, which has the conditions of all: its native bound is its normal one where
    both steps are normal, for example.

    Args:
        summary: rows of a study.
        common: conditions that the page tells once, and of no row that has them.

    Returns:
        `metrics`, `runs`, `units` and `conditions`, lists of words; `rows`, each [metric, run, value, low, high, unit,
        n, network calls, conditions], of which run, n and calls may be None.
    """
    words: dict[str, dict[Any, int]] = {name: {} for name in ("metrics", "runs", "units", "conditions")}

    def number(kind: str, word: Any) -> int:
        return words[kind].setdefault(word, len(words[kind]))

    found: dict[tuple[Any, ...], tuple[int, list[dict[str, Any]]]] = {}  # place and conditions, by all numbers
    places = []
    for row in summary.astype(object).where(summary.notna(), None).to_dict("records"):
        run = row["run"] and number("runs", row["run"])
        values = [None if row[key] is None else float(f"{row[key]:.6g}") for key in ("value", "low", "high")]
        counts = [None if row[key] is None else int(row[key]) for key in ("n", "nfe")]
        numbers = (number("metrics", row["metric"]), run, *values, number("units", row["unit"]), *counts)
        its = conditions(row, common)
        place, alike = found.setdefault((*numbers, told([its]) if run is None else None), (len(found), []))
        alike.append(its)
        places.append(place)
    rows = [[*key[:-1], number("conditions", told(alike))] for key, (_, alike) in found.items()]
    return {kind: [*known] for kind, known in words.items()} | {"rows": rows}, places


def conditions(row: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions of a row but the common ones; of a row without a run its steps, too."""
    left_out = COLUMNS.keys() - ({"q", "p"} if row["run"] is None else set())
    found = {key: value for key, value in row.items() if key not in left_out and value is not None}
    return {key: value for key, value in found.items() if key not in common or common[key] != value}


def told(alike: Sequence[Mapping[str, Any]]) -> str:
    """Conditions of one row, or of several with equal numbers, in words; of digests the first digits."""
    values: dict[str, dict[str, None]] = {}
    for each in alike:
        for key, value in each.items():
            values.setdefault(key, {})[str(value)] = None
    return _DIGEST.sub(r"\1…", ", ".join(f"{key} {' or '.join(its)}" for key, its in values.items()))
