"""Verdicts: a claim's number with its interval, from the rows of a study's summary, compared with the threshold.

A claim holds if all of the 95 % interval satisfies the threshold, fails if none of it does, and is undecided otherwise.
A claim that compares trained networks is judged by the interval over trainings, each compared with its partner; with a
single training it is undecided. A claim about samplers or bounds of the same networks is judged by the interval over
images for one training; for several trainings, which share their images, by this interval and that over trainings, with
half-widths added in quadrature. The k-th trainings of all runs draw samples from the same seeds, others from other
seeds, so that an interval over trainings contains the scatter of seeds. Bounds of all are on the same held-out images;
the part of these is small, and the half-width over images, which treats both sides as independent, is far too large.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from nonnormal.metrics.intervals import Estimate, t_half
from nonnormal.study.experiments.claims.stated import IMAGE, IMAGE_SEED, NO_UNIT, TRAINING, Claim, Measurement
from nonnormal.study.experiments.claims.words import of_queries
from nonnormal.study.results.summary import COLUMNS, CONDITIONS

HOLDS, FAILS, UNDECIDED, BY_TEST, NOT_TESTED = VERDICTS = ("holds", "fails", "undecided", "by test", "not tested here")
_MOST = 10**6  # largest numbers of trainings or images that are named; nobody will run more
_OWN = {"study", "value", "low", "high", "n", "train_seed", "weights_sha256", "network_sha256", "network"}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a claim.

    Attributes:
        verdict: one of `VERDICTS`.
        estimate: the measured number, None if nothing was measured; n is its number of rows or comparisons.
        value_unit: unit of the number.
        trainings: its number of trainings, 0 if it needs no trained network.
        needs: number of trainings or images that would decide an undecided claim, in words.
        data: data sets on which it was measured.
        reason: why it was not tested.
    """

    verdict: str
    estimate: Estimate | None = None
    value_unit: str = ""
    trainings: int = 0
    needs: str = ""
    data: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Number:
    """The number of one training: value and 95 % interval over images, number of images, and name of the network.

    The base is the value it was compared with, or None.
    """

    key: tuple
    network: tuple
    value: float
    low: float
    high: float
    images: int
    base: float | None = None


@dataclass(frozen=True)
class Pooled:
    """A number over trainings: its interval, and the half-widths that this has from trainings and from images.

    The half-width from trainings is infinite for one training.
    """

    value: float
    low: float
    high: float
    trainings: int
    images: int
    by_training: float
    by_image: float


class _Untestable(Exception):
    """The study's rows cannot test the claim; the message says why."""


def judge(claim: Claim, summary: pd.DataFrame, study: str, names: Mapping[str, str]) -> Outcome:
    """The verdict on a claim.

    Args:
        summary: rows of a study.
        study: its name.
        names: the study's names of fid, kid, precision and recall.
    """
    if claim.tested_by:
        return Outcome(BY_TEST)
    if claim.untested:
        return Outcome(NOT_TESTED, reason=claim.untested)
    try:
        return measure(claim.test, summary, names, claim.unit)
    except _Untestable as error:
        return Outcome(NOT_TESTED, reason=f"the study {study} {error}")
    except NameError as error:  # from pandas: a query names an unknown column
        raise ValueError(f"claim {claim.id}: {error}") from None


