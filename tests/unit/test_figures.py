"""Figures: what is drawn are the summary's numbers, for few runs and for many, and where a number cannot be had."""

import itertools
from types import SimpleNamespace
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from summaries import select

from nonnormal.analysis import geometry
from nonnormal.analysis.recorder import Trajectories
from nonnormal.metrics.intervals import Estimate
from nonnormal.processes import PSLD, vp_sde
from nonnormal.samplers import SOLVERS
from nonnormal.steps import get
from nonnormal.study.config import validate
from nonnormal.study.experiments.ablation import figures as ablation_figures
from nonnormal.study.experiments.ablation.tables import AXES
from nonnormal.study.experiments.convergence import figures as convergence_figures
from nonnormal.study.experiments.geometry import figures as drawings
from nonnormal.study.experiments.pairs import figures as pair_figures
from nonnormal.study.experiments.pairs.figure_cost import cost
from nonnormal.study.experiments.pairs.figure_losses import loss_shapes
from nonnormal.study.experiments.pairs.figure_steps import number_of_steps
from nonnormal.study.experiments.pairs.figure_style import style_differences
from nonnormal.study.experiments.phase_space import figures as phase_space_figures
from nonnormal.study.experiments.phase_space.measure import WALKS
from nonnormal.study.experiments.phase_space.settings import StateSampler
from nonnormal.study.experiments.representations.figures import outpainting
from nonnormal.study.experiments.step_swap.figures import step_swap, step_swap_style
from nonnormal.study.report.names import SOLVER_NAMES, sampler_name, step_name
from nonnormal.study.report.sample_grid import sample_rows
from nonnormal.study.report.theme import WIDTH, legend_below, line_style, line_styles, step_style
from nonnormal.study.results.rows import frame, row
from nonnormal.study.results.trainings import over_trainings

PAIRS = {
    "nn": ("normal", "normal"),
    "ll": ("laplace", "laplace"),
    "un": ("uniform", "normal"),
    "rr": ("rademacher", "rademacher"),  # has no bound of its own
    "logistic": ("logistic", "logistic"),
    "student": ("student_t(df=5)", "student_t(df=5)"),
    "gumbel": ("gumbel", "normal"),
}
STEPS = ("normal", "laplace", "rademacher", "gumbel")
NAMES = ["normal", "Laplace", "Rademacher", "Gumbel"]
COUNTS = (4, 16)  # sampling steps
MANY = (4, 16, 400)  # steps of the bounds
STYLES = ("total_variation", "high_frequency", "saturation")


def study(n_runs):
    runs = {name: {"q": q, "p": p, "training": {"loss": "limit"}} for name, (q, p) in [*PAIRS.items()][:n_runs]}
    return validate({"name": "s", "data": "digits", "runs": runs}, "s.yaml")


class Summary:
    """Rows whose values are all different and whose intervals are not symmetric."""

    def __init__(self, found, first=1.0):
        self.study, self.rows, self.numbers = found, [], itertools.count()

    def add(self, run, metric, nfe, **conditions):
        value = 2 + 1.37 * next(self.numbers)
        self.rows.append(row(self.study, run, metric, Estimate(value, value - 0.5, value + 1, 9), "1", nfe, conditions))


def made_up(found, *, colours=False, exchanged=True, native=True):
    summary = Summary(found)
    for name, run in found.runs.items():
        own = native and run.has_native_bound
        for n_steps in MANY:
            for kind in ("normal", "native") if own else ("normal",):
                summary.add(name, "bpd_total", 7, bound=kind, marginals="limit", T=n_steps)
            if own:
                summary.add(name, "diffusion_ratio", 7, T=n_steps, limit=1.5)
        if own:
            summary.add(name, "bpd_total", 7, bound="native", marginals="bridge", T=16)
            summary.add(name, "bpd_growth", None, T_before=16, T=400, limit=0.0 if run.q == run.p else 0.25)
        for style in STYLES[: 2 + colours]:
            for nfe in COUNTS:
                summary.add(name, f"style_{style}", nfe)
                if name != "nn":
                    summary.add(name, f"style_{style}_difference", nfe, against="nn")
        for nfe in COUNTS:
            summary.add(name, "fid_digits", nfe)
        for nfe, step in itertools.product(COUNTS, STEPS) if exchanged else ():
            summary.add(name, "step_swap_fid_digits", nfe, step=step)
            if step != "normal":
                summary.add(name, "step_swap_fid_digits_difference", nfe, step=step, against="normal step")
            for style in STYLES[: 2 + colours] if step != "normal" else ():
                summary.add(name, f"step_swap_style_{style}_difference", nfe, step=step)
        for nfe, style in itertools.product(COUNTS, STYLES[: 2 + colours]) if exchanged else ():
            summary.add(name, f"step_swap_style_{style}_order", nfe)
        for nfe in COUNTS if exchanged else ():
            summary.add(name, "step_swap_kurtosis_share", nfe)
    return frame(summary.rows)


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    yield
    plt.close("all")


def bars(axis, upright=True):
    """{label: (place, value, low, high), each (N,)} of the lines with error bars, which may lie."""
    found = {}
    for container in axis.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, (segments,) = container.lines
            ends = np.array([segment[:, int(upright)] for segment in segments.get_segments()])
            assert container.get_label() not in found
            data = line.get_data() if upright else line.get_data()[::-1]
            found[container.get_label()] = (*data, ends[:, 0], ends[:, 1])
    return found


def dotted(axis):
    """(x, y) of the dotted lines without error bars, which are what theory says."""
    return [line.get_data() for line in axis.lines if line.get_linestyle() == ":" and line.get_marker() == "None"]


