"""Claims: what the source texts say, measured in a study's summary against thresholds that follow from the statements.

`paper/claims.yaml` says what is claimed, which rows test it and what they must satisfy. The verdict follows from the
95 % interval: a claim holds if all of it satisfies the threshold, fails if none of it does, and is undecided otherwise.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from nonnormal.files import track_input
from nonnormal.metrics import DISTANCES
from nonnormal.metrics.intervals import Estimate, proportion_interval
from nonnormal.study.config.values import Settings

FILE = Path("paper/claims.yaml")
HOLDS, FAILS, UNDECIDED, BY_TEST, NOT_TESTED = VERDICTS = ("holds", "fails", "undecided", "by test", "not tested here")

Source = Literal[
    *("li2024", "gerdes2024", "chen2023", "chen2024", "pandey2023"),
    *("bao2022", "ou2024", "guo2023", "gabbur2023"),
]
Text = Annotated[str, Field(min_length=1)]
Row = Mapping[str, Any]


def _query(text: str) -> str:
    if "__" in text or "@" in text:
        raise ValueError("may hold neither __ nor @")
    try:
        ast.parse(text.format_map(dict.fromkeys(DISTANCES, "")), mode="eval")
    except (KeyError, ValueError, IndexError, AttributeError):
        raise ValueError(f"braces may hold one of {', '.join(DISTANCES)}") from None
    except SyntaxError:
        raise ValueError("is no expression for pandas.DataFrame.query") from None
    return text


Query = Annotated[Text, AfterValidator(_query)]
Queries = Annotated[
    tuple[Query, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    Field(min_length=1),
]
"""Expressions for `pandas.DataFrame.query`, each on the rows that the one before it leaves, the first on the summary;
{fid}, {kid}, {precision} and {recall} stand for what the study calls them."""

# ---- the file --------------------------------------------------------------------------------------------------------


class Measurement(Settings):
    """One number with its interval, made from rows of the summary, and the threshold that it is held against."""

    rows: Queries
    """What is measured."""
    against: Queries | None = None
    """What it is compared with: for each row one with the same `by`; without `by` the same row for all."""
    by: tuple[Text, ...] = ()
    """Columns that both rows of a comparison share; rows without a partner are left out."""
    retraining: Queries | None = None
    """What training again does by itself, where the rows compare networks: both ends of an interval move outwards by
    the size of the greatest of these that shares metric and `by`."""
    compare: Literal["difference", "ratio", "distance"] = "difference"
    """rows − against, rows / against, or |rows − against|."""
    reduce: Literal["max", "min", "share below 0", "share above 0", "share apart from 0"] | None = None
    """From several numbers to one; a share counts whole intervals. null: there is only one."""
    above: float | None = None
    """The claim says that the number is greater than this."""
    below: float | None = None
    """The claim says that the number is less than this."""
    within: tuple[float, float] | None = None
    """The claim says that the number lies between these, ends included."""

    @model_validator(mode="after")
    def _one_threshold(self) -> Measurement:
        given = [name for name in ("above", "below", "within") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"found {', '.join(given) or 'no threshold'}; needs one of above, below and within")
        if self.within and self.within[0] >= self.within[1]:
            raise ValueError(f"within: found {list(self.within)}; the first must be less than the second")
        if self.against is None and (self.compare != "difference" or (self.by and self.retraining is None)):
            raise ValueError("by and compare: need rows to compare with, in against or, for by, in retraining")
        return self


class Claim(Settings):
    """A statement of a source text, and how it is tested."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    source: Source
    statement: Text
    where: Text
    """Place in the source text."""
    test: Measurement | None = None
    """The measurement that tests it."""
    tested_by: tuple[Text, ...] | None = None
    """Tests of the suite that an exact statement is held by, "tests/unit/test_x.py::test_y"."""
    untested: Text | None = None
    """Why it is not tested here."""

    @model_validator(mode="after")
    def _one_way(self) -> Claim:
        given = [name for name in ("test", "tested_by", "untested") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"found {', '.join(given) or 'none'}; needs one of test, tested_by and untested")
        return self


class Numbers(Settings):
    """Printed numbers of a source, those of `paper/references/published.csv`, each a claim of its own."""

    source: Source
    untested: Text
    """Why they are not tested here, after which the data set is named."""


