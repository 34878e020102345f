"""Every empirical claim can fail: rows of its null are put through the verdicts, and so are rows of what it says.

The rows are made from the claim's own queries: five trainings with a scatter, each with an interval over images.
"""

import ast
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nonnormal.metrics import DISTANCES
from nonnormal.study.experiments.claims.judgement import FAILS, HOLDS, judge
from nonnormal.study.experiments.claims.stated import EMPIRICAL, FILE, load
from nonnormal.study.results.summary import CONDITIONS, tidy

ROOT = Path(__file__).parents[2]
NAMES = {name: f"{name}_x" for name in DISTANCES}
CLAIMS = {one.id: one for one in load(ROOT / FILE).claims if one.kind == EMPIRICAL and one.test}
TRAININGS, SCATTER, OVER_IMAGES, BASE = 5, 0.02, 0.01, 10.0
FEWEST = {"min": 0.01, "max": 80.0}  # of a column that a query asks the least or greatest of


def conditions(node):
    """What rows must have to pass a query, as lists of values by column."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return conditions(node.values[0])  # noqa: PD011
    if isinstance(node, ast.BoolOp):
        return {name: its for part in node.values for name, its in conditions(part).items()}  # noqa: PD011
    if isinstance(node, ast.Call):  # column.isna()
        return {node.func.value.id: [None]}
    assert isinstance(node, ast.Compare), ast.dump(node)
    name, [sign], [right] = node.left.id, node.ops, node.comparators
    if isinstance(right, ast.Call):
        far = FEWEST[right.func.attr]
        value = [far if isinstance(sign, ast.Eq) else far / 2]
    else:
        value = ast.literal_eval(right)
        value = [value] if not isinstance(value, list) else value
        value = [
            each / 2 if isinstance(sign, ast.Lt) else 2 * each if isinstance(sign, ast.Gt) else each for each in value
        ]
    whole = CONDITIONS.get(name) == "Int64" or name == "nfe"
    return {} if name == "value" else {name: [int(each) or 1 for each in value] if whole else value}


def asked(queries):
    """What rows must have to pass all queries."""
    found = {}
    for query in queries:
        found |= conditions(ast.parse(query.format_map(NAMES), mode="eval").body)
    return found


def places(test, queries):
    """A row without numbers for each of what the queries ask for; what partners share is as in the test's rows."""
    shared = {name: [1] for name in test.by} | {"run": ["r"]}
    shared |= {name: its for name, its in asked(test.rows).items() if name in test.by}
    found = shared | asked(queries)
    return [dict(zip(found, values, strict=True)) for values in itertools.product(*found.values())]


def made(claim, number, rng):
    """A summary in which the test of the claim gives that number, but for the scatter."""
    test, rows = claim.test, []

    def add(place, training, value):
        low, high = value - OVER_IMAGES, value + OVER_IMAGES
        facts = {"study": "s", "unit": "x", "n": 1000, "data": "digits", "train_seed": training}
        rows.append(facts | place | {"value": value, "low": low, "high": high})

    base = BASE + SCATTER * rng.standard_normal(TRAININGS)
    shift = number * base.std(ddof=1) if test.compare == "scatter" else number
    for training in range(TRAININGS):
        if test.against:
            for place in places(test, test.against):
                add(place, training, base[training])
        for place in places(test, test.rows):
            noise = SCATTER * rng.standard_normal()
            if test.compare == "ratio":
                value = BASE * number + noise
            else:
                value = BASE * bool(test.against) + shift + noise
            add(place, training, value)
    return tidy(pd.DataFrame(rows).drop_duplicates([*rows[0].keys() - {"value", "low", "high"}]))


def verdicts(claim, number, repeats=4):
    rng = np.random.default_rng(0)
    found = [judge(claim, made(claim, number, rng), "s", NAMES) for _ in range(repeats)]
    assert not [outcome.reason for outcome in found if outcome.reason]
    return [outcome.verdict for outcome in found]


@pytest.mark.parametrize("name", [name for name, one in CLAIMS.items() if one.null_case.value is not None])
def test_a_claim_is_not_confirmed_on_its_null(name):
    """Intervals of 95 % err once in twenty: more than 2 times of 4 with probability 0.0005."""
    claim = CLAIMS[name]
    assert verdicts(claim, claim.null_case.value).count(HOLDS) <= 2


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_confirmed_where_it_is_so_and_fails_where_the_opposite_is(name):
    claim = CLAIMS[name]
    test = claim.test
    end = test.above if test.above is not None else test.below
    far = 0.3 if test.compare == "ratio" else 30 if test.compare == "scatter" else 1.0
    side = far if test.above is not None else -far
    assert verdicts(claim, end + side, repeats=1) == [HOLDS]
    if not test.absolute:  # which has no other side of 0
        assert verdicts(claim, end - side, repeats=1) == [FAILS]


def test_a_claim_whose_null_was_measured_is_not_confirmed_on_its_rows():
    """The rows of the optimal denoiser are measured in test_evaluation_geometry."""
    [claim] = [one for one in CLAIMS.values() if one.null_case.rows]
    null = claim.model_copy(update={"test": claim.test.model_copy(update={"rows": claim.null_case.rows})})
    assert verdicts(null, 1.0, repeats=1) == [FAILS]
