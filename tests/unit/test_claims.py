"""Claims: verdicts on made-up rows, files that are refused, and the project's own claims."""

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import norm
from scipy.stats import t as student

from nonnormal.metrics import DISTANCES
from nonnormal.study.experiments.claims import tables
from nonnormal.study.experiments.claims.judgement import VERDICTS, judge, measure
from nonnormal.study.experiments.claims.stated import EMPIRICAL, FILE, Claim, load
from nonnormal.study.experiments.claims.words import described
from nonnormal.study.report import text
from nonnormal.study.report.results_page import claims_section
from nonnormal.study.results.summary import COLUMNS, CONDITIONS, tidy

ROOT = Path(__file__).parents[2]
NAMES = {name: f"{name}_digits" for name in DISTANCES}


def row(metric, value, half=0.25, run=None, nfe=None, **conditions):
    facts = {"study": "s", "run": run, "q": run, "p": run, "metric": metric, "unit": "x", "n": 9, "nfe": nfe}
    facts |= {"value": value, "low": value - half, "high": value + half}
    return facts | {"data": "digits", **conditions}


def frame(*rows):
    return tidy(pd.DataFrame(rows))


def claim(test=None, unit="none", **more):
    way = {"test": test} if test else more
    if unit == "none":
        way |= {"kind": "theorem"}
    else:
        way |= {"kind": "empirical", "unit": unit, "null_case": {"statement": "nothing", "rows": "metric == 'w'"}}
    return Claim(id="c", source="li2024", statement="So it is.", where="here", **way)


def verdict(test, *rows, unit="none"):
    return judge(claim(test, unit), frame(*rows), "tiny", NAMES)


def number(test, *rows):
    found = verdict(test, *rows).estimate
    return found.value, found.low, found.high


# ---- verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ({"above": 0.7}, "holds"),
        ({"above": 1.0}, "undecided"),
        ({"above": 1.25}, "fails"),
        ({"above": 0.75}, "undecided"),  # more than, so the end of the interval does not do
        ({"below": 1.3}, "holds"),
        ({"below": 1.0}, "undecided"),
        ({"below": 0.75}, "fails"),
        ({"within": [0.75, 1.25]}, "holds"),
        ({"within": [1.0, 2.0]}, "undecided"),
        ({"within": [0.9, 1.1]}, "undecided"),
        ({"within": [1.3, 2.0]}, "fails"),
        ({"within": [0.0, 0.7]}, "fails"),
    ],
)
def test_the_whole_interval_decides(threshold, expected):
    assert verdict({"rows": "metric == 'm'", **threshold}, row("m", 1.0)).verdict == expected


def test_each_query_is_asked_of_the_rows_that_the_one_before_it_leaves():
    rows = [row("m", n, run=run, nfe=n, T=10 * n) for run in ("normal", "laplace") for n in (1, 2, 4)]
    rows += [row("fid_digits", 100.0, run="normal", nfe=9)]

    def found(*queries):
        return verdict({"rows": ["metric == 'm'", *queries], "above": 0}, *rows)

    assert found("q == 'laplace' and nfe == 2").estimate.value == 2
    assert found("q == 'laplace'", "nfe == nfe.max()").estimate.value == 4
    assert found("run == 'normal'", "T == T.min()").estimate.value == 1
    assert found("q == 'normal' and T in [20, 30]").estimate.value == 2
    assert found("q == 'normal'").reason == "the study tiny has 3 rows of m (q normal), but the claim needs one"
    reason = found("q == 'normal' and T == 50", "nfe == nfe.max()").reason
    assert reason == "the study tiny has no rows of m (q normal, T 50)"
    reason = found("q == 'normal'", "sigma == sigma.max()").reason
    assert reason == "the study tiny has no rows of m (q normal, sigma max)"
    test = {"rows": "metric == '{fid}'", "above": 0}
    assert verdict(test, *rows).estimate.value == 100
    assert verdict(test, *rows[:-1]).reason == "the study tiny has no rows of fid_digits"
    assert verdict(test, *rows[:-1]).verdict == "not tested here"


