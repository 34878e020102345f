"""Geometry of sampling: its rows for a normal law, for a network that copies, and for one with random weights."""

import copy
import math
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from problems import small_denoiser
from summaries import assert_tidy, only, select

from nonnormal import data
from nonnormal.analysis import geometry
from nonnormal.analysis.recorder import Trajectories
from nonnormal.bases import DCT
from nonnormal.denoisers import GaussianMixtureDenoiser, OptimalDenoiser
from nonnormal.metrics.fidelity import fidelity
from nonnormal.metrics.intervals import Estimate, mean_interval, proportion_interval
from nonnormal.processes import VE, uniform_times
from nonnormal.samplers import SOLVERS, sample_ancestral
from nonnormal.samplers.grid_search import euler_costs
from nonnormal.seeds import derive
from nonnormal.steps import get
from nonnormal.study.config import validate
from nonnormal.study.experiments.claims.judgement import FAILS, judge
from nonnormal.study.experiments.claims.stated import FILE, load
from nonnormal.study.experiments.geometry.measure import (
    Scene,
    _other_steps,
    _solved,
    _solvers,
    geometry_rows,
    linear_denoiser,
)
from nonnormal.study.results.rows import frame

ROOT = Path(__file__).parents[2]
LEVELS = 9
RAW = {
    "name": "tiny",
    "data": "digits",
    "seed": 3,
    "defaults": {
        "process": {"schedule": {"log_snr_max": 9, "log_snr_min": -7}},
        "training": {"timesteps": 6, "seed": 5},
    },
    "runs": {"ll": {"q": "laplace", "p": "laplace"}, "nn": {}},
    "evaluation": {"bootstrap": 10},
    "geometry": {
        "run": "nn",
        "n_images": 16,
        "n_levels": LEVELS,
        "nfe": [9, 3, 5, 3, 15],
        "step_families": ["rademacher", "normal", "laplace"],
        "ancestral_nfe": [12, 3, 12],
        "n_paths": 8,
    },
}
STUDY = validate(RAW, "tiny.yaml")
SIGMA_MAX, SIGMA_MIN = math.exp(3.5), math.exp(-4.5)
MEAN, STD = -0.25, 0.5
NORMAL = GaussianMixtureDenoiser(torch.full((1, 1, 8, 8), MEAN), torch.tensor([STD]))
CENTRED = GaussianMixtureDenoiser(torch.zeros(1, 1, 8, 8), torch.tensor([STD]))


def shrink(sigma, s):
    """(x_s − m)/(x_sigma − m) on the ODE's solution of N(m, STD² I), which is a line through m."""
    return math.sqrt((STD**2 + s**2) / (STD**2 + sigma**2))


def changed(**settings):
    """The study with some settings of its geometry replaced."""
    raw = copy.deepcopy(RAW)
    raw["geometry"] |= settings
    return validate(raw, "tiny.yaml")


@pytest.fixture(scope="module")
def measure(digits, reference):
    """measure(denoiser, study) -> (rows, the recorded trajectories)."""

    return lambda denoiser, study=STUDY: geometry_rows(study, denoiser, digits, reference)


@pytest.fixture(scope="module")
def scene(digits, reference):
    return lambda denoiser, study=STUDY: Scene(study, denoiser, digits, reference)


@pytest.fixture(scope="module")
def network():
    return small_denoiser(parametrisation="edm", sigma_data=0.5)


@pytest.fixture(scope="module")
def random(measure, network):
    """Of a network with random weights, of which nothing is known."""
    return measure(network)


@pytest.fixture(scope="module")
def normal(measure):
    return measure(NORMAL)


@pytest.fixture(scope="module")
def copied(measure, digits):
    return measure(OptimalDenoiser(digits.train.images, 17))


def same(found, estimate, rel=1e-5):
    """Whether a row has the numbers of an estimate, but for rounding."""
    numbers, expected = ((each.value, each.low, each.high) for each in (found, estimate))
    return numbers == pytest.approx(expected, rel=rel, abs=1e-7) and found.n == estimate.n


def mean(values):
    values = values.double().numpy()
    return Estimate(*mean_interval(values), len(values))


# ---- rows ------------------------------------------------------------------------------------------------------------

