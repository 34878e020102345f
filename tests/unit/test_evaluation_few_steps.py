"""Few network calls: rows of fitted steps and samples, intervals, the file of steps, the optimum, and settings."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from problems import few_digits, rough_reference, small_denoiser

from nonnormal.objectives.fitting import BASES, CHOICES, Residuals
from nonnormal.steps import FittedStep, Normal, ScaleMixture
from nonnormal.steps.fitted import shape_of
from nonnormal.study.config import StudyError, validate
from nonnormal.study.experiments.few_steps import figures, measure, optimum, samples, tables
from nonnormal.study.experiments.few_steps.chains import load_chains
from nonnormal.study.experiments.few_steps.settings import FewSteps
from nonnormal.study.results.context import Context
from nonnormal.study.results.paths import Layout

RAW = {
    "name": "tiny",
    "data": "digits",
    "seed": 3,
    "defaults": {"process": {"schedule": {"log_snr_max": 9, "log_snr_min": -7}}},
    "runs": {"nn": {}, "other": {"basis": {"kind": "dct"}}},
    "evaluation": {"bootstrap": 10},
    "few_steps": {
        "bases": ["pixel", "residual_pca"],
        "timesteps": [3, 2],
        "n_fit": 20,
        "draws": 1,
        "fits": 2,
        "n_bounds": 6,
        "grid_points": 4,
        "grid_images": 5,
        "reach": 4,
        "nfe": [2],
        "sampled": ["scale", "conditional+shape", "residuals"],
        "noise_factors": [0.9, 1],
        "step_families": ["normal", "rademacher"],
        "n_images": 8,
        "mixtures": ["sparse"],
        "mixture_timesteps": [2],
        "mixture_steps": ["normal", "uniform"],
    },
}


def changed(**keys):
    return {**RAW, "few_steps": {**RAW["few_steps"], **keys}}


class Small(Context):
    def network(self, run=None):
        return small_denoiser().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(context, rows of bounds, rows of samples, rows of the optimum)."""
    folder = tmp_path_factory.mktemp("few")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = validate(RAW, "tiny.yaml")
        context = Small(study, Layout("tiny", "digits"), "nn")
        context.data = few_digits()
        context.reference = rough_reference(context.data, folder)
        context.layout.run("nn").mkdir(parents=True)
        yield context, measure.measure(context), samples.measure(context), optimum.measure(context)


def select(rows, metric):
    return rows[rows.metric == metric]


def named(rows, *keys):
    return rows.reindex(columns=[*rows, *(key for key in keys if key not in rows)])


def test_every_choice_is_bounded_at_every_number_of_timesteps_on_both_grids(made):
    rows = named(select(made[1], "few_steps_bpd_total"), "choice", "basis", "T", "grid")
    found = set(zip(rows.choice, rows.basis, rows["T"], rows.grid, strict=True))
    others = [choice for choice in CHOICES if "scale" not in choice and choice != "unit"]
    at = [(choice, "pixel") for choice in CHOICES] + [(choice, "residual_pca") for choice in others]
    expected = {(*kind, n, "uniform") for kind in at for n in (2, 3)}
    searched = [("unit", "pixel"), ("conditional+shape", "pixel"), ("conditional+shape", "residual_pca")]
    assert found == expected | {(*kind, n, "searched") for kind in searched for n in (2, 3)}
    assert (rows.n == 6).all() and (rows.nfe == rows["T"]).all() and np.isfinite(rows.value).all()


def test_differences_are_those_of_the_totals_to_the_unit_step_at_equal_steps_of_time(made):
    totals = named(select(made[1], "few_steps_bpd_total"), "choice", "basis", "T", "grid")
    value = totals.set_index(["choice", "basis", "T", "grid"]).value
    gaps = named(select(made[1], "few_steps_bpd_difference"), "choice", "basis", "T", "grid")
    assert len(gaps) == len(totals) - 2
    for row in gaps.itertuples():
        key = (row.choice, row.basis, row.T, row.grid)
        assert row.value == pytest.approx(value[key] - value["unit", "pixel", row.T, "uniform"])


