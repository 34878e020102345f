"""Tables: rows to disk and back, selection, and the three formats of the pairs' table."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from summaries import assert_tidy, select

from nonnormal.processes import PSLD, VP, vp_sde
from nonnormal.steps import families, get
from nonnormal.steps.conventions import CONVENTIONS
from nonnormal.steps.divergence import constant
from nonnormal.study.config import validate
from nonnormal.study.experiments.ablation.tables import ablation, readable_ablation
from nonnormal.study.experiments.geometry.tables import geometry, readable_geometry, readable_solvers, solvers
from nonnormal.study.experiments.pairs.table_conventions import differences, readable_differences
from nonnormal.study.experiments.pairs.table_costs import costs, readable_costs
from nonnormal.study.experiments.pairs.tables import headline, pairs, readable_pairs
from nonnormal.study.experiments.phase_space.tables import bounds as phase_space_bounds
from nonnormal.study.experiments.phase_space.tables import (
    phase_space,
    processes,
    readable_bounds,
    readable_phase_space,
    readable_processes,
)
from nonnormal.study.registry import all_experiments, parts
from nonnormal.study.report.families import listed_steps, step_constants, step_families
from nonnormal.study.report.names import process_name
from nonnormal.study.report.text import cell, read_numbers, write_readable
from nonnormal.study.results.paths import Layout, data_path
from nonnormal.study.results.summary import COLUMNS, CONDITIONS, read_rows, tidy, write_rows, write_table

ROOT = Path(__file__).parents[2]
RUNS = {"nn": ("normal", "normal"), "ll": ("laplace", "laplace")}
TERMS = ("total", "prior", "diffusion", "reconstruction")

NAMED = "{}_digits".format


def row(run, metric, value, nfe, **conditions):
    q, p = RUNS[run]
    facts = {"study": "s", "run": run, "q": q, "p": p, "train_seed": 0, "metric": metric, "unit": "x", "n": 32}
    interval = {"value": value, "low": value - 0.25, "high": value + 0.25}
    return facts | interval | {"nfe": nfe} | conditions


@pytest.fixture
def summary():
    """Two runs with bounds at T = 5 and 10, none with more than 5 network calls, and scores of samples in 10 steps.

    Each value is a number of its own.
    """
    number = itertools.count(1)
    rows = []
    for run in RUNS:
        for n_steps in (5, 10):
            for bound, marginals in (("native", "limit"), ("normal", "limit"), ("native", "bridge")):
                conditions = dict(bound=bound, T=n_steps, marginals=marginals)
                rows += [row(run, f"bpd_{term}", float(next(number)), 5, **conditions) for term in TERMS]
        rows += [row(run, f"bpd_{term}", float(next(number)), 5, bound="continuous") for term in TERMS]
        for law in ("uniform", "normal"):
            rows.append(row(run, "bpd_total", float(next(number)), 44, bound="flow", dequantisation=law))
        for nfe in (4, 10):
            metrics = [f"{name}_digits" for name in ("fid", "kid", "precision", "recall")]
            metrics += ["style_total_variation", "style_high_frequency"]  # no colours, so no saturation
            rows += [row(run, metric, next(number) / 100, nfe) for metric in metrics]
    return tidy(pd.DataFrame(rows))


@pytest.fixture
def published():
    row = {"key": "li2024", "model": "Gaussian/Gaussian", "metric": "bpd", "value": 2.49}
    return pd.DataFrame(
        [row, row | {"metric": "fid", "value": 1.98}, row | {"key": "other", "model": "Laplace/Laplace"}]
    )


@pytest.fixture
def table(summary, published):
    return pairs(summary, published, NAMED, {"nn": 10, "ll": 5}, 10)


def test_rows_round_trip_with_all_digits(tmp_path, summary):
    summary["value"] = np.random.default_rng(0).lognormal(size=len(summary), sigma=8)
    write_rows(tmp_path / "a.csv", summary)
    found = read_rows(tmp_path / "a.csv")
    assert_tidy(found)
    assert found.value.tolist() == summary.value.tolist()
    pd.testing.assert_frame_equal(found, summary, check_exact=True)


def test_several_files_are_read_as_one_and_missing_integers_stay_integers(tmp_path, summary):
    summary.loc[0, "nfe"] = None
    write_rows(tmp_path / "a.csv", summary[:10])
    write_rows(tmp_path / "b.csv", summary[10:])
    found = read_rows([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert found.index.tolist() == list(range(len(summary)))
    assert str(found.nfe.dtype) == "Int64"
    assert pd.isna(found.nfe[0])
    assert found.nfe[1] == 5


def test_a_file_has_the_conditions_of_its_rows_and_is_read_with_all(tmp_path, summary):
    write_rows(tmp_path / "a.csv", summary)
    header = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert header == [*COLUMNS, "T", "bound", "dequantisation", "marginals"]
    assert read_rows(tmp_path / "a.csv").step.isna().all()  # of a section that the study lacks


def test_an_experiment_may_have_conditions_of_its_own(tmp_path, summary):
    write_rows(tmp_path / "a.csv", tidy(summary.assign(arity=2, zeal="high")))
    write_rows(tmp_path / "b.csv", summary)
    found = read_rows([tmp_path / "b.csv", tmp_path / "a.csv"])
    assert list(found.columns) == [*COLUMNS, *sorted({*CONDITIONS, "arity", "zeal"})]
    assert found.arity.dropna().eq(2).all()
    assert found.zeal.isna().sum() == len(summary)


def only(summary, metric, **conditions):
    return select(summary, metric, **conditions).value.item()


def test_pairs_take_each_number_from_its_row(summary, table):
    nn, ll = table.to_dict("records")
    for found, run, n_steps in ((nn, "nn", 10), (ll, "ll", 5)):
        normal = dict(run=run, T=n_steps, bound="normal", marginals="limit")
        assert found["normal_bpd"] == only(summary, "bpd_total", **normal)
        for term in ("prior", "diffusion", "reconstruction"):
            assert found[term] == only(summary, f"bpd_{term}", **normal)
        for marginals in ("limit", "bridge"):
            native = normal | {"bound": "native", "marginals": marginals}
            assert found[f"native_{marginals}"] == only(summary, "bpd_total", **native)
        assert found["native_bridge_low"] == found["native_bridge"] - 0.25
        assert found["continuous"] == only(summary, "bpd_total", run=run, bound="continuous")
        for law in ("uniform", "normal"):
            flow = dict(run=run, bound="flow", dequantisation=law)
            assert found[f"flow_{law}"] == only(summary, "bpd_total", **flow)
        for name in ("fid", "kid", "precision", "recall"):
            assert found[name] == only(summary, f"{name}_digits", run=run, nfe=10)
        for name in ("total_variation", "high_frequency"):
            assert found[name] == only(summary, f"style_{name}", run=run, nfe=10)
            assert found[f"{name}_high"] == found[name] + 0.25
        assert (found["q"], found["p"]) == RUNS[run]


def test_pairs_stand_beside_the_published_figures_of_the_same_pair(table):
    nn, ll = table.to_dict("records")
    assert (nn["published_bpd"], nn["published_fid"]) == (2.49, 1.98)
    assert pd.isna(ll["published_bpd"])  # another paper's Laplace is not li2024's


REQUIRED = {
    "normal bound": ("bpd_total", {"bound": "normal"}),
    "a term": ("bpd_prior", {"bound": "normal"}),
    "continuous": ("bpd_total", {"bound": "continuous"}),
    "fid": ("fid_digits", {}),
    "style": ("style_total_variation", {}),
}
OPTIONAL = {
    "native_limit": {"bound": "native", "marginals": "limit"},
    "native_bridge": {"bound": "native", "marginals": "bridge"},
    "flow_uniform": {"bound": "flow", "dequantisation": "uniform"},
    "flow_normal": {"bound": "flow", "dequantisation": "normal"},
}


def without(summary, metric, run="nn", **conditions):
    return summary.drop(select(summary, metric, run=run, **conditions).index)


@pytest.mark.parametrize(("metric", "conditions"), REQUIRED.values(), ids=list(REQUIRED))
def test_a_missing_number_is_an_error_and_not_a_gap(summary, published, metric, conditions):
    with pytest.raises(ValueError, match=f"run 'nn': found 0 rows with metric == '{metric}'.*, expected one"):
        pairs(without(summary, metric, **conditions), published, NAMED, {"nn": 10}, 10)


@pytest.mark.parametrize(("column", "conditions"), OPTIONAL.items(), ids=list(OPTIONAL))
def test_what_a_run_cannot_have_is_a_gap(summary, published, column, conditions):
    found = pairs(without(summary, "bpd_total", **conditions), published, NAMED, {"nn": 10, "ll": 10}, 10)
    assert found[[column, f"{column}_low", f"{column}_high"]].isna().to_numpy().tolist() == [[True] * 3, [False] * 3]
    others = [name for name in OPTIONAL if name != column]
    assert found[others].notna().all(axis=None)
    assert (found.q.tolist(), found.p.tolist()) == (["normal", "laplace"], ["normal", "laplace"])


@pytest.mark.parametrize("metric", ["bpd_total", "fid_digits"])
def test_a_number_that_is_there_twice_is_an_error_also_where_it_is_optional(summary, published, metric):
    twice = pd.concat([summary, select(summary, metric, run="nn")], ignore_index=True)
    with pytest.raises(ValueError, match=f"run 'nn': found 2 rows with metric == '{metric}'.*, expected one"):
        pairs(twice, published, NAMED, {"nn": 10}, 10)


def test_saturation_is_a_number_of_colour_images(summary, table, published):
    assert table[["saturation", "saturation_low", "saturation_high"]].isna().all(axis=None)
    colours = [row("nn", "style_saturation", 0.5, nfe) for nfe in (4, 10)] + [row("ll", "style_saturation", 0.75, 10)]
    found = pairs(pd.concat([summary, pd.DataFrame(colours)]), published, NAMED, {"nn": 10, "ll": 10}, 10)
    assert found.saturation.tolist() == [0.5, 0.75]


@pytest.mark.parametrize(
    ("column", "value", "half", "text"),
    [
        ("normal_bpd", 2.34567, 0.0, "2.345670"),
        ("normal_bpd", 2.34567, 0.0004, "2.3457 ± 0.0004"),
        ("normal_bpd", 2.34567, 0.004, "2.346 ± 0.004"),
        ("normal_bpd", 2.34567, 0.04, "2.35 ± 0.04"),
        ("normal_bpd", 234.567, 4.0, "235 ± 4"),
        ("normal_bpd", 234.567, 14.2, "235 ± 14"),
        ("normal_bpd", 58234.567, 3754.0, "58200 ± 3800"),
        ("normal_bpd", -0.004, 0.04, "0.00 ± 0.04"),
        ("kid", 0.01234, 0.002, "12 ± 2"),
    ],
)
def test_a_cell_has_the_digits_that_its_interval_warrants(column, value, half, text):
    assert cell({column: value, f"{column}_low": value - half, f"{column}_high": value + half}, column) == text


def test_a_cell_without_interval_or_number():
    assert cell({"published_bpd": 2.4867}, "published_bpd") == "2.49"
    assert cell({"published_bpd": None}, "published_bpd") == "–"
    assert cell({"published_bpd": float("nan")}, "published_bpd") == "–"


@pytest.fixture
def readable(table):
    return readable_pairs(table, NAMED, {"nn": "normal/normal", "ll": "laplace/laplace, twice"})


def test_csv_has_all_numbers(tmp_path, table):
    write_table(tmp_path / "t.csv", table)
    found = pd.read_csv(tmp_path / "t.csv")
    assert found.columns.tolist() == table.columns.tolist()
    assert found.normal_bpd.tolist() == table.normal_bpd.tolist()


def test_texts_of_a_file_stay_texts(tmp_path):
    texts = pd.DataFrame({"run": ["007", "nan", "1e3"], "step": ["null", "true", None], "value": [1.5, None, math.inf]})
    write_table(tmp_path / "t.csv", texts)
    found = read_numbers(tmp_path / "t.csv")
    assert found.run.tolist() == ["007", "nan", "1e3"]
    assert found.step.tolist()[:2] == ["null", "true"]
    assert found.step.isna().tolist() == [False, False, True]
    assert found.value.dtype == float
    texts = texts.assign(**{column: ["true", "0x1", "n/a"] for column in ("study", "q", "p", "metric", "unit")})
    texts = texts.assign(basis="1", train_seed=0, nfe=1, n=1)
    write_rows(tmp_path / "t.csv", texts)
    found = read_rows(tmp_path / "t.csv")
    assert all(found[column].tolist() == texts[column].tolist() for column in ("run", "study", "q", "p", "basis"))


def test_markdown_has_a_row_for_each_number_and_a_column_for_each_run(tmp_path, readable):
    write_readable(tmp_path / "t.md", readable)
    lines = (tmp_path / "t.md").read_text(encoding="utf-8").splitlines()
    head, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert head == ["", "normal/normal", "laplace/laplace, twice"]
    assert all(set(cell) <= set(":-") for cell in rule)
    found = {row[0]: row[1:] for row in rows}
    assert found["bits/dim, CIFAR-10 (Li 2024)"] == ["2.49", "–"]
    assert found["kernel distance × 1000"] == ["380 ± 250", "800 ± 250"]
    assert found["bits/dim, normal bound for T → ∞"] == ["25.0 ± 0.2", "67.0 ± 0.2"]
    assert "saturation" not in found  # nobody has it
    assert len(found) == len(rows) == 17


def test_a_row_without_any_number_is_left_out_and_one_with_a_gap_is_not(summary, published):
    native = {"bound": "native", "marginals": "bridge"}
    labels = {"nn": "a", "ll": "b"}
    gap = without(summary, "bpd_total", **native)
    found = readable_pairs(pairs(gap, published, NAMED, {"nn": 10, "ll": 10}, 10), NAMED, labels)
    assert found.loc["native bits/dim, bridge walk", "a"] == "–"
    assert found.loc["native bits/dim, bridge walk", "b"] != "–"
    none = without(gap, "bpd_total", run="ll", **native)
    found = readable_pairs(pairs(none, published, NAMED, {"nn": 10, "ll": 10}, 10), NAMED, labels)
    assert "native bits/dim, bridge walk" not in found.index


def many(table, n):
    """The table with n runs, which differ in their normal bound alone."""
    first = table.iloc[0].to_dict()
    bounds = [{"normal_bpd": i, "normal_bpd_low": i - 0.5, "normal_bpd_high": i + 0.5} for i in range(n)]
    return pd.DataFrame([first | {"run": f"run-{i}"} | bound for i, bound in enumerate(bounds)])


@pytest.mark.parametrize("n", [5, 6])
def test_more_than_five_runs_are_rows_and_not_columns(table, n):
    labels = {f"run-{i}": f"label {i}" for i in range(n)}
    found = readable_pairs(many(table, n), NAMED, labels)
    if n == 5:
        assert found.columns.tolist() == list(labels.values())
        assert "bits/dim, normal-limit bound" in found.index
        return
    assert found.index.tolist() == list(labels.values())
    assert found.columns.tolist()[:4] == ["normal-limit bits/dim", "native (bridge walk)", "T → ∞", "flow"]
    assert {"Fréchet distance", "kernel distance × 1000", "total variation", "high-frequency share"} <= set(
        found.columns
    )
    assert found["normal-limit bits/dim"].tolist() == [f"{i}.0 ± 0.5" for i in range(n)]


def test_a_long_table_shows_a_gap_where_a_run_has_no_number(tmp_path, table):
    long = many(table, 6)
    long.loc[2, ["native_bridge", "native_bridge_low", "native_bridge_high"]] = None
    found = readable_pairs(long, NAMED, {run: run for run in long.run})
    assert [cell == "–" for cell in found["native (bridge walk)"]] == [False, False, True, False, False, False]
    write_readable(tmp_path / "t.md", found)
    assert len((tmp_path / "t.md").read_text(encoding="utf-8").splitlines()) == 2 + 6


def test_typst_has_a_row_for_each_number(tmp_path, readable):
    write_readable(tmp_path / "t.typ", readable)
    lines = (tmp_path / "t.typ").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#table("
    assert "  columns: 3," in lines
    assert "  table.header([**], [*normal/normal*], [*laplace/laplace, twice*])," in lines
    assert "  [bits/dim, CIFAR-10 (Li 2024)], [2.49], [–]," in lines
    assert lines[-1] == ")"
    assert sum(line.startswith("  [") for line in lines) == 17


def test_headline_has_the_numbers_of_the_table_by_run(table):
    found = headline(table)
    assert list(found) == ["nn", "ll"]
    for row in table.to_dict("records"):
        numbers = found[row["run"]]
        assert (numbers["bpd_normal"], numbers["bpd_native"]) == (row["normal_bpd"], row["native_bridge"])
        assert (numbers["fid"], numbers["precision"]) == (row["fid"], row["precision"])


def test_typst_is_typeset(tmp_path, readable):
    typst = pytest.importorskip("typst")
    write_readable(tmp_path / "t.typ", readable)
    assert typst.compile(str(tmp_path / "t.typ"), ignore_system_fonts=True).startswith(b"%PDF")


MARKUP = ["//", "a//b", "/* a", "*/", "https://a.b", "$\\frac{", "$x$", "a -- b", "a---b", "a-?b", "a...", "= a", "- a"]
MARKUP += [
    "+ a",
    "/ a: b",
    "1. a",
    "*a*",
    "_a_",
    "`a",
    "#a",
    "@a",
    "<a>",
    "[a",
    "a]",
    "~",
    "\\",
    '"',
    "//\\",
    '//"',
    "}",
    "{",
]


# A table that compares the text of its first two columns with texts.json, and shows nothing.
COMPARED = r"""
#let said(it) = if type(it) == str { it } else if it == [ ] { " " } else if it.func() == smartquote { "\"" } else if (
  it.has("text")) { it.text } else if it.has("children") { it.children.map(said).join("") } else { panic(it) }