def assert_drawn(found, rows, x, apart=1e-7):
    """The line is that of the rows, in order of x, beside which it may stand by a part."""
    rows = rows.sort_values(x)
    assert len(rows) > 0
    for column, drawn in zip((x, "value", "low", "high"), found, strict=True):
        rtol = apart if column == x else 1e-7
        np.testing.assert_allclose(np.asarray(drawn, float), rows[column].to_numpy(float), rtol=rtol)


def assert_beside_one_another(lines):
    """No two of the lines have a mark at the same place."""
    places = np.concatenate([np.asarray(line[0], float) for line in lines])
    assert len(np.unique(places.round(9))) == len(places)


def colour(line):
    return plt.matplotlib.colors.to_rgb(line.get_color())


# ---- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_runs", [4, 7])
def test_cost_draws_ratios_and_native_bounds_against_t(n_runs):
    found = study(n_runs)
    summary = made_up(found)
    figure = cost(summary.sample(frac=1, random_state=0), found.labels, summary[:0])  # in any order
    figure.canvas.draw()
    ratio, bound = figure.axes
    own = [name for name, run in found.runs.items() if run.has_native_bound]
    assert set(bars(ratio)) == set(bars(bound)) == {found.labels[run] for run in own}
    totals = select(summary, "bpd_total", bound="native", marginals="limit")
    for axis, rows in ((ratio, select(summary, "diffusion_ratio")), (bound, totals)):
        for run in own:
            assert_drawn(bars(axis)[found.labels[run]], rows[rows.run == run], "T")
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert sorted(legend) == sorted(found.labels[run] for run in own)


def test_cost_draws_what_theory_says():
    found = study(4)
    ratio, bound = cost(made_up(found), found.labels, made_up(found)[:0]).axes
    assert [y[0] for _, y in dotted(ratio)] == [1.5] * 3
    [(steps, owed)] = dotted(bound)  # of uniform/normal, the one pair here that owes anything
    np.testing.assert_allclose(owed, 0.25 * np.asarray(steps, float))
    np.testing.assert_allclose(np.asarray(steps, float), MANY)


def test_an_infinite_limit_is_no_line():
    """The Fisher information of a step may be infinite."""
    found = study(2)
    summary = made_up(found)
    infinite = (summary.run == "ll") & (summary.metric == "diffusion_ratio")
    summary.loc[infinite, "limit"] = np.inf
    ratio, _ = cost(summary, found.labels, summary[:0]).axes
    assert len(dotted(ratio)) == 1


def test_cost_of_runs_without_bounds_of_their_own_is_empty():
    found = study(4)
    figure = cost(made_up(found, native=False), found.labels, made_up(found)[:0])
    figure.canvas.draw()
    assert [bars(axis) for axis in figure.axes] == [{}, {}]


# ---- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_runs", "native"), [(4, True), (7, True), (4, False)])
def test_steps_draws_scores_at_the_numbers_of_steps_that_were_sampled(n_runs, native):
    found = study(n_runs)
    summary = made_up(found, native=native)
    figure = number_of_steps(summary.sample(frac=1, random_state=0), "fid_digits", found.labels, summary[:0])
    figure.canvas.draw()
    fid, normal, own = figure.axes
    every = set(found.labels.values())
    assert set(bars(fid)) == set(bars(normal)) == every
    assert set(bars(own)) == (every - {"rademacher/rademacher"} if native else set())
    panels = [(fid, select(summary, "fid_digits"), "nfe")]
    for axis, kind in ((normal, "normal"), (own, "native")):
        rows = select(summary, "bpd_total", bound=kind, marginals="limit")
        panels.append((axis, rows[rows["T"] < 400], "T"))  # no samples were drawn in 400 steps
    for axis, rows, x in panels:
        for run, label in found.labels.items():
            if label in bars(axis):
                assert_drawn(bars(axis)[label], rows[rows.run == run], x, apart=0.15)
        if bars(axis):
            assert_beside_one_another(bars(axis).values())
    assert fid.get_xticks().tolist() == list(COUNTS)
    assert len(figure.legends[0].texts) == n_runs


# ---- step swap -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_runs", [1, 7])
def test_exchange_says_each_distance_at_its_network_and_step(n_runs):
    found = study(n_runs)
    summary = made_up(found)
    figure = step_swap(summary, "fid_digits", found.labels)
    figure.canvas.draw()
    *blocks, scale = figure.axes
    assert [axis.get_title() for axis in blocks] == [f"Fréchet distance, {n_steps} calls" for n_steps in COUNTS]
    assert [label.get_text() for label in blocks[-1].get_xticklabels()] == NAMES
    assert "difference to the normal step" in scale.get_ylabel()
    for axis, nfe in zip(blocks, COUNTS, strict=True):
        assert [label.get_text() for label in axis.get_yticklabels()] == list(found.labels.values())
        said = {text.get_position(): text.get_text() for text in axis.texts}
        assert len(said) == len(axis.texts) == n_runs * len(STEPS)
        for (i, run), (j, step) in itertools.product(enumerate(found.runs), enumerate(STEPS)):
            [value] = select(summary, "step_swap_fid_digits", run=run, nfe=nfe, step=step).value
            gap = select(summary, "step_swap_fid_digits_difference", run=run, nfe=nfe, step=step).value.sum()
            second = "±0.8" if step == "normal" else f"{gap:+.1f} ±0.8"  # half of 1.5
            assert said[j, i] == f"{value:.1f}\n{second}"
            assert axis.images[0].get_array()[i, j] == pytest.approx(gap / 0.75)


