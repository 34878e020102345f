"""The complete recipe's rows: what is sampled and bounded, by which calls, and what is known of it."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from summaries import assert_tidy, select

from nonnormal.data import quantise, scale
from nonnormal.denoisers import GaussianMixtureDenoiser
from nonnormal.metrics.fidelity import fid_difference, fidelity
from nonnormal.metrics.intervals import mean_interval
from nonnormal.objectives.bounds import bits_per_dim, bound, continuous_bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.processes import PSLD, quadratic_times, vp_sde
from nonnormal.samplers import sample_em, sample_sscs
from nonnormal.seeds import derive
from nonnormal.steps import get
from nonnormal.study.config import validate
from nonnormal.study.config.build import components, model_config
from nonnormal.study.experiments.phase_space import measure
from nonnormal.study.experiments.phase_space.measure import Scene, law_distance, law_rows, phase_space_rows, steps_of
from nonnormal.training.checkpoints import build_denoiser

RAW = {
    "name": "tiny",
    "data": "digits",
    "seed": 3,
    "defaults": {"network": {"widths": [8], "groups": 4}},
    "runs": {"nn": {}},
    "sampling": {"batch_size": 5},
    "evaluation": {"bootstrap": 10, "flow_tolerance": 1e-4},
    "phase_space": {
        "networks": {
            "own": {
                "process": {"kind": "psld"},
                "network": {"parametrisation": "eps"},
                "training": {"weighting": "hsm"},
            }
        },
        "processes": {"vp-sde": {"kind": "vp_sde"}, "psld-0.01": {"kind": "psld"}},
        "samplers": ["ancestral", "em", "sscs", "sscs_midpoint", "flow_heun"],
        "nfe": [4, 7],
        "comparisons": [
            {"process": "psld-0.01", "sampler": "sscs", "against": {"process": "vp-sde", "sampler": "em"}},
            {"process": "psld-0.01", "sampler": "sscs", "against": {"sampler": "em"}},
        ],
        "tolerances": [0.1],
        "step_families": ["laplace", "rademacher", "normal"],
        "step_nfe": [4],
        "n_images": 8,
        "n_bounds": 2,
        "bound_timesteps": 3,
        "law_timesteps": [4, 32],
        "n_samples": 2000,
    },
}
STUDY = validate(RAW, "tiny.yaml")
NORMAL = GaussianMixtureDenoiser(torch.full((1, 1, 8, 8), -0.25), torch.tensor([0.5]))
PROCESSES = {"vp-sde": vp_sde(), "psld-0.01": PSLD()}
CALLS = {
    "ancestral": {4: 4, 7: 7},
    "em": {4: 4, 7: 7},
    "sscs": {4: 4, 7: 7},
    "sscs_midpoint": {4: 4, 7: 7},
    "flow_heun": {4: 3, 7: 7},
}


@pytest.fixture(scope="module")
def rows(digits, reference):
    return phase_space_rows(STUDY, "nn", NORMAL, digits, reference)


def test_every_row_has_interval_unit_and_conditions_and_belongs_to_its_run(rows):
    assert_tidy(rows)
    assert set(rows.run) == {"nn"}
    assert set(map(str, rows.unit)) == {"squared feature distance", "grey range", "share of power", "bits/dim"}
    assert rows[["value", "low", "high"]].map(math.isfinite).all(axis=None)
    assert set(rows.process) == set(PROCESSES)
    assert set(zip(rows.data, rows.seed, strict=True)) == {("digits", 3)}


def test_no_samples_are_drawn_twice(digits, reference, monkeypatch):
    asked, draw = [], Scene.sample

    def sample(self, *which, **more):
        asked.append((*which, *more.items()))
        return draw(self, *which, **more)

    monkeypatch.setattr(Scene, "sample", sample)
    monkeypatch.setattr(measure, "_bounds", lambda *_: None)
    phase_space_rows(STUDY, "nn", NORMAL, digits, reference)
    assert len(asked) == len(set(asked)) == len(PROCESSES) * (5 * 2 + 1 + 2)


@pytest.mark.parametrize("name", PROCESSES)
def test_samplers_have_the_calls_of_their_budget(rows, name):
    found = select(rows, "phase_space_fid_digits", process=name, step="normal", grid="quadratic")
    assert {(row.sampler, row.budget, row.nfe) for row in found.itertuples()} == {
        (sampler, budget, calls) for sampler, each in CALLS.items() for budget, calls in each.items()
    }
    [adaptive] = select(rows, "phase_space_fid_digits", process=name, tolerance=0.1).itertuples()
    assert adaptive.nfe > 7
    assert steps_of("flow_heun", 7) == 3


def test_a_fid_is_that_of_the_samples_of_its_conditions(rows, reference):
    """Image i has seed i whatever the process, sampler and batch."""
    process, seeds = PSLD(), STUDY.image_seeds("recipe", 8)
    options = dict(times=quadratic_times(3, process.t_min), seeds=seeds)
    images = sample_sscs(NORMAL, process, get("laplace"), (8, 1, 8, 8), **options)
    found = fidelity(quantise(images, 17), reference, resamples=10, seed=derive(3, "fidelity"))["fid"]
    [row] = select(rows, "phase_space_fid_digits", process="psld-0.01", sampler="sscs", step="laplace").itertuples()
    assert (row.value, row.n, row.nfe) == (pytest.approx(found.value, rel=1e-3), 8, 4)


def test_differences_are_those_of_pairs_of_one_seed(rows, reference):
    """Of the comparisons for each budget, and of each step against the normal one."""
    found = select(rows, "phase_space_fid_digits_difference")
    assert {(row.process, row.sampler, row.budget, row.step, row.against) for row in found.itertuples()} == {
        *(
            ("psld-0.01", "sscs", budget, "normal", other)
            for budget in (4, 7)
            for other in ("vp-sde, em", "psld-0.01, em")
        ),
        *((name, "sscs", 4, step, "normal step") for name in PROCESSES for step in ("laplace", "rademacher")),
    }

    def drawn(process, sample, step="normal"):
        options = dict(times=quadratic_times(3, process.t_min), seeds=STUDY.image_seeds("recipe", 8), batch_size=5)
        return quantise(sample(NORMAL, process, get(step), (8, 1, 8, 8), **options), 17)

    first = drawn(PSLD(), sample_sscs)
    options = dict(resamples=10, seed=derive(3, "fidelity"))
    for against, other in (("vp-sde, em", drawn(vp_sde(), sample_em)), ("psld-0.01, em", drawn(PSLD(), sample_em))):
        [row] = found[(found.budget == 4) & (found.against == against)].itertuples()
        expected = fid_difference(first, other, reference, **options)
        assert (row.value, row.low, row.high) == pytest.approx((expected.value, expected.low, expected.high))
    [row] = found[(found.process == "psld-0.01") & (found.step == "laplace")].itertuples()
    expected = fid_difference(drawn(PSLD(), sample_sscs, "laplace"), first, reference, **options)
    assert (row.value, row.low, row.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_other_steps_have_their_style_beside_the_normal_steps(rows):
    found = rows[rows.metric.str.contains("style") & rows.metric.str.endswith("_difference")]
    assert set(zip(found.metric, found.step, found.process, strict=True)) == {
        (f"phase_space_style_{measure}_difference", step, name)
        for measure in ("total_variation", "high_frequency")
        for step in ("laplace", "rademacher")
        for name in PROCESSES
    }


@pytest.mark.parametrize("name", PROCESSES)
def test_bounds_are_those_of_the_processes(rows, digits, name):
    images = digits.test.images[:2]
    options = dict(levels=17, n_steps=3, seeds=STUDY.image_seeds("recipe bound", 2))
    design = Design(PROCESSES[name], Loss("laplace", "laplace"))
    normal = Design(PROCESSES[name], Loss("normal", "normal"))
    [terms] = bound(NORMAL, normal, scale(images, 17), losses=[design.loss], **options)
    [row] = select(rows, "phase_space_bpd_total", process=name, step="laplace").itertuples()
    assert row.value == pytest.approx(mean_interval(bits_per_dim(terms.total, 64).numpy())[0])
    found = select(rows, "phase_space_bpd_total", process=name)
    kinds = [("T steps", "normal"), ("T steps", "laplace"), ("continuous", "normal"), ("flow", "")]
    assert list(zip(found.bound, found.step.fillna(""), strict=True)) == kinds  # a rademacher step has none


def test_a_network_is_measured_in_its_own_basis(digits, reference):
    """Of one whose basis is whitened the noise of pixels would be another."""
    raw = copy.deepcopy(RAW)
    raw["runs"]["nn"] = {"basis": {"kind": "dct", "whiten": True}, "network": {"statistics": "component"}}
    study = validate(raw, "tiny.yaml")
    settings, (x0, process) = study.run("nn"), (scale(digits.test.images[:2], 17), PSLD())
    parts = components(settings, digits.train.images, 17)
    network = build_denoiser(model_config(settings, study.dataset, 0.6), 0, parts).eval().requires_grad_(False)
    found = phase_space_rows(study, "nn", network, digits, reference)
    options = dict(levels=17, seeds=study.image_seeds("recipe bound", 2), basis=parts.basis)
    terms = continuous_bound(network, process, x0, n_evaluations=100, **options).total
    tolerance = study.evaluation.flow_tolerance
    nats, _ = flow_bound(network, process, x0, rtol=tolerance, atol=tolerance, **options)
    for kind, expected in (("continuous", terms), ("flow", nats)):
        [row] = select(found, "phase_space_bpd_total", process="psld-0.01", bound=kind).itertuples()
        assert row.value == pytest.approx(mean_interval(bits_per_dim(expected, 64).numpy())[0])
    seeds = dict(times=quadratic_times(3, process.t_min), seeds=study.image_seeds("recipe", 8), batch_size=5)
    images = sample_sscs(network, process, get("laplace"), (8, 1, 8, 8), basis=parts.basis, **seeds)
    expected = fidelity(quantise(images, 17), reference, resamples=10, seed=derive(3, "fidelity"))["fid"]
    [row] = select(found, "phase_space_fid_digits", process="psld-0.01", sampler="sscs", step="laplace").itertuples()
    assert row.value == pytest.approx(expected.value, rel=1e-3)


def test_a_network_of_states_is_measured_in_its_own_process(digits, reference):
    network = build_denoiser(model_config(STUDY.run("own"), STUDY.dataset, 0.5))
    found = phase_space_rows(STUDY, "own", network.eval().requires_grad_(False), digits, reference)
    assert set(found.process) == {"psld-0.01"}
    assert set(found.run) == {"own"}
    calls = select(found, "phase_space_fid_digits", step="normal", grid="quadratic")
    assert {(row.sampler, row.budget): row.nfe for row in calls.itertuples()} == {
        (sampler, budget): calls for sampler, each in CALLS.items() for budget, calls in each.items()
    }


def test_a_partner_of_images_is_measured_in_its_own_process(digits, reference):
    """And compared where both sides are of that process."""
    raw = copy.deepcopy(RAW)
    raw["phase_space"] |= {"networks": {"partner": {"process": {"kind": "vp_sde"}}}, "step_families": ["normal"]}
    raw["phase_space"]["comparisons"].append({"process": "vp-sde", "sampler": "em", "against": {"sampler": "sscs"}})
    found = phase_space_rows(validate(raw, "tiny.yaml"), "partner", NORMAL, digits, reference)
    assert set(found.process) == {"vp-sde"}
    gaps = select(found, "phase_space_fid_digits_difference")
    assert list(zip(gaps.sampler, gaps.against, gaps.budget, strict=True)) == [
        ("em", "vp-sde, sscs", budget) for budget in (4, 7)
    ]
    for budget in (4, 7):
        em, sscs = (
            select(found, "phase_space_fid_digits", sampler=name, budget=budget).value.item() for name in ("em", "sscs")
        )
        assert gaps[gaps.budget == budget].value.item() == pytest.approx(em - sscs)


@pytest.mark.parametrize("name", PROCESSES)
def test_laws_come_nearer_with_more_steps_whatever_the_step(name):
    rows = select(law_rows(STUDY), "phase_space_w1", process=name)
    assert set(zip(rows.sampler, rows.q, rows.nfe, strict=True)) == {
        (sampler, step, n)
        for sampler in ("ancestral", "sscs")
        for step in STUDY.phase_space.step_families
        for n in (4, 32)
    }
    for _, group in rows.groupby(["sampler", "q"]):
        coarse, fine = group.sort_values("nfe").value
        assert fine < 0.6 * coarse


def test_the_floor_is_the_distance_of_samples_of_the_law_itself():
    rows = law_rows(STUDY)
    for floor in rows[rows.metric == "phase_space_w1_floor"].itertuples():
        assert floor.low < floor.value < floor.high
        assert 0.2 / math.sqrt(2000) < floor.value < 1.5 / math.sqrt(2000)
    values = [law_distance(PSLD(), "sscs", "normal", quadratic_times(200, 1e-3), 2000, seed) for seed in range(3)]
    assert np.mean(values) < 2.5 * floor.value
    pd.testing.assert_frame_equal(rows, law_rows(STUDY))