def test_a_condition_that_does_not_apply_is_missing():
    rows = [row("m", 1.0, softness=None), row("m", 2.0, softness=0.3)]
    assert number({"rows": "metric == 'm' and softness.isna()", "above": 0}, *rows)[0] == 1.0


def test_a_name_that_is_no_column_is_told_with_its_claim():
    names = ("softnes", "FILE", "pd")  # nothing of the code that asks is within reach
    for name in names:
        with pytest.raises(ValueError, match=f"^claim c: name '{name}' is not defined$"):
            verdict({"rows": f"metric == 'm' and {name} == 1", "above": 0}, row("m", 1.0))


def test_comparisons_add_errors_in_quadrature():
    rows = [row("m", 6.0, 0.3, run="a"), row("m", 2.0, 0.4, run="b")]
    sides = {"rows": "metric == 'm' and q == 'a'", "against": "metric == 'm' and q == 'b'", "above": 0}
    assert number(sides, *rows) == pytest.approx((4, 3.5, 4.5))
    ratio = 3 * (0.05**2 + 0.2**2) ** 0.5
    assert number(sides | {"compare": "ratio"}, *rows) == pytest.approx((3, 3 - ratio, 3 + ratio))
    turned = sides | {"rows": sides["against"], "against": sides["rows"]}
    assert number(turned, *rows) == pytest.approx((-4, -4.5, -3.5))
    assert number(turned | {"absolute": True}, *rows) == pytest.approx((4, 3.5, 4.5))
    near = [row("m", 2.1, 0.3, run="a"), rows[1]]
    assert number(sides | {"absolute": True}, *near) == pytest.approx((0.1, 0, 0.6))
    below_zero = [row("m", -1.0, run="a"), rows[1]]
    assert verdict(sides | {"compare": "ratio"}, *below_zero).reason.endswith("numbers of m that have no ratio")


def test_partners_share_what_they_are_compared_by():
    rows = [row("m", 10.0 * n, run=run, nfe=n) for run in ("a", "b") for n in (1, 2)]
    rows += [row("m", 1.0, run="c", nfe=2)]
    test = {"rows": "metric == 'm' and q in ['a', 'b']", "against": "metric == 'm' and q == 'c'"}
    test |= {"by": ["nfe"], "reduce": "max", "below": 20}
    found = verdict(test, *rows)
    assert (found.estimate.value, found.estimate.n) == (19, 2)  # those with nfe 1 have no partner
    assert verdict(test | {"by": ["run"]}, *rows).reason.endswith("with a partner to compare with")
    two = [*rows, row("m", 1.0, run="c", nfe=2, T=1)]
    assert verdict(test, *two).reason == "the study tiny has 2 rows of m (q c) to compare with"


def test_reductions():
    rows = [row("m", value, half, T=i) for i, (value, half) in enumerate(((1.0, 3.0), (2.0, 0.5), (-2.0, 0.5)))]
    test = {"rows": "metric == 'm'", "below": 0}
    wider = norm.isf(0.025 / 3) / norm.isf(0.025)
    assert number(test | {"reduce": "max"}, *rows) == pytest.approx((2.0, 2 - 0.5 * wider, 4.0))
    assert number({"rows": "metric == 'm'", "above": 0, "reduce": "min"}, *rows) == pytest.approx(
        (-2.0, -2.5, -2 + 0.5 * wider)
    )
    # Over the same images, the interval of a mean is not narrower than they are in the mean.
    assert number(test | {"reduce": "mean"}, *rows) == pytest.approx((1 / 3, 1 / 3 - 4 / 3, 1 / 3 + 4 / 3))
    greatest = {"rows": ["metric == 'm'", "value == value.max()"], "above": 0}
    assert number(greatest, *rows) == pytest.approx((2.0, 1.5, 2.5))
    sizes = test | {"absolute": True, "reduce": "mean"}
    assert number(sizes, *(rows[i] for i in (1, 2))) == pytest.approx((0, 0, 0.5))
    assert number(sizes, rows[2]) == pytest.approx((2, 1.5, 2.5))