class Claims(Settings):
    """All claims."""

    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]
    numbers: tuple[Numbers, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Claims:
        for key, names in (
            ("claims.id", [claim.id for claim in self.claims]),
            ("numbers.source", [entry.source for entry in self.numbers]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{key}: {', '.join(twice)} named more than once")
        return self


def load(path: Path | str = FILE) -> Claims:
    """The claims in a YAML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or says something that is not allowed: key, what was found, what is allowed.
    """
    try:
        return Claims.model_validate(yaml.safe_load(Path(track_input(path)).read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = (f"{path}: {_explain(detail)}" for detail in error.errors())
        raise ValueError("\n".join(dict.fromkeys(lines))) from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not YAML ({' '.join(str(error).split())})") from None


def _explain(detail: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "the file"
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if detail["type"] == "missing":
        return f"{key}: missing"
    message = detail["msg"].removeprefix("Value error, ")
    if isinstance(detail["input"], Mapping):
        return f"{key}: {message}"
    return f"{key}: found {json.dumps(detail['input'], default=str)[:80]}; {message}"


def has_test(name: str, folder: Path = Path()) -> bool:
    """Whether there is the test "tests/unit/test_x.py::test_y" in the project's folder."""
    file, _, function = name.partition("::")
    if not (folder / file).is_file():
        return False
    tree = ast.parse((folder / file).read_text(encoding="utf-8"))
    return function.startswith("test_") and function in {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef)
    }


# ---- verdicts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of a claim.

    Attributes:
        verdict: one of `VERDICTS`.
        estimate: the measured number, None where nothing was measured; n is how many rows or comparisons it is made of.
        unit: of the number.
        data: data sets that it was measured on.
        reason: why it was not tested.
    """

    verdict: str
    estimate: Estimate | None = None
    unit: str = ""
    data: tuple[str, ...] = ()
    reason: str = ""


class _Untestable(Exception):
    """The study's rows do not answer the question; says why."""


def judge(claim: Claim, summary: pd.DataFrame, study: str, names: Mapping[str, str]) -> Outcome:
    """The verdict on a claim.

    Args:
        summary: rows of a study.
        study: its name.
        names: what the study calls fid, kid, precision and recall.
    """
    if claim.tested_by:
        return Outcome(BY_TEST)
    if claim.untested:
        return Outcome(NOT_TESTED, reason=claim.untested)
    try:
        return measure(claim.test, summary, names)
    except _Untestable as error:
        return Outcome(NOT_TESTED, reason=f"the study {study} {error}")
    except NameError as error:  # pandas': a query has a name that is no column
        raise ValueError(f"claim {claim.id}: {error}") from None


def measure(test: Measurement, summary: pd.DataFrame, names: Mapping[str, str]) -> Outcome:
    """The number that tests a claim, and the verdict.

    Intervals of the two sides of a comparison are taken for independent; where they share images or seeds, the true one
    is narrower. The interval of a greatest (least) number runs between the greatest (least) ends of all intervals. That
    of a share is Wilson's, as if its rows were independent. Intervals of rows are over images: what training again does
    is not in them, and is added where the test says by which rows it is known.
    """
    found, pairs = _selected(test.rows, summary, names), []
    if test.against is None:
        pairs = [(row, None) for row in found]
    else:
        base = _selected(test.against, summary, names)
        for row in found:
            partners = [other for other in base if all(other[key] == row[key] for key in test.by)]
            if len(partners) > 1:
                raise _Untestable(f"has {len(partners)} rows of {_described(test.against, names)} to compare with")
            pairs += [(row, other) for other in partners]
        if not pairs:
            raise _Untestable(f"has no rows of {_described(test.rows, names)} with a partner to compare with")
    numbers = [_compared(row, other, test.compare) for row, other in pairs]
    if test.retraining:
        again = _selected(test.retraining, summary, names)
        numbers = [_widened(number, row, again, test) for number, (row, _) in zip(numbers, pairs, strict=True)]
    if not all(math.isfinite(x) for number in numbers for x in (number.value, number.low, number.high)):
        raise _Untestable(f"has numbers that are not finite among {_described(test.rows, names)}")
    if test.reduce is None and len(numbers) > 1:
        raise _Untestable(f"has {len(numbers)} rows of {_described(test.rows, names)}, where the claim speaks of one")
    estimate = _reduced(numbers, test.reduce)
    counts = (test.reduce or "").startswith("share")
    unit = "share" if counts else "ratio" if test.compare == "ratio" else found[0]["unit"]
    used = [row for pair in pairs for row in pair if row is not None]
    data = dict.fromkeys("mixture of normals" if row["mixture"] else row["data"] or "random walk" for row in used)
    return Outcome(_verdict(test, estimate), estimate, unit, tuple(data))


def _verdict(test: Measurement, estimate: Estimate) -> str:
    low, high = test.within or (-math.inf, math.inf)
    if test.within:
        holds, fails = low <= estimate.low and estimate.high <= high, estimate.high < low or estimate.low > high
    elif test.above is not None:
        holds, fails = estimate.low > test.above, estimate.high <= test.above
    else:
        holds, fails = estimate.high < test.below, estimate.low >= test.below
    return HOLDS if holds else FAILS if fails else UNDECIDED


def _selected(queries: Iterable[str], summary: pd.DataFrame, names: Mapping[str, str]) -> list[Row]:
    """The rows that pass all queries, at least one, with None for what is missing."""
    passed, found = [], summary
    for query in queries:
        passed.append(query)
        # Python's engine alone knows texts and missing integers; no name stands for anything but a column.
        found = found.query(query.format_map(names), engine="python", local_dict={}, global_dict={})
        if found.empty:
            raise _Untestable(f"has no rows of {_described(passed, names)}")
    words = found.drop(columns=["value", "low", "high"]).astype(object)
    return words.where(words.notna(), None).join(found[["value", "low", "high"]]).to_dict("records")


def _compared(row: Row, other: Row | None, how: str) -> Estimate:
    a, low, high = (float(row[key]) for key in ("value", "low", "high"))
    if other is None:
        return Estimate(a, low, high, 1)
    b, b_low, b_high = (float(other[key]) for key in ("value", "low", "high"))
    if how == "ratio":
        if a <= 0 or b <= 0:
            raise _Untestable(f"has numbers of {row['metric']} of which there is no ratio")
        value = a / b
        return Estimate(
            value,
            value * (1 - math.hypot((a - low) / a, (b_high - b) / b)),
            value * (1 + math.hypot((high - a) / a, (b - b_low) / b)),
            1,
        )
    value, below, above = a - b, math.hypot(a - low, b_high - b), math.hypot(high - a, b - b_low)
    if how == "difference":
        return Estimate(value, value - below, value + above, 1)
    ends = sorted((abs(value - below), abs(value + above)))
    return Estimate(abs(value), 0.0 if value - below <= 0 <= value + above else ends[0], ends[1], 1)


def _widened(number: Estimate, row: Row, again: Iterable[Row], test: Measurement) -> Estimate:
    """The number with the ends of its interval moved outwards by what training again does."""
    keys = ("metric", *test.by)
    sizes = [abs(float(other["value"])) for other in again if all(other[key] == row[key] for key in keys)]
    if not sizes:
        raise _Untestable(f"has no rows that tell what training again does to {row['metric']}")
    return Estimate(number.value, number.low - max(sizes), number.high + max(sizes), number.n)


def _reduced(numbers: list[Estimate], how: str | None) -> Estimate:
    n = len(numbers)
    if how is None or how in ("max", "min"):
        pick = min if how == "min" else max
        return Estimate(*(pick(getattr(number, key) for number in numbers) for key in ("value", "low", "high")), n)
    counted = {
        "share below 0": lambda number: number.high < 0,
        "share above 0": lambda number: number.low > 0,
        "share apart from 0": lambda number: number.high < 0 or number.low > 0,
    }[how]
    share = sum(map(counted, numbers)) / n
    return Estimate(share, *proportion_interval(share, n), n)


# ---- in words --------------------------------------------------------------------------------------------------------


def described(test: Measurement, names: Mapping[str, str]) -> str:
    """The measurement in words."""
    text = _described(test.rows, names)
    if test.against:
        other = _described(test.against, names, besides=test.rows)
        text = {
            "difference": f"{text} minus {other}",
            "ratio": f"{text} over {other}",
            "distance": f"distance between {text} and {other}",
        }[test.compare] + (f", for each {', '.join(test.by)}" if test.by else "")
    if test.retraining:
        text = f"{text}, intervals widened by that of {_described(test.retraining, names, besides=test.rows)}"
    return f"{test.reduce}: {text}" if test.reduce else text


def threshold(test: Measurement) -> str:
    """The threshold in words."""
    if test.within:
        return f"{test.within[0]:g} to {test.within[1]:g}"
    return f"> {test.above:g}" if test.above is not None else f"< {test.below:g}"


def _described(queries: Iterable[str], names: Mapping[str, str], besides: Iterable[str] = ()) -> str:
    """Queries in words: what is measured, with its conditions; without what is in other ones, too."""
    known = _parts(besides, names)
    left = [part for part in _parts(queries, names) if part not in known]
    metrics = [part.removeprefix("metric ") for part in left if part.startswith("metric ")]
    others = ", ".join(part for part in left if not part.startswith("metric "))
    return f"{', '.join(metrics)} ({others})" if metrics and others else ", ".join(metrics) or others


_WORDS = (
    (r"value == value\.max\(\)", "the greatest"),
    (r"value == value\.min\(\)", "the least"),
    (r"(\w+) == \1\.(max|min)\(\)", r"\1 \2"),
    (r"(\w+)\.isna\(\)", r"\1 none"),
    (r" (?:==|in) ", " "),
    (r"['\"]", ""),
)


def _parts(queries: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """What queries ask for, one a condition, in words."""
    parts = []
    for query in queries:
        for part in query.format_map(names).split(" and "):
            for pattern, words in _WORDS:
                part = re.sub(pattern, words, part)
            between = ", " if part.startswith("metric ") else " or "
            parts.append(re.sub(r"\[(.*)\]", lambda found, between=between: found[1].replace(", ", between), part))
    return parts
