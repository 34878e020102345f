"""Tables: rows to disk and back, selection, and the three formats of the pairs' table."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from nonnormal.divergence import constant
from nonnormal.layout import Layout, data_path
from nonnormal.steps import families
from nonnormal.tables import (
    COLUMNS,
    _cell,
    headline,
    listed_steps,
    pairs,
    read_rows,
    readable_pairs,
    select,
    step_constants,
    step_families,
    write_readable,
    write_rows,
)

RUNS = {"nn": ("normal", "normal"), "ll": ("laplace", "laplace")}
TERMS = ("total", "prior", "diffusion", "reconstruction")


def row(run, metric, value, nfe, **conditions):
    q, p = RUNS[run]
    facts = {"study": "s", "run": run, "q": q, "p": p, "train_seed": 0, "metric": metric, "unit": "x", "n": 32}
    interval = {"value": value, "low": value - 0.25, "high": value + 0.25}
    return facts | interval | {"nfe": nfe, "conditions": json.dumps(conditions)}


@pytest.fixture
def summary():
    """Two runs with bounds at T = 5 and 10 and fidelities at 10 steps; each value is a number of its own."""
    number = itertools.count(1)
    rows = []
    for run in RUNS:
        for nfe in (5, 10):
            for bound, marginals in (("native", "limit"), ("normal", "limit"), ("native", "bridge")):
                for term in TERMS:
                    rows.append(row(run, f"bpd_{term}", float(next(number)), nfe, bound=bound, marginals=marginals))
        rows += [row(run, f"{name}_digits", next(number) / 100, 10) for name in ("fid", "kid", "precision", "recall")]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture
def published():
    row = {"key": "li2024", "model": "Gaussian/Gaussian", "metric": "bpd", "value": 2.49}
    return pd.DataFrame(
        [row, row | {"metric": "fid", "value": 1.98}, row | {"key": "other", "model": "Laplace/Laplace"}]
    )


@pytest.fixture
def table(summary, published):
    return pairs(summary, published, "digits", {"nn": 10, "ll": 5}, 10)


def test_rows_round_trip_with_all_digits(tmp_path, summary):
    summary["value"] = np.random.default_rng(0).lognormal(size=len(summary), sigma=8)
    write_rows(tmp_path / "a.csv", summary)
    found = read_rows(tmp_path / "a.csv")
    assert tuple(found.columns) == COLUMNS
    assert found.value.tolist() == summary.value.tolist()
    assert found.conditions.tolist() == summary.conditions.tolist()


def test_several_files_are_read_as_one_and_missing_integers_stay_integers(tmp_path, summary):
    summary = summary.astype({"nfe": "Int64"})
    summary.loc[0, "nfe"] = None
    write_rows(tmp_path / "a.csv", summary[:10])
    write_rows(tmp_path / "b.csv", summary[10:])
    found = read_rows([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert found.index.tolist() == list(range(len(summary)))
    assert str(found.nfe.dtype) == "Int64"
    assert pd.isna(found.nfe[0])
    assert found.nfe[1] == 5


def test_select_by_columns_and_conditions(summary):
    found = select(summary, "bpd_total", run="nn", nfe=10, bound="native", marginals="bridge")
    assert len(found) == 1
    assert found.iloc[0].run == "nn"
    assert json.loads(found.iloc[0].conditions) == {"bound": "native", "marginals": "bridge"}
    assert len(select(summary, "bpd_total", bound="native")) == 8
    assert len(select(summary, "fid_digits")) == 2
    assert select(summary, "bpd_total", bound="other").empty
    assert select(summary, "fid_digits", bound="native").empty


def test_pairs_take_each_number_from_its_row(summary, table):
    nn, ll = table.to_dict("records")
    for found, run, n_steps in ((nn, "nn", 10), (ll, "ll", 5)):
        normal = dict(run=run, nfe=n_steps, bound="normal", marginals="limit")
        assert found["normal_bpd"] == select(summary, "bpd_total", **normal).value.item()
        assert found["prior"] == select(summary, "bpd_prior", **normal).value.item()
        bridge = normal | {"bound": "native", "marginals": "bridge"}
        assert found["native_bridge"] == select(summary, "bpd_total", **bridge).value.item()
        assert found["native_bridge_low"] == found["native_bridge"] - 0.25
        assert found["fid"] == select(summary, "fid_digits", run=run).value.item()
        assert (found["q"], found["p"]) == RUNS[run]


def test_pairs_stand_beside_the_published_figures_of_the_same_pair(table):
    nn, ll = table.to_dict("records")
    assert (nn["published_bpd"], nn["published_fid"]) == (2.49, 1.98)
    assert pd.isna(ll["published_bpd"])  # another paper's Laplace is not li2024's


def test_a_missing_number_is_an_error_and_not_a_gap(summary, published):
    with pytest.raises(ValueError, match="unpack"):
        pairs(summary[summary.metric != "fid_digits"], published, "digits", {"nn": 10}, 10)


@pytest.mark.parametrize(
    ("column", "value", "half", "text"),
    [
        ("normal_bpd", 2.34567, 0.0, "2.345670 ± 0.000000"),
        ("normal_bpd", 2.34567, 0.0004, "2.3457 ± 0.0004"),
        ("normal_bpd", 2.34567, 0.004, "2.346 ± 0.004"),
        ("normal_bpd", 2.34567, 0.04, "2.35 ± 0.04"),
        ("normal_bpd", 234.567, 4.0, "235 ± 4"),
        ("kid", 0.01234, 0.002, "12 ± 2"),
    ],
)
def test_a_cell_has_the_digits_that_its_interval_warrants(column, value, half, text):
    assert _cell({column: value, f"{column}_low": value - half, f"{column}_high": value + half}, column) == text


def test_a_cell_without_interval_or_number():
    assert _cell({"published_bpd": 2.4867}, "published_bpd") == "2.49"
    assert _cell({"published_bpd": None}, "published_bpd") == "–"
    assert _cell({"published_bpd": float("nan")}, "published_bpd") == "–"


@pytest.fixture
def readable(table):
    return readable_pairs(table, "digits", {"nn": "normal/normal", "ll": "laplace/laplace, twice"})


def test_csv_has_all_numbers(tmp_path, table):
    write_rows(tmp_path / "t.csv", table)
    found = pd.read_csv(tmp_path / "t.csv")
    assert found.columns.tolist() == table.columns.tolist()
    assert found.normal_bpd.tolist() == table.normal_bpd.tolist()


def test_markdown_has_a_row_for_each_number_and_a_column_for_each_run(tmp_path, readable):
    write_readable(tmp_path / "t.md", readable)
    lines = (tmp_path / "t.md").read_text(encoding="utf-8").splitlines()
    head, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert head == ["", "normal/normal", "laplace/laplace, twice"]
    assert all(set(cell) <= set(":-") for cell in rule)
    found = {row[0]: row[1:] for row in rows}
    assert found["bits/dim, CIFAR-10 (li2024)"] == ["2.49", "–"]
    assert found["kid_digits × 1000"] == ["260 ± 250", "540 ± 250"]
    assert len(found) == len(rows) == 12


def test_typst_has_a_row_for_each_number(tmp_path, readable):
    write_readable(tmp_path / "t.typ", readable)
    lines = (tmp_path / "t.typ").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#table("
    assert "  columns: 3," in lines
    assert "  table.header([**], [*normal/normal*], [*laplace/laplace, twice*])," in lines
    assert "  [bits/dim, CIFAR-10 (li2024)], [2.49], [–]," in lines
    assert lines[-1] == ")"
    assert sum(line.startswith("  [") for line in lines) == 12


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


def test_constants_have_q_in_rows_and_p_in_columns_and_no_rademacher():
    table = step_constants()
    dense = [name for name in step_families().index if name != "rademacher"]
    assert table.index.tolist() == table.columns.tolist() == dense
    assert table.loc["uniform", "normal"] == constant("uniform", "normal")
    assert table.loc["normal", "uniform"] == np.inf
    assert np.abs(np.diag(table)).max() < 1e-12


# ---- layout ----------------------------------------------------------------------------------------------------------


def test_files_of_a_study_lie_below_its_folder():
    layout = Layout("s", "digits")
    found = {
        str(path)
        for path in (
            *(layout.study, layout.features, layout.summary, layout.metrics, layout.provenance, layout.paper),
            *(layout.weights("r"), layout.log("r"), layout.checkpoint("r"), layout.bounds("r"), layout.fidelity("r")),
            *(
                layout.samples("r", 10),
                layout.samples("r", 100),
                layout.figure("steps", "pdf"),
                layout.table("pairs", "md"),
            ),
        )
    }
    assert len(found) == 15  # no two share a file
    assert all(path.startswith("results/s/") for path in found)
    assert str(layout.weights("r")) == "results/s/r/weights.safetensors"
    assert str(layout.summary) == "results/s/summary.csv"


def test_the_data_are_shared_by_all_studies():
    assert Layout("a", "digits").data == Layout("b", "digits").data == data_path("digits")


def test_only_the_headline_study_writes_to_the_paper():
    assert str(Layout("s", "digits", headline=True).paper) == "paper/paper.pdf"
    assert str(Layout("s", "digits", headline=True).figure("steps", "png")) == "paper/figures/steps.png"
    assert str(Layout("s", "digits").table("pairs", "typ")) == "results/s/paper/tables/pairs.typ"


def test_wildcards_pass_through():
    assert str(Layout("s", "digits").samples("{run}", "{n_steps}")) == "results/s/{run}/samples/{n_steps}.safetensors"
