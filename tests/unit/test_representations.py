"""Designs measured: rows, table and figures of networks of other representations and schedules."""

import copy

import pandas as pd
import pytest
import torch
from summaries import assert_tidy, select

from nonnormal import data
from nonnormal.analysis.information import effective_components
from nonnormal.samplers import sample_ancestral
from nonnormal.study.config import validate
from nonnormal.study.config.build import components, design, model_config
from nonnormal.study.config.settings import Run
from nonnormal.study.experiments.representations import figures as drawings
from nonnormal.study.experiments.representations.measure import N_EXTENDED, ROUNDS, outpainted, representation_rows
from nonnormal.study.experiments.representations.tables import readable_representations, representations
from nonnormal.training.checkpoints import build_denoiser

RAW = {
    "name": "tiny",
    "data": "digits",
    "defaults": {
        "process": {"schedule": {"log_snr_max": 9, "log_snr_min": -7}},
        "network": {"widths": [8], "groups": 4},
        "training": {"timesteps": 4},
    },
    "runs": {"plain": None},
    "evaluation": {"n_images": 12, "n_evaluations": 3, "bootstrap": 10, "flow_tolerance": 1e-4},
    "representations": {
        "n_images": 16,
        "nfe": [3, 2],
        "flow": True,
        "outpaint": "columns",
        "networks": {
            "wave": {
                "q": "laplace",
                "p": "laplace",
                "basis": {"kind": "haar", "levels": 2, "whiten": True},
                "network": {"statistics": "component"},
            },
            "hard": {"process": {"schedule": {"kind": "component_wise", "softness": 0.5, "low": -7, "high": 9}}},
            "columns": {"process": {"schedule": {"kind": "sequential", "labels": "column", "delay": 0.5}}},
        },
    },
}
STUDY = validate(RAW, "tiny.yaml")


@pytest.fixture(scope="module")
def denoisers(digits):
    """Networks of random weights."""
    made = {}
    for run in STUDY.representations.networks:
        settings = STUDY.run(run)
        parts = components(settings, digits.train.images, digits.levels)
        made[run] = build_denoiser(model_config(settings, STUDY.dataset, 0.6), 0, parts).eval().requires_grad_(False)
    return made


@pytest.fixture(scope="module")
def rows(digits, denoisers, reference):
    return pd.concat([representation_rows(STUDY, run, denoisers[run], digits, reference) for run in denoisers])


def test_each_network_has_its_bounds_its_flow_and_its_distances(rows):
    assert_tidy(rows)
    bits = select(rows, "representation_bpd_total")
    for run in STUDY.representations.networks:
        assert bits[bits.run == run].bound.tolist() == ["normal", "native", "continuous", "flow"]
        assert select(rows, "representation_fid_digits", run=run).nfe.tolist() == [2, 3]
    assert (bits.low < bits.value).all()
    assert (bits.value < bits.high).all()
    value = bits.set_index(["run", "bound"]).value
    assert value["hard", "native"] == value["hard", "normal"]
    assert value["wave", "native"] != value["wave", "normal"]


def test_conditions_tell_designs_apart(rows):
    found = rows.drop_duplicates("run").set_index("run").to_dict("index")
    assert (found["wave"]["basis"], found["wave"]["whitened"], found["wave"]["schedule"]) == (
        "haar",
        True,
        "linear_log_snr",
    )
    assert (found["hard"]["labels"], found["hard"]["softness"]) == ("variance", 0.5)
    assert (found["columns"]["labels"], found["columns"]["delay"]) == ("column", 0.5)


def test_how_many_are_generated_at_once_is_the_schedules(rows, denoisers):
    found = select(rows, "representation_effective_components").set_index("run").value
    for run, denoiser in denoisers.items():
        parts = denoiser.components
        process = design(STUDY.run(run), parts).process
        assert found[run] == effective_components(process, parts.variance, parts.floor)
    assert found["columns"] < found["wave"]


def test_images_are_completed_and_continued_from_what_is_given(digits, denoisers):
    found = outpainted(STUDY, "columns", denoisers["columns"], digits)
    given, completed, continued = (found[name] for name in ("given", "inpainted", "outpainted"))
    assert torch.equal(given, digits.test.images[:N_EXTENDED])
    assert torch.equal(completed[..., :4], given[..., :4])
    assert not torch.equal(completed[..., 4:], given[..., 4:])
    assert continued.shape == (len(given), 1, 8, 8 + 4 * ROUNDS)
    assert torch.equal(continued[..., :8], given)
    assert continued.dtype == torch.uint8


def test_columns_of_whitened_pixels_are_kept_too(digits):
    raw = copy.deepcopy(RAW)
    raw["representations"]["networks"]["columns"] |= {"basis": {"whiten": True}, "network": {"statistics": "component"}}
    study = validate(raw, "tiny.yaml")
    settings = study.run("columns")
    parts = components(settings, digits.train.images, digits.levels)
    network = build_denoiser(model_config(settings, study.dataset, 0.6), 0, parts).eval().requires_grad_(False)
    found = outpainted(study, "columns", network, digits)
    assert torch.equal(found["inpainted"][..., :4], found["given"][..., :4])
    assert torch.equal(found["outpainted"][..., :8], found["given"])