@pytest.mark.parametrize("threshold", ["above", "below"])
def test_the_end_that_one_of_several_sets_is_held_to_more(threshold):
    """Bonferroni: one of 20 intervals of level 0.95 leaves out 0 by chance, whatever the claim says of it."""
    rows = [row("m", 0.0, 1.0, T=i) for i in range(20)]
    wider = norm.isf(0.025 / 20) / norm.isf(0.025)
    _, low, high = number({"rows": "metric == 'm'", threshold: 0, "reduce": "max"}, *rows)
    assert (low, high) == pytest.approx((-wider, 1))
    _, low, high = number({"rows": "metric == 'm'", threshold: 0, "reduce": "min"}, *rows)
    assert (low, high) == pytest.approx((-1, wider))


def test_a_claim_about_all_fails_by_chance_no_more_often_than_one_about_one():
    """One of 20 intervals of level 0.95 leaves out the truth by chance, and the largest number is likely to be its."""
    rows = [row("m", 1.1 if i == 7 else 0.0, 1.0, T=i) for i in range(20)]
    assert verdict({"rows": "metric == 'm'", "below": 0.01, "reduce": "max"}, *rows).verdict == "undecided"
    rows[7] |= {"value": 1.9, "low": 0.9, "high": 2.9}
    assert verdict({"rows": "metric == 'm'", "below": 0.01, "reduce": "max"}, *rows).verdict == "fails"


# ---- trainings -------------------------------------------------------------------------------------------------------

VALUES = (1.0, 1.4, 0.9)
SIDES = {"rows": "metric == 'm' and q == 'a'", "against": "metric == 'm' and q == 'b'"}


def trained(values=VALUES, base=(0.5, 0.6, 0.7), half=0.01, first=(0, 0)):
    """Two runs, each trained as often as there are values."""
    rows = [row("m", value, half, run="a", train_seed=first[0] + k) for k, value in enumerate(values)]
    return [*rows, *(row("m", value, half, run="b", train_seed=first[1] + k) for k, value in enumerate(base))]


def test_networks_are_compared_training_by_training_with_students_interval():
    gaps = np.array(VALUES) - (0.5, 0.6, 0.7)
    half = 4.302652729911275 * gaps.std(ddof=1) / 3**0.5  # t at 0.975 with 2 degrees of freedom
    expected = (gaps.mean(), gaps.mean() - half, gaps.mean() + half)
    found = verdict(SIDES | {"above": -1}, *trained(), unit="training")
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx(expected)
    assert (found.trainings, found.verdict, found.needs) == (3, "holds", "")
    # The seeds of a run may begin elsewhere; the order of rows says nothing.
    moved = [*reversed(trained(first=(0, 10)))]
    assert verdict(SIDES | {"above": -1}, *moved, unit="training").estimate.low == pytest.approx(expected[1])
    # Intervals over images do not enter; those of bounds and samplers share their images, and do.
    wide = trained(half=1.0)
    assert verdict(SIDES | {"above": -1}, *wide, unit="training").estimate.low == pytest.approx(expected[1])
    by_image = verdict(SIDES | {"above": -1}, *wide, unit="image").estimate
    assert by_image.high - by_image.value == pytest.approx((half**2 + 2) ** 0.5)


def test_one_training_decides_nothing_about_trained_networks():
    rows = trained(values=(9.0,), base=(0.5,))
    found = verdict(SIDES | {"above": 0}, *rows, unit="training")
    assert (found.verdict, found.needs, found.trainings) == ("undecided", "2 trainings or more", 1)
    assert found.estimate.low > 8
    assert verdict(SIDES | {"above": 0}, *rows, unit="image seed").verdict == "holds"
    scatter = verdict(SIDES | {"below": 2, "compare": "scatter"}, *rows, unit="training")
    assert (scatter.verdict, scatter.estimate, scatter.needs) == ("undecided", None, "2 trainings or more")