def test_what_the_intervals_allow_is_not_shaded():
    found = study(1)
    summary = made_up(found)
    gaps = (summary.metric == "step_swap_fid_digits_difference") & (summary.nfe == 4)
    for at, value in zip(summary[gaps].index, (0.7, 1.2, -1.2), strict=True):
        summary.loc[at, ["value", "low", "high"]] = value, value - 1, value + 1
    [picture] = step_swap(summary, "fid_digits", found.labels).axes[0].images
    same, allowed, more, less = picture.cmap(picture.norm(picture.get_array()))[0]
    assert np.ptp(same[:3]) < 0.02
    assert allowed.tolist() == same.tolist()
    assert more[0] > more[2] + 0.1
    assert less[2] > less[0] + 0.1


def test_trainings_that_share_their_images_do_not_average_them_out():
    """Two trainings alike have the interval of one; two apart have Student's over them as well."""
    found = study(1)
    first = made_up(found)
    for shift, half in ((0.0, 0.75), (0.1, np.hypot(0.75, 12.706205 * 0.1 / 2))):
        again = first.assign(train_seed=1, value=first.value + shift, low=first.low + shift, high=first.high + shift)
        gaps = select(first, "step_swap_fid_digits_difference", nfe=4).value.to_numpy() + shift / 2
        figure = step_swap(pd.concat([first, again]), "fid_digits", found.labels)
        np.testing.assert_allclose(figure.axes[0].images[0].get_array()[0, 1:], gaps / half, rtol=1e-6)


def test_style_stands_over_the_kurtosis_that_reaches_the_network():
    """A large mark a step, the mean over networks; a small one a network; and the mean of their ranks' correlation."""
    found = study(2)
    summary = made_up(found)
    figure = step_swap_style(summary, "fid_digits")
    figure.canvas.draw()
    panels = np.array(figure.axes).reshape(3, len(COUNTS))
    measures = ("fid_digits", *(f"style_{name}" for name in STYLES[:2]))
    for (i, name), (j, nfe) in itertools.product(enumerate(measures), enumerate(COUNTS)):
        share = select(summary, "step_swap_kurtosis_share", nfe=nfe).value.to_numpy()
        rows = select(summary, f"step_swap_{name}_difference", nfe=nfe)
        drawn = {line.get_label(): line for line in panels[i, j].lines if line.get_markersize() > 5}
        singles = [
            line.get_xydata() for line in panels[i, j].lines if line.get_markersize() < 5 and len(line.get_xdata())
        ]
        for step in STEPS[1:]:
            values = rows[rows.step == step].value.to_numpy()
            places = get(step).excess_kurtosis * share
            line = drawn[step_name(step)]
            np.testing.assert_allclose(line.get_xydata(), [[places.mean(), values.mean()]])
            assert (line.get_markerfacecolor() == "white") == (step == "gumbel")  # which is skewed
            assert any(np.allclose(pairs, np.stack([places, values], 1)) for pairs in singles if len(pairs) == 2)
        rhos = summary[(summary.metric == f"step_swap_{name}_order") & (summary.nfe == nfe)].value
        assert [text.get_text() for text in panels[i, j].texts] == [f"ρ = {rhos.mean():.2f}"] * (i > 0)
        assert panels[0, j].get_title() == f"{nfe} calls"


# ---- style -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_runs", "colours"), [(4, False), (4, True), (7, False)])
def test_style_draws_differences_of_pairs(n_runs, colours):
    found = study(n_runs)
    summary = made_up(found, colours=colours)
    figure = style_differences(summary, found.labels, summary[:0])
    figure.canvas.draw()
    names = STYLES[: 2 + colours]
    trained = figure.axes
    assert len(trained) == len(names)
    assert [axis.get_title() for axis in trained] == ["total variation", "high-frequency share", "saturation"][
        : len(names)
    ]
    for axis, name in zip(trained, names, strict=True):
        rows = select(summary, f"style_{name}_difference")
        assert_marks(axis, rows.assign(at=rows.nfe.astype(str)), map(str, COUNTS), found, set(found.runs) - {"nn"})


def assert_marks(axis, rows, places, found, runs):
    """A mark a run at each place, beside one another, and no lines between them."""
    ticks = [label.get_text() for label in axis.get_xticklabels()]
    assert ticks == list(places)
    assert set(bars(axis)) == {found.labels[run] for run in runs}
    assert_beside_one_another(bars(axis).values())
    assert {container.lines[0].get_linestyle() for container in axis.containers} == {"None"}
    for run in runs:
        x, *numbers = bars(axis)[found.labels[run]]
        own = rows[rows.run == run]
        assert [ticks[place] for place in np.rint(np.asarray(x, float)).astype(int)] == own["at"].tolist()
        for column, drawn in zip(("value", "low", "high"), numbers, strict=True):
            np.testing.assert_allclose(np.asarray(drawn, float), own[column].to_numpy(float))


# ---- trainings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drawn", "metric", "x"),
    [
        (lambda *rows: number_of_steps(rows[0], "fid_digits", *rows[1:]), "fid_digits", "nfe"),
        (cost, "diffusion_ratio", "T"),
        (style_differences, "style_total_variation_difference", "nfe"),
    ],
)
def test_each_training_is_a_faint_mark_beside_the_mean_of_all(drawn, metric, x):
    found = study(3)
    first = made_up(found)
    again = first.assign(train_seed=1, value=first.value + 0.25)
    figure = drawn(over_trainings(pd.concat([first, again])), found.labels, pd.concat([first, again]))
    axis, count = figure.axes[0], 0
    for marks in axis.collections:
        if not isinstance(marks, PathCollection) or not len(marks.get_offsets()):
            continue
        [run] = [run for run in found.runs if np.isin(first[first.run == run].value, marks.get_offsets()[:, 1]).any()]
        rows = select(first, metric, run=run)
        assert sorted(marks.get_offsets()[:, 1]) == pytest.approx(sorted([*rows.value, *(rows.value + 0.25)]))
        assert marks.get_alpha() < 0.5
        means = bars(axis)[found.labels[run]]
        np.testing.assert_allclose(sorted(means[1]), sorted(rows.value + 0.125))
        assert set(np.round(marks.get_offsets()[:, 0], 9)) == set(np.round(np.asarray(means[0], float), 9))
        count += 1
    assert count == len(select(first, metric).run.unique())


