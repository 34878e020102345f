"""Claims as stated in `paper/claims.yaml`: the statement, the rows that test it, and what would make it fail."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from nonnormal.files import track_input
from nonnormal.metrics import DISTANCES
from nonnormal.study.config.values import Settings

FILE = Path("paper/claims.yaml")
EMPIRICAL, THEOREM, ARITHMETIC = KINDS = ("empirical", "theorem", "arithmetic")
TRAINING, IMAGE_SEED, IMAGE, NO_UNIT = UNITS = ("training", "image seed", "image", "none")

Source = Literal[
    *("li2024", "gerdes2024", "chen2023", "chen2024", "pandey2023"),
    *("bao2022", "ou2024", "guo2023", "gabbur2023", "ours"),
]
Text = Annotated[str, Field(min_length=1)]


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
{fid}, {kid}, {precision} and {recall} stand for the study's names of these metrics."""


class Measurement(Settings):
    """One number with its interval, computed from rows of the summary, and the threshold it is compared with."""

    rows: Queries
    """Rows that are measured."""
    against: Queries | None = None
    """Rows to compare with: for each row one with the same `by`; without `by` the same row for all. Rows of trained
    networks are compared training by training: the first with the first, the second with the second."""
    by: tuple[Text, ...] = ()
    """Columns that both rows of a comparison share; rows without a partner are left out."""
    compare: Literal["difference", "ratio", "scatter"] = "difference"
    """rows − against, rows / against, or (rows − against) / s, where s is the standard deviation of `against` over
    trainings; without against, the rows themselves."""
    absolute: bool = False
    """Whether the absolute value counts: of each number before `max` or `min`, of the mean after `mean`."""
    reduce: Literal["max", "min", "mean"] | None = None
    """How several numbers become one. null: there is only one."""
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
        if self.against is None and (self.compare in ("ratio", "scatter") or self.by):
            raise ValueError("by and compare: need rows to compare with, in against")
        return self

    def satisfied(self, value: float) -> bool:
        """Whether a number satisfies the threshold."""
        if self.within:
            return self.within[0] <= value <= self.within[1]
        return value > self.above if self.above is not None else value < self.below

    @property
    def one_suffices(self) -> bool:
        """Whether the claim holds as soon as one of several numbers satisfies the threshold."""
        return (self.reduce, self.above is not None) in {("max", True), ("min", False)} and not self.within


class Null(Settings):
    """Null case of a claim: a situation in which it is false, and the number that its test gives there."""

    statement: Text
    value: float | None = None
    """The number that the test gives there; it must not satisfy the threshold."""
    rows: Queries | None = None
    """Rows measured in the null case, which replace the test's rows."""

    @model_validator(mode="after")
    def _one_way(self) -> Null:
        if (self.value is None) == (self.rows is None):
            raise ValueError("needs one of value and rows")
        return self


class Claim(Settings):
    """A statement of a source text, and how it is tested."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    source: Source
    kind: Literal[*KINDS]
    """theorem: proved; a measurement is only an instance. arithmetic: follows from definitions or settings, without
    data. empirical: could be otherwise."""
    unit: Literal[*UNITS] = NO_UNIT
    """What is drawn again if an empirical claim is tested again. training: the claim compares trained networks; image
    seed: samplers or steps of the same networks; image: results of the same networks on held-out images."""
    null_case: Null | None = None
    """Situation in which an empirical claim would fail."""
    statement: Text
    where: Text
    """Place in the source text."""
    test: Measurement | None = None
    """The measurement that tests it."""
    tested_by: tuple[Text, ...] | None = None
    """Tests of the suite that verify an exact statement, "tests/unit/test_x.py::test_y"."""
    untested: Text | None = None
    """Reason why it is not tested here."""

    @model_validator(mode="after")
    def _one_way(self) -> Claim:
        given = [name for name in ("test", "tested_by", "untested") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"found {', '.join(given) or 'none'}; needs one of test, tested_by and untested")
        needed = self.kind == EMPIRICAL and self.test is not None
        if needed != (self.unit != NO_UNIT) or needed != (self.null_case is not None):
            raise ValueError("unit and null_case: empirical claims with a test need both, others have neither")
        if self.kind == EMPIRICAL and self.tested_by:
            raise ValueError("kind: found empirical; a test of the suite holds exact statements only")
        if self.null_case and self.null_case.value is not None and self.test.satisfied(self.null_case.value):
            raise ValueError(f"null_case.value: found {self.null_case.value:g}, which satisfies the threshold")
        return self


class Numbers(Settings):
    """Printed numbers of a source, those of `paper/references/published.csv`, each a claim of its own."""

    source: Source
    untested: Text
    """Reason why they are not tested here; the name of the data set is appended."""


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
        ValueError: it is not YAML, or has a value that is not allowed: key, what was found, what is allowed.
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