def test_a_difference_in_scatters_is_one_in_standard_deviations_of_training_again():
    test = SIDES | {"below": 2, "compare": "scatter"}
    found = verdict(test, *trained(base=(0.5, 0.6, 0.7), values=(0.55, 0.65, 0.75)), unit="training")
    assert found.estimate.value == pytest.approx(0.5)
    assert (found.verdict, found.value_unit) == ("holds", "standard deviations")


def test_a_mean_in_scatters_takes_the_scatter_of_means():
    """At 1 and 2 calls the base is 0 to 2 and 20 to 60, so its means are 10 to 31."""
    base = {1: (0.0, 1.0, 2.0), 2: (20.0, 60.0, 40.0)}
    rows = [row("m", x, run="b", nfe=nfe, train_seed=k) for nfe, xs in base.items() for k, x in enumerate(xs)]
    rows += [row("m", r["value"] - 3, run="a", nfe=r["nfe"], train_seed=r["train_seed"]) for r in rows]
    test = {"rows": "metric == 'm' and q == 'a'", "against": "metric == 'm' and q == 'b'", "by": ["nfe"]}
    test |= {"compare": "scatter", "reduce": "mean", "above": 2}
    scatter = np.std([10, 30.5, 21], ddof=1)
    assert verdict(test, *rows, unit="training").estimate.value == pytest.approx(-3 / scatter)
    found = verdict(test | {"absolute": True}, *rows, unit="training")
    assert (found.verdict, found.estimate.value) == ("fails", pytest.approx(3 / scatter))


def test_a_standard_deviation_of_a_few_trainings_is_uncertain_itself():
    """Of networks that differ by 2 standard deviations, at most as many are told apart from 2 as 95 % intervals err."""
    rng, beyond, draws = np.random.default_rng(5), 0, 120
    for _ in range(draws):
        rows = trained(values=2 + rng.normal(size=5), base=rng.normal(size=5))
        beyond += verdict(SIDES | {"below": 2, "compare": "scatter"}, *rows, unit="training").verdict == "fails"
    assert beyond <= 0.025 * draws  # without it 11 % are


def test_a_mean_is_taken_within_each_training_or_network():
    rows = [
        row("m", value, 0.0, run=run, train_seed=k, nfe=n)
        for k, run, n, value in [
            (0, "a", 1, 1.0),
            (0, "a", 2, 3.0),
            (0, "c", 1, 2.0),
            (1, "a", 1, 4.0),
            (1, "a", 2, 2.0),
            (1, "c", 1, 9.0),
        ]
    ]
    test = {"rows": "metric == 'm'", "reduce": "mean", "above": 0}
    by_training = verdict(test, *rows, unit="training")
    assert (by_training.estimate.value, by_training.trainings) == (3.5, 2)  # (2 + 5)/2
    by_network = verdict(test, *rows, unit="image seed")
    assert (by_network.estimate.value, by_network.trainings) == (4.0, 4)  # (2 + 2 + 3 + 9)/4


def test_how_many_trainings_would_decide_it_at_this_scatter():
    """With that many the interval leaves 0, with one fewer it does not."""
    values = (1.0, -0.5, 0.7, 0.2)
    found = verdict(SIDES | {"above": 0}, *trained(values=values, base=(0.0,) * 4), unit="training")
    n = int(found.needs.removesuffix(" trainings"))
    mean, scatter = np.mean(values), np.std(values, ddof=1)
    assert found.verdict == "undecided"
    assert n > 4
    assert student.isf(0.025, n - 1) * scatter / n**0.5 < mean <= student.isf(0.025, n - 2) * scatter / (n - 1) ** 0.5