def test_fitted_steps_lie_beside_the_weights_and_belong_to_their_network(made):
    context, rows = made[:2]
    chains = load_chains(context)
    bounded = [chain for chain in chains if chain.choice != "residuals"]
    assert len(bounded) == len(select(rows, "few_steps_bpd_total"))
    assert [chain.conditions["T"] for chain in chains if chain not in bounded] == [2]
    assert all(len(chain.times) == len(chain.steps) + 1 == chain.conditions["T"] + 1 for chain in chains)
    other = Small(validate({**RAW, "seed": 4}, "tiny.yaml"), context.layout, "nn")
    with pytest.raises(ValueError, match=r"few-steps\.safetensors holds steps fitted for another network"):
        load_chains(other)


def test_the_fewest_calls_are_those_whose_bound_is_no_larger(made):
    rows = named(select(made[1], "few_steps_calls"), "choice", "T").set_index("choice")
    totals = named(select(made[1], "few_steps_bpd_total"), "choice", "basis", "T", "grid")
    totals = totals.set_index(["choice", "basis", "T", "grid"]).value
    assert set(rows.index) == {"unit", "conditional+shape"} and (rows["T"] == 4).all()
    for choice, n_calls in rows.value.items():
        assert 1 <= n_calls <= 4
        if n_calls in (2, 3):
            reached = totals[choice, "pixel", n_calls, "searched"]
            assert reached < totals["unit", "pixel", 3, "uniform"]


@pytest.mark.parametrize(("target", "least"), [(100.0, 1), (10.0, 10), (9.5, 11), (1.0, 40), (0.0, 40)])
def test_the_fewest_is_found_by_halving(target, least):
    assert measure.fewest(lambda n: 100 / n, target, 40) == least


def test_samples_of_every_step_are_compared_with_the_normal_unit_step(made):
    keys = ("choice", "basis", "step", "factor")
    rows = named(select(made[2], "few_steps_fid_digits"), *keys)
    found = {tuple(row[key] for key in keys) for row in rows.to_dict("records")}
    unit = {("unit", "pixel", step, factor) for step in ("normal", "rademacher") for factor in (0.9, 1.0)}
    fitted = {(choice, "pixel") for choice in RAW["few_steps"]["sampled"]} | {("conditional+shape", "residual_pca")}
    assert {row for row in found if row[0] == "unit"} == unit
    assert {row[:2] for row in found if row[0] != "unit"} == fitted
    assert len(select(made[2], "few_steps_fid_digits_difference")) == len(rows) - 1
    copied = named(select(made[2], "few_steps_copied_share"), "choice", "basis")
    assert {tuple(row) for row in copied[["choice", "basis"]].to_numpy()} == fitted | {("unit", "pixel")}


def test_no_choice_goes_below_the_optimum_and_infinite_costs_are_left_out(made):
    rows = named(made[3], "choice", "step")
    normal, uniform = (rows[rows.step == step].set_index("choice").value for step in ("normal", "uniform"))
    assert set(normal.index) == {"optimum", "unit", "scale", "scale+shape"}
    assert normal["optimum"] < normal["scale+shape"] < normal["scale"] < normal["unit"]
    assert set(uniform.index) == {"optimum"}


def test_tables_and_figures_are_made_of_the_rows(made):
    context = made[0]
    summary = pd.concat(made[1:], ignore_index=True)
    numbers = tables.few_steps(summary, context.fid)
    assert len(numbers) == len(summary) and tables.MEAN not in set(numbers.run)
    bounds, distances = tables.readable_few_steps(numbers)
    assert list(bounds.columns) == ["T = 2", "T = 3"] and "conditional and shape, searched times" in bounds.index
    steps = ["normal", "normal × 0.9", "Rademacher × 0.9", "Rademacher", "scale", "conditional and shape"]
    assert list(distances.index) == [*steps, "conditional and shape, PCA of residuals", "residuals"]
    assert distances.loc["Rademacher × 0.9", "2 calls"].startswith("Δ ")
    assert len(figures.families(summary).axes) == 1
    assert len(figures.bounds(summary).axes) == len(figures.samples(summary, context.fid).axes) == 2


