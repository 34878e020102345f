"""Evaluation: which numbers a run gets, under which conditions, and what is known of them whatever the network."""

import copy
import math

import pandas as pd
import pytest
import torch
from problems import small_denoiser
from scipy.stats import spearmanr
from summaries import assert_tidy, only, select

from nonnormal import data
from nonnormal.metrics.fidelity import fid_difference, fidelity
from nonnormal.metrics.intervals import Estimate, mean_interval, proportion_interval
from nonnormal.metrics.style import style, style_difference
from nonnormal.objectives.bounds import bits_per_dim, bound, continuous_bound
from nonnormal.objectives.losses import Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.processes import uniform_times
from nonnormal.samplers import sample_ancestral
from nonnormal.seeds import derive
from nonnormal.steps import coupled, get
from nonnormal.steps.conventions import CONVENTIONS
from nonnormal.steps.divergence import constant
from nonnormal.study.config import validate
from nonnormal.study.config.build import design
from nonnormal.study.experiments.pairs.bounds import measured_bounds
from nonnormal.study.experiments.step_swap.measure import step_swap_rows
from nonnormal.study.results.distances import feature_rows, fidelity_rows, held_out_rows, style_rows
from nonnormal.study.results.rows import frame, row
from nonnormal.study.results.summary import read_rows, write_rows

T = 6  # of training; more than the network calls below, so that bounds leave out steps
CALLS = 4
RAW = {
    "name": "tiny",
    "data": "digits",
    "seed": 3,
    "defaults": {
        "process": {"schedule": {"log_snr_max": 9, "log_snr_min": -7}},
        "training": {"timesteps": T, "seed": 5},
    },
    "runs": {
        "nn": {},
        "un": {"q": "uniform"},
        "ll": {"q": "laplace", "p": "laplace"},
        "logistic": {"q": "logistic", "p": "logistic"},
        "rademacher": {"q": "rademacher", "p": "rademacher", "training": {"loss": "limit"}},
        "laplace-limit": {"q": "laplace", "p": "laplace", "training": {"loss": "limit"}},
    },
    "sampling": {"n_images": 8, "nfe": [3, 2], "batch_size": 5},
    "evaluation": {
        "n_images": 6,
        "timesteps": [2, 9],
        "n_evaluations": CALLS,
        "flow_tolerance": 1e-4,
        "bootstrap": 10,
    },
    "step_swap": {"step_families": ["rademacher", "normal"], "nfe": [3, 2, 3], "n_images": 12},
}
STUDY = validate(RAW, "tiny.yaml")
NATIVE = [name for name, run in STUDY.runs.items() if run.has_native_bound]
PRINTED = ["nn", "un", "ll", "laplace-limit"]
TERMS = ("prior", "diffusion", "reconstruction")


@pytest.fixture(scope="module")
def denoiser():
    return small_denoiser(parametrisation="edm", sigma_data=0.5)


@pytest.fixture(scope="module")
def bounds(denoiser, digits):
    """Rows of all runs with the same network, so that what differs is the pair."""
    return pd.concat([measured_bounds(STUDY, run, denoiser, digits)[0] for run in STUDY.runs], ignore_index=True)


def changed(**sections):
    """The study with some settings of its sections replaced."""
    raw = copy.deepcopy(RAW)
    for section, settings in sections.items():
        raw[section] |= settings
    return validate(raw, "tiny.yaml")


def same(found, estimate):
    """Whether a row has the numbers of an estimate, to the last bit but for sums in another order."""
    expected = (estimate.value, estimate.low, estimate.high)
    return (found.value, found.low, found.high) == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    ) and found.n == estimate.n