FID = "squared feature distance"
BY_LEVEL = {"path_chord_distance": "chord length", "path_denoised_chord_distance": "chord length"}
BY_LEVEL |= {"path_norm": "state", "path_denoised_norm": "state", "path_remaining_cosine": "1"}
WHOLE = {"path_largest_chord_distance": "chord length", "path_largest_denoised_chord_distance": "chord length"}
WHOLE |= {"path_monotone_share": "share", "path_arc_chord_ratio": "1", "copied_share": "share"}
WHOLE |= {"path_denoised_own_chord_distance": "own chord length"}
WHOLE |= {"path_curvature": "1/chord length", "path_torsion": "1/chord length"}
OTHERS = {"path_explained_variance": "share", "score_deviation": "state", "nearest_train_distance": "state"}
OTHERS |= {"path_residual_variance": "share"}
OTHERS |= {"path_fid_digits": FID, "path_denoised_fid_digits": FID}
OTHERS |= {"solver_fid_digits": FID, "solver_distance": "state"}
ANCESTRAL = {"ancestral_arc_chord_ratio": "1", "ancestral_ode_distance": "state", "ancestral_end_displacement": "state"}
UNITS = BY_LEVEL | WHOLE | OTHERS | ANCESTRAL


@pytest.mark.parametrize("of", ["random", "normal", "copied"])
def test_every_row_has_interval_unit_and_conditions_and_belongs_to_the_geometrys_run(of, request):
    rows, _ = request.getfixturevalue(of)
    assert_tidy(rows)
    assert set(rows.metric) == set(UNITS)
    assert rows.unit.tolist() == [UNITS[metric] for metric in rows.metric]
    assert (rows.low <= rows.value).all()
    assert (rows.value <= rows.high).all()
    assert rows[["low", "high"]].map(math.isfinite).all(axis=None)
    assert set(zip(rows.study, rows.run, rows.q, rows.p, rows.train_seed, strict=True)) == {
        ("tiny", "nn", "normal", "normal", 5)
    }
    assert set(zip(rows.data, rows.seed, strict=True)) == {("digits", 3)}


def test_each_measure_is_there_for_each_level_step_and_solver(random):
    rows, recorded = random
    levels = recorded.levels.tolist()
    assert (levels[0], levels[-2], levels[-1]) == (pytest.approx(SIGMA_MAX), pytest.approx(SIGMA_MIN), 0)
    for metric in BY_LEVEL:
        found = select(rows, metric)
        assert found.sigma.tolist() == levels[:-1]
        assert set(found.solver) == {"heun"}
        assert (found.n == 16).all()
    for metric in WHOLE:
        assert only(rows, metric).n == 16
    assert select(rows, "path_explained_variance").components.tolist() == [0, 1, 2]
    deviation = select(rows, "score_deviation")
    assert {along: group.sigma.tolist() for along, group in deviation.groupby("along")} == {
        "learnt": levels[:-1],
        "optimal": levels[:-1],
    }
    assert {found.n for found in select(rows, "nearest_train_distance", of="held-out").itertuples()} == {20}
    fids = select(rows, "path_fid_digits")
    assert [levels[i] for i in fids.grid_index] == fids.sigma.tolist()
    assert fids.grid_index.tolist() == list(range(LEVELS + 1))
    assert len(select(rows, "path_denoised_fid_digits")) == LEVELS
    paths = rows[rows.metric.str.startswith("ancestral_")]
    steps = ("ode", "rademacher", "normal", "laplace")
    for metric in ANCESTRAL:
        found = paths[paths.metric == metric]
        expected = steps if metric == "ancestral_arc_chord_ratio" else steps[1:]
        assert list(zip(found.nfe, found.step, strict=True)) == [(n, step) for n in (3, 12) for step in expected]
    assert (paths.n == 8).all()


def test_the_same_study_has_the_same_rows(normal, measure):
    again, recorded = measure(NORMAL)
    pd.testing.assert_frame_equal(again, normal[0])
    assert torch.equal(recorded.states, normal[1].states)


def test_the_training_split_stays_grey_levels(scene, digits):
    """Those of ImageNet take 4 GB of a device, and their numbers 16."""
    assert torch.equal(scene(NORMAL).train, digits.train.images)


def test_the_network_of_the_first_run_is_looked_at_where_none_is_named(scene):
    assert scene(NORMAL, changed(run=None)).run == "ll"