def test_samples_do_not_depend_on_their_company(denoisers):
    point = design(STUDY.run("hard"), denoisers["hard"].components)
    options = dict(times=[0.0, 0.5, 1.0], basis=point.basis, dtype=torch.float64)
    many = sample_ancestral(denoisers["hard"], point.process, point.p, (3, 1, 8, 8), seeds=[1, 2, 3], **options)
    one = sample_ancestral(denoisers["hard"], point.process, point.p, (1, 1, 8, 8), seeds=[2], **options)
    torch.testing.assert_close(many[1:2], one, rtol=0, atol=1e-5)


def test_the_table_has_a_row_a_network_and_says_what_each_is(rows):
    table = representations(rows, "fid_digits", STUDY.representations.labels)
    assert table.run.tolist() == list(STUDY.representations.networks)
    last = select(rows, "representation_fid_digits", nfe=3).set_index("run").value
    assert table.set_index("run").fid.to_dict() == last.to_dict()
    text = readable_representations(table, "fid_digits")
    assert text.index.tolist() == [
        "Haar whitened, one schedule",
        "pixel, softness 0.5 by variance",
        "pixel, by column, delay 0.5",
    ]
    assert {"flow", "native (limit marginals)", "T → ∞", "Fréchet distance", "at once"} <= set(text.columns)
    twice = table.iloc[[0, 0]].assign(design=["Haar, laplace/laplace", "Haar, normal/laplace"], q=["laplace", "normal"])
    named = readable_representations(twice.assign(p="laplace"), "fid_digits")
    assert list(zip(named.index, named.step, strict=True)) == [("Haar", "laplace/laplace"), ("Haar", "normal/laplace")]


def test_softnesses_of_one_basis_and_pair_are_lines(rows):
    """The network of one softness told as those of three, in two pairs, with one design of another kind."""
    named, made = {"columns": "pixel, by column, delay 0.5"}, [rows[rows.run == "columns"]]
    for p in ("normal", "laplace"):
        for i, softness in enumerate([None, 0.5, 2.0]):
            run = f"{p}-{i}"
            row = rows[rows.run == "hard"].assign(run=run, q=p, p=p)
            row[["value", "low", "high"]] += i
            row["softness"] = softness
            named[run], made = f"pixel, the {i}th, {p}", [*made, row]
    sweep = pd.concat(made)
    shown = drawings.representations(sweep, "fid_digits", named, sweep[:0])
    lines = [container.lines[0] for container in shown.axes[0].containers]
    bits = select(sweep, "representation_bpd_total").set_index(["run", "bound"]).value
    for line, p in zip(lines, ("normal", "laplace"), strict=True):
        assert line.get_xdata().tolist() == [0, 1, 2]
        assert line.get_ydata().tolist() == [bits[f"{p}-{i}", "normal"] for i in (1, 2, 0)]  # one SNR is the softest
    assert [text.get_text() for text in shown.axes[1].get_xticklabels()] == ["0.5", "2", "one\nSNR"]
    assert [text.get_text() for text in shown.axes[2].get_yticklabels()] == ["pixel, by column, delay 0.5"]
    whole = drawings.representations(
        sweep, "fid_digits", {run: named[run] for run in named if run != "columns"}, sweep[:0]
    )
    assert len(whole.axes) == 2


def test_figures_show_every_design(rows, digits, denoisers):
    points = {
        STUDY.representations.labels[run]: (design(STUDY.run(run), its.components), its.components)
        for run, its in denoisers.items()
    }
    order = drawings.order(points)
    assert [len(axis.lines) for axis in order.axes[:3]] == [64, 64, 64]
    way = drawings.corruption(points, data.scale(digits.test.images[0], digits.levels))
    assert len(way.axes) == 3 * 9
    shown = drawings.representations(rows, "fid_digits", STUDY.representations.labels, rows[:0])
    assert [text.get_text() for text in shown.axes[0].get_yticklabels()] == list(STUDY.representations.labels.values())[
        ::-1
    ]
    strips = drawings.outpainting(outpainted(STUDY, "columns", denoisers["columns"], digits), digits.levels)
    assert [axis.get_title() for axis in strips.axes[:3]] == [
        "held out",
        "right half sampled",
        "outpainted to the right",
    ]


def test_log_snrs_beyond_single_precision_are_refused_before_training(digits):
    """Where a schedule is fitted to data that is known only then; the exact denoisers' float64 goes further."""
    schedule = {"kind": "component_wise", "labels": "variance", "softness": 0.02}
    run = Run.model_validate({"process": {"schedule": schedule}, "network": {"statistics": "component"}})
    parts = components(run, digits.train.images, digits.levels)
    with pytest.raises(
        ValueError, match=r"process\.schedule: log-SNRs from .* leave single precision .* cap them by low"
    ):
        design(run, parts)
    capped = Run.model_validate({"process": {"schedule": schedule | {"low": -7, "high": 9}}})
    assert design(capped, parts).process.schedule.high == 9