def check(rows, units):
    """What is true of all rows: the columns, an interval with its value, unit, and where the number belongs."""
    assert_tidy(rows)
    assert (rows.low <= rows.value).all()
    assert (rows.value <= rows.high).all()
    assert rows.high.map(math.isfinite).all()
    for found in rows.itertuples():
        assert found.unit == units[found.metric]
        assert (found.study, found.data, found.seed) == ("tiny", "digits", 3)
        if pd.notna(found.run):
            run = STUDY.run(found.run)
            assert (found.q, found.p, found.train_seed) == (run.q, run.p, 5)


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_a_row_without_network_belongs_to_no_run(tmp_path):
    estimate = Estimate(1.0, 0.5, 2.0, 7)
    rows = frame(
        [
            row(STUDY, None, "m", estimate, "1", None, {}),
            row(STUDY, "ll", "m", estimate, "1", 4, {"T": 9, "zeal": "high"}),
        ]
    )
    write_rows(tmp_path / "rows.csv", rows)
    pd.testing.assert_frame_equal(read_rows(tmp_path / "rows.csv"), rows)
    alone, of_a_run = rows.itertuples(index=False)
    assert all(pd.isna(value) for value in (alone.run, alone.q, alone.p, alone.train_seed, alone.nfe))
    assert (of_a_run.run, of_a_run.q, of_a_run.train_seed, of_a_run.nfe) == ("ll", "laplace", 5, 4)
    assert (of_a_run.T, of_a_run.data, of_a_run.seed, of_a_run.zeal) == (9, "digits", 3, "high")
    assert all(pd.isna(value) for value in (of_a_run.step, alone.zeal))
    assert (alone.value, alone.low, alone.high, alone.n) == (1.0, 0.5, 2.0, 7)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"step": 3}, "condition step: found 3, needs to be of type str"),
        ({"T": [2, 4]}, r"condition T: found \[2, 4\], needs to be of type Int64"),
        ({"T": 2.5}, "condition T: found 2.5, needs to be of type Int64"),
        ({"zeal": {"a": 1}}, r"condition zeal: found \{'a': 1\}, needs to be a text or a number"),
        ({"n": "paths"}, "condition n: is the name of a column that every row has"),
    ],
)
def test_a_condition_has_one_type_and_is_one_text_or_number(condition, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        row(STUDY, None, "m", Estimate(1.0, 0.5, 2.0, 7), "1", None, condition)


# ---- bounds ----------------------------------------------------------------------------------------------------------


def test_every_row_of_bounds_has_interval_unit_and_conditions(bounds):
    units = {f"bpd_{term}": "bits/dim" for term in ("total", *TERMS)}
    check(bounds, units | {"diffusion_ratio": "1", "bpd_growth": "bits/dim/step"})
    assert (bounds.n == 6).all()
    for found in bounds.itertuples():
        assert (found.split, found.weighting, found.ema) == ("test", "elbo", 0.995)


@pytest.mark.parametrize("run", STUDY.runs)
def test_bounds_that_a_run_has(bounds, run):
    totals = select(bounds, "bpd_total", run=run)
    told = totals[["bound", "marginals", "T"]].astype(object)
    found = set(told.where(told.notna(), None).itertuples(index=False, name=None))
    expected = {("normal", "limit", n_steps) for n_steps in (2, T, 9)}
    expected |= {("continuous", "limit", None), ("flow", None, None)}
    if run in NATIVE:
        expected |= {("native", "limit", n_steps) for n_steps in (2, T, 9)} | {("native", "bridge", T)}
    if run in PRINTED:
        expected |= {("convention", "limit", n_steps) for n_steps in (2, T, 9)} | {("convention", "bridge", T)}
        printed = totals[totals.constant.notna()]
        assert len(printed.drop_duplicates(["convention", "constant", "T", "marginals"])) == len(printed) == 4 * 3 * 3
        assert set(printed.convention) == set(CONVENTIONS)
    assert found == expected
    assert totals.dequantisation[totals.bound == "flow"].tolist() == ["uniform", "normal"]


def test_a_pair_without_divergence_has_no_bound_and_no_cost_of_its_own(bounds):
    assert NATIVE == ["nn", "un", "ll", "logistic", "laplace-limit"]
    rows = bounds[bounds.run == "rademacher"]
    assert set(rows.bound) == {"normal", "continuous", "flow"}
    assert not set(rows.metric) & {"diffusion_ratio", "bpd_growth"}


def test_no_more_network_calls_are_made_than_asked_for_but_by_the_bridge(bounds):
    rows = select(bounds, "bpd_total")
    limit = rows[rows["T"].notna() & (rows.marginals == "limit")]
    assert (limit.nfe == limit["T"].clip(upper=CALLS)).all()
    assert set(limit[limit.nfe == CALLS]["T"]) == {T, 9}
    assert set(rows[rows.marginals == "bridge"].nfe) == {T}
    assert set(select(bounds, "bpd_total", bound="continuous").nfe) == {CALLS}


def test_the_steps_of_a_bound_left_out_are_those_beyond_the_calls(denoiser, digits, bounds):
    """With more calls than steps, only bounds with steps to leave out change."""
    all_steps = measured_bounds(
        changed(evaluation={"n_evaluations": 9, "flow_tolerance": None}), "un", denoiser, digits
    )[0]
    assert set(select(all_steps, "bpd_total", bound="native", marginals="limit").nfe) == {2, T, 9}
    for n_steps, unchanged in ((2, True), (T, False), (9, False)):
        at = dict(run="un", bound="native", marginals="limit", T=n_steps)
        few, every = (only(rows, "bpd_total", **at).value for rows in (bounds, all_steps))
        assert (few == every) == unchanged


def test_bounds_are_the_means_of_their_images(denoiser, digits, bounds):
    x0 = data.scale(digits.test.images[:6], 17)
    seeds = STUDY.image_seeds("bound", 6)
    point = design(STUDY.run("ll"))
    for marginals, n_steps, calls in (("limit", 9, CALLS), ("bridge", T, T)):
        options = dict(levels=17, n_steps=n_steps, n_evaluations=calls, marginals=marginals, seeds=seeds)
        [terms] = bound(denoiser, point, x0, losses=[Loss(get("laplace"), get("laplace"))], **options)
        for term in ("total", *TERMS):
            found = only(bounds, f"bpd_{term}", run="ll", bound="native", marginals=marginals, T=n_steps)
            expected = mean_interval(bits_per_dim(getattr(terms, term), 64).numpy())
            assert same(found, Estimate(*expected, 6))
    terms = continuous_bound(denoiser, point.process, x0, levels=17, n_evaluations=CALLS, seeds=seeds)
    found = only(bounds, "bpd_total", run="ll", bound="continuous")
    assert same(found, Estimate(*mean_interval(bits_per_dim(terms.total, 64).numpy()), 6))
    for law in ("uniform", "normal"):
        options = dict(levels=17, seeds=seeds, dequantisation=law, rtol=1e-4, atol=1e-4)
        nats, calls = flow_bound(denoiser, point.process, x0, **options)
        found = only(bounds, "bpd_total", run="ll", bound="flow", dequantisation=law)
        assert same(found, Estimate(*mean_interval(bits_per_dim(nats, 64).numpy()), 6))
        assert found.nfe == calls


def test_terms_add_up_to_the_total(bounds):
    found = bounds[bounds.metric.str.startswith("bpd_")]
    found = found[found.bound.isin(["native", "normal", "continuous"])]
    wide = found.assign(T=found["T"].fillna(0)).pivot_table(
        index=["run", "bound", "T", "marginals"], columns="metric", values="value"
    )
    assert len(wide) == 5 * (3 + 1) + 6 * (3 + 1)
    assert (wide[[f"bpd_{term}" for term in TERMS]].sum(axis=1) - wide.bpd_total).abs().max() < 1e-12


def test_what_does_not_depend_on_the_pair_is_the_same_for_all_runs(bounds):
    """The network, images and seeds are the same."""
    for conditions in (
        {"bound": "continuous"},
        {"bound": "flow", "dequantisation": "uniform"},
        {"bound": "flow", "dequantisation": "normal"},
        *({"bound": "normal", "T": n_steps} for n_steps in (2, T, 9)),
    ):
        values = select(bounds, "bpd_total", **conditions).value
        assert len(values) == len(STUDY.runs)
        assert (values == values.iloc[0]).all()


@pytest.mark.parametrize("n_steps", [2, T, 9])
def test_the_normal_pairs_own_bound_is_the_normal_bound(bounds, n_steps):
    native, normal = (
        only(bounds, "bpd_total", run="nn", bound=kind, marginals="limit", T=n_steps) for kind in ("native", "normal")
    )
    assert (native.value, native.low, native.high) == (normal.value, normal.low, normal.high)


@pytest.mark.parametrize("run", ["nn", "un", "ll"])
@pytest.mark.parametrize(("marginals", "n_steps"), [("limit", 2), ("limit", 9), ("bridge", T)])
def test_the_exact_convention_with_its_constant_at_every_step_is_the_native_bound(bounds, run, marginals, n_steps):
    at = dict(run=run, marginals=marginals, T=n_steps)
    native = only(bounds, "bpd_total", bound="native", **at).value
    owed = constant(*(getattr(STUDY.run(run), name) for name in "qp")) / math.log(2)
    for counted, times in (("every step", n_steps), ("once", 1), ("never", 0)):
        found = only(bounds, "bpd_total", bound="convention", convention="exact", constant=counted, **at).value
        assert found == pytest.approx(native + (times - n_steps) * owed)


def test_flow_says_how_it_was_solved_and_is_left_out_without_tolerance(bounds, denoiser, digits):
    for found in select(bounds, "bpd_total", bound="flow").itertuples():
        assert (found.solver, found.tolerance, found.trace) == ("dopri5", 1e-4, "hutchinson")
        assert found.nfe >= 8  # two steps of Dormand and Prince's pair
    study = changed(evaluation={"flow_tolerance": None, "timesteps": [T]})
    assert select(measured_bounds(study, "nn", denoiser, digits)[0], "bpd_total", bound="flow").empty


# ---- costs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["nn", "un"])
def test_a_normal_model_step_costs_the_normal_term_and_a_constant(bounds, run):
    """K_{q,normal}(d) = d²/2 + K(0), so without the constant nothing is left but the normal term."""
    rows = select(bounds, "diffusion_ratio", run=run)
    assert rows["T"].tolist() == [2, T, 9]
    assert rows.nfe.tolist() == [2, CALLS, CALLS]
    for column in (rows.value, rows.low, rows.high):
        assert column.tolist() == pytest.approx([1.0] * 3, abs=1e-9)
    assert rows.limit.tolist() == pytest.approx([1.0] * 3, abs=1e-9)


@pytest.mark.parametrize("run", ["ll", "laplace-limit"])
def test_a_laplace_step_costs_up_to_twice_as_much(bounds, run):
    """K(d) ≤ d² = 2 · d²/2, the nearer the smaller the step."""
    rows = select(bounds, "diffusion_ratio", run=run)
    assert rows.limit.tolist() == [2.0] * 3
    assert 0 < rows.value.iloc[0] < rows.value.iloc[-1] < 2
    assert (rows.high > rows.low).all()


def test_the_native_bound_grows_by_what_is_owed_at_every_step(bounds):
    growth = {found.run: found for found in select(bounds, "bpd_growth").itertuples()}
    assert list(growth) == NATIVE
    for run, found in growth.items():
        owed = constant(STUDY.run(run).q, STUDY.run(run).p) / math.log(2)
        assert found.limit == pytest.approx(owed, abs=1e-12)
        assert (found.T_before, found.T, found.marginals) == (T, 9, "limit")
        assert pd.isna(found.nfe)
        terms = [only(bounds, "bpd_diffusion", run=run, bound="native", marginals="limit", T=t).value for t in (T, 9)]
        assert found.value == pytest.approx((terms[1] - terms[0]) / (9 - T))
    # The states are the normal pair's, and so is all but the constant.
    owed = constant("uniform", "normal") / math.log(2)
    assert growth["un"].value - growth["nn"].value == pytest.approx(owed, rel=1e-9)
    assert growth["un"].high - growth["nn"].high == pytest.approx(owed, rel=1e-9)


def test_a_run_in_phase_space_owes_for_two_numbers_a_component(denoiser, digits):
    """The printed conventions speak of one variable, and are left out."""
    study = changed(runs={"psld": {"process": {"kind": "psld", "schedule": {}}, "q": "uniform"}})
    rows = measured_bounds(study, "psld", denoiser, digits)[0]
    assert select(rows, "bpd_total", bound="convention").empty
    limit = only(rows, "bpd_growth").limit
    assert limit == pytest.approx(2 * constant("uniform", "normal") / math.log(2))
    ratios = select(rows, "diffusion_ratio")
    assert ratios.value.to_numpy() == pytest.approx(1.0, abs=1e-9)  # its loss is the normal one's, but for the constant


def test_bits_of_each_image_have_the_means_of_the_rows(denoiser, digits):
    rows, of_images = measured_bounds(changed(evaluation={"timesteps": [2]}), "un", denoiser, digits)
    totals = rows[(rows.metric == "bpd_total") & (rows.bound != "convention")]
    assert len(of_images) == len(totals)
    for found in totals.itertuples():
        parts = [found.bound, found.marginals, found.T] if found.bound in ("native", "normal") else [found.bound]
        parts += [found.dequantisation] if found.bound == "flow" else []
        bits = of_images["/".join(map(str, parts))].numpy()
        assert bits.shape == (found.n,)
        assert same(found, Estimate(*mean_interval(bits), found.n))


def test_one_number_of_steps_shows_no_growth(denoiser, digits):
    rows = measured_bounds(changed(evaluation={"timesteps": [T], "flow_tolerance": None}), "un", denoiser, digits)[0]
    assert len(select(rows, "diffusion_ratio")) == 1
    assert select(rows, "bpd_growth").empty


# ---- samples ---------------------------------------------------------------------------------------------------------

UNITS = {f"{name}_digits": "squared feature distance" for name in ("fid", "kid", "step_swap_fid")}
UNITS |= {"step_swap_fid_digits_difference": "squared feature distance", "step_swap_kurtosis_share": "share"}
UNITS |= {f"{name}_digits": "share" for name in ("precision", "recall")}
for _name, _unit in (("total_variation", "grey range"), ("high_frequency", "share of power")):
    UNITS |= {key.format(_name): _unit for key in ("style_{}", "style_{}_difference", "step_swap_style_{}_difference")}
    UNITS |= {f"step_swap_style_{_name}_order": "rank correlation"}
STYLES = ("total_variation", "high_frequency")


def draw(denoiser, step, n_steps, purpose, n):
    """Plain samples, in the batches that the study asks for: networks are not the same to the last bit in others."""
    process, seeds = design(STUDY.run("ll")).process, STUDY.image_seeds(purpose, n)
    grid = dict(times=uniform_times(n_steps), seeds=seeds, batch_size=5)
    return data.quantise(sample_ancestral(denoiser, process, get(step), (n, 1, 8, 8), **grid), 17)


@pytest.fixture(scope="module")
def samples(denoiser):
    """Those of the same network with each run's step."""
    return {
        run: {n_steps: draw(denoiser, STUDY.run(run).p, n_steps, "sample", 8) for n_steps in STUDY.sample_steps}
        for run in STUDY.runs
    }


def test_fidelity_is_measured_for_each_number_of_steps(samples, reference):
    rows = fidelity_rows(STUDY, "ll", samples["ll"], reference)
    check(rows, UNITS)
    assert rows.nfe.tolist() == [2] * 4 + [3] * 4
    for n_steps, images in samples["ll"].items():
        seed = derive(STUDY.seed, "fidelity")
        for name, estimate in fidelity(images, reference, resamples=10, seed=seed).items():
            assert same(only(rows, f"{name}_digits", nfe=n_steps), estimate)
    for found in rows.itertuples():
        assert (found.sampler, found.step, found.dtype) == ("ancestral", "laplace", "float32")
        assert (found.reference, found.n_reference) == ("train", 60)
        assert found.features == "classifier of digits"
        assert found.tool.startswith("torch-fidelity ")
        assert found.interval_tool == "nonnormal"


@pytest.fixture(scope="module")
def styles(samples, digits, reference):
    rows = [style_rows(STUDY, run, samples, digits) for run in STUDY.runs]
    floor = held_out_rows(STUDY, digits, reference)
    return pd.concat([floor[floor.metric.str.startswith("style_")], *rows], ignore_index=True)


def test_held_out_images_have_the_distances_of_samples(digits, reference):
    rows = held_out_rows(STUDY, digits, reference)
    expected = fidelity(digits.test.images, reference, resamples=10, seed=derive(3, "fidelity"))
    for name, estimate in expected.items():
        [found] = select(rows, f"{name}_digits").itertuples()
        assert same(found, estimate)
        assert (found.of, found.split, found.reference) == ("held_out", "test", "train")
        assert pd.isna(found.run)
        assert pd.isna(found.nfe)


def test_style_is_measured_of_every_run_and_of_the_test_split(styles, samples, digits):
    check(styles, UNITS)
    for name in STYLES:
        rows = select(styles, f"style_{name}")
        assert len(rows) == 1 + 2 * len(STUDY.runs)
        [split] = rows[rows.run.isna()].itertuples()
        assert split.split == "test"
        assert pd.isna(split.nfe)
        assert same(split, Estimate(*mean_interval(style(digits.test.images, 17)[name]), 20))
        for run, by_steps in samples.items():
            for n_steps, images in by_steps.items():
                found = only(styles, f"style_{name}", run=run, nfe=n_steps, step=STUDY.run(run).p)
                assert same(found, Estimate(*mean_interval(style(images, 17)[name]), 8))


def test_style_differences_are_against_the_normal_pairs_run(styles, samples):
    seed = derive(STUDY.seed, "style")
    for name in STYLES:
        rows = select(styles, f"style_{name}_difference")
        assert set(rows.run) == set(STUDY.runs) - {"nn"}
        for found in rows.itertuples():
            assert found.against == "nn"
            pair = samples[found.run][found.nfe], samples["nn"][found.nfe]
            assert same(found, style_difference(*pair, 17, resamples=1000, seed=seed)[name])
        # The sampling step of uniform/normal is the normal one, and here the network is the same, too.
        own = rows[rows.run == "un"]
        assert own.value.tolist() == own.low.tolist() == own.high.tolist() == [0.0, 0.0]


def test_without_the_normal_pair_style_has_no_differences(samples, digits):
    raw = RAW | {"runs": {"ll": RAW["runs"]["ll"]}}
    rows = style_rows(validate(raw, "tiny.yaml"), "ll", {"ll": samples["ll"]}, digits)
    assert set(rows.metric) == {f"style_{name}" for name in STYLES}


@pytest.fixture(scope="module")
def exchanged(denoiser, digits, reference):
    return step_swap_rows(STUDY, "ll", denoiser, digits, reference)


def test_each_step_of_the_exchange_is_sampled_once_for_each_number_of_steps(exchanged):
    check(exchanged, UNITS)
    rows = exchanged
    found = rows[rows.metric == "step_swap_fid_digits"]
    assert list(zip(found.nfe, found.step, strict=True)) == [
        (n_steps, step) for n_steps in (2, 3) for step in ("rademacher", "normal")
    ]
    assert (found.n == 12).all()
    assert set(found.n_reference) == {60}
    for name in ("fid_digits", *(f"style_{name}" for name in STYLES)):  # to itself the normal step has no difference
        found = rows[rows.metric == f"step_swap_{name}_difference"]
        assert list(zip(found.nfe, found.step, strict=True)) == [(2, "rademacher"), (3, "rademacher")]
        assert set(found.against) == {"normal step"}


@pytest.mark.parametrize("n_steps", [2, 3])
def test_the_exchanged_step_is_all_that_differs_from_plain_sampling(exchanged, denoiser, digits, reference, n_steps):
    steps = {step: coupled(get(step)) for step in ("normal", "rademacher")}
    drawn = {step: draw(denoiser, law, n_steps, "exchange", 12) for step, law in steps.items()}
    assert not torch.equal(drawn["normal"], drawn["rademacher"])
    options = dict(resamples=10, seed=derive(STUDY.seed, "fidelity"))
    for step, images in drawn.items():
        expected = fidelity(images, reference, **options)["fid"]
        assert same(only(exchanged, "step_swap_fid_digits", nfe=n_steps, step=step), expected)
    gap = fid_difference(drawn["rademacher"], drawn["normal"], reference, **options)
    assert same(only(exchanged, "step_swap_fid_digits_difference", nfe=n_steps), gap)
    seed = derive(STUDY.seed, "style")
    gaps = style_difference(drawn["rademacher"], drawn["normal"], 17, resamples=1000, seed=seed)
    for name, estimate in gaps.items():
        assert same(only(exchanged, f"step_swap_style_{name}_difference", nfe=n_steps), estimate)


def test_steps_are_compared_with_the_normal_one_also_where_that_is_not_asked_for(
    denoiser, digits, reference, exchanged
):
    study = changed(step_swap={"step_families": ["rademacher"], "nfe": [2]})
    rows = step_swap_rows(study, "ll", denoiser, digits, reference)
    assert set(rows.step.dropna()) == {"normal", "rademacher"}
    keys = ["metric", "step"]
    rows, expected = (found.sort_values(keys) for found in (rows, exchanged.query("nfe == 2")))
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), expected.reset_index(drop=True))