# ---- starting noise --------------------------------------------------------------------------------------------------


def test_an_image_starts_from_the_same_noise_however_many_there_are(scene):
    few, many = scene(NORMAL), scene(NORMAL, changed(n_images=40))
    assert torch.equal(few.noise(16), many.noise(40)[:16])
    assert torch.equal(few.noise(3), few.noise(16)[:3])
    assert not torch.equal(few.noise(2)[0], few.noise(2)[1])


def test_an_images_way_does_not_depend_on_the_others(random, measure, network):
    rows, recorded = measure(network, changed(n_images=8))
    torch.testing.assert_close(recorded.states, random[1].states[:, :8], rtol=1e-4, atol=1e-5)
    for metric in (*ANCESTRAL, "solver_distance"):  # of the first 8 images in both
        found, expected = select(rows, metric), select(random[0], metric)
        told = [its.drop(columns=["value", "low", "high"]).reset_index(drop=True) for its in (found, expected)]
        pd.testing.assert_frame_equal(*told)
        assert found.value.tolist() == pytest.approx(expected.value.tolist(), rel=1e-3)


def first_states(scene):
    """First state of the ancestral paths, in VE coordinates, and that of all else."""
    seen = []
    sample_ancestral(
        scene.denoiser,
        scene.process,
        get("laplace"),
        (4, *scene.shape),
        times=uniform_times(2),
        seeds=scene.seeds[:4],
        callback=seen.append,
    )
    alpha = scene.process.marginal(1.0)[0].item()
    return scene.basis.inverse(seen[0]["x"]) / alpha, scene.noise(4)


def test_ancestral_paths_start_from_the_noise_of_the_ode(scene):
    ancestral, ode = first_states(scene(NORMAL))
    torch.testing.assert_close(ancestral, ode)


def test_they_do_so_in_the_networks_own_basis(scene):
    ancestral, ode = first_states(scene(replace(NORMAL, basis=DCT())))
    torch.testing.assert_close(ancestral, ode, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ode, scene(NORMAL).noise(4))


def test_other_steps_are_those_of_the_networks_own_components_and_their_paths_of_pixels(scene):
    """The normal law's denoiser is one in all bases, and so is the law of the normal step's paths."""
    own = frame(_other_steps(scene(replace(NORMAL, basis=DCT()))))
    pixels = frame(_other_steps(scene(NORMAL)))
    for metric in ANCESTRAL:
        one, other = (select(rows, metric, step="normal") for rows in (own, pixels))
        assert one.value.tolist() == pytest.approx(other.value.tolist(), rel=0.25)
        assert one.value.tolist() != other.value.tolist()


def test_where_variance_explodes_they_start_from_the_same_state(scene):
    exploding = scene(NORMAL)
    exploding.process = VE(SIGMA_MIN, SIGMA_MAX)
    ancestral, ode = first_states(exploding)
    torch.testing.assert_close(ancestral, ode)


# ---- a normal law: all is known --------------------------------------------------------------------------------------


def test_the_way_to_a_normal_law_is_a_line_through_its_mean(normal):
    rows, recorded = normal
    for metric in ("path_chord_distance", "path_denoised_chord_distance"):
        assert select(rows, metric).high.max() < 1e-5
    for metric in ("path_largest_chord_distance", "path_largest_denoised_chord_distance"):
        assert only(rows, metric).high < 1e-5
    assert (select(rows, "path_remaining_cosine").value - 1).abs().max() < 1e-5
    assert only(rows, "path_arc_chord_ratio").value == pytest.approx(1, abs=1e-6)
    assert (select(rows, "path_explained_variance").value - 1).abs().max() < 1e-6
    share = only(rows, "path_monotone_share")
    assert (share.value, share.low, share.high) == (1.0, *proportion_interval(1.0, 16))
    along = (recorded.states - MEAN).flatten(2)
    torch.testing.assert_close(
        along / along.norm(dim=-1, keepdim=True),
        (along[:1] / along[:1].norm(dim=-1, keepdim=True)).expand_as(along),
        rtol=0,
        atol=1e-4,
    )