# ---- invariance ------------------------------------------------------------------------------------------------------

METRICS = ("w1_walk", "w1_sampler", "ks_path_maximum", "sliced_w1_walk", "sliced_w1_sampler", "ks_sampler")


@pytest.fixture
def convergence():
    """Rows as `evaluation.invariance` makes them: of a step and not of a run."""
    summary = Summary(study(1))
    for metric, step, nfe in itertools.product(METRICS, STEPS, (64, 4, 16)):
        summary.add(None, metric, nfe)
        summary.rows[-1] |= {"q": step, "p": step}
    for metric in ("sliced_w1_walk", "sliced_w1_sampler"):
        summary.add(None, f"{metric}_floor", None)
    return frame(summary.rows)


def test_invariance_draws_distances_of_each_step(convergence):
    figure = convergence_figures.convergence(convergence)
    figure.canvas.draw()
    for axis, metric in zip(figure.axes, METRICS, strict=True):
        rows = select(convergence, metric)
        lines = {step: line for line in axis.lines for step in STEPS if line.get_label() == step_name(step)}
        # The walk with normal steps has no distance on the line at all.
        assert set(lines) == set(STEPS) - ({"normal"} if metric == "w1_walk" else set())
        for step, line in lines.items():
            own = rows[rows.q == step].sort_values("nfe")
            np.testing.assert_allclose(line.get_xdata(), own.nfe.astype(float))
            np.testing.assert_allclose(line.get_ydata(), own.value)
            assert colour(line) == pytest.approx(plt.matplotlib.colors.to_rgb(line_style(step, step)["color"]))
        # Bars or bands on the line; in the plane the floor instead, which is the interval of all.
        assert len(axis.collections) == (0 if metric.startswith("sliced") else len(lines))
        level = [line.get_ydata() for line in axis.lines if list(line.get_xdata()) == [0, 1]]
        assert [y[0] for y in level] == select(convergence, f"{metric}_floor").value.tolist()


def test_invariance_draws_the_orders_of_theory(convergence):
    for axis, metric in zip(convergence_figures.convergence(convergence).axes, METRICS, strict=True):
        guides = {line.get_label(): line.get_data() for line in axis.lines if line.get_label().startswith("$T")}
        slopes = {name: np.log(y[-1] / y[0]) / np.log(x[-1] / x[0]) for name, (x, y) in guides.items()}
        known = {"$T^{-1/2}$": -0.5} if metric == "ks_path_maximum" else {"$T^{-1/2}$": -0.5, "$T^{-1}$": -1}
        assert slopes == pytest.approx(known)


def test_an_error_as_large_as_its_value_is_a_bar_at_its_place(convergence):
    """A band would join it to its neighbours, down to the floor of a logarithmic axis."""
    at = (convergence.metric == "w1_sampler") & (convergence.q == "rademacher") & (convergence.nfe == 4)
    convergence.loc[at, "low"] = 0.0
    axis = convergence_figures.convergence(convergence).axes[1]
    segments = [bar.get_segments() for bar in axis.collections][STEPS.index("rademacher")]
    assert [segment[:, 0].tolist() for segment in segments] == [[4, 4], [16, 16], [64, 64]]
    assert segments[0][0, 1] == 0
    assert axis.get_ylim()[0] > 0
    titles = [axis.get_title() for axis in axis.figure.axes]
    assert len(set(titles)) == len(titles)


# ---- the complete recipe ---------------------------------------------------------------------------------------------


def recipe_summary():
    summary = Summary(study(1))
    for process, sampler, nfe in itertools.product(("vp-sde", "cld", "psld"), get_args(StateSampler), (10, 50)):
        at = dict(process=process, sampler=sampler, grid="quadratic", step="normal", budget=nfe)
        summary.add("nn", "phase_space_fid_digits", nfe, **at)
    for process, sampler, step, nfe in itertools.product(("vp-sde", "cld"), WALKS, ("normal", "laplace"), (4, 16)):
        summary.add("nn", "phase_space_w1", nfe, process=process, sampler=sampler, grid="quadratic")
        summary.rows[-1] |= {"q": step, "p": step}
    for process in ("vp-sde", "cld"):
        summary.add("nn", "phase_space_w1_floor", None, process=process)
    return frame(summary.rows)


def test_recipe_has_a_panel_a_process_and_a_line_a_sampler():
    rows = recipe_summary()
    axes = [axis for axis in phase_space_figures.phase_space(rows, "fid_digits").axes if axis.get_title()]
    assert [axis.get_title() for axis in axes] == ["vp-sde", "CLD", "PSLD"]
    for axis, process in zip(axes, ("vp-sde", "cld", "psld"), strict=True):
        lines = bars(axis)
        assert list(lines) == [*map(sampler_name, get_args(StateSampler))]
        for sampler, line in zip(get_args(StateSampler), lines.values(), strict=True):
            found = select(rows, "phase_space_fid_digits", process=process, sampler=sampler)
            assert_drawn(line, found, "nfe", apart=0.15)
        assert_beside_one_another(lines.values())


