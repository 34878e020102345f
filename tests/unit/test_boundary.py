"""Where invariance ends: exact distances of walks against closed forms, draws and theory's orders."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from nonnormal.analysis.boundary import boundary_distances, stable
from nonnormal.analysis.convergence import order
from nonnormal.steps import get
from nonnormal.study.config import StudyError, validate
from nonnormal.study.experiments.convergence import figures
from nonnormal.study.experiments.convergence.measure import boundary_rows


def test_a_normal_walk_is_off_by_its_variance_alone():
    n = 8
    scale = math.sqrt(sum((1 - 0.5 / n) ** (2 * k) for k in range(n)) / n)
    x = np.linspace(0, 8, 20001)
    expected = np.abs(stats.norm.cdf(x / scale) - stats.norm.cdf(x / math.sqrt(1 - math.exp(-1)))).max()
    assert boundary_distances(get("normal"), n) == {"normal": pytest.approx(expected, abs=1e-5)}


def test_a_heavy_walk_is_as_far_as_its_draws():
    step, n, size = get("student_t", df=2.5), 4, 400_000
    draws = step.sample((n, size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end = sum((1 - 0.5 / n) ** k * draws[k] for k in range(n)) / math.sqrt(n)
    found = stats.kstest(end.numpy(), stats.norm(scale=math.sqrt(1 - math.exp(-1))).cdf).statistic
    assert boundary_distances(step, n)["normal"] == pytest.approx(found, abs=3 / math.sqrt(size))


@pytest.mark.parametrize("alpha", [1.5, 1.9, 2.0])
def test_a_stable_step_has_the_quartiles_of_the_normal_one(alpha):
    # P(|z| ≤ x) = (2/π) ∫ sin(ωx) φ(ω)/ω dω is one half at the quartile, by scipy's quadrature.
    from scipy.integrate import quad

    x = stats.norm.ppf(0.75)
    inside = (
        2 / math.pi * quad(lambda omega: math.sin(omega * x) / omega * stable(alpha)(omega), 1e-12, 60, limit=400)[0]
    )
    assert inside == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(("df", "expected"), [(2.5, 0.25), (3.0, 0.5)])
def test_without_a_fourth_moment_the_order_is_that_of_theory(df, expected):
    counts = [128, 256, 512]
    found = [boundary_distances(get("student_t", df=df), n)["normal"] for n in counts]
    assert order(counts, found)[0] == pytest.approx(expected, abs=0.06)


def test_without_a_variance_the_walk_goes_to_the_stable_process_alone():
    few, many = (boundary_distances(1.5, n) for n in (16, 256))
    assert many["stable"] < few["stable"] / 12  # order 1
    assert many["normal"] > 0.95 * few["normal"] > 100 * many["stable"]


def tiny(**settings):
    raw = {"name": "tiny", "data": "digits", "runs": {"plain": None}}
    convergence = {"timesteps": [4, 64, 80, 96], "heavy_df": [3, 5], "stable_alpha": [1.9]}
    return validate(raw | {"convergence": convergence | settings}, "tiny.yaml")


def test_rows_and_figure_say_which_limit_is_meant():
    rows = boundary_rows(tiny())
    distances = rows[rows.metric == "boundary_ks"].set_index(["step", "limit_law", "nfe"]).value
    assert len(distances) == 4 * (2 + 2)
    assert distances["stable(alpha=1.9)", "stable", 96] == boundary_distances(1.9, 96)["stable"]
    orders = rows[rows.metric == "boundary_order"].set_index(["step", "limit_law"])
    assert orders.value["student_t(df=3)", "normal"] < orders.value["student_t(df=5)", "normal"]
    figure = figures.boundary(rows)
    assert len(figure.axes) == 2
    assert boundary_rows(tiny(heavy_df=[], stable_alpha=[])).empty


@pytest.mark.parametrize("keys", [dict(heavy_df=[2]), dict(stable_alpha=[2]), dict(stable_alpha=[0.5])])
def test_steps_beyond_the_range_are_refused(keys):
    with pytest.raises(StudyError, match=r"convergence\.(heavy_df|stable_alpha)"):
        tiny(**keys)
