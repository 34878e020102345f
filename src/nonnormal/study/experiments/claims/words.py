"""Claims in words: the measurement, the comparison and the threshold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nonnormal.study.experiments.claims.stated import Measurement


def described(test: Measurement, names: Mapping[str, str]) -> str:
    """The measurement in words.

    Args:
        names: the study's names of fid, kid, precision and recall.
    """
    text = of_queries(test.rows, names)
    if test.against:
        other = of_queries(test.against, names, besides=test.rows)
        text = {
            "difference": f"{text} minus {other}",
            "ratio": f"{text} over {other}",
            "scatter": f"{text} minus {other}, in standard deviations of the latter over trainings",
        }[test.compare] + (f", for each {', '.join(test.by)}" if test.by else "")
    if test.absolute:
        text = f"absolute value of {text}"
    return f"{test.reduce}: {text}" if test.reduce else text


def threshold(test: Measurement) -> str:
    """The threshold in words."""
    if test.within:
        return f"{test.within[0]:g} to {test.within[1]:g}"
    return f"> {test.above:g}" if test.above is not None else f"< {test.below:g}"


def of_queries(queries: Iterable[str], names: Mapping[str, str], besides: Iterable[str] = ()) -> str:
    """Queries in words: the metric with its conditions, without conditions shared with the other queries."""
    known = _parts(besides, names)
    left = [part for part in _parts(queries, names) if part not in known]
    metrics = [part.removeprefix("metric ") for part in left if part.startswith("metric ")]
    others = ", ".join(part for part in left if not part.startswith("metric "))
    return f"{', '.join(metrics)} ({others})" if metrics and others else ", ".join(metrics) or others


_WORDS = (
    (r"value == value\.max\(\)", "the greatest"),
    (r"value == value\.min\(\)", "the least"),
    (r"(\w+) == \1\.(max|min)\(\)", r"\1 \2"),
    (r"(\w+) < \1\.max\(\)", r"\1 under its max"),
    (r"(\w+)\.isna\(\)", r"\1 none"),
    (r" (?:==|in) ", " "),
    (r"['\"]", ""),
)


def _parts(queries: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Conditions of queries in words, one text each."""
    parts = []
    for query in queries:
        for part in query.format_map(names).split(" and "):
            for pattern, words in _WORDS:
                part = re.sub(pattern, words, part)
            between = ", " if part.startswith("metric ") else " or "
            parts.append(re.sub(r"\[(.*)\]", lambda found, between=between: found[1].replace(", ", between), part))
    return parts