def test_many_levels_follow_the_flow_of_the_normal_law(measure):
    study = changed(n_levels=80, nfe=[3], step_families=["normal"], ancestral_nfe=[2])
    rows, recorded = measure(CENTRED, study)
    start = only(rows, "path_norm", sigma=recorded.levels[0].item()).value
    assert start == pytest.approx(SIGMA_MAX * math.sqrt(63.75), rel=0.05)  # of 64 normal numbers, 16 times
    for sigma in recorded.levels[:-1].tolist():
        norm = start * shrink(SIGMA_MAX, sigma)
        assert only(rows, "path_norm", sigma=sigma).value == pytest.approx(norm, rel=2e-3)
        kept = STD**2 / (STD**2 + sigma**2)
        assert only(rows, "path_denoised_norm", sigma=sigma).value == pytest.approx(kept * norm, rel=2e-3)


def pull(sigma):
    """(dx/dsigma)/(x − m) of the ODE of the normal law."""
    return sigma / (STD**2 + sigma**2)


HOPS = {  # (x_s − m)/(x_t − m) in one step, by each textbook; r is taken where s is 0
    "euler": lambda t, s: 1 + (s - t) * pull(t),
    "heun": lambda t, s: 1 + (s - t) / 2 * (pull(t) + pull(s) * (1 + (s - t) * pull(t))),
    "dpm_2": lambda t, s: 1 + (s - t) * pull(math.sqrt(s * t)) * (1 + (math.sqrt(s * t) - t) * pull(t)),
}


@pytest.mark.parametrize("nfe", [3, 5, 9, 15])
@pytest.mark.parametrize("solver", HOPS)
def test_one_step_solvers_are_as_far_from_the_adaptive_solution_as_their_hops_say(normal, scene, solver, nfe):
    at = scene(NORMAL)
    far = (at.noise(8) - MEAN).flatten(1).square().mean(1).sqrt()
    *levels, _ = at.grid(nfe if solver == "euler" else (nfe + 1) // 2).tolist()
    last = STD**2 / (STD**2 + SIGMA_MIN**2)
    gap = last * (math.prod(HOPS[solver](t, s) for t, s in pairwise(levels)) - shrink(SIGMA_MAX, SIGMA_MIN))
    assert same(
        only(normal[0], "solver_distance", solver=solver, grid="polynomial", nfe=nfe), mean(abs(gap) * far), 1e-2
    )


# ---- solvers ---------------------------------------------------------------------------------------------------------

TWO_CALLS = ("heun", "dpm_2")


@pytest.mark.parametrize("of", ["random", "normal"])
def test_solvers_have_the_calls_of_their_budget(of, request):
    rows, _ = request.getfixturevalue(of)
    for metric in ("solver_fid_digits", "solver_distance"):
        found = select(rows, metric)
        assert len(found) == 4 * len(SOLVERS) + 3  # no grid of 15 steps can be had from 9
        for row in found.itertuples():
            assert row.nfe == (2 * row.n_steps - 1 if row.solver in TWO_CALLS else row.n_steps)
        by_budget = found.groupby("nfe", sort=False)
        assert list(by_budget.groups) == [3, 5, 9, 15]
        for budget, group in by_budget:
            polynomial = group[group.grid == "polynomial"]
            assert polynomial.solver.tolist() == list(SOLVERS)
            searched = group[group.grid == "searched"]
            assert searched.solver.tolist() == (["euler"] if budget <= LEVELS else [])
        assert set(found.n) == {16 if metric == "solver_fid_digits" else 8}


def test_two_call_solvers_are_left_out_of_even_budgets(scene):
    at = scene(NORMAL, changed(nfe=[6]))
    found = frame(_solvers(at, recorded_by(at)))
    calls = found[found.metric == "solver_distance"].set_index("solver").nfe
    assert set(calls) == {6}
    assert set(calls.index) == set(SOLVERS) - set(TWO_CALLS)


def recorded_by(scene):
    """What is recorded before solvers are compared."""
    sigmas, kept = scene.grid(LEVELS), []
    end = SOLVERS["heun"](scene.denoiser, scene.noise(16), sigmas, callback=kept.append)
    states = torch.stack([*(at["x"] for at in kept), end])
    return Trajectories(states, torch.stack([at["denoised"] for at in kept]), sigmas, torch.arange(16))


@pytest.mark.parametrize("solver", SOLVERS)
def test_network_calls_of_a_row_are_those_that_were_made(scene, solver):
    calls = []

    def denoiser(x, sigma):
        calls.append(len(x))
        return NORMAL(x, sigma)

    at = scene(denoiser)
    start = at.noise(16)
    rows = _solved(at, SOLVERS[solver], start, at.grid(4), start[:8], solver=solver)
    assert [row["nfe"] for row in rows] == [len(calls)] * 2
    assert set(calls) == {16}


def test_solvers_come_nearer_to_the_adaptive_solution_with_more_calls(normal):
    rows = select(normal[0], "solver_distance")
    for (solver, _), group in rows.groupby(["solver", "grid"]):
        values = group.sort_values("nfe").value
        if solver in ("dpmpp_2m", "ipndm"):  # whose error changes its sign on the way
            assert values.iloc[-1] < values.iloc[0] / 4
        else:
            assert (values.diff().dropna() < 0).all()


def test_the_grid_searched_for_as_many_steps_as_levels_is_the_recorded_one(random):
    rows, _ = random
    for metric in ("solver_fid_digits", "solver_distance"):
        polynomial, searched = (
            only(rows, metric, solver="euler", nfe=LEVELS, grid=grid) for grid in ("polynomial", "searched")
        )
        assert (polynomial.value, polynomial.low, polynomial.high) == (searched.value, searched.low, searched.high)
        few = [only(rows, metric, solver="euler", nfe=5, grid=grid).value for grid in ("polynomial", "searched")]
        assert few[0] != few[1]


@pytest.mark.parametrize("nfe", [3, 5])
def test_the_searched_grid_costs_least_of_all_with_as_many_steps(random, scene, network, reference, nfe):
    """One grid after the other, with the costs of the first eight paths."""
    rows, recorded = random
    costs = euler_costs(network, recorded.states[:, :8], recorded.levels)
    grids = [(0, *inner, LEVELS) for inner in combinations(range(1, LEVELS), nfe - 1)]
    best = min(grids, key=lambda grid: sum(costs[i, j] for i, j in pairwise(grid)))
    images = SOLVERS["euler"](network, scene(network).noise(16), recorded.levels[list(best)])
    options = dict(resamples=10, seed=derive(3, "fidelity"))
    expected = fidelity(data.quantise(images, 17), reference, **options)["fid"]
    assert same(only(rows, "solver_fid_digits", solver="euler", grid="searched", nfe=nfe), expected)


# ---- denoisers that know less, or more, than a network learns --------------------------------------------------------


def test_the_linear_denoiser_is_the_regression_of_images_on_noisy_ones(digits):
    images, sigma = data.scale(digits.train.images, 17).double().flatten(1).numpy(), 0.7
    noisy = images[:5] + sigma
    covariance = np.cov(images.T)
    slope = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(64))
    expected = images.mean(0) + (noisy - images.mean(0)) @ slope.T
    found = linear_denoiser(digits)(torch.tensor(noisy).reshape(-1, 1, 8, 8), sigma)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=1e-10)


