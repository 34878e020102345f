"""Trainings as replicates: names, seeds, files and rows of each, one number for all, differences between runs."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from problems import few_digits

from nonnormal import data as data_sets
from nonnormal.files import read_tensors, write_tensors
from nonnormal.metrics.intervals import Estimate, clustered_difference, mean_interval, t_difference, t_half
from nonnormal.study.cli import make
from nonnormal.study.config import StudyError, validate
from nonnormal.study.registry import jobs_of, parts
from nonnormal.study.results.context import Context
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.rows import frame, row
from nonnormal.study.results.trainings import bounds_difference, differences, over_trainings
from nonnormal.study.stages import stages_of

RAW = {
    "name": "tiny",
    "data": "digits",
    "seed": 3,
    "replicates": 3,
    "defaults": {
        "network": {"widths": [8], "groups": 4, "dropout": 0.1},
        "training": {"timesteps": 3, "iterations": 3, "batch_size": 4},
    },
    "runs": {"plain": None, "laplace": {"q": "laplace", "p": "laplace"}, "later": {"training": {"seed": 5}}},
    "representations": {"networks": {"dct": {"basis": {"kind": "dct"}}}, "replicates": 2},
}
STUDY = validate(RAW, "tiny.yaml")


def changed(**keys):
    return validate(RAW | keys, "tiny.yaml")


# ---- names and seeds -------------------------------------------------------------------------------------------------


def test_each_run_has_its_trainings_by_name_with_rising_seeds():
    seeds = {name: run.training.seed for name, run in STUDY.networks.items()}
    assert seeds == {
        **{"plain": 0, "plain@1": 1, "plain@2": 2},
        **{"laplace": 0, "laplace@1": 1, "laplace@2": 2},
        **{"later": 5, "later@1": 6, "later@2": 7},
        **{"dct": 0, "dct@1": 1},
    }
    assert STUDY.trainings(["later", "dct"]) == ("later", "later@1", "later@2", "dct", "dct@1")
    assert STUDY.path("laplace@2") == "runs.laplace"
    assert STUDY.path("dct@1") == "representations.networks.dct"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_training_is_that_of_a_run_with_its_seed(number):
    name = f"plain@{number}" if number else "plain"
    alone = changed(replicates=1, runs={"plain": {"training": {"seed": number}}})
    assert STUDY.training_facts(name) == alone.training_facts("plain")
    assert STUDY.train_seed(name) == alone.train_seed("plain")


def test_replicates_change_nothing_of_the_first_training():
    once = changed(replicates=1)
    assert list(once.networks) == ["plain", "laplace", "later", "dct", "dct@1"]
    for name in ("plain", "laplace", "later"):
        assert once.training_facts(name) == STUDY.training_facts(name)
        assert once.train_seed(name) == STUDY.train_seed(name)
    assert len({STUDY.train_seed(name) for name in STUDY.networks}) == len(STUDY.networks)


def test_a_trained_network_is_to_the_bit_that_of_a_run_with_its_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data_sets.write(Layout("tiny", "digits").data, few_digits(), "digits")
    weights = {}
    for name, study, run in (
        ("first", RAW, "plain"),
        ("further", RAW, "plain@1"),
        ("alone", RAW | {"name": "alone", "replicates": 1, "runs": {"plain": {"training": {"seed": 1}}}}, "plain"),
    ):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
        make.train(study_file=tmp_path / "study.yaml", run=run, device="cpu", threads=1)
        weights[name], header = read_tensors(Layout(study["name"], "digits").weights(run))
        assert header["run"] == "plain"
    assert all(torch.equal(weights["further"][key], value) for key, value in weights["alone"].items())
    assert any(not torch.equal(weights["first"][key], value) for key, value in weights["alone"].items())


@pytest.mark.parametrize("place", ["runs", "representations"])
def test_users_write_no_name_with_an_at_sign(place):
    networks = {"plain@1": None}
    raw = {"runs": networks} if place == "runs" else {"representations": {"networks": networks}}
    with pytest.raises(StudyError, match="a name begins with a letter and has a to z, 0 to 9, - and _"):
        changed(**raw)


@pytest.mark.parametrize("found", [0, -1, 1.5, "2", True])
def test_replicates_are_a_number_of_trainings(found):
    with pytest.raises(StudyError, match="replicates: found"):
        changed(replicates=found)


def test_a_seed_that_leaves_no_room_for_further_trainings_is_refused():
    assert changed(replicates=1, runs={"plain": {"training": {"seed": 2**63 - 1}}})
    with pytest.raises(StudyError, match=r"runs.plain.training.seed: found 9223372036854775807"):
        changed(runs={"plain": {"training": {"seed": 2**63 - 1}}})


def test_a_run_is_compared_with_the_normal_pairs_training_of_the_same_number():
    assert [STUDY.baseline(name) for name in ("laplace", "laplace@2", "plain@1")] == ["plain", "plain@2", "plain@1"]


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("phase_space", {"runs": ["plain", "plain@1"]}),
        ("few_steps", {"runs": ["plain@2"]}),
        ("step_swap", {"runs": ["laplace@1"]}),
        ("geometry", {"run": "plain@2"}),
        ("ablation", {"run": "plain@1"}),
    ],
)
def test_sections_look_at_the_trainings_that_they_name_and_at_no_others(section, settings):
    assert getattr(changed(**{section: settings}), section)
    [(key, named)] = settings.items()
    strange = ["plain@3"] if isinstance(named, list) else "plain@3"
    with pytest.raises(StudyError, match=rf'{section}.{key}: found "plain@3"; the runs are plain, plain@1, plain@2'):
        changed(**{section: {key: strange}})


# ---- files and rows --------------------------------------------------------------------------------------------------


def test_all_trainings_are_sampled_and_evaluated_as_pairs_and_other_sections_look_at_the_first():
    study = changed(step_swap={}, few_steps={}, phase_space={})
    found = {job.name: job.networks(study) for _, job in jobs_of(study).values() if job.each}
    runs = list(study.trainings())
    assert found["bounds"] == found["fidelity"] == runs
    assert found["step_swap"] == ["plain", "laplace", "later"]
    assert found["few-steps"] == found["phase_space"] == ["plain"]
    assert found["representations"] == ["dct", "dct@1"]


def test_a_trainings_samples_are_compared_with_those_of_the_same_number():
    layout, (_, job) = Layout("tiny", "digits"), jobs_of(STUDY)["fidelity"]
    read = {path.as_posix() for path in job.inputs(STUDY, layout, "laplace@2")}
    assert {path for path in read if "samples" in path} == {
        "results/tiny/laplace@2/samples/100.safetensors",
        "results/tiny/plain@2/samples/100.safetensors",
    }


def test_the_summary_and_the_stages_have_the_files_of_all_trainings():
    layout = Layout("tiny", "digits")
    stages = stages_of(STUDY, layout, "tiny.yaml")
    for name in STUDY.networks:
        assert layout.weights(name) in stages["train"].files
    for name in STUDY.trainings():
        assert layout.samples(name, 100) in stages["evaluate"].files
        assert {layout.rows("bounds", name), layout.rows("fidelity", name)} <= set(parts(STUDY, layout))
    assert {"replicates", "representations.replicates", "runs"} <= set(stages["train"].params)


def one(study, run, value, metric="fid_digits", n=50, nfe=10, **conditions):
    estimate = Estimate(value, value - 0.5, value + 0.5, n)
    return row(study, run, metric, estimate, "1", nfe, conditions)


def test_a_row_names_the_run_and_the_seed_of_its_training():
    found = one(STUDY, "later@2", 1.0)
    assert (found["run"], found["train_seed"]) == ("later", 7)
    found = one(STUDY, None, 1.0)
    assert (found["run"], found["train_seed"]) == (None, None)


# ---- one number for all trainings ------------------------------------------------------------------------------------


def test_rows_of_several_trainings_become_their_mean_with_students_interval():
    values = dict(zip(STUDY.trainings(["laplace"]), (1.0, 2.0, 6.0), strict=True))
    rows = [one(STUDY, name, value, step="laplace") for name, value in values.items()]
    rows += [one(STUDY, None, 9.0), one(STUDY, "plain", 4.0, step="normal"), one(STUDY, "plain", 5.0, nfe=20)]
    found = over_trainings(frame(rows))
    assert found.run.tolist()[0] == "laplace"
    assert found.value.tolist() == [3.0, 9.0, 4.0, 5.0]
    assert found.trainings.tolist() == [3, pd.NA, 1, 1]
    mean = found.iloc[0]
    quantile = 0.95 * np.sqrt(2 / (4 * 0.975 * 0.025))  # of the t law with 2 degrees of freedom, in closed form
    half = quantile * np.sqrt(7.0) / np.sqrt(3.0)
    assert mean.low == pytest.approx(3 - half, rel=1e-12)
    assert mean.high == pytest.approx(3 + half, rel=1e-12)
    assert mean.n == 50
    assert pd.isna(mean.train_seed)
    alone = found.iloc[2]
    assert (alone.low, alone.high, alone.n, alone.train_seed) == (3.5, 4.5, 50, 0)  # the row's own, over images


def test_conditions_keep_rows_apart_and_calls_of_an_adaptive_solver_do_not():
    rows = [one(STUDY, name, 1.0, nfe=calls, tolerance=1e-4) for name, calls in (("plain", 90), ("plain@1", 99))]
    rows += [one(STUDY, name, 1.0, nfe=calls) for name, calls in (("plain", 90), ("plain@1", 99))]
    rows += [one(STUDY, name, 1.0, T=n) for name, n in (("plain", 4), ("plain@1", 8))]
    found = over_trainings(frame(rows))
    assert found.trainings.tolist() == [2, 1, 1, 1, 1]
    assert found.nfe.tolist()[0] == 94


def test_rows_of_one_training_each_are_left_as_they_are():
    rows = frame([one(STUDY, "plain", 1.0), one(STUDY, "laplace", 2.0), one(STUDY, None, 3.0)])
    pd.testing.assert_frame_equal(over_trainings(rows).drop(columns="trainings"), rows)


def test_differences_between_runs_are_over_trainings():
    values = {"plain": (1.0, 2.0, 6.0), "laplace": (4.0, 4.5, 5.0)}
    rows = frame(
        [
            one(STUDY, name, value, step=run)
            for run, its in values.items()
            for name, value in zip(STUDY.trainings([run]), its, strict=True)
        ]
    )
    [found] = differences(rows, "laplace", "plain").itertuples()
    expected = t_difference(*(np.array(values[run]) for run in ("laplace", "plain")))
    assert (found.value, found.low, found.high) == expected
    assert (found.run, found.against, found.trainings) == ("laplace", "plain", 3)
    first = rows[rows.train_seed == 0]
    [found] = differences(first, "laplace", "plain").itertuples()
    assert (found.value, found.trainings) == (3.0, 1)
    assert found.high - found.value == pytest.approx(np.hypot(0.5, 0.5))


def test_networks_that_are_sampled_with_several_steps_are_compared_step_by_step():
    fids = {
        ("laplace", "normal"): 1.0,
        ("laplace", "uniform"): 9.0,
        ("plain", "normal"): 3.0,
        ("plain", "uniform"): 5.0,
    }
    rows = [one(STUDY, run, value, "step_swap_fid", step=step) for (run, step), value in fids.items()]
    rows += [one(STUDY, run, value, step=run) for run, value in (("laplace", 2.0), ("plain", 2.5))]
    found = differences(frame(rows), "laplace", "plain")
    assert found.value.tolist() == [-2.0, 4.0, -0.5]
    assert found.step.fillna("their own").tolist() == ["normal", "uniform", "their own"]
    assert found.trainings.tolist() == [1, 1, 1]


def test_welchs_interval_is_scipys():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    values, others = rng.normal(size=5), 3 * rng.normal(size=9)
    _, low, high = t_difference(values, others)
    theirs = ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert t_half(values.std(ddof=1), 5) == pytest.approx(2.7764451051977987 * values.std(ddof=1) / np.sqrt(5))


# ---- by image, by training -------------------------------------------------------------------------------------------


def drawn(rng, k, n, of_training, of_image, noise, images=None):
    """Trainings by images (K, N) with effects of the given standard deviations."""
    images = rng.normal(size=n) * of_image if images is None else images
    return of_training * rng.normal(size=(k, 1)) + images + noise * rng.normal(size=(k, n))


def test_one_training_of_each_gives_the_paired_interval_over_images():
    rng = np.random.default_rng(1)
    values, others = rng.normal(size=(2, 1, 4000))
    _, low, high = clustered_difference(values, others)
    expected = mean_interval((values - others)[0])
    assert (low, high) == pytest.approx(expected[1:], rel=1e-3)  # Student's quantile for 3999 is the normal one


def test_without_effects_of_images_the_interval_is_that_of_the_trainings_means():
    means, others = np.array([1.0, 2.0, 6.0]), np.array([4.0, 4.5, 5.0, 3.0])
    images = np.random.default_rng(2).normal(size=7)  # the same in both, so that the difference has none of them
    found = clustered_difference(means[:, None] + images, others[:, None] + images)
    assert found == pytest.approx(t_difference(means, others), rel=1e-9)


def test_the_interval_of_the_difference_covers_the_truth_as_often_as_it_says():
    """Variance components are known: coverage and width follow from them."""
    rng = np.random.default_rng(3)
    k, n, of_training, shared, own, noise, draws = 6, 40, 0.3, 2.0, 0.5, 0.8, 2000
    covered, widths = 0, []
    for _ in range(draws):
        images = shared * rng.normal(size=n)
        pair = [drawn(rng, k, n, of_training, own, noise) + images for _ in range(2)]
        _, low, high = clustered_difference(*pair)
        covered += low <= 0 <= high
        widths.append((high - low) / 2)
    assert abs(covered / draws - 0.95) < 4 * np.sqrt(0.95 * 0.05 / draws)
    error = np.sqrt(2 * (of_training**2 / k + own**2 / n + noise**2 / (k * n)))
    assert np.mean(widths) / error == pytest.approx(2.08, abs=0.12)  # Student's quantile for about 20 degrees


def test_other_images_or_a_single_training_on_one_side_are_refused():
    values = np.zeros((2, 5))
    for other in (np.zeros((2, 4)), np.zeros((1, 5))):
        with pytest.raises(ValueError, match="needs the same images"):
            clustered_difference(values, other)


def test_bounds_of_each_image_are_compared_over_trainings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    context, rng, kept = Context(STUDY, Layout("tiny", "digits")), np.random.default_rng(4), {}
    for name in STUDY.trainings(["plain", "laplace"]):
        kept[name] = rng.normal(size=11)
        write_tensors(context.layout.arrays("bounds", name), {"continuous": torch.from_numpy(kept[name])}, {})
    found = bounds_difference(context, "laplace", "plain", "continuous")
    sides = [np.stack([kept[name] for name in STUDY.trainings([run])]) for run in ("laplace", "plain")]
    assert found == Estimate(*clustered_difference(*sides), 11)