def measure(test: Measurement, summary: pd.DataFrame, names: Mapping[str, str], unit: str = NO_UNIT) -> Outcome:
    """The number that tests a claim of that unit, and the verdict.

    Over images, the two sides of a comparison are treated as independent; if they share images or seeds, the true
    interval is narrower. The interval of a maximum (minimum) of m numbers runs between the largest (smallest) ends of
    all intervals. Its lower (upper) end is that of one of them, whichever chance favours, so for this end each has the
    level 1 − 0.05/m (Bonferroni). A mean is taken within each training, or within each network for claims about the
    same networks, before the interval over these.
    """
    numbers, found = _numbers(test, summary, names)
    if not all(math.isfinite(x) for number in numbers for x in (number.value, number.low, number.high)):
        raise _Untestable(f"has numbers that are not finite among {of_queries(test.rows, names)}")
    by_key: dict[tuple, list[Number]] = {}
    for number in numbers:
        by_key.setdefault(number.key, []).append(number)
    if test.reduce is None and len(by_key) > 1:
        raise _Untestable(f"has {len(by_key)} rows of {of_queries(test.rows, names)}, but the claim needs one")
    groups = [_means(numbers, unit)] if test.reduce == "mean" else list(by_key.values())
    data = dict.fromkeys("mixture of normals" if row["mixture"] else row["data"] or "random walk" for row in found)
    if test.compare == "scatter":
        if min(map(len, groups)) < 2:
            return Outcome(UNDECIDED, None, trainings=1, needs="2 trainings or more", data=tuple(data))
        groups = [_in_scatters(group) for group in groups]
    alone, together = (
        [_pooled(group, unit, level, of_scatter=test.compare == "scatter") for group in groups]
        for level in (0.05, 0.05 / len(groups))
    )
    if test.absolute:
        alone, together = ([_size(number) for number in pooled] for pooled in (alone, together))
    pick, (lows, highs) = (min, (alone, together)) if test.reduce == "min" else (max, (together, alone))
    ends = (pick(number.low for number in lows), pick(number.high for number in highs))
    estimate = Estimate(pick(number.value for number in alone), *ends, len(by_key))
    pooled = together if test.one_suffices else alone
    decisive = max(pooled, key=lambda number: (number.high - number.low) / (_gap(test, number) or math.inf))
    trainings = min(number.trainings for number in pooled)
    value_unit = {"ratio": "ratio", "scatter": "standard deviations"}.get(test.compare, found[0]["unit"])
    verdict = _verdict(test, estimate)
    if unit == TRAINING and trainings < 2:
        verdict = UNDECIDED
    needs = _needs(test, replace(decisive, trainings=trainings), unit) if verdict == UNDECIDED else ""
    return Outcome(verdict, estimate, value_unit, trainings, needs, tuple(data))


def _verdict(test: Measurement, estimate: Estimate) -> str:
    low, high = test.within or (-math.inf, math.inf)
    if test.within:
        holds, fails = low <= estimate.low and estimate.high <= high, estimate.high < low or estimate.low > high
    elif test.above is not None:
        holds, fails = estimate.low > test.above, estimate.high <= test.above
    else:
        holds, fails = estimate.high < test.below, estimate.low >= test.below
    return HOLDS if holds else FAILS if fails else UNDECIDED


# ---- one number a training -------------------------------------------------------------------------------------------


def _numbers(test: Measurement, summary: pd.DataFrame, names: Mapping[str, str]) -> tuple[list[Number], list[Row]]:
    """(the numbers, the rows from which they are computed)."""
    found, order = _selected(test.rows, summary, names), _order(summary)
    if test.against is None:
        return [_compared(row, None, test, order) for row in found], found
    base, numbers, used = _selected(test.against, summary, names), [], []
    for row in found:
        partners = [other for other in base if all(other[key] == row[key] for key in test.by)]
        ranks = [_rank(each, order) for each in (row, *partners)]
        partners = [
            other
            for other, rank in zip(partners, ranks[1:], strict=True)
            if None in (rank, ranks[0]) or rank == ranks[0]
        ]
        if len(partners) > 1:
            raise _Untestable(f"has {len(partners)} rows of {of_queries(test.against, names)} to compare with")
        numbers += [_compared(row, other, test, order) for other in partners]
        used += [row, *partners] if partners else []
    if not numbers:
        raise _Untestable(f"has no rows of {of_queries(test.rows, names)} with a partner to compare with")
    return numbers, used