def test_recipe_law_has_a_line_a_step_and_the_floor():
    rows = recipe_summary()
    axes = phase_space_figures.phase_space_law(rows).axes
    assert [axis.get_title() for axis in axes] == ["vp-sde", "CLD"]
    for axis, process in zip(axes, ("vp-sde", "cld"), strict=True):
        *lines, floor = axis.lines
        labels = {f"{step}, {sampler_name(sampler)}" for step in ("normal", "Laplace") for sampler in WALKS}
        assert {line.get_label() for line in lines} == labels
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(labels)
        [expected] = select(rows, "phase_space_w1_floor", process=process).value
        assert set(floor.get_ydata()) == {expected}


def test_paths_through_phase_space_are_drawn_for_each_process():
    processes = {"vp-sde": vp_sde(), "cld": PSLD(friction_x=0.0, friction_m=4.0)}
    axes = phase_space_figures.paths(processes, n_paths=2, n_times=20).axes
    assert [len(axis.lines) for axis in axes] == [6, 6, 0, 6]
    for looks in ([(line.get_linestyle(), line.get_marker()) for line in axis.lines[::2]] for axis in axes[:2]):
        assert [len(set(part)) for part in zip(*looks, strict=True)] == [3, 3]
    [legend] = axes[0].figure.legends
    assert [text.get_text() for text in legend.texts] == ["datum −0.8", "datum 0.1", "datum 0.9"]
    starts = sorted(round(line.get_ydata()[0], 6) for line in axes[1].lines)
    assert starts == [-0.8, -0.8, 0.1, 0.1, 0.9, 0.9]  # without friction the position starts where the datum is
    again = phase_space_figures.paths(processes, n_paths=2, n_times=20).axes
    assert again[3].lines[0].get_xdata().tolist() == axes[3].lines[0].get_xdata().tolist()


# ---- every axis ------------------------------------------------------------------------------------------------------

BASE = {"basis": "pixel", "process": "vp", "grid": "uniform"}
CELLS = [BASE, BASE | {"basis": "haar"}, BASE | {"process": "cld"}, BASE | {"grid": "quadratic"}]


def ablation_summary(solvers=("euler",), bounds=(10, 100)):
    summary = Summary(study(1))
    for cell, nfe in itertools.product(CELLS, (5, 10)):
        summary.add("nn", "ablation_kurtosis_share", nfe, **cell)
        for step in STEPS:
            summary.add("nn", "ablation_fid_digits", nfe, **cell, sampler="ancestral", step=step)
        for solver in solvers if cell["basis"] == "pixel" and cell["process"] == "vp" else ():
            summary.add("nn", "ablation_fid_digits", nfe, **cell, sampler=solver, step=None)
    for cell, n_steps, step in itertools.product(CELLS[:3], bounds, ("normal", "laplace")):
        summary.add("nn", "ablation_bpd_total", n_steps, **cell, step=step, T=n_steps)
        if step != "normal":
            at = cell | {"step": step, "T": n_steps, "against": "normal step"}
            summary.add("nn", "ablation_bpd_difference", n_steps, **at)
    return frame(summary.rows)


@pytest.mark.parametrize("n_cells", [1, 3])
def test_crossing_is_drawn_of_the_normal_step_alone_and_of_the_base_alone(n_cells):
    rows = ablation_summary(solvers=())
    for cell in CELLS[n_cells:]:
        rows = rows[~(rows[list(cell)] == pd.Series(cell)).all(axis=1)]
    for part in (rows, rows[rows.step.isna() | (rows.step == "normal")]):
        ablation_figures.ablation(part, "fid_digits").canvas.draw()


def test_crossing_has_a_column_an_axis_with_the_base_first():
    rows = ablation_summary()
    figure = ablation_figures.ablation(rows, "fid_digits")
    figure.canvas.draw()
    panels = np.array(figure.axes[:9]).reshape(3, 3)
    for column, (axis, other) in enumerate((("basis", "haar"), ("process", "cld"), ("grid", "quadratic"))):
        names = [BASE[axis], other]
        distance, share, _ = panels[:, column]
        shown = [AXES[axis](name).replace(" ", "\n") for name in names]
        assert [text.get_text() for text in distance.get_xticklabels()] == shown
        drawn = bars(distance)
        assert set(drawn) == {*NAMES, "no noise, Euler"}
        for kind, found in drawn.items():
            key = {"sampler": "euler"} if kind not in NAMES else {"step": STEPS[NAMES.index(kind)]}
            at = [select(rows, "ablation_fid_digits", nfe=5, **key, **(BASE | {axis: name})) for name in names]
            at = [these for these in at if len(these)]
            for drawn_at, column_of in zip(found[1:], ("value", "low", "high"), strict=True):
                wanted = [these[column_of].item() for these in at]
                np.testing.assert_allclose(np.asarray(drawn_at, float), wanted)
            assert np.round(np.asarray(found[0], float)).tolist() == [*range(len(at))]
        for nfe, found in bars(share).items():
            at = [select(rows, "ablation_kurtosis_share", nfe=int(nfe.split()[0]), **(BASE | {axis: n})) for n in names]
            np.testing.assert_allclose(np.asarray(found[1], float), [these.value.item() for these in at])
    values = [value for line in panels[2, 0].lines if line.get_marker() == "s" for value in line.get_ydata()]
    wanted = [
        select(rows, "ablation_bpd_difference", T=n, **cell).value.item() for n in (10, 100) for cell in CELLS[:2]
    ]
    assert sorted(values) == pytest.approx(sorted(wanted))
    assert not panels[2, 1].axison
    assert not panels[2, 2].axison
    # The legend's marks of the bounds are those of the panels: here Laplace's alone, full and hollow.
    marks = panels[2, 1].get_legend().legend_handles[-2:]
    assert [colour(mark) for mark in marks] == [pytest.approx(line_style("laplace", "laplace")["color"])] * 2
    assert marks[0].get_markerfacecolor() != marks[1].get_markerfacecolor() == "white"