def test_how_many_images_would_decide_it_at_this_scatter():
    found = verdict({"rows": "metric == 'm'", "above": 0.9}, {**row("m", 1.0, 0.3), "n": 1000}, unit="image seed")
    assert (found.verdict, found.needs) == ("undecided", "9,000 images")


@pytest.mark.parametrize(
    ("half", "values", "needs"),
    [
        (0.1, (1.0, -0.5, 0.7, 0.2), "trainings"),  # the seeds alone would leave the threshold out
        (1.0, (0.34, 0.35, 0.36, 0.35), "images"),  # and here the trainings alone
        (0.9, (1.0, -0.5, 0.7, 0.2), "both"),
    ],
)
def test_what_would_decide_it_leaves_room_for_the_other_scatter(half, values, needs):
    rows = [row("m", value, half, run="a", train_seed=k) for k, value in enumerate(values)]
    found = verdict({"rows": "metric == 'm'", "above": 0}, *rows, unit="image seed")
    mean, scatter, n = np.mean(values), np.std(values, ddof=1), len(values)
    words = found.needs.split(" ")
    if needs == "both":
        assert words[1:3] == ["trainings", "with"] and words[-2:] == ["images", "each"]
        n, half = int(words[0]), half * (9 / int(words[3])) ** 0.5
    elif needs == "trainings":
        assert words[1:] == ["trainings"]
        n = int(words[0])
    else:
        assert words[1:] == ["images"]
        half *= (9 / int(words[0])) ** 0.5
    assert np.hypot(student.isf(0.025, n - 1) * scatter / n**0.5, half) < mean * 1.01


def test_of_several_numbers_the_least_certain_says_what_would_decide():
    rows = [{**row("m", value, half, T=i), "n": 1000} for i, (value, half) in enumerate([(-1.0, 0.1), (-2.0, 4.0)])]
    found = verdict({"rows": "metric == 'm'", "below": 0, "reduce": "max"}, *rows, unit="image seed")
    assert (found.verdict, found.estimate.value, found.needs) == ("undecided", -1.0, "4,000 images")


def test_numbers_that_are_not_finite_give_no_verdict():
    test = {"rows": "metric == 'm'", "below": 1}
    for value in (float("nan"), float("inf")):
        rows = [{**row("m", 0.0), "high": value}]
        assert "not finite" in verdict(test, *rows).reason


def test_data_sets_are_those_of_the_rows():
    sides = {"rows": "metric == 'm'", "against": "metric == 'w'", "above": 0}
    mixed = row("w", 1.0, data=None, mixture="three normals")
    assert verdict(sides, row("m", 1.0), mixed).data == ("digits", "mixture of normals")
    walk = row("w", 1.0, data=None)
    assert verdict(sides, row("m", 1.0), walk).data == ("digits", "random walk")


def test_other_ways_need_no_rows():
    found = judge(claim(untested="it is dear"), frame(), "tiny", NAMES)
    assert (found.verdict, found.reason) == ("not tested here", "it is dear")
    assert judge(claim(tested_by=["tests/unit/test_x.py::test_y"]), frame(), "tiny", NAMES).verdict == "by test"


def test_a_measurement_in_words():
    test = claim(
        {
            "rows": ["metric == '{fid}' and q in ['a', 'b']", "T == T.max()"],
            "against": ["metric == '{fid}'", 'q == "c" and softness.isna()', "T == T.max()"],
            "by": ["run"],
            "compare": "ratio",
            "reduce": "max",
            "below": 2,
        }
    ).test
    assert described(test, NAMES) == "max: fid_digits (q a or b, T max) over q c, softness none, for each run"
    test = claim({"rows": "metric == 'm'", "against": ["metric == 'm'", "value == value.max()"], "below": 2}).test
    assert described(test, NAMES) == "m minus the greatest"


# ---- files -----------------------------------------------------------------------------------------------------------