@pytest.fixture(scope="module")
def beside(network, digits, reference):
    """Rows with two other denoisers: a normal law's, whose paths are lines, and the optimal one's that copies."""
    nulls = {"normal": NORMAL, "copies": OptimalDenoiser(digits.train.images, 17)}
    return geometry_rows(STUDY, network, digits, reference, nulls=nulls)[0]


def test_other_denoisers_are_measured_as_the_network_is(beside, random, copied, normal):
    assert_tidy(beside)
    own = beside[~beside.metric.str.endswith("_null")].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, random[0])
    metrics = ("path_largest_chord_distance", "path_monotone_share", "copied_share")
    for name, (rows, _) in {"normal": normal, "copies": copied}.items():
        for metric in metrics:
            found, expected = only(beside, f"{metric}_null", path=name), only(rows, metric)
            assert same(found, Estimate(expected.value, expected.low, expected.high, 16), rel=1e-4)
        near = only(rows, "nearest_train_distance", of="samples")
        assert only(beside, "nearest_train_distance_null", path=name).value == pytest.approx(
            near.value, rel=1e-4, abs=1e-6
        )
    assert select(beside, "score_deviation_null", path="copies").high.max() == 0
    assert select(beside, "score_deviation_null", path="normal").low.min() > 0


def test_the_optimal_denoisers_samples_fail_the_claim_that_samples_are_no_copies(beside):
    [claim] = [one for one in load(ROOT / FILE).claims if one.id == "no-memorising"]
    null = claim.model_copy(update={"test": claim.test.model_copy(update={"rows": claim.null_case.rows})})
    assert judge(null, beside, "tiny", {}).verdict == FAILS