def test_crossing_is_drawn_without_solvers_and_at_one_number_of_steps_of_the_bound():
    figure = ablation_figures.ablation(ablation_summary(solvers=(), bounds=(10,)), "fid_digits")
    figure.canvas.draw()
    legend = [text.get_text() for text in figure.axes[7].get_legend().texts]
    assert legend == [*NAMES, "bound, T = 10"]


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_of_every_basis_are_those_of_the_steps_of_most_and_least_kurtosis(channels):
    source, shown = torch.Generator().manual_seed(0), {}
    for basis, step in itertools.product(("pixel", "haar"), STEPS):
        for part in ("noise", "state", "image"):
            values = torch.rand(8, channels, 4, 4, generator=source)
            shown[f"{basis}/{step}/{part}"] = (values * 16).to(torch.uint8) if part == "image" else values
    figure = ablation_figures.ablation_samples(shown, ("pixel", "haar"), STEPS, 17)
    figure.canvas.draw()
    rows = [axis.get_ylabel() for axis in figure.axes[::3]]
    expected = sorted(STEPS[1:], key=lambda step: get(step).excess_kurtosis)
    steps = (expected[-1], expected[0])
    assert rows == [
        "normal, pixels",
        *(f"{step_name(step)}, {basis}" for step in steps for basis in ("pixels", "Haar")),
    ]
    [picture] = figure.axes[5].images  # the images of the second row
    drawn = np.asarray(picture.get_array())[:4, :4]
    first = shown[f"pixel/{steps[0]}/image"][0].permute(1, 2, 0).numpy() / 16
    np.testing.assert_allclose(drawn, first[..., 0] if channels == 1 else first)


# ---- geometry --------------------------------------------------------------------------------------------------------

SIGMAS = (33.0, 4.0, 0.5, 0.01)


def looked_at(budgets=(5, 15), n_steps=(10, 40)):
    """Rows as `evaluation.geometry` makes them."""
    summary = Summary(study(1))
    kinds = ("chord_distance", "denoised_chord_distance", "norm", "denoised_norm", "remaining_cosine")
    for sigma, kind in itertools.product(SIGMAS, (*kinds, "fid_digits", "denoised_fid_digits")):
        summary.add("nn", f"path_{kind}", None, sigma=sigma)
    summary.add("nn", "path_fid_digits", None, sigma=0.0)
    for along, sigma in itertools.product(("learnt", "optimal"), SIGMAS):
        summary.add("nn", "score_deviation", None, sigma=sigma, along=along)
    for of in ("samples", "held-out"):
        summary.add("nn", "nearest_train_distance", None, of=of)
    for nfe, metric in itertools.product(budgets, ("solver_fid_digits", "solver_distance")):
        for solver in SOLVERS:
            summary.add("nn", metric, nfe, solver=solver, grid="polynomial")
        if nfe < 15:
            summary.add("nn", metric, nfe, solver="euler", grid="searched")
    for nfe, step in itertools.product(n_steps, ("ode", *STEPS)):
        for metric in ("arc_chord_ratio", "ode_distance", "end_displacement")[: 1 if step == "ode" else 3]:
            summary.add("nn", f"ancestral_{metric}", nfe, step=step)
    return frame(summary.rows)


def marked(axis):
    """{label: (x, y)} of the lines of an axis that are named."""
    lines = [line for line in axis.lines if not line.get_label().startswith("_")]
    assert len({line.get_label() for line in lines}) == len(lines)
    return {line.get_label(): line.get_data() for line in lines}


def bands(axis):
    """(x, low, high) of the bands of an axis, in the order in which they were drawn."""
    found = []
    for band in axis.collections:
        [corners] = [path.vertices for path in band.get_paths()]
        x = np.unique(corners[:, 0])
        ends = [corners[corners[:, 0] == place, 1] for place in x]
        found.append((x, np.array([end.min() for end in ends]), np.array([end.max() for end in ends])))
    return found


def assert_line_and_band(line, band, rows, x):
    rows = rows.sort_values(x)
    assert len(rows) > 0
    order = np.argsort(np.asarray(line[0], float))
    for drawn, column in zip(line, (x, "value"), strict=True):
        np.testing.assert_allclose(np.asarray(drawn, float)[order], rows[column].to_numpy(float))
    for drawn, column in zip(band, (x, "low", "high"), strict=True):
        np.testing.assert_allclose(drawn, rows[column].to_numpy(float))


def test_linearity_draws_states_and_denoised_states_as_noise_falls():
    summary = looked_at()
    figure = drawings.linearity(summary)
    figure.canvas.draw()
    panels = ("path_chord_distance", "path_denoised_chord_distance"), ("path_norm", "path_denoised_norm")
    for axis, metrics in zip(figure.axes, (*panels, ("path_remaining_cosine",)), strict=True):
        assert axis.get_xlim()[0] > axis.get_xlim()[1]
        for line, band, metric in zip(marked(axis).values(), bands(axis), metrics, strict=True):
            assert_line_and_band(line, band, select(summary, metric), "sigma")
    assert [text.get_text() for text in figure.legends[0].texts] == ["state $x_t$", "denoised $r_t$"]
    state, denoised = figure.axes[0].lines
    assert state.get_linestyle() != denoised.get_linestyle()


