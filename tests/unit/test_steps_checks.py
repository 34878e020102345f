"""Steps from elsewhere: what they say of themselves is held against their density and their draws."""

import math
import time

import pytest
import torch
from problems import STEPS, HyperbolicSecant

from nonnormal.steps import StepError, Symmetric, get
from nonnormal.steps.base import check

SECANT = HyperbolicSecant()


def ignoring(shape, *, generator=None, dtype=torch.float32, device="cpu"):
    return SECANT.sample(shape, dtype=dtype)


def failing(*arguments):
    raise KeyError("x")


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        (
            "sample",
            lambda *a, **k: 3 * SECANT.sample(*a, **k),
            r"sample: variance of 20,000 draws 8\.\d+ \(must be 1 ±",
        ),
        ("sample", lambda *a, **k: SECANT.sample(*a, **k) + 0.1, r"sample: mean of 20,000 draws 0\.\d+ \(must be 0 ±"),
        ("sample", get("uniform").sample, r"sample: 20,000 draws are 0\.\d+ away from cdf"),
        ("sample", lambda *a, **k: SECANT.sample(*a, **k) / 0, "sample: found numbers that are not finite"),
        ("sample", ignoring, "sample: two draws from generators of one seed differ"),
        ("sample", lambda shape, **k: SECANT.sample((6,), **k), r"sample returns \(6,\)"),
        ("sample", lambda shape: torch.randn(shape), "sample raises TypeError: .*generator"),
        ("cdf", lambda z: torch.sigmoid(1.8 * z), r"cdf\(0.3\) is 0.631812 \(log_prob has 0.644738\)"),
        ("sf", lambda z: (1 - SECANT.cdf(z)) ** 2, r"sf\(.*log_prob has"),
        ("log_prob", lambda z: 1.0, r"log_prob returns a float \(must be a tensor\)"),
        ("log_prob", failing, "log_prob raises KeyError: 'x'"),
        ("excess_kurtosis", 3.0, r"excess_kurtosis 3 \(log_prob has 2\)"),
        ("skewness", 0.1, r"skewness 0.1 \(log_prob has .*0\)"),
        ("fisher_information", 1.0, r"fisher_information 1 \(log_prob has 1.2337\)"),
        ("fisher_information", math.inf, r"fisher_information inf \(log_prob has 1.2337\)"),
        ("fisher_information", "1", "cannot be checked: TypeError"),
        ("support", None, "cannot be checked: TypeError"),
        ("name", "laplace", "name: 'laplace' is taken by nonnormal.steps.distributions:Laplace"),
    ],
)
def test_a_step_that_is_not_what_it_says_is_refused(attribute, value, words):
    said = {attribute: (lambda self, *a, **k: value(*a, **k)) if callable(value) else value}
    own = type("Own", (HyperbolicSecant,), {"__module__": "my_steps", "name": "own", **said})
    with pytest.raises(StepError, match=rf"step my_steps:Own\(\) .*{words}"):
        check(own())


@pytest.mark.parametrize(("family", "stated"), [("uniform", 1.0), ("triangular", 1.0), ("arcsine", 2.0)])
def test_a_finite_fisher_information_is_refused_where_it_is_infinite(family, stated):
    own = type("Own", (type(get(family)),), {"name": "own", "fisher_information": stated})
    with pytest.raises(StepError, match=r"fisher_information .* or more, or infinity"):
        check(own())


def test_a_missing_attribute_is_refused_by_its_name():
    methods = {name: getattr(HyperbolicSecant, name) for name in ("sample", "log_prob", "cdf", "support")}
    with pytest.raises(StepError, match=r"Own.* excess_kurtosis: missing"):
        check(type("Own", (Symmetric,), {"name": "own", **methods})())


@pytest.mark.parametrize(
    "name",
    [*STEPS, *(f"student_t(df={df})" for df in (4.01, 1e4))]
    + [f"generalized_normal(shape={shape})" for shape in (0.25, 0.5, 0.51, 0.55, 0.6, 16, 64)],
)
def test_every_family_is_what_it_says(name):
    start = time.perf_counter()
    check(get(name))
    assert time.perf_counter() - start < 2  # a tenth of that on a machine with nothing else to do