def _order(summary: pd.DataFrame) -> dict[str, list[int]]:
    """Seeds of the trainings of each run, rising: the first of one run is compared with the first of another."""
    trained = summary[summary.train_seed.notna()]
    return {run: sorted(set(map(int, seeds))) for run, seeds in trained.groupby("run").train_seed}


def _rank(row: Row, order: Mapping[str, list[int]]) -> int | None:
    """Index of a row's training among those of its run; None for a row without one."""
    return None if row["train_seed"] is None else order[row["run"]].index(row["train_seed"])


def rows_of(claim: Claim, summary: pd.DataFrame, names: Mapping[str, str]) -> pd.Index:
    """Index of the rows that a claim is tested by, and of those that these are compared with; empty without a test."""
    if claim.test is None:
        return summary.index[:0]
    try:
        found = [_passed(queries, summary, names).index for queries in (claim.test.rows, claim.test.against) if queries]
    except _Untestable:
        return summary.index[:0]
    return summary.index[summary.index.isin(np.concatenate(found))]


def _selected(queries: Iterable[str], summary: pd.DataFrame, names: Mapping[str, str]) -> list[Row]:
    """The rows that pass all queries, with None for missing values."""
    found = _passed(queries, summary, names)
    words = found.drop(columns=["value", "low", "high"]).astype(object)
    return words.where(words.notna(), None).join(found[["value", "low", "high"]]).to_dict("records")