GOOD = {"id": "c", "source": "li2024", "statement": "s", "where": "w", "kind": "theorem"}
NULL = {"statement": "n", "value": 0}
FOUND = GOOD | {
    "kind": "empirical",
    "unit": "training",
    "null_case": NULL,
    "test": {"rows": "metric == 'm'", "above": 0},
}
MEASURED = {"rows": "metric == 'm'", "above": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"claims": []}, r"claims: found \[\]"),
        ({"claims": [GOOD]}, r"claims\.0: found none; needs one of test, tested_by and untested"),
        ({"claims": [GOOD | {"untested": "x", "test": MEASURED}]}, r"claims\.0: found test, untested; needs one"),
        ({"claims": [GOOD | {"untested": ""}]}, r'claims\.0\.untested: found ""'),
        ({"claims": [GOOD | {"untested": "x", "id": "C 1"}]}, r'claims\.0\.id: found "C 1"'),
        ({"claims": [GOOD | {"untested": "x", "verdict": "holds"}]}, r"claims\.0\.verdict: unknown key"),
        ({"claims": [GOOD | {"untested": "x", "source": "me"}]}, r"claims\.0\.source: found \"me\".*'li2024'"),
        ({"claims": [{"id": "c", "untested": "x"}]}, r"claims\.0\.source: missing"),
        ({"claims": [GOOD | {"untested": "x"}] * 2}, r"claims\.id: c named more than once"),
        ({"claims": [GOOD | {"test": {"rows": "metric == 'm'"}}]}, r"claims\.0\.test: found no threshold"),
        ({"claims": [GOOD | {"test": MEASURED | {"below": 1}}]}, r"test: found above, below; needs one of"),
        ({"claims": [GOOD | {"test": {"rows": "metric == 'm'", "within": [2, 1]}}]}, r"within: found \[2\.0, 1\.0\]"),
        ({"claims": [GOOD | {"test": MEASURED | {"by": ["run"]}}]}, r"by and compare: need rows to compare with"),
        ({"claims": [GOOD | {"test": MEASURED | {"reduce": "sum"}}]}, r'claims\.0\.test\.reduce: found "sum".*max'),
        ({"claims": [GOOD | {"test": MEASURED | {"rows": "metric == '{ssim}'"}}]}, r"rows.*braces may hold one of fid"),
        ({"claims": [GOOD | {"test": MEASURED | {"rows": "q == @pd"}}]}, r"rows.*may hold neither __ nor @"),
        ({"claims": [GOOD | {"test": MEASURED | {"rows": ["q.__class__"]}}]}, r"rows.*may hold neither __ nor @"),
        ({"claims": [GOOD | {"test": MEASURED | {"rows": ["q =="]}}]}, r'found "q =="; is no expression for pandas'),
        ({"claims": [GOOD | {"test": MEASURED | {"rows": []}}]}, r"rows: found \[\]"),
        ({"claims": [GOOD | {"test": MEASURED | {"rows": {"metric": "m"}}}]}, r"rows.*tuple"),
        ({"claims": [GOOD | {"untested": "x"}], "numbers": [{"source": "li2024"}]}, r"numbers\.0\.untested: missing"),
        ({"claims": [FOUND | {"kind": "guess"}]}, r'claims\.0\.kind: found "guess".*theorem'),
        (
            {"claims": [FOUND | {"unit": "none"}]},
            r"claims\.0: unit and null_case: empirical claims with a test need both",
        ),
        ({"claims": [FOUND | {"null_case": None}]}, r"claims\.0: unit and null_case: empirical"),
        (
            {"claims": [GOOD | {"untested": "x", "unit": "image"}]},
            r"claims\.0: unit and null_case: .* others have neither",
        ),
        (
            {"claims": [FOUND | {"null_case": NULL | {"value": 1}}]},
            r"null_case\.value: found 1, which satisfies the thres",
        ),
        ({"claims": [FOUND | {"null_case": {"statement": "n"}}]}, r"null_case: needs one of value and rows"),
        ({"claims": [GOOD | {"kind": "empirical", "tested_by": ["x"]}]}, r"claims\.0: kind: found empirical"),
        ([1], r"the file: found \[1\]"),
    ],
)
def test_bad_files_are_refused_with_the_key(tmp_path, content, message):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_what_is_not_yaml_is_refused(tmp_path):
    (tmp_path / "claims.yaml").write_text("claims: [")
    with pytest.raises(ValueError, match="is not YAML"):
        load(tmp_path / "claims.yaml")