def networks(*columns):
    """Differences of networks a, b, … at 4 calls, one column of numbers for each step."""
    rows = [
        {
            "metric": "few_steps_fid_difference",
            "run": run,
            "choice": choice,
            "basis": "pixel",
            "grid": "uniform",
            "T": 4,
        }
        | {"step": step, "factor": factor, "value": value, "low": value, "high": value, "n": 9}
        for (choice, step, factor), values in columns
        for run, value in zip("abcd", values, strict=False)
    ]
    return tables.few_steps(pd.DataFrame(rows), "fid").set_index("measure")


def test_means_over_networks_have_students_interval():
    found = networks((("unit", "laplace", 1.0), [1.0, 2.0, 6.0]))
    [mean] = found[found.run == tables.MEAN].loc[["fid_difference"]].itertuples()
    assert (mean.value, mean.n, mean.step, mean.factor) == (3.0, 3, "laplace", 1.0)
    assert mean.high - mean.value == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)


def test_trainings_of_a_run_are_networks_of_their_own():
    names = ["a", "b", "c"]
    apart = networks((("unit", "laplace", 1.0), [1.0, 2.0, 6.0]))
    rows = [
        {"metric": "few_steps_fid_difference", "run": "a", "train_seed": 4 + k, "T": 4, "value": v, "low": v, "high": v}
        | {"choice": "unit", "basis": "pixel", "grid": "uniform", "step": "laplace", "factor": 1.0, "n": 9}
        for k, v in enumerate([1.0, 2.0, 6.0])
    ]
    frame = pd.DataFrame(rows).astype({"train_seed": "Int64"})
    again = tables.few_steps(frame, "fid").set_index("measure")
    assert again.run.tolist()[:3] == ["a", "a@1", "a@2"] and apart.run.tolist()[:3] == names
    assert again.value.tolist() == apart.value.tolist()


def test_the_rule_is_told_by_networks_that_did_not_choose_it():
    # The fitted step is best for the mean, but by one network's luck: the others would not choose it for that one.
    lucky, steady = [-9.0, 2.0, 2.0, 2.0], [-0.5, -0.5, -0.6, -0.4]
    found = networks(
        (("scale", None, None), lucky), (("unit", "normal", 0.9), steady), (("unit", "laplace", 1.0), [5.0] * 4)
    )
    rule, normal = found.loc["rule"], found.loc["rule_normal"]
    assert rule.choice == "scale" and normal.choice == "unit" and normal.factor == 0.9
    assert normal.value == pytest.approx(-0.5) and normal.high < 0
    assert rule.value == pytest.approx(np.mean([steady[0], *lucky[1:]])) and rule.low < 0 < rule.high


def test_networks_that_choose_a_step_draw_from_other_seeds_and_steps_of_a_network_from_the_same_normal_draws(
    monkeypatch,
):
    asked, drawn = [], []

    def note(*given, **_):
        asked.append(given[5])
        for step in given[3] if isinstance(given[3], tuple) else (given[3],):
            drawn.append(shape_of(step).sample((50,), generator=torch.Generator().manual_seed(0)).sign())
        return torch.zeros(8)

    monkeypatch.setattr(samples, "drawn", note)
    for name in ("_rows", "_nearest", "_copied"):
        monkeypatch.setattr(samples, name, lambda *_: [])
    monkeypatch.setattr(Small, "data", SimpleNamespace(test=SimpleNamespace(images=None)))
    fitted = FittedStep(ScaleMixture((0.5, 0.5), (0.5, 1.5)), torch.tensor(2.0))
    chain = SimpleNamespace(grid="uniform", choice="scale", basis="pixel", steps=(fitted, fitted))
    monkeypatch.setattr(samples, "load_chains", lambda context: [chain])
    monkeypatch.setattr(samples, "frame", lambda rows: rows)
    study = validate(changed(runs=["nn", "other"]) | {"runs": {"nn": {}, "other": {}}}, "tiny.yaml")
    for run in ("nn", "other"):
        samples.measure(Small(study, Layout("tiny", "digits"), run))
    steps = len(asked) // 2
    assert all(seeds == asked[0] for seeds in asked[:steps]) and len(asked[0]) == 8
    assert not set(asked[0]) & set(asked[steps])
    assert len(drawn) > 2 * steps and all(torch.equal(signs, drawn[0]) for signs in drawn)