def _passed(queries: Iterable[str], summary: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """The rows that pass all queries, at least one.

    A query about values is applied to the rows of each training separately.
    """
    passed, found = [], summary
    for query in queries:
        passed.append(query)
        text = query.format_map(names)
        parts = [rows for _, rows in found.groupby("train_seed", dropna=False)] if "value" in text else [found]
        # Only Python's engine handles texts and missing integers; names stand for columns alone.
        found = pd.concat([part.query(text, engine="python", local_dict={}, global_dict={}) for part in parts])
        if found.empty:
            raise _Untestable(f"has no rows of {of_queries(passed, names)}")
    return found


def _compared(row: Row, other: Row | None, test: Measurement, order: Mapping[str, list[int]]) -> Number:
    a, low, high = (float(row[key]) for key in ("value", "low", "high"))
    # Adaptive solvers take as many calls as a network needs.
    own = _OWN | ({"nfe"} if row["tolerance"] is not None else set())
    key = tuple(row[name] for name in (*COLUMNS, *CONDITIONS) if name not in own)
    rank = _rank(row, order)
    if rank is None and other is not None:
        rank = _rank(other, order)
    network, images = (row["run"], rank), int(row["n"])
    if other is None:
        return Number(key, network, a, low, high, images)
    b, b_low, b_high = (float(other[key]) for key in ("value", "low", "high"))
    if test.compare != "ratio":
        value, below, above = a - b, math.hypot(a - low, b_high - b), math.hypot(high - a, b - b_low)
        return Number(key, network, value, value - below, value + above, images, b)
    if a <= 0 or b <= 0:
        raise _Untestable(f"has numbers of {row['metric']} that have no ratio")
    value = a / b
    below, above = math.hypot((a - low) / a, (b_high - b) / b), math.hypot((high - a) / a, (b - b_low) / b)
    return Number(key, network, value, value * (1 - below), value * (1 + above), images, b)


# ---- over trainings --------------------------------------------------------------------------------------------------


def _means(numbers: list[Number], unit: str) -> list[Number]:
    """Means within each training, or network; intervals over the same images do not shrink by averaging."""
    groups: dict[object, list[Number]] = {}
    for number in numbers:
        groups.setdefault(number.network[1] if unit == TRAINING else number.network, []).append(number)
    means = []
    for group in groups.values():
        averages = (float(np.mean([getattr(number, name) for number in group])) for name in ("value", "low", "high"))
        bases = [number.base for number in group if number.base is not None]
        base = float(np.mean(bases)) if bases else None
        means.append(Number((), group[0].network, *averages, min(number.images for number in group), base))
    return means


def _in_scatters(group: list[Number]) -> list[Number]:
    """Differences in units of the reference's standard deviation over trainings."""
    scatter = float(np.std([number.base for number in group], ddof=1)) or math.nan
    return [
        replace(each, value=each.value / scatter, low=each.low / scatter, high=each.high / scatter) for each in group
    ]


def _pooled(group: list[Number], unit: str, level: float, *, of_scatter: bool = False) -> Pooled:
    """The mean over trainings with its interval at 1 − level; for one training its interval over images.

    If it is in units of a standard deviation over as many trainings K, that of this unit, value/√(2 (K − 1)), is added.
    """
    n, images = len(group), min(number.images for number in group)
    trained = sum(number.network[1] is not None for number in group)
    wider = float(norm.isf(level / 2) / norm.isf(0.025))
    value = float(np.mean([number.value for number in group]))
    below, above = (
        wider * float(np.mean([abs(getattr(number, side) - number.value) for number in group]))
        for side in ("low", "high")
    )
    by_image = (below + above) / 2
    if n == 1:
        return Pooled(value, value - below, value + above, trained, images, math.inf, by_image)
    half = float(t_half(np.std([number.value for number in group], ddof=1), n, level))
    if unit not in (IMAGE, IMAGE_SEED):
        by_image = 0.0
    if of_scatter:
        half = math.hypot(half, float(norm.isf(level / 2)) * value / math.sqrt(2 * (n - 1)))
    whole = math.hypot(half, by_image)
    return Pooled(value, value - whole, value + whole, trained, images, half, by_image)


def _size(number: Pooled) -> Pooled:
    """The absolute value of the number."""
    ends = sorted((abs(number.low), abs(number.high)))
    low = 0.0 if number.low <= 0 <= number.high else ends[0]
    return replace(number, value=abs(number.value), low=low, high=ends[1])


def _gap(test: Measurement, number: Pooled) -> float:
    """Distance of a number from the threshold."""
    ends = test.within or [end for end in (test.above, test.below) if end is not None]
    return min(abs(number.value - end) for end in ends)


def _needs(test: Measurement, number: Pooled, unit: str) -> str:
    """Trainings or images with which the interval excludes the threshold, at the measured value and scatter."""
    gap = _gap(test, number)
    if not gap:
        return "no finite number: the value equals the threshold"
    if unit == TRAINING and number.trainings < 2:
        # The scatter over trainings is unknown; over images it is less.
        return f"{_trainings(number.by_image / float(norm.isf(0.025)), gap)} trainings or more"
    by_image, by_training = number.by_image, number.by_training if number.trainings > 1 else 0.0
    scatter = number.by_training / float(t_half(1.0, number.trainings)) if by_training else 0.0

    def left(other: float) -> float:
        """Half-width that the other part leaves to one."""
        return math.sqrt(max(gap**2 - other**2, 0.0))

    if by_training > by_image and left(by_image):
        return f"{_trainings(scatter, left(by_image))} trainings"
    if left(by_training):
        return f"{_rounded(number.images * (by_image / left(by_training)) ** 2)} images"
    if left(by_image):
        return f"{_trainings(scatter, left(by_image))} trainings"
    images = _rounded(number.images * 2 * (by_image / gap) ** 2)
    return f"{_trainings(scatter, gap / math.sqrt(2))} trainings with {images} images each"


def _trainings(scatter: float, gap: float) -> str:
    """The least n with t(n − 1) · scatter / √n < gap."""
    n = max(2, math.ceil((1.96 * scatter / gap) ** 2))
    while n < _MOST and t_half(scatter, n) >= gap:
        n += 1
    return _rounded(n) if n > 100 else str(n)


def _rounded(n: float) -> str:
    """The number rounded up to two digits, with separators of thousands."""
    if n > _MOST:
        return f"more than {_MOST:,}"
    place = 10 ** max(math.floor(math.log10(max(n, 1))) - 1, 0)
    return f"{math.ceil(round(n / place, 6)) * place:,}"