# ---- the project's claims --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stated():
    return load(ROOT / FILE)


@pytest.fixture(scope="module")
def published():
    return pd.read_csv(ROOT / "paper/references/published.csv")


def known_metrics():
    """Patterns of the strings of the evaluating code that could name a metric, braces of f-strings standing for all."""
    patterns = set()
    for path in (ROOT / "src/nonnormal/study/experiments").glob("*/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    ast.literal_eval(its) if isinstance(its, ast.Constant) else None
                    for its in ast.iter_child_nodes(node)
                ]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            else:
                continue
            literal = "".join(filter(None, parts))
            if re.fullmatch(r"\w{3,}", literal):
                patterns.add("".join(r"\w*" if part is None else part for part in parts))
    return patterns


def test_its_metrics_are_those_of_the_code(stated):
    patterns = known_metrics()
    assert not any(re.fullmatch(pattern, "no_such_metric") for pattern in patterns)
    prefixes = {"", *(pattern for pattern in patterns if pattern.endswith("_"))}
    distances = {f"{prefix}{name}_x" for prefix in prefixes for name in DISTANCES}
    for one in stated.claims:
        nulls = one.null_case and one.null_case.rows
        for side in (one.test.rows, one.test.against, nulls) if one.test else ():
            first = side[0].format_map({name: f"{name}_x" for name in DISTANCES}) if side else "metric == ''"
            assert first.startswith("metric "), (one.id, first)
            for metric in filter(None, re.findall("'(.*?)'", first)):
                assert metric in distances or any(re.fullmatch(p, metric) for p in patterns), (one.id, metric)


def test_its_queries_name_columns(stated):
    for one in stated.claims:
        nulls = one.null_case and one.null_case.rows
        queries = one.test and [*one.test.rows, *(one.test.against or ()), *(nulls or ())]
        for query in queries or ():
            names = {node.id for node in ast.walk(ast.parse(query, mode="eval")) if isinstance(node, ast.Name)}
            assert names <= COLUMNS.keys() | CONDITIONS.keys(), (one.id, query)
        assert not one.test or set(one.test.by) <= COLUMNS.keys() | CONDITIONS.keys()


@pytest.mark.parametrize(("left", "expected"), [(0.02, "holds"), (0.035, "undecided"), (0.05, "fails")])
def test_three_dimensions_can_fail_however_much_lies_on_the_chord(stated, left, expected):
    """Beside the best linear denoiser, whose paths are smooth, too."""
    [one] = [one for one in stated.claims if one.id == "three-dimensions"]
    rows = [row("path_explained_variance", 0.9998, 0.0, components=components) for components in (0, 1, 2)]
    rows += [row("path_residual_variance", left, 0.001, components=2, path="sampled")]
    rows += [row("path_residual_variance", 0.29, 0.01, components=2, path="bridge")]
    rows += [row("path_residual_variance_null", 0.035, 0.001, components=2, path="linear")]
    assert judge(one, frame(*rows), "tiny", NAMES).verdict == expected


def test_its_tests_are_there(stated):
    named = [name.split("::") for one in stated.claims for name in one.tested_by or ()]
    assert len(named) > 10
    for file, function in named:
        assert f"\ndef {function}(" in (ROOT / file).read_text()