#let table(..args) = {
  let cells = args.pos().filter(it => not (it.func() in (std.table.hline, std.table.header)))
  for (texts, cell) in json("texts.json").zip(cells.chunks(3)) {
    for i in (0, 1) { assert.eq(said(cell.at(i)).replace("\u{200b}", ""), texts) }
  }
}
"""


@pytest.mark.parametrize("prose", [False, True])
def test_typst_shows_a_text_letter_by_letter(tmp_path, prose):
    typst = pytest.importorskip("typst")
    texts = pd.DataFrame({"column //": MARKUP, "last": ["-1.5"] * len(MARKUP)}, index=pd.Index(MARKUP, name="$first"))
    write_readable(tmp_path / "t.typ", texts, prose=prose)
    (tmp_path / "texts.json").write_text(json.dumps(MARKUP))
    content = (tmp_path / "t.typ").read_text(encoding="utf-8")
    (tmp_path / "compared.typ").write_text(COMPARED + content.replace("table.h", "std.table.h"))
    typst.compile(str(tmp_path / "compared.typ"), ignore_system_fonts=True)


# ---- conventions and costs -------------------------------------------------------------------------------------------


def convention_row(run, convention, constant, n_steps, value, half, marginals="limit"):
    conditions = dict(
        weighting="elbo", bound="convention", marginals=marginals, convention=convention, constant=constant, T=n_steps
    )
    return row(run, "bpd_total", value, 3, **conditions) | {"low": value - half, "high": value + half}


@pytest.fixture
def printed(published):
    both = {"Gaussian/Gaussian": 2.49, "Laplace/Laplace": 2.47}
    return pd.concat(
        [published, pd.DataFrame([{"key": "li2024", "model": m, "metric": "bpd", "value": v} for m, v in both.items()])]
    ).drop_duplicates(["key", "model", "metric"])


def test_differences_are_taken_at_the_steps_of_each_runs_training(printed):
    """All bounds have the same network calls; T tells them apart."""
    rows = [
        convention_row(run, name, constant, n_steps, value + 10 * n_steps, half)
        for run, value, half in (("nn", 3.0, 0.3), ("ll", 5.0, 0.4))
        for name in CONVENTIONS
        for constant in ("never", "once")
        for n_steps in (5, 10)
    ]
    rows.append(convention_row("ll", "exact", "never", 10, 100.0, 0.0, marginals="bridge"))
    rows.append(row("ll", "bpd_total", 1000.0, 3, bound="native", marginals="limit", T=10))
    found = differences(tidy(pd.DataFrame(rows)), printed, {"nn": 10, "ll": 10})
    [gap] = found.to_dict("records")  # the constant changes nothing here, so one row says it all
    assert (gap["run"], gap["q"], gap["p"]) == ("ll", "laplace", "laplace")
    assert gap["printed"] == pytest.approx(2.47 - 2.49)
    for name in CONVENTIONS:
        assert gap[name] == pytest.approx(2.0)
        assert (gap[f"{name}_low"], gap[f"{name}_high"]) == pytest.approx((1.5, 2.5))  # 0.5² = 0.3² + 0.4²
    [late] = differences(tidy(pd.DataFrame(rows)), printed, {"nn": 5, "ll": 10}).to_dict("records")
    assert late["exact"] == pytest.approx(52.0)
    assert readable_differences(found).loc["laplace/laplace, never", "exact"] == "+2.0 ± 0.5"


def test_without_the_normal_pair_there_are_no_differences(printed):
    rows = [convention_row("ll", name, "never", 10, 3.0, 0.1) for name in CONVENTIONS]
    found = differences(tidy(pd.DataFrame(rows)), printed, {"ll": 10})
    assert found.empty
    assert {"run", "q", "p", "constant", "printed", *CONVENTIONS} <= set(found.columns)


@pytest.fixture
def costly():
    rows = []
    for run, ratio, growth in (("nn", 1.0, 0.0), ("ll", 1.9, 0.125)):
        for n_steps in (1600, 100, 400):
            rows.append(row(run, "diffusion_ratio", ratio - 1 / n_steps, 100, T=n_steps, limit=2 * ratio))
        rows.append(row(run, "bpd_growth", growth, None, T_before=400, T=1600, limit=growth / 2))
    return tidy(pd.DataFrame([row | {"low": row["value"] - 0.04, "high": row["value"] + 0.04} for row in rows]))


def test_costs_are_those_of_the_most_steps_with_what_theory_says(costly):
    nn, ll = costs(costly).to_dict("records")
    assert (nn["run"], nn["T"], nn["curvature"], nn["ratio"]) == ("nn", 1600, 2.0, 1 - 1 / 1600)
    assert (nn["growth"], nn["owed"]) == (0.0, 0.0)
    assert (ll["q"], ll["p"], ll["T"], ll["curvature"]) == ("laplace", "laplace", 1600, 3.8)
    assert (ll["ratio_low"], ll["ratio_high"]) == (ll["ratio"] - 0.04, ll["ratio"] + 0.04)
    assert (ll["growth"], ll["growth_low"], ll["growth_high"]) == (0.125, 0.125 - 0.04, 0.125 + 0.04)
    assert ll["owed"] == 0.0625


def test_a_run_without_a_bound_of_its_own_costs_nothing_that_is_known(costly):
    assert costs(costly[costly.run == "ll"]).run.tolist() == ["ll"]
    assert costs(costly[costly.metric == "bpd_growth"]).empty


def test_costs_for_reading_have_a_row_a_pair(tmp_path, costly):
    found = readable_costs(costs(costly))
    assert found.index.tolist() == ["normal/normal", "laplace/laplace"]
    assert found.loc["laplace/laplace"].tolist() == ["1600", "3.800", "1.90 ± 0.04", "0.0625", "0.12 ± 0.04"]
    for suffix in ("md", "typ"):
        write_readable(tmp_path / f"t.{suffix}", found)
        assert "1.90 ± 0.04" in (tmp_path / f"t.{suffix}").read_text(encoding="utf-8")


# ---- geometry and solvers --------------------------------------------------------------------------------------------

SHAPE = {  # metric and conditions of each row that a reader sees
    "path_largest_chord_distance": [{}],
    "path_largest_chord_distance_null": [{"path": "linear"}, {"path": "untrained"}],
    "path_largest_denoised_chord_distance": [{}],
    "path_denoised_own_chord_distance": [{}],
    "path_arc_chord_ratio": [{}],
    "path_explained_variance": [{"components": 0}, {"components": 2}],
    "path_residual_variance": [{"components": 2, "path": path} for path in ("sampled", "bridge")],
    "path_residual_variance_null": [{"path": "linear"}, {"path": "untrained"}],
    "path_monotone_share": [{}],
    "nearest_train_distance": [{"of": "samples"}, {"of": "held-out"}],
    "nearest_train_distance_null": [{"path": "linear"}],
    "copied_share": [{}],
}


@pytest.fixture
def shapes():
    number = itertools.count(1)
    found = {**SHAPE, "path_explained_variance": [{"components": k} for k in (1, 0, 2)]}
    rows = [row("nn", metric, next(number) / 8, None, **at) for metric, each in found.items() for at in each]
    return tidy(pd.DataFrame([*rows, row("nn", "path_chord_distance", 9.0, None, sigma=1.0)]))


@pytest.fixture
def published_shapes(published):
    models = {"max deviation / chord length": 0.0034, "chord + 2 PCs share of variance": 0.85, "arc over chord": 7.0}
    rows = [{"key": "chen2024", "model": model, "metric": "x", "value": value} for model, value in models.items()]
    return pd.concat([published, pd.DataFrame(rows)], ignore_index=True)


def test_geometry_takes_each_number_from_its_row(shapes, published_shapes):
    found = geometry(shapes, published_shapes)
    queries = [(metric, conditions) for metric, each in SHAPE.items() for conditions in each]
    assert found.metric.tolist() == [metric for metric, _ in queries]
    assert found.quantity.is_unique
    for line, (metric, conditions) in zip(found.itertuples(), queries, strict=True):
        [source] = select(shapes, metric, **conditions).itertuples()
        assert (line.value, line.low, line.high, line.n) == (source.value, source.low, source.high, 32)


def test_published_shapes_stand_in_their_rows_alone(shapes, published, published_shapes):
    found = geometry(shapes, published_shapes).set_index("quantity").published.dropna()
    assert found.to_dict() == {
        "largest distance of a state from the chord, in chord lengths": 0.0034,
        "share of variance on the chord and two components": 0.85,
    }
    assert geometry(shapes, published).published.isna().all()


@pytest.mark.parametrize(("metric", "each"), SHAPE.items(), ids=list(SHAPE))
def test_a_number_of_geometry_that_is_missing_or_there_twice_is_an_error(shapes, published_shapes, metric, each):
    for conditions in each:
        rows = select(shapes, metric, **conditions)
        for wrong in (shapes.drop(rows.index), pd.concat([shapes, rows], ignore_index=True)):
            with pytest.raises(ValueError, match="expected one"):
                geometry(wrong, published_shapes)


def test_geometry_for_reading_has_a_row_a_quantity(tmp_path, shapes, published_shapes):
    found = readable_geometry(geometry(shapes, published_shapes))
    assert found.loc["largest distance of a state from the chord, in chord lengths"].tolist() == ["0.1 ± 0.2", "0.0034"]
    assert found.loc["share of variance on the chord and two components"].tolist() == ["1.1 ± 0.2", "0.85"]
    assert found.loc["arc over chord"].tolist() == ["0.8 ± 0.2", "–"]
    for suffix in ("md", "typ"):
        write_readable(tmp_path / f"t.{suffix}", found)
        text = (tmp_path / f"t.{suffix}").read_text(encoding="utf-8")
        assert all(quantity in text for quantity in found.index)


WALKS = [("euler", "polynomial", 5), ("heun", "polynomial", 5), ("euler", "searched", 5)]
WALKS += [("euler", "polynomial", 15), ("heun", "polynomial", 15)]  # too many calls for a searched grid


@pytest.fixture
def walked():
    rows = []
    for k, (solver, grid, nfe) in enumerate(WALKS):
        at = {"solver": solver, "grid": grid, "n_steps": nfe}
        rows.append(row("nn", "solver_fid_digits", 20.0 + k, nfe, **at))
        rows.append(row("nn", "solver_distance", 1.0 + k, nfe, **at))
    return pd.DataFrame([*rows, row("nn", "fid_digits", 3.0, 5)]).astype({"nfe": "Int64"})


def test_solvers_have_fid_and_distance_side_by_side(walked):
    found = solvers(walked.sample(frac=1, random_state=0), "fid_digits").set_index(["solver", "grid", "nfe"])
    assert len(found) == len(WALKS)
    for k, walk in enumerate(WALKS):
        assert found.loc[walk, ["fid", "fid_low", "fid_high"]].tolist() == [20.0 + k, 19.75 + k, 20.25 + k]
        assert found.loc[walk, ["distance", "distance_low", "distance_high"]].tolist() == [1.0 + k, 0.75 + k, 1.25 + k]


def test_solvers_for_reading_have_a_row_a_grid_and_a_column_a_budget(tmp_path, walked):
    found = readable_solvers(solvers(walked, "fid_digits"))
    assert found.index.tolist() == ["Euler", "Heun", "Euler, searched grid"]
    assert found.columns.tolist() == ["5 calls", "15 calls"]
    assert found.loc["Euler"].tolist() == ["20.0 ± 0.2", "23.0 ± 0.2"]
    assert found.loc["Euler, searched grid"].tolist() == ["22.0 ± 0.2", "–"]
    one = readable_solvers(solvers(walked[walked.nfe == 5], "fid_digits"))
    assert one["5 calls"].tolist() == found["5 calls"].tolist()
    for suffix in ("md", "typ"):
        write_readable(tmp_path / f"t.{suffix}", found)
        assert "Euler, searched grid" in (tmp_path / f"t.{suffix}").read_text(encoding="utf-8")


# ---- steps -----------------------------------------------------------------------------------------------------------


def test_one_step_of_each_family_is_listed():
    assert tuple(step.name for step in listed_steps()) == families()


def test_families_are_listed_with_what_they_say_of_themselves():
    table = step_families()
    assert table.index.tolist() == [str(step) for step in listed_steps()]
    for step in listed_steps():
        row = table.loc[str(step)]
        assert (row["skewness"], row["excess kurtosis"]) == (step.skewness, step.excess_kurtosis)
        assert row["Fisher information"] == step.fisher_information
    assert table.loc["uniform", "support"] == "[-1.732, 1.732]"
    assert table.loc["exponential", "support"] == "[-1, inf]"


def test_constants_have_q_in_rows_and_p_in_columns_and_no_rademacher(monkeypatch):
    dense = ["normal", "laplace", "uniform"]
    monkeypatch.setattr("nonnormal.study.report.families.listed_steps", lambda: [*map(get, dense), get("rademacher")])
    table = step_constants()
    assert table.index.tolist() == table.columns.tolist() == dense
    assert table.loc["uniform", "normal"] == constant("uniform", "normal")
    assert table.loc["normal", "uniform"] == np.inf
    assert np.abs(np.diag(table)).max() < 1e-12


# ---- the complete recipe ---------------------------------------------------------------------------------------------

PROCESSES = {"vp-sde": vp_sde(), "cld": PSLD(friction_x=0.0, friction_m=4.0), "psld-0.25": PSLD(4.0, 0.25, 4.25)}


@pytest.fixture
def recipes():
    number, found = itertools.count(1), []
    for name, sampler, budget in itertools.product(PROCESSES, ("em", "sscs", "sscs_midpoint"), (10, 50)):
        at = dict(process=name, sampler=sampler, grid="quadratic", step="normal", budget=budget)
        found.append(row("nn", "phase_space_fid_digits", float(next(number)), budget, **at))
    at = dict(process="cld", sampler="sscs", grid="quadratic", step="laplace", budget=10)
    found.append(row("nn", "phase_space_fid_digits", 99.0, 10, **at))
    at = dict(process="cld", sampler="flow_adaptive", step="normal", tolerance=0.01)
    found.append(row("nn", "phase_space_fid_digits", 98.0, 77, **at))
    for name in PROCESSES:
        for step in ("normal", "laplace"):
            found.append(
                row("nn", "phase_space_bpd_total", next(number) / 8, 100, process=name, bound="T steps", step=step)
            )
        found.append(row("nn", "phase_space_bpd_total", next(number) / 8, 300, process=name, bound="flow"))
    return tidy(pd.DataFrame(found))


@pytest.fixture
def sweep():
    return pd.read_csv(ROOT / "paper/references/published.csv")


FRICTIONS = {"vp-sde": None, "cld": 0.0, "psld-0.25": 0.25}


def test_fid_of_processes_stands_beside_the_published_sweep(recipes, sweep):
    found = phase_space(recipes, sweep, "fid_digits", FRICTIONS)
    assert len(found) == 19  # of the normal step
    assert 99.0 not in set(found.value)
    published = found.dropna(subset="published").groupby("process").published.unique()
    assert {name: values.tolist() for name, values in published.items()} == {"cld": [3.64], "psld-0.25": [4.99]}
    assert set(found.dropna(subset="published").sampler) == {"em"}
    readable = readable_phase_space(found)
    assert readable.columns.tolist() == ["10 calls", "50 calls", "CIFAR-10, 1000 calls"]
    assert readable.loc["CLD, Euler–Maruyama"].tolist() == ["7.0 ± 0.2", "8.0 ± 0.2", "3.64"]
    assert readable.loc["vp-sde, SSCS", "CIFAR-10, 1000 calls"] == "–"
    assert readable.index[3:6].tolist() == ["CLD, Euler–Maruyama", "CLD, SSCS", "CLD, SSCS, score of the middle"]


def test_bounds_of_processes_have_a_column_a_bound(recipes):
    found = readable_bounds(phase_space_bounds(recipes))
    assert found.index.tolist() == [*map(process_name, PROCESSES)]
    assert found.columns.tolist() == ["normal, T steps", "Laplace, T steps", "flow"]


def test_processes_are_listed_by_their_matrices():
    found = readable_processes(processes(PROCESSES | {"vp": VP()}))
    assert found.loc["PSLD (friction 0.25)"].tolist()[:4] == [
        "diag(0.125, 0.53125)",
        "0, -0.5; 0.5, 0",
        "diag(1, 4)",
        "8",
    ]
    assert found.loc["CLD", "D"] == "diag(0, 0.5)"
    assert found.loc["vp-sde"].tolist()[:4] == ["0.5", "0", "1", "0.1 to 20"]
    assert found.loc["VP"].tolist()[:4] == ["1/2", "0", "1", "by its log-SNR"]


# ---- every axis ------------------------------------------------------------------------------------------------------

BASE = {"basis": "pixel", "process": "vp", "grid": "uniform"}
CELLS = [BASE, BASE | {"basis": "haar"}, BASE | {"process": "cld"}, BASE | {"grid": "quadratic"}]


@pytest.fixture
def crossed():
    number, found = itertools.count(1), []
    for its, nfe in itertools.product(CELLS, (5, 10)):
        found.append(row("nn", "ablation_kurtosis_share", next(number) / 100, nfe, **its))
        found[-1] |= {"low": found[-1]["value"], "high": found[-1]["value"]}
        kinds = [("ancestral", "normal"), ("ancestral", "laplace")]
        for sampler, step in kinds + [("euler", None)] * (its["basis"] == "pixel" and its["process"] == "vp"):
            at = its | {"sampler": sampler, "step": step}
            found.append(row("nn", "ablation_fid_digits", next(number) / 2, nfe, **at))
            if step != "normal":
                value = (-1) ** next(number) * next(number) / 100
                found.append(row("nn", "ablation_fid_digits_difference", value, nfe, **at, against="normal step"))
    for its, n_steps, step in itertools.product(CELLS[:3], (10, 100), ("normal", "laplace")):
        at = its | {"step": step, "T": n_steps}
        found.append(row("nn", "ablation_bpd_total", float(next(number)), n_steps, **at))
        if step != "normal":
            found.append(row("nn", "ablation_bpd_difference", 1.5, n_steps, **at, against="normal step"))
    return tidy(pd.DataFrame(found))


def test_cells_are_called_by_the_axis_along_which_they_differ(crossed):
    found = ablation(crossed, "fid_digits")
    assert len(found) == len(crossed)
    assert list(found.axis.unique()) == ["base", "basis", "process", "grid"]
    assert sorted(found.value) == sorted(crossed.value)
    assert set(found.measure) == {"kurtosis_share", "fid", "fid_difference", "bpd_total", "bpd_difference"}
    assert set(found[found.axis == "process"].process) == {"cld"}


def test_every_axis_is_read_at_the_fewest_steps_beside_its_bounds(crossed):
    samples, bounds = readable_ablation(ablation(crossed, "fid_digits"))
    names = ["pixels, VP, equal times", "basis: Haar", "process: CLD", "grid: quadratic"]
    assert samples.index.tolist() == names
    assert samples.columns.tolist() == ["kurtosis left", "normal", "Δ Laplace", "Δ Euler"]
    assert bounds.index.tolist() == names[:2]
    assert bounds.columns.tolist() == ["T = 10: normal", "Δ Laplace", "T = 100: normal", "Δ Laplace"]
    assert samples.loc["basis: Haar", "Δ Euler"] == "–"
    few = crossed[(crossed.nfe == 5) & crossed.metric.str.endswith("fid_digits_difference")]
    for shown, value in zip(samples["Δ Laplace"], few[few.step == "laplace"].value, strict=True):
        assert shown.startswith(f"{value:+.1f}")
        assert shown.endswith("*") == (abs(value) > 0.25)  # the interval leaves out 0
    assert {text.endswith("*") for text in samples["Δ Laplace"]} == {True, False}
    assert bounds.iloc[0, 1] == "+1.5 ± 0.2"


# ---- layout ----------------------------------------------------------------------------------------------------------


def test_files_of_a_study_lie_below_its_folder():
    layout = Layout("s", "digits")
    found = [
        layout.study,
        layout.features,
        layout.summary,
        layout.means,
        layout.metrics,
        layout.provenance,
        layout.paper,
    ]
    found += [layout.weights("r"), layout.log("r"), layout.checkpoint("r"), layout.samples("r", 10)]
    found += [layout.samples("r", 100), layout.pretrained_network]
    for experiment in all_experiments():
        for job in experiment.jobs:
            found += job.outputs(layout, "r" if job.each else None)
        found += layout.figures([figure.name for figure in experiment.figures])
        found += layout.tables([table.name for table in experiment.tables])
    assert len(set(found)) == len(found)  # no two share a file
    assert all(str(path).startswith("results/s/") for path in found)
    assert str(layout.weights("r")) == "results/s/r/weights.safetensors"
    assert str(layout.summary) == "results/s/summary.csv"


@pytest.mark.parametrize(
    "left_out",
    [(), ("convergence", "few_steps"), ("step_swap", "geometry"), ("phase_space", "ablation", "representations")],
)
def test_the_summary_gathers_the_parts_of_the_sections_that_a_study_has(left_out):
    raw = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    study = validate({key: value for key, value in raw.items() if key not in left_out}, "smoke.yaml")
    layout = Layout(study.name, study.data_name)
    found = [path.relative_to(layout.root).as_posix() for path in parts(study, layout)]
    assert len(set(found)) == len(found)
    expected = {f"{run}/{job}.csv" for run in study.runs for job in ("bounds", "fidelity")} | {"held_out.csv"}
    expected |= set() if "convergence" in left_out else {"convergence.csv"}
    expected |= set() if "step_swap" in left_out else {f"{run}/step_swap.csv" for run in study.runs}
    expected |= set() if "geometry" in left_out else {"geometry.csv"}
    expected |= (
        set()
        if "representations" in left_out
        else {f"{run}/representations.csv" for run in study.representations.networks}
    )
    expected |= set() if "ablation" in left_out else {"ablation.csv"}
    few_steps = {"few-steps-optimum.csv"}
    few_steps |= {f"normal-normal/{name}.csv" for name in ("few-steps", "few-steps-samples")}
    expected |= set() if "few_steps" in left_out else few_steps
    expected |= (
        set()
        if "phase_space" in left_out
        else {"phase_space-law.csv", *(f"{run}/phase_space.csv" for run in study.phase_space.names(study))}
    )
    assert set(found) == expected


def test_the_data_are_shared_by_all_studies():
    assert Layout("a", "digits").data == Layout("b", "digits").data == data_path("digits")


def test_only_the_headline_study_writes_to_the_paper():
    assert str(Layout("s", "digits", headline=True).paper) == "paper/paper.pdf"
    assert str(Layout("s", "digits", headline=True).figure("steps", "png")) == "paper/figures/steps.png"
    assert str(Layout("s", "digits").table("pairs", "typ")) == "results/s/paper/tables/pairs.typ"


def test_wildcards_pass_through():
    assert str(Layout("s", "digits").samples("{run}", "{n_steps}")) == "results/s/{run}/samples/{n_steps}.safetensors"