def test_the_rule_comes_first_in_the_table_for_reading_where_there_is_one():
    better = (("unit", "laplace", 1.0), [-1.0, -2.0, -3.0])
    rule = tables.readable_few_steps(networks(better).reset_index())[0]
    assert rule.loc["4"].tolist() == ["Laplace", "Δ -2.0 ± 2.5"]
    assert "take" not in tables.readable_few_steps(networks((better[0], better[1][:2])).reset_index())[0]


def test_without_a_gain_the_rule_is_the_normal_unit_step_and_two_networks_give_none():
    worse = (("unit", "laplace", 1.0), [1.0, 2.0, 3.0])
    rule = networks(worse).loc["rule"]
    assert (rule.step, rule.factor, rule.value) == ("normal", 1.0, 0.0)
    assert "rule" not in networks((worse[0], worse[1][:2])).index


# ---- intervals -------------------------------------------------------------------------------------------------------


def test_the_interval_of_crossed_values_has_the_scatter_of_images_and_of_fits():
    rng = np.random.default_rng(0)
    values = 5 + 2 * rng.standard_normal(400) + 0.3 * rng.standard_normal((9, 1))
    found = measure.crossed_interval(values)
    assert found.n == 400 and found.value == pytest.approx(values.mean())
    error = math.sqrt(values.mean(0).var(ddof=1) / 400 + values.mean(1).var(ddof=1) / 9)
    assert found.high - found.value == pytest.approx(1.96 * error, rel=1e-3)
    alone = measure.crossed_interval(values[:1])
    assert alone.high - alone.value == pytest.approx(1.96 * values[0].std(ddof=1) / 20, rel=1e-3)


def test_kurtosis_of_residuals_is_that_of_draws():
    g = torch.Generator().manual_seed(0)
    delta = torch.randn(20000, 1, 1, 2, generator=g, dtype=torch.float64).abs() ** 1.5
    errors = Residuals(Normal(), delta, delta, torch.arange(20000))
    step = FittedStep(Normal(), torch.tensor([[[1.0, 2.0]]], dtype=torch.float64))
    r = (torch.randn(delta.shape, generator=g, dtype=torch.float64) - delta) / step.scale
    drawn = (r**4).mean() / (r**2).mean() ** 2 - 3
    found = measure.excess_kurtosis(errors, step, seed=0)
    assert found.low < drawn.item() < found.high
    assert measure.excess_kurtosis(Residuals(Normal(), 0 * delta, delta, errors.image), _unit(), seed=0).value == (
        pytest.approx(0, abs=1e-12)
    )


def _unit():
    return FittedStep(Normal(), torch.tensor(1.0, dtype=torch.float64))


# ---- settings --------------------------------------------------------------------------------------------------------


def test_choices_of_a_study_are_those_of_the_library():
    schema = FewSteps.model_json_schema()["properties"]
    assert tuple(schema["choices"]["items"]["enum"]) == CHOICES
    assert tuple(schema["bases"]["items"]["enum"]) == BASES
    assert set(schema["mixtures"]["items"]["enum"]) == set(optimum.MIXTURES)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (dict(runs=["none"]), 'few_steps.runs: found "none"; the runs are nn, other'),
        (dict(runs=["other"]), "few_steps.runs: other has the basis DCT"),
        (dict(choices=["scale"], sampled=["diagonal"]), "sampled: found diagonal"),
        (dict(timesteps=[5]), "grid_points: found 4, fewer than the 5 timesteps"),
        (dict(mixture_steps=["rademacher"]), "mixture_steps: found rademacher, which has no density"),
        (dict(choices=["full"]), "few_steps.choices.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(keys, found):
    with pytest.raises(StudyError, match=found.replace("+", r"\+").replace("(", r"\(")):
        validate(changed(**keys), "tiny.yaml")