def test_it_speaks_of_every_source_and_of_every_printed_number(stated, published):
    sources = {"li2024", "gerdes2024", "chen2023", "chen2024", "pandey2023"}
    neighbours = {"bao2022", "ou2024", "guo2023", "gabbur2023"}  # whose printed numbers are not kept
    assert {entry.source for entry in stated.numbers} == sources
    assert {one.source for one in stated.claims} == sources | neighbours | {"ours"}
    found = tables.claims(stated, frame(), published, "tiny", NAMES)
    numbers = found[found.kind == "number"]
    assert (numbers.unit.isna()).all()
    assert len(numbers) == published.key.isin(sources).sum() > 15
    assert numbers.statement.is_unique
    assert "Uniform/Laplace: bpd 2.66" in set(numbers.statement)
    assert "PSLD: fid 2.01 with 250 network calls" in set(numbers.statement)
    assert found.id.is_unique


def test_no_verdict_is_empty_and_none_without_a_reason(stated, published):
    found = tables.claims(stated, frame(row("w1_walk", 0.0, 0.01, nfe=8)), published, "tiny", NAMES)
    assert set(found.verdict) <= set(VERDICTS)
    assert (found.reason != "").eq(found.verdict == "not tested here").all()
    assert found.set_index("id").verdict["invariance-walk"] == "holds"


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.fixture
def table(stated, published):
    return tables.claims(stated, frame(row("w1_walk", -0.0625, 0.5, nfe=8)), published, "tiny", NAMES)


def test_a_row_for_each_claim_and_each_number(table, tmp_path):
    readable, numbers = tables.readable_claims(table), tables.readable_numbers(table)
    printed = table.kind == "number"
    assert len(readable) == (~printed).sum()
    assert sorted("; ".join(numbers.index).split("; ")) == sorted("; ".join(table[printed].statement).split("; "))
    walk = readable.loc[table.statement.iloc[0]]
    assert walk.measured == "−0.0625 (−0.562 to 0.438) x"
    assert walk.verdict == "undecided, needs 180 images"
    assert readable.kind.iloc[0].startswith("empirical, by ")
    assert (readable.drop(columns="source") != "").all(axis=None)
    text.write_readable(tmp_path / "t.md", readable, numbers, prose=True)
    lines = [line for line in (tmp_path / "t.md").read_text().splitlines() if line.startswith("|")]
    assert len(lines) == len(readable) + len(numbers) + 4


def test_typst_typesets_them_with_every_name_as_it_is(table, tmp_path):
    typst = pytest.importorskip("typst")
    odd = table.iloc[:1].assign(statement=r"a_b *c* #d $e$ @f <g> ~h [i] \j `k`", reason="")
    text.write_readable(tmp_path / "t.typ", tables.readable_claims(odd), prose=True)
    assert typst.compile(str(tmp_path / "t.typ"), ignore_system_fonts=True).startswith(b"%PDF")
    written = re.sub("\u200b", "", (tmp_path / "t.typ").read_text())
    assert r"[a\_b \*c\* \#d \$e\$ \@f \<g\> \~h \[i\] \\j \`k\`]" in written


def test_a_bar_does_not_end_a_cell_in_markdown():
    made = pd.DataFrame({"x": ["|1|"]}, index=pd.Index(["|d|"], name="n"))
    assert text.markdown(made).count(r"\|") == 4


def test_the_results_page_counts_verdicts_and_shows_all(table, tmp_path):
    table.to_csv(tmp_path / "claims.csv", index=False)
    block = claims_section(pd.read_csv(tmp_path / "claims.csv"))
    n = (table.kind == EMPIRICAL).sum()
    assert f"Empirical claims: not tested here: {n}. " in block
    assert all(statement in block for statement in table.statement)


def test_measure_takes_rows_that_are_read_already():
    test = claim({"rows": "metric == 'm'", "above": 0}).test
    assert measure(test, frame(row("m", 1.0)), NAMES).verdict == "holds"