# ---- against the optimal denoiser ------------------------------------------------------------------------------------


def test_the_optimal_denoiser_does_not_deviate_from_itself_and_copies(copied):
    rows, recorded = copied
    assert select(rows, "score_deviation").high.max() == 0
    assert only(rows, "copied_share").value == 1
    assert only(rows, "nearest_train_distance", of="samples").high < 1e-5
    assert only(rows, "nearest_train_distance", of="held-out").low > 0.1
    assert len(recorded.states[-1].unique(dim=0)) > 4  # images, and not one mean of them


def test_distances_are_those_to_the_training_split(random, digits, network):
    """Against the softmax over all training images in float64."""
    rows, recorded = random
    train, held_out = (data.scale(split.images, 17).double().flatten(1) for split in (digits.train, digits.test))
    for x, r, sigma in zip(recorded.states[:-1], recorded.denoised, recorded.levels.tolist(), strict=False):
        weight = (-torch.cdist(x.double().flatten(1), train).square() / (2 * sigma**2)).softmax(1)
        gap = (r.double().flatten(1) - weight @ train).norm(dim=1) / 8  # √64
        assert same(only(rows, "score_deviation", sigma=sigma, along="learnt"), mean(gap))
    samples = recorded.states[-1].double().flatten(1)
    near = {"samples": torch.cdist(samples, train).amin(1) / 8, "held-out": torch.cdist(held_out, train).amin(1) / 8}
    for name, distances in near.items():
        assert same(only(rows, "nearest_train_distance", of=name), mean(distances))
    # All paths start in one state, from which the networks differ by the same whichever of them made the path.
    first = recorded.levels[0].item()
    learnt, optimal = (only(rows, "score_deviation", sigma=first, along=name) for name in ("learnt", "optimal"))
    assert learnt.value == pytest.approx(optimal.value, rel=1e-6)


def test_images_like_those_held_out_are_not_copies(measure, digits):
    """A network that copies the test split: one in a hundred is nearer to the training split than one in a hundred."""
    rows, recorded = measure(OptimalDenoiser(data.scale(digits.test.images, 17)))
    train, held_out = (data.scale(split.images, 17).double().flatten(1) for split in (digits.train, digits.test))
    distances = torch.cdist(held_out, train).amin(1)
    nearest = torch.cdist(recorded.states[-1].double().flatten(1), held_out).argmin(1)
    share = (nearest == distances.argmin()).double().mean().item()  # 1 % of 20 is nearer than the second
    assert same(only(rows, "copied_share"), Estimate(share, *proportion_interval(share, 16), 16))
    assert share < 0.5


# ---- images on the way -----------------------------------------------------------------------------------------------


def test_fid_on_the_way_is_that_of_states_and_of_denoised_states(random, digits, reference):
    rows, recorded = random
    pairs = [("path_fid_digits", recorded.states, step) for step in (0, 4, LEVELS)]
    pairs += [("path_denoised_fid_digits", recorded.denoised, step) for step in (0, 4)]
    for metric, images, step in pairs:
        options = dict(resamples=10, seed=derive(3, "fidelity"))
        expected = fidelity(data.quantise(images[step], 17), reference, **options)["fid"]
        found = only(rows, metric, grid_index=step, n_levels=LEVELS)
        assert same(found, expected)
        assert found.sigma == recorded.levels[step].item()
    # At its last level the network jumps to the end.
    last = [
        only(rows, "path_denoised_fid_digits", grid_index=LEVELS - 1),
        only(rows, "path_fid_digits", grid_index=LEVELS),
    ]
    assert last[0].value == last[1].value