def test_the_step_of_the_run_plays_no_part_in_the_exchange(denoiser, digits, reference, exchanged):
    rows = step_swap_rows(changed(step_swap={"nfe": [2]}), "rademacher", denoiser, digits, reference)
    assert rows.value.tolist() == exchanged[exchanged.nfe == 2].value.tolist()


def test_kurtosis_share_of_the_exchange_is_that_of_the_chain(exchanged):
    """Two equal steps of log-SNR, 8 each, from a normal prior: nothing at the first call, f² at the second."""
    found = only(exchanged, "step_swap_kurtosis_share", nfe=2)
    assert found.value == found.low == found.high
    assert found.value == pytest.approx(math.expm1(-8) ** 2 / 2)


def test_the_order_of_styles_is_spearmans_of_kurtosis(denoiser, digits, reference):
    """Symmetric families alone, and the differences are those of the rows."""
    steps = ["rademacher", "laplace", "uniform", "exponential", "normal"]
    study = changed(step_swap={"step_families": steps, "nfe": [2]})
    rows = step_swap_rows(study, "ll", denoiser, digits, reference)
    kurtosis = {"rademacher": -2, "uniform": -1.2, "laplace": 3}
    for name in STYLES:
        gaps = select(rows, f"step_swap_style_{name}_difference").set_index("step").value
        found = only(rows, f"step_swap_style_{name}_order")
        assert found.value == pytest.approx(spearmanr([*kurtosis.values()], gaps[[*kurtosis]]).statistic)
        assert (found.families, found.n, found.nfe) == (3, 12, 2)
        assert -1 <= found.low <= found.high <= 1


def test_accuracy_of_the_feature_network_belongs_to_no_run(digits):
    rows = feature_rows(STUDY, {"held_out_accuracy": 0.25}, digits)
    check(rows, {"feature_accuracy": "share"})
    [found] = rows.itertuples()
    assert pd.isna(found.run)
    assert same(found, Estimate(0.25, *proportion_interval(0.25, 20), 20))
