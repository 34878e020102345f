"""Rows on convergence in law: a tiny study's numbers are those of the functions it names, with honest intervals."""

import math

import numpy as np
import pandas as pd
import pytest
from summaries import assert_tidy

from nonnormal.analysis.convergence import Grid, path_maximum_distance, sampler_distances, walk_distances
from nonnormal.seeds import derive
from nonnormal.steps import get
from nonnormal.study.config import validate
from nonnormal.study.experiments.convergence.measure import line_rows, plane_rows

STEPS, COUNTS = ("normal", "gumbel"), (2, 64, 80, 96)
SETTINGS = {"step_families": list(STEPS), "timesteps": [80, 2, 64, 96], "points": 256, "n_paths": 200, "n_samples": 400}


def study(seed=0, **settings):
    raw = {"name": "tiny", "seed": seed, "data": "digits", "runs": {"plain": None}, "convergence": SETTINGS | settings}
    return validate(raw, "tiny.yaml")


@pytest.fixture(scope="module")
def line():
    return line_rows(study())


@pytest.fixture(scope="module")
def plane():
    return plane_rows(study(timesteps=[2, 16]))


def one(table, **wanted):
    rows = table[np.logical_and.reduce([table[column] == value for column, value in wanted.items()])]
    assert len(rows) == 1, wanted
    return rows.iloc[0]


def assert_well_formed(table):
    assert_tidy(table)
    assert set(table["study"]) == {"tiny"}
    assert table["run"].isna().all()
    assert table["train_seed"].isna().all()
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert np.isfinite(table[["value", "low", "high"]].to_numpy(float)).all()
    assert not table.duplicated(["q", "metric", "nfe"]).any()
    assert table["data"].isna().all()
    assert (table["mixture"].isna() == (table["metric"] == "ks_path_maximum")).all()
    distances = table[table["unit"] == "distance"]
    assert (distances["value"] > 0).all()
    assert (distances["value"][distances["metric"].str.contains("ks_")] <= 1).all()
    assert set(table["seed"]) == {0}
    assert set(table["counted"]) <= {"grid points", "numbers of steps", "paths", "samples"}


def test_every_step_and_number_of_steps_has_its_rows(line, plane):
    assert_well_formed(line)
    assert_well_formed(plane)
    metrics = {"w1_walk", "ks_walk", "w1_sampler", "ks_sampler", "ks_path_maximum"}
    found = line[line["unit"] == "distance"]
    assert set(found["metric"]) == metrics
    assert len(found) == len(metrics) * len(STEPS) * len(COUNTS)
    assert (found["q"] == found["p"]).all()
    assert set(found["nfe"]) == set(COUNTS)
    chains = {f"sliced_{kind}_{walker}" for kind in ("w1", "ks") for walker in ("walk", "sampler")}
    assert set(plane["metric"]) == chains | {f"{metric}_floor" for metric in chains}
    assert len(plane) == 4 + 4 * len(STEPS) * 2


def test_orders_are_fitted_to_many_steps_where_there_is_an_error_to_fall(line):
    """The normal walk is exact at any number of steps: what is left is rounding, which has no order."""
    orders = line[line["unit"] == "1"]
    expected = {(q, f"order_{kind}_{walker}") for q in STEPS for kind in ("w1", "ks") for walker in ("walk", "sampler")}
    expected -= {("normal", "order_w1_walk"), ("normal", "order_ks_walk")}
    assert set(zip(orders["q"], orders["metric"], strict=True)) == expected
    assert (orders["n"] == 3).all(), "2 steps are too few"
    assert orders["nfe"].isna().all()
    assert one(line, q="gumbel", metric="order_w1_walk")["value"] == pytest.approx(0.5, abs=0.1)
    assert one(line, q="normal", metric="order_w1_sampler")["value"] == pytest.approx(1, abs=0.1)


def test_two_numbers_of_many_steps_have_no_order():
    assert not line_rows(study(step_families=["gumbel"], timesteps=[2, 64, 80]))["metric"].str.startswith("order").any()


def test_a_distance_on_the_line_is_given_with_twice_its_change_to_a_coarser_grid(line):
    for walker, distances in (("walk", walk_distances), ("sampler", sampler_distances)):
        fine, coarse = (distances(get("gumbel"), 64, Grid(points)) for points in (256, 128))
        for kind, value, other in zip(("w1", "ks"), fine, coarse, strict=True):
            row = one(line, q="gumbel", metric=f"{kind}_{walker}", nfe=64)
            assert row["value"] == value
            assert row["high"] - value == pytest.approx(2 * abs(value - other), rel=1e-9)
            assert row["low"] == pytest.approx(max(value - 2 * abs(value - other), 0), rel=1e-9)
            assert row["n"] == 256


def test_the_paths_maximum_is_sampled_from_a_seed_of_its_own_with_the_dkw_band(line):
    row = one(line, q="gumbel", metric="ks_path_maximum", nfe=64)
    value = path_maximum_distance(get("gumbel"), 64, 200, derive(0, "path maximum", "gumbel", 64))
    assert (row["value"], row["n"]) == (value, 200)
    assert row["high"] - value == pytest.approx(math.sqrt(math.log(40) / 400))


def test_floors_belong_to_no_step_and_are_the_intervals_half_widths(plane):
    floors = plane[plane["metric"].str.endswith("_floor")]
    assert floors[["q", "p", "nfe"]].isna().all(axis=None)
    for metric in ("sliced_w1_walk", "sliced_ks_walk", "sliced_w1_sampler", "sliced_ks_sampler"):
        floor = one(plane, metric=f"{metric}_floor")
        # Kolmogorov's law on each line: √(π/2) ln 2 /√n, at n = 400.
        if "ks" in metric:
            assert floor["value"] == pytest.approx(math.sqrt(math.pi / 2) * math.log(2) / 20, rel=0.15)
        for _, row in plane[plane["metric"] == metric].iterrows():
            assert row["high"] - row["value"] == pytest.approx(floor["value"], rel=1e-9)
            assert row["low"] == pytest.approx(max(row["value"] - floor["value"], 0), rel=1e-9)
        # A normal walk is exact, so its samples lie at the floor; two gumbel steps are far above it.
        assert one(plane, metric=metric, q="gumbel", nfe=2)["value"] > 1.5 * floor["value"]
    walk = one(plane, metric="sliced_ks_walk", q="normal", nfe=2)
    assert walk["value"] < 2 * one(plane, metric="sliced_ks_walk_floor")["value"]


def test_the_same_seed_makes_the_same_rows(line, plane):
    few = dict(timesteps=[2, 16])
    pd.testing.assert_frame_equal(plane, plane_rows(study(**few)))
    other = plane_rows(study(seed=1, **few))
    assert (other["value"] != plane["value"]).all()
    again = line_rows(study(step_families=["gumbel"], timesteps=[2, 64]))
    same = (line["q"] == "gumbel") & line["nfe"].isin([2, 64])
    pd.testing.assert_frame_equal(again, line[same].reset_index(drop=True))


def test_a_row_does_not_depend_on_the_other_steps_and_numbers_of_steps(plane):
    alone = plane_rows(study(step_families=["gumbel"], timesteps=[16]))
    both = plane[(plane["q"].isna()) | ((plane["q"] == "gumbel") & (plane["nfe"] == 16))]
    pd.testing.assert_frame_equal(alone, both.reset_index(drop=True))