def test_denoising_draws_the_images_at_the_end_as_a_level():
    summary = looked_at()
    figure = drawings.denoising(summary, "fid_digits")
    figure.canvas.draw()
    [axis] = figure.axes
    lines = marked(axis)
    rows = select(summary, "path_fid_digits")
    panels = (rows[rows.sigma > 0], select(summary, "path_denoised_fid_digits"))
    for label, band, own in zip(("state $x_t$", "denoised $r_t$"), bands(axis), panels, strict=True):
        assert_line_and_band(lines[label], band, own, "sigma")
    assert set(lines["images at the end"][1]) == {rows[rows.sigma == 0].value.item()}


@pytest.mark.parametrize("budgets", [(5,), (15,), (5, 9, 15)])
def test_solvers_draws_each_solver_and_grid_against_network_calls(budgets):
    summary = looked_at(budgets)
    figure = drawings.solvers(summary.sample(frac=1, random_state=0), "fid_digits")
    figure.canvas.draw()
    names = {SOLVER_NAMES[solver]: (solver, "polynomial") for solver in SOLVERS}
    names |= {"Euler, searched grid": ("euler", "searched")} if budgets != (15,) else {}
    for axis, metric in zip(figure.axes, ("solver_fid_digits", "solver_distance"), strict=True):
        lines = marked(axis)
        assert set(lines) == set(names)
        for (label, line), band in zip(lines.items(), bands(axis), strict=True):
            solver, grid = names[label]
            assert_line_and_band(line, band, select(summary, metric, solver=solver, grid=grid), "nfe")
        assert axis.get_xticks().tolist() == list(budgets)
    assert {text.get_text() for text in figure.legends[0].texts} == set(names)


def test_each_solver_has_a_marker_of_its_own():
    lines = {line.get_label(): line for line in drawings.solvers(looked_at(), "fid_digits").axes[0].lines}
    assert len({lines[name].get_marker() for name in SOLVER_NAMES.values()}) == len(SOLVERS)
    assert len({colour(lines[name]) for name in SOLVER_NAMES.values()}) == len(SOLVERS)
    assert colour(lines["Euler, searched grid"]) == colour(lines["Euler"])
    assert lines["Euler, searched grid"].get_linestyle() != lines["Euler"].get_linestyle()


def test_deviation_draws_both_paths_and_the_nearest_training_images():
    summary = looked_at()
    figure = drawings.deviation(summary)
    figure.canvas.draw()
    [axis] = figure.axes
    lines = marked(axis)
    assert len(lines) == len({line.get_linestyle() for line in axis.lines}) == 4
    for along, band in zip(("learnt", "optimal"), bands(axis), strict=True):
        rows = select(summary, "score_deviation", along=along)
        assert_line_and_band(lines[f"deviation along the {along} denoiser's path"], band, rows, "sigma")
    for of in ("samples", "held-out"):
        level = select(summary, "nearest_train_distance", of=of).value.item()
        assert set(lines[f"distance, {of} to nearest training image"][1]) == {level}


@pytest.mark.parametrize("n_steps", [(10,), (10, 40), (4, 10, 40)])
def test_ancestral_draws_each_step_at_its_place(n_steps):
    summary = looked_at(n_steps=n_steps)
    figure = drawings.ancestral(summary)
    figure.canvas.draw()
    metrics = ("arc_chord_ratio", "ode_distance", "end_displacement")
    for axis, metric, steps in zip(figure.axes, metrics, (("ode", *STEPS), STEPS, STEPS), strict=True):
        ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert ticks == [step_name("ode"), *NAMES]
        found = bars(axis, upright=False)
        assert set(found) == {f"{n} calls" for n in n_steps}
        assert_beside_one_another(found.values())
        assert len({container.lines[0].get_marker() for container in axis.containers}) == len(n_steps)
        for n in n_steps:
            rows = select(summary, f"ancestral_{metric}", nfe=n)
            assert rows.step.tolist() == list(steps)
            place, *numbers = found[f"{n} calls"]
            assert [ticks[i] for i in np.rint(np.asarray(place, float)).astype(int)] == [*map(step_name, steps)]
            assert_drawn((np.arange(len(steps)), *numbers), rows.assign(place=np.arange(len(steps))), "place")