def test_shape_of_the_way_is_that_of_the_recorded_trajectories(random):
    rows, recorded = random
    path, denoised = recorded.states.double(), recorded.denoised.double()
    chord = (path[-1] - path[0]).flatten(1).norm(dim=1)
    away, far = geometry.chord_distance(path) / chord, geometry.chord_distance(path, denoised) / chord
    cosine = geometry.remaining_cosine(path, denoised)
    for i, sigma in enumerate(recorded.levels[:-1].tolist()):
        assert only(rows, "path_chord_distance", sigma=sigma).value == pytest.approx(away[i].mean().item(), abs=1e-5)
        assert same(only(rows, "path_denoised_chord_distance", sigma=sigma), mean(far[i]))
        assert same(only(rows, "path_norm", sigma=sigma), mean(path[i].flatten(1).norm(dim=1)))
        assert same(only(rows, "path_remaining_cosine", sigma=sigma), mean(cosine[i]))
    assert same(only(rows, "path_largest_chord_distance"), mean(away.amax(0)))
    assert same(only(rows, "path_arc_chord_ratio"), mean(geometry.arc_chord_ratio(path)))
    explained = [only(rows, "path_explained_variance", components=k).value for k in range(3)]
    assert explained == sorted(explained)
    assert explained == pytest.approx(geometry.explained_variance(path).mean(1).tolist(), rel=1e-4)
    own = geometry.chord_distance(denoised).amax(0) / (denoised[-1] - denoised[0]).flatten(1).norm(dim=1)
    assert same(only(rows, "path_denoised_own_chord_distance"), mean(own), rel=1e-3)
    left = [only(rows, "path_residual_variance", components=k, path="sampled").value for k in (1, 2)]
    assert left == pytest.approx(geometry.residual_variance(path).mean(1).tolist(), rel=1e-2)
    control = [only(rows, "path_residual_variance", components=k, path="bridge").value for k in (1, 2)]
    assert 1 > control[0] > control[1] > 0.01


# ---- other steps -----------------------------------------------------------------------------------------------------


def gaps(process, n_steps):
    """√E (x_ancestral − x_ode)² of a coordinate at each level, in VP coordinates, for N(0, STD²) and any step.

    By second moments, from the same z ~ N(0, 1), of which the ODE takes the share alpha sigma_max.
    """
    carried, variance, found = 1.0, 0.0, []
    times = uniform_times(n_steps).flip(0).tolist()
    for t, s in pairwise([*times, None]):
        alpha, square = (part.item() for part in process.marginal(t))
        ode = alpha * SIGMA_MAX * shrink(SIGMA_MAX, math.sqrt(square) / alpha)
        found.append(math.sqrt((carried - ode) ** 2 + variance))
        if s is not None:
            coef_xt, coef_x0, chol = (part.item() for part in process.posterior(s, t))
            factor = coef_xt + coef_x0 * STD**2 * alpha / (alpha**2 * STD**2 + square)
            carried, variance = factor * carried, factor**2 * variance + chol**2
    return found


def test_on_a_normal_law_every_step_goes_as_far_from_the_ode(scene):
    """The step enters by its variance alone; 40 images of 64 coordinates know it to 2 %."""
    at = scene(CENTRED, changed(n_paths=40, n_images=40, ancestral_nfe=[2, 12]))
    rows = frame(_other_steps(at))
    for n_steps in (2, 12):
        expected = gaps(at.process, n_steps)
        assert expected[0] < 1e-3
        for step in ("rademacher", "normal", "laplace"):
            end, way = (
                only(rows, f"ancestral_{name}", step=step, nfe=n_steps) for name in ("end_displacement", "ode_distance")
            )
            assert end.value == pytest.approx(expected[-1], rel=0.08)
            assert way.value == pytest.approx(sum(expected) / len(expected), rel=0.08)
        # The ODE's path to a centred normal law is a line in VP coordinates, too, and noise makes detours.
        smooth = only(rows, "ancestral_arc_chord_ratio", step="ode", nfe=n_steps)
        assert (smooth.value, smooth.high) == pytest.approx((1, 1), abs=1e-5)
        assert only(rows, "ancestral_arc_chord_ratio", step="normal", nfe=n_steps).low > 1.02


@pytest.mark.parametrize("of", ["random", "normal", "copied"])
def test_no_path_is_shorter_than_its_chord(of, request):
    rows, _ = request.getfixturevalue(of)
    for metric in ("path_arc_chord_ratio", "ancestral_arc_chord_ratio"):
        assert select(rows, metric).value.min() >= 1 - 1e-6


def test_more_steps_make_a_path_rougher(normal):
    for step in ("rademacher", "normal", "laplace"):
        few, many = (only(normal[0], "ancestral_arc_chord_ratio", step=step, nfe=n).value for n in (3, 12))
        assert many > few