@pytest.mark.parametrize("n_images", [3, 20])
def test_projection_draws_recorded_trajectories(n_images):
    levels = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.0])
    states = torch.randn(5, n_images, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    figure = drawings.projection(Trajectories(states, states[:-1], levels, torch.arange(n_images)))
    figure.canvas.draw()
    curves = geometry.project(states.double())
    for side, axis in enumerate(figure.axes, start=1):
        paths = [line for line in axis.lines if line.get_marker() == "None"]
        assert len(paths) == min(n_images, 12)
        for k, line in enumerate(paths):
            np.testing.assert_allclose(line.get_xydata(), curves[:, k, [0, side]].numpy(), atol=1e-6)
        # From 0, where the noise is, to the end of the chord, with the way to the side between.
        [noise] = [line for line in axis.lines if line.get_marker() == "s"]
        assert noise.get_xydata().tolist() == [[0, 0]]
        ends = np.concatenate([line.get_xydata() for line in axis.lines if line.get_marker() == "o"])
        np.testing.assert_allclose(ends[:, 0], curves[-1, :12, 0].numpy(), rtol=1e-6)
        np.testing.assert_allclose(ends[:, 1], 0, atol=1e-6)
    assert f"{min(n_images, 12)} trajectories" in figure.legends[0].texts[1].get_text()


# ---- outpainting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_parts_of_extended_images_are_framed_and_hide_nothing(channels):
    source = torch.Generator().manual_seed(0)
    sizes = {"given": 8, "inpainted": 8, "outpainted": 16}
    images = {
        name: torch.randint(0, 17, (2, channels, 8, width), generator=source, dtype=torch.uint8)
        for name, width in sizes.items()
    }
    axes = np.array(outpainting(images, 17).axes).reshape(2, 3)
    for panels, trio in zip(axes, zip(*images.values(), strict=True), strict=True):
        for axis, image, widths in zip(panels, trio, ([8], [4, 4], [8, 4, 4]), strict=True):
            parts = [np.asarray(picture.get_array()).reshape(8, -1, channels) for picture in axis.images]
            assert [part.shape[1] for part in parts] == widths
            np.testing.assert_allclose(np.concatenate(parts, 1), image.permute(1, 2, 0).numpy() / 16)
            ends = [picture.get_extent()[:2] for picture in axis.images]
            assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))
            assert [(frame.get_x(), frame.get_x() + frame.get_width()) for frame in axis.patches] == [*map(tuple, ends)]
            assert not axis.lines


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_samples_stand_below_training_images_in_one_scale():
    context = SimpleNamespace(
        study=study(2),
        levels=17,
        data=SimpleNamespace(train=SimpleNamespace(images=torch.zeros(14, 1, 8, 8, dtype=torch.uint8))),
        samples=lambda run, n: torch.full((14, 1, 8, 8), 16 if run == "ll" else 8, dtype=torch.uint8),
    )
    axes = pair_figures.samples(context).axes
    assert [axis.get_ylabel() for axis in axes] == ["training images", "normal/normal", "laplace/laplace"]
    assert [axis.images[0].get_array().max() for axis in axes] == [0, 0.5, 1]


@pytest.mark.parametrize(("channels", "white"), [(1, 0), (3, 1)])
def test_a_white_line_sets_images_apart(channels, white):
    """Level 0 is drawn white where there is no colour, and black where there is."""
    images = np.full((3, channels, 4, 4), 7, np.uint8)
    drawn = sample_rows({"a": images}, 17, n_columns=3).axes[0].images[0].get_array()
    assert drawn.shape[:2] == (5, 15)
    assert (drawn[:, 4::5] == white).all()
    assert (drawn[4] == white).all()
    assert (drawn[:4, :4] == 7 / 16).all()


# ---- names of steps from elsewhere -----------------------------------------------------------------------------------


def test_the_name_of_a_step_is_shown_letter_by_letter():
    """matplotlib takes what stands between two dollar signs for mathematics, and fails where it is none."""
    step = "problems:MarkupSecant"
    label, image = f"{get(step)}/{get(step)}", np.zeros((2, 1, 8, 8), np.uint8)
    shown = {
        f"pixel/{name}/{part}": torch.zeros(2, 1, 8, 8) for name in ("normal", step) for part in ("noise", "state")
    }
    shown |= {f"pixel/{name}/image": torch.zeros(2, 1, 8, 8) for name in ("normal", step)}
    figures = [loss_shapes([(step, step)]), sample_rows({label: image}, 17)]
    figures.append(ablation_figures.ablation_samples(shown, ["pixel"], [step], 17))
    for figure, text in zip(figures, (label, label, f"{get(step)}, pixels"), strict=True):
        figure.canvas.draw()
        found = [
            its.get_text().replace("\\$", "$").replace("\n", "")
            for its in figure.findobj(plt.matplotlib.text.Text)
            if "frac" in its.get_text()
        ]
        assert found == [text]
        assert step_style(step)["label"] == line_styles({label: (step, step)})[label]["label"].split("/\\$")[0]


# ---- runs of one pair ------------------------------------------------------------------------------------------------


def test_no_two_runs_look_alike_and_the_first_of_a_pair_looks_as_ever():
    pairs = {f"{recipe}-{q}-{p}": (q, p) for recipe in ("vdm", "edm", "third") for q, p in PAIRS.values()}
    styles = line_styles(pairs)
    looks = [
        (style["color"], style["marker"], style["linestyle"], style["markerfacecolor"]) for style in styles.values()
    ]
    assert len(set(looks)) == len(pairs)
    for label, (q, p) in pairs.items():
        assert styles[label]["label"] == label
        if label.startswith("vdm"):
            assert styles[label] == line_style(q, p) | {"label": label}


def test_pairs_of_one_model_differ_in_more_than_their_dash():
    """Where error bars are drawn without lines, the marker is what tells uniform/normal from uniform/laplace."""
    normal, laplace = line_style("uniform", "normal"), line_style("uniform", "laplace")
    assert normal["color"] == laplace["color"]
    assert normal["marker"] != laplace["marker"]
    assert line_style("normal", "normal")["linewidth"] > normal["linewidth"]


def test_a_loss_that_another_covers_is_wider_and_below():
    _, excess = loss_shapes([("normal", "normal"), ("uniform", "normal")]).axes
    reference, other = excess.lines
    np.testing.assert_allclose(reference.get_ydata(), other.get_ydata(), atol=1e-9)
    assert reference.get_linewidth() > other.get_linewidth()
    assert reference.get_zorder() < other.get_zorder()


@pytest.mark.parametrize("n", [1, 5, 8, 30])
def test_a_legend_below_fits_the_figures_width(n):
    figure, axis = plt.subplots(figsize=(WIDTH, 3), layout="constrained")
    for i in range(n):
        axis.plot([0, 1], label=f"vdm-uniform-laplace-{i}")
    legend_below(figure, axis, "run")
    figure.draw_without_rendering()
    [legend] = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert axis.get_window_extent().height > 100
    plt.close(figure)
