"""Shift divergences against 30-digit quadrature, scipy's quadrature, closed forms, finite differences and limits."""

import csv
import dataclasses
import functools
import itertools
import math
import warnings
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import DENSE, STEPS, scipy_law
from scipy.integrate import IntegrationWarning, quad

from nonnormal.steps import Normal, StepError, get
from nonnormal.steps.closed_forms import CLOSED_FORMS, _ExpExcess, exp_excess
from nonnormal.steps.divergence import constant, curvature, is_finite, shift_kl
from nonnormal.steps.divergence_table import _CHUNK, integrate, integrate_slope, table_of
from nonnormal.steps.quadrature import expectation_nodes

DOUBLE = torch.float64
GOLDEN = Path(__file__).parents[1] / "golden" / "shift_kl.csv"
ALL = list(itertools.product(DENSE, DENSE))
FINITE = [pair for pair in ALL if is_finite(*pair)]
EVEN = [pair for pair in FINITE if not {"gumbel", "exponential"} & set(pair)]
# Pairs with a formula of their own, p = normal among them, and those that are read off a table.
FORMULAS = [pair for pair in FINITE if pair[1] == "normal" or tuple(type(get(name)) for name in pair) in CLOSED_FORMS]
TABLED = [pair for pair in ALL if pair not in FORMULAS]


def evaluate(q, p, delta):
    return shift_kl(q, p, torch.tensor(delta, dtype=DOUBLE)).item()


def test_a_law_that_is_derived_from_the_normal_is_not_taken_for_it():
    mixture = get("normal_mixture(kurtosis=-1, separation=0.9)")
    said = {name: getattr(type(mixture), name) for name in ("log_prob", "cdf", "centre", "fisher_information")}
    peaks = type("Peaks", (Normal,), {**said, "sf": lambda self, z: self.cdf(-z), "parts": mixture.parts})
    peaks.centre, peaks.fisher_information = mixture.centre, mixture.fisher_information
    delta = torch.tensor([0.0, 0.5, 1.0], dtype=DOUBLE)
    for pair in ((peaks(), peaks()), (get("normal"), peaks()), (peaks(), get("normal"))):
        ours, its = pair, tuple(mixture if type(step) is peaks else step for step in pair)
        torch.testing.assert_close(shift_kl(*ours, delta), shift_kl(*its, delta), rtol=1e-6, atol=1e-6)


def test_pairs_are_many():
    assert len(FORMULAS) == len(DENSE) + 3
    assert len(FINITE) > 100


# ---- the golden table ------------------------------------------------------------------------------------------------


def golden_rows():
    with GOLDEN.open() as file:
        rows = list(csv.DictReader(file))
    named = {side: [f"{row[side]}({row[f'{side}_params']})".replace("()", "") for row in rows] for side in "qp"}
    return list(
        zip(
            named["q"], named["p"], (float(row["delta"]) for row in rows), (row["kl_nats"] for row in rows), strict=True
        )
    )


# The table holds 6.8e+8152… here, an artefact of its quadrature's last node: K contains E_q exp(−πz/√6), which
# diverges where q's left tail is a power. The truth is ∞.
ARTEFACT = ("student_t(df=5)", "gumbel")


def test_golden_table_is_read_whole():
    rows = golden_rows()
    assert len(rows) == 192
    assert len({(q, p) for q, p, *_ in rows}) == 64
    assert sum((q, p) == ARTEFACT and "e+8152" in nats for q, p, _, nats in rows) == 3


@pytest.mark.parametrize(("q", "p", "delta", "nats"), golden_rows())
def test_golden_table(q, p, delta, nats):
    expected = math.inf if (q, p) == ARTEFACT else float(nats)
    assert evaluate(q, p, delta) == pytest.approx(expected, rel=1e-9, abs=1e-12)


# ---- an independent quadrature ---------------------------------------------------------------------------------------

ROOT2, ROOT3, ROOT6 = math.sqrt(2), math.sqrt(3), math.sqrt(6)
EULER, WIDTH = 0.5772156649015329, math.sqrt(6) / math.pi  # of the gumbel law


def log_t(df, z):
    norm = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(math.pi * (df - 2))
    return norm - (df + 1) / 2 * math.log1p(z * z / (df - 2))


def log_gn(b, z):
    a = math.sqrt(math.gamma(1 / b) / math.gamma(3 / b))
    return math.log(b / (2 * a * math.gamma(1 / b))) - abs(z / a) ** b


def log_logistic(z):
    u = abs(z) * math.pi / ROOT3
    return math.log(math.pi / ROOT3) - u - 2 * math.log1p(math.exp(-u))


def log_gumbel(z):
    u = z * math.pi / ROOT6 + 0.5772156649015329
    return math.log(math.pi / ROOT6) - u - (math.exp(-u) if u > -700 else math.inf)


def log_mixture(kurtosis, separation, z):
    """Four normals at ±separation, of two variances."""
    mean = 1 - separation**2
    c = (kurtosis + 2 * separation**4) / (3 * mean**2)
    root = math.sqrt(c / (1 + 2 * c))
    total = []
    for weight, v in (
        ((1 + 2 * c) / (2 + 2 * c), mean * (1 - root)),
        (1 / (2 + 2 * c), mean * (1 + (1 + 2 * c) * root)),
    ):
        for centre in (-separation, separation):
            total.append(math.log(weight / 2) - (z - centre) ** 2 / (2 * v) - 0.5 * math.log(2 * math.pi * v))
    return max(total) + math.log(sum(math.exp(term - max(total)) for term in total))


def log_of(x):
    return math.log(x) if x > 0 else -math.inf


# log q(z) once more, one number at a time: shares nothing with the package.
LOG_DENSITY = {
    "normal": lambda z: -z * z / 2 - 0.5 * math.log(2 * math.pi),
    "laplace": lambda z: -ROOT2 * abs(z) - 0.5 * math.log(2),
    "uniform": lambda z: -0.5 * math.log(12) if abs(z) <= ROOT3 else -math.inf,
    "logistic": log_logistic,
    "student_t(df=5)": functools.partial(log_t, 5),
    "student_t(df=9)": functools.partial(log_t, 9),
    "generalized_normal(shape=4)": functools.partial(log_gn, 4),
    "generalized_normal(shape=1.5)": functools.partial(log_gn, 1.5),
    "generalized_normal(shape=0.7)": functools.partial(log_gn, 0.7),
    "triangular": lambda z: log_of((ROOT6 - abs(z)) / 6),
    "arcsine": lambda z: (
        -math.log(math.pi) - 0.5 * math.log((ROOT2 - z) * (ROOT2 + z)) if abs(z) < ROOT2 else -math.inf
    ),
    "gumbel": log_gumbel,
    "normal_mixture(kurtosis=-1, separation=0.85)": functools.partial(log_mixture, -1, 0.85),
    "exponential": lambda z: -(z + 1) if z >= -1 else -math.inf,
}


def by_quadrature(q, p, delta):
    """K by scipy's adaptive Gauss–Kronrod rule, cut at the kinks of both."""
    log_q, log_p = LOG_DENSITY[q], LOG_DENSITY[p]
    low, high = get(q).support
    cuts = [0.0, delta, -4.0, 4.0, *get(q).breakpoints, *(kink + delta for kink in get(p).breakpoints)]
    cuts = [low, *sorted({cut for cut in cuts if low < cut < high}), high]

    def integrand(z):
        log_density = log_q(z)
        if log_density < -740:
            return 0.0
        return math.exp(log_density) * (log_density - log_p(z - delta))

    if q == "arcsine":  # z = √2 sin θ takes the singular ends away: the density of θ is 1/π

        def integrand(theta):
            z = ROOT2 * math.sin(theta)
            return (log_q(z) - log_p(z - delta)) / math.pi if abs(z) < ROOT2 else 0.0

        cuts = [math.asin(cut / ROOT2) for cut in cuts]
    with warnings.catch_warnings():
        # quad says so when it runs out of digits; whether enough are left is what the comparison shows.
        warnings.simplefilter("ignore", IntegrationWarning)
        pieces = [quad(integrand, a, b, epsabs=1e-11, epsrel=1e-10, limit=400)[0] for a, b in itertools.pairwise(cuts)]
    return sum(pieces)


def test_the_independent_densities_are_those_of_the_steps():
    assert set(LOG_DENSITY) == set(DENSE)
    for name, log_density in LOG_DENSITY.items():
        for z in (-1.3, -0.2, 0.0, 0.7, 1.4):
            value = get(name).log_prob(torch.tensor(z, dtype=DOUBLE)).item()
            assert log_density(z) == pytest.approx(value, rel=1e-12), name


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(pair=st.sampled_from(FINITE), delta=st.floats(-12, 12), dtype=st.sampled_from([torch.float32, DOUBLE]))
def test_equals_scipys_quadrature_at_any_shift(pair, delta, dtype):
    delta = torch.tensor(delta, dtype=dtype)
    found = shift_kl(*pair, delta)
    assert found.dtype == dtype
    expected = by_quadrature(*pair, delta.item())
    relative, absolute = (2e-8, 1e-8) if dtype == DOUBLE else (1e-6, 3e-7)
    assert found.item() == pytest.approx(expected, rel=relative, abs=absolute)


@pytest.mark.parametrize(("q", "p"), FINITE)
def test_equals_scipys_quadrature_at_zero(q, p):
    assert constant(q, p) == pytest.approx(by_quadrature(q, p, 0.0), rel=1e-8, abs=1e-9)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(pair=st.sampled_from(FINITE), size=st.floats(12.01, 40), sign=st.sampled_from([-1, 1]))
def test_equals_scipys_quadrature_beyond_the_table(pair, size, sign):
    assert evaluate(*pair, sign * size) == pytest.approx(by_quadrature(*pair, sign * size), rel=1e-8)


@pytest.mark.parametrize("size", [20.0, 1e2, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("p", ["laplace", *(f"generalized_normal(shape={b})" for b in (0.7, 1.5, 3.3, 5.9))])
@pytest.mark.parametrize(
    "q", ["normal", "student_t(df=9)", "gumbel", *(f"generalized_normal(shape={b})" for b in (3.3, 5.9))]
)
def test_a_kink_far_away_takes_no_digits(q, p, size, sign):
    """Held against quadrature that is cut where q is, and not at the kink, which q does not reach."""
    if not is_finite(q, p):
        return
    law, b = get(q), 1.0 if p == "laplace" else get(p).shape
    z, w = (nodes[0] for nodes in expectation_nodes(law, torch.tensor([[-8.0, -4, -2, -1, 1, 2, 4, 8]], dtype=DOUBLE)))
    scale = 1 / ROOT2 if p == "laplace" else get(p)._scale
    norm = get(p).log_prob(torch.zeros((), dtype=DOUBLE))
    expected = -law.entropy - (w * (norm - ((z - sign * size) / scale).abs().pow(b))).sum()
    assert evaluate(q, p, sign * size) == pytest.approx(expected.item(), rel=1e-8)


# Where supports end: [low, high] holds the shifts for which p(z − d) covers q.
NESTED = [
    ("uniform", "triangular", ROOT3 - ROOT6, ROOT6 - ROOT3),
    ("arcsine", "uniform", ROOT2 - ROOT3, ROOT3 - ROOT2),
    ("arcsine", "triangular", ROOT2 - ROOT6, ROOT6 - ROOT2),
    ("uniform", "exponential", -8.0, 1 - ROOT3),
    ("triangular", "exponential", -8.0, 1 - ROOT6),
    ("arcsine", "exponential", -8.0, 1 - ROOT2),
    ("exponential", "exponential", -8.0, 0.0),
]


@pytest.mark.parametrize(("q", "p", "low", "high"), NESTED)
def test_finite_exactly_where_supports_nest(q, p, low, high):
    assert not is_finite(q, p)
    for delta in (low + (high - low) * share for share in (1e-6, 0.1, 0.5, 0.77, 1 - 1e-6)):
        assert evaluate(q, p, delta) == pytest.approx(by_quadrature(q, p, delta), rel=1e-8, abs=1e-9)
    assert evaluate(q, p, high + 1e-6) == math.inf
    assert (evaluate(q, p, low - 1e-6) == math.inf) == (p != "exponential")


@pytest.mark.parametrize(("q", "p", "low", "high"), NESTED)
def test_continuous_up_to_where_supports_cease_to_nest(q, p, low, high):
    """K is finite at the very end, also of a triangular whose density vanishes there: log is integrable."""
    distance = torch.tensor([0.0, 1e-13, 1e-11, 1e-10, 5e-10, 1e-9, 2e-9, 1e-8], dtype=DOUBLE)
    table = table_of(get(q), get(p))
    assert (table.low, table.high) == pytest.approx((low if p != "exponential" else -math.inf, high), abs=1e-12)
    # K falls like √distance where arcsine's infinite end meets triangular's zero, otherwise linearly.
    tolerance = 5e-3 if (q, p) == ("arcsine", "triangular") else 1e-5
    for end in [table.high - distance] + [table.low + distance] * math.isfinite(table.low):
        value = shift_kl(q, p, end)
        assert value.isfinite().all()
        assert (value - value[-1]).abs().max() < tolerance


def test_infinite_where_the_model_does_not_reach():
    delta = torch.linspace(-3, 3, 7)
    for q in DENSE:
        if q not in ("uniform", "arcsine"):
            assert (shift_kl(q, "uniform", delta) == math.inf).all()
            assert (shift_kl(q, "arcsine", delta) == math.inf).all()


# ---- closed forms ----------------------------------------------------------------------------------------------------


def assert_equals(q, p, formula, low=-6.0, high=6.0, rel=1e-8):
    for delta in torch.linspace(low, high, 25, dtype=DOUBLE).tolist():
        assert evaluate(q, p, delta) == pytest.approx(formula(delta), rel=rel, abs=1e-9)


def test_gumbel_gumbel_is_skewed():
    """E_q e^{−u} = 1 for u = z/b + γ, so K(d) = e^{d/b} − 1 − d/b: overshooting costs far more than falling short."""
    b = ROOT6 / math.pi
    assert_equals("gumbel", "gumbel", lambda d: math.expm1(d / b) - d / b)
    assert evaluate("gumbel", "gumbel", 2.0) > 3 * evaluate("gumbel", "gumbel", -2.0)


def test_exponential_exponential_is_one_sided():
    """The model may start early, for |d| nats, and never late."""
    assert_equals("exponential", "exponential", lambda d: -d if d <= 0 else math.inf)


def test_exponential_gumbel_has_its_closed_form():
    """E_q e^{−z/b} = e^{1/b}/(1 + 1/b)."""
    b, euler = ROOT6 / math.pi, 0.5772156649015329

    def formula(d):
        return -1 - d / b + euler + math.exp(d / b - euler + 1 / b) / (1 + 1 / b) + math.log(b)

    assert_equals("exponential", "gumbel", formula)


def test_any_law_in_an_exponential_costs_its_distance():
    """−log p(z − d) = z − d + 1."""
    assert_equals("uniform", "exponential", lambda d: 1 - d - 0.5 * math.log(12), high=1 - ROOT3)


@pytest.mark.parametrize("q", DENSE)
def test_a_normal_model_pays_half_the_square_and_its_constant(q):
    owed = 0.5 * (1 + math.log(2 * math.pi)) - get(q).entropy
    assert_equals(q, "normal", lambda d: 0.5 * d * d + owed, rel=1e-12)


@pytest.mark.parametrize(("generalized", "classical"), [(1.0, "laplace"), (2.0, "normal")])
def test_generalized_normal_contains_laplace_and_normal(generalized, classical):
    step = get("generalized_normal", shape=generalized)
    delta = torch.linspace(-5, 5, 23, dtype=DOUBLE)
    for q in ("normal", "laplace", "gumbel", "uniform"):
        torch.testing.assert_close(shift_kl(q, step, delta), shift_kl(q, classical, delta), rtol=1e-8, atol=1e-9)
    for p in ("normal", "laplace", "logistic"):
        torch.testing.assert_close(shift_kl(step, p, delta), shift_kl(classical, p, delta), rtol=1e-8, atol=1e-9)


def laplace_reference(delta):
    """exp(−√2 d) − 1 + √2 d in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        a = Decimal(2).sqrt() * Decimal(delta)
        return float((-a).exp() - 1 + a)


@pytest.mark.parametrize("delta", [m * 10.0**e for e in range(-12, -1) for m in (1, 3, 4.41, 4.43, 7)] + [0.1])
def test_laplace_keeps_all_digits_at_small_shifts(delta):
    assert evaluate("laplace", "laplace", delta) == pytest.approx(laplace_reference(delta), rel=1e-14, abs=0)


@pytest.mark.parametrize(("dtype", "ulps"), [(torch.float64, 6), (torch.float32, 6), (torch.bfloat16, 1)])
@pytest.mark.parametrize("rate", [1 / ROOT2, 1.0, ROOT2])
def test_exp_excess_and_its_slope_keep_their_digits_from_tiny_to_large(dtype, ulps, rate):
    """Through the point where one formula hands over to the other, too; each argument's own rounding left out."""
    cut = _ExpExcess.CUT / rate
    x = torch.cat([torch.logspace(-15, 2, 400), cut * torch.linspace(0.99, 1.01, 101)]).to(dtype).requires_grad_()
    value = exp_excess(x, rate)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.dtype == slope.dtype == dtype
    for number, found, found_slope in zip(x.tolist(), value.tolist(), slope.tolist(), strict=True):
        expected, expected_slope = excess_reference(number, rate)
        assert found == pytest.approx(expected, rel=ulps * torch.finfo(dtype).eps, abs=0)
        assert found_slope == pytest.approx(expected_slope, rel=ulps * torch.finfo(dtype).eps, abs=0)


def excess_reference(x, rate):
    """exp(−a) − 1 + a with a = rate x, and its slope in x, in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        a, rate = Decimal(rate) * Decimal(x), Decimal(rate)
        return float((-a).exp() - 1 + a), float(rate * (1 - (-a).exp()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_laplace_at_the_ends_of_the_numbers(dtype):
    x = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan], dtype=dtype, requires_grad=True)
    value = shift_kl("laplace", "laplace", x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value[:4].tolist() == [0, 0, math.inf, math.inf]
    assert slope[:4].tolist() == pytest.approx([0, 0, ROOT2, -ROOT2], rel=torch.finfo(dtype).eps)
    assert value[4].isnan() and slope[4].isnan()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_laplace_in_every_shape(shape, dtype):
    x = torch.full(shape, 0.7, dtype=dtype).mT if len(shape) > 1 else torch.full(shape, 0.7, dtype=dtype)
    value = shift_kl("laplace", "laplace", x.requires_grad_())
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert (value.shape, value.dtype, slope.shape) == (x.shape, dtype, x.shape)
    torch.testing.assert_close(value, torch.full_like(x, laplace_reference(x.detach().flatten()[:1].sum().item())))


def test_laplace_leaves_its_argument_alone_with_and_without_a_gradient():
    x = torch.linspace(-3, 3, 7)
    kept = x.clone()
    without = shift_kl("laplace", "laplace", x)
    assert not without.requires_grad
    assert torch.equal(shift_kl("laplace", "laplace", x.requires_grad_()), without)
    assert torch.equal(x, kept)


def test_laplace_has_a_second_derivative():
    """K″ = 2 exp(−√2 |d|), and the slope is the same whether it is asked for or not."""
    x = torch.tensor([-3.0, -0.2, 0.1, 0.5, 4.0], dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(shift_kl("laplace", "laplace", x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(slope.detach(), gradient("laplace", "laplace", x.detach()), rtol=1e-14, atol=0)
    torch.testing.assert_close(curvature, 2 * torch.exp(-ROOT2 * x.detach().abs()), rtol=1e-14, atol=0)
    assert torch.autograd.gradgradcheck(lambda d: shift_kl("laplace", "laplace", d), x)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 4e-15), (torch.float32, 2e-6), (torch.bfloat16, 8e-3)])
def test_normal_with_laplace_and_its_slope_from_tiny_to_large(dtype, error):
    x = torch.cat([torch.logspace(-15, 3, 400), torch.linspace(15.9, 16.1, 21), torch.zeros(1)]).to(dtype)
    x = torch.cat([x, -x]).requires_grad_()
    value = shift_kl("normal", "laplace", x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    for number, found, found_slope in zip(x.tolist(), value.tolist(), slope.tolist(), strict=True):
        inner = math.erf(number / ROOT2)
        folded = math.sqrt(2 / math.pi) * math.exp(-(number**2) / 2) + number * inner
        expected = ROOT2 * folded + 0.5 * math.log(2) - 0.5 * (1 + math.log(2 * math.pi))
        assert found == pytest.approx(expected, rel=error, abs=error)
        assert found_slope == pytest.approx(ROOT2 * inner, rel=0, abs=error)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_normal_with_laplace_at_the_ends_of_the_numbers(dtype):
    x = torch.tensor([math.inf, -math.inf, math.nan], dtype=dtype, requires_grad=True)
    value = shift_kl("normal", "laplace", x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value[:2].tolist() == [math.inf, math.inf]
    assert slope[:2].tolist() == pytest.approx([ROOT2, -ROOT2], rel=torch.finfo(dtype).eps)
    assert value[2].isnan() and slope[2].isnan()


def test_normal_with_laplace_has_a_second_derivative():
    """K″ = 2 √2 φ(d), and the slope is the same whether it is asked for or not."""
    x = torch.tensor([-3.0, -0.2, 0.1, 0.5, 4.0], dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(shift_kl("normal", "laplace", x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(slope.detach(), gradient("normal", "laplace", x.detach()), rtol=1e-14, atol=1e-15)
    expected = 2 / math.sqrt(math.pi) * torch.exp(-0.5 * x.detach() ** 2)
    torch.testing.assert_close(curvature, expected, rtol=1e-14, atol=0)
    assert torch.autograd.gradgradcheck(lambda d: shift_kl("normal", "laplace", d), x)


def test_laplace_passes_gradcheck_on_both_sides_of_its_hand_over():
    cut = _ExpExcess.CUT / ROOT2
    x = torch.tensor([-3.0, -cut * 1.01, -cut * 0.99, -0.01, 0.02, cut * 0.9, cut * 1.1, 5.0], dtype=DOUBLE)
    weight = torch.linspace(-2, 2, 8, dtype=DOUBLE)  # gradients of both signs come in
    assert torch.autograd.gradcheck(lambda d: weight * shift_kl("laplace", "laplace", d), x.requires_grad_())


def test_uniform_laplace_is_continuous_and_differentiable_where_it_changes_form():
    delta = torch.tensor([ROOT3 - 1e-9, ROOT3 + 1e-9], dtype=DOUBLE, requires_grad=True)
    value = shift_kl("uniform", "laplace", delta)
    (slope,) = torch.autograd.grad(value.sum(), delta)
    assert (value[1] - value[0]).item() == pytest.approx(ROOT2 * 2e-9, rel=1e-5)
    assert slope.tolist() == pytest.approx([ROOT2] * 2, rel=1e-8)


@pytest.mark.parametrize(
    ("q", "p", "nats"),
    [
        ("normal", "normal", 0.0),
        ("laplace", "laplace", 0.0),
        ("uniform", "normal", 0.176485208310673),
        ("uniform", "laplace", 0.328865136777562),
        ("laplace", "normal", 0.0723649429247001),
        ("normal", "laplace", 0.0560142241708125),
    ],
)
def test_constants(q, p, nats):
    assert constant(q, p) == pytest.approx(nats, abs=1e-15)


# ---- the table -------------------------------------------------------------------------------------------------------


def probes(table, nearest, seed=0):
    """Random shifts all over the table, and down to `nearest` around the points where K is not smooth."""
    draws = torch.Generator().manual_seed(seed)
    low, high = max(table.low, -table.REACH), min(table.high, table.REACH)
    points = [low + (high - low) * torch.rand(300, generator=draws, dtype=DOUBLE)]
    breaks = [a - b for a in table.q.breakpoints for b in table.p.breakpoints]
    for centre in filter(math.isfinite, [*breaks, table.low, table.high]):
        offset = nearest ** torch.rand(60, generator=draws, dtype=DOUBLE)
        points += [centre + offset, centre - offset]
    points = torch.cat(points)
    return points[(points > low) & (points < high)]


@pytest.mark.parametrize(("q", "p"), TABLED)
def test_interpolation_is_the_quadrature_it_stands_for(q, p):
    table = table_of(get(q), get(p))
    if table.low >= table.high:  # finite nowhere, or at one shift only
        assert is_finite(q, p) is False
        return
    for nearest, slope_tolerance in ((1e-6, 1e-5), (1e-9, 1e-2)):
        delta = probes(table, nearest)
        value, slope = table(delta)
        exact, exact_slope = integrate(table.q, table.p, delta)
        assert ((value - exact).abs() / (exact.abs() + 1e-2)).max() < 1e-7
        assert ((value - exact).abs() / (exact.abs() + 1)).max() < 1e-8
        # Between nodes that are 1e-9 apart the slope has what rounding leaves of a difference of values.
        assert ((slope - exact_slope).abs() / (exact_slope.abs() + 1)).max() < slope_tolerance


@pytest.mark.parametrize(("q", "p"), [pair for pair in TABLED if pair in FINITE])
def test_the_table_goes_on_where_it_ends(q, p):
    """At ±12 interpolation hands over to quadrature."""
    edge = torch.tensor([-12.0, 12.0], dtype=DOUBLE)
    inner, outer = shift_kl(q, p, edge * (1 - 1e-13)), shift_kl(q, p, edge * (1 + 1e-13))
    torch.testing.assert_close(inner, outer, rtol=1e-9, atol=0)


def test_shapes_pass_through_a_table():
    delta = torch.linspace(-14, 14, 24, dtype=DOUBLE)
    flat = shift_kl("gumbel", "logistic", delta)
    assert torch.equal(shift_kl("gumbel", "logistic", delta.reshape(2, 3, 4)), flat.reshape(2, 3, 4))
    assert torch.equal(shift_kl("gumbel", "logistic", delta.reshape(4, 6).T), flat.reshape(4, 6).T)
    assert shift_kl("gumbel", "logistic", delta[3]).shape == ()
    assert shift_kl("gumbel", "logistic", torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(("q", "p"), [("logistic", "logistic"), ("student_t(df=5)", "laplace"), ("uniform", "uniform")])
def test_a_shift_is_what_it_was_after_it_is_looked_up(q, p):
    delta = torch.linspace(-14, 14, 24, dtype=DOUBLE)
    shift_kl(q, p, delta)
    assert torch.equal(delta, torch.linspace(-14, 14, 24, dtype=DOUBLE))


def test_a_long_row_of_shifts_is_looked_up_in_parts():
    delta = torch.linspace(-13, 13, 2 * _CHUNK + 3)
    value = shift_kl("gumbel", "logistic", delta)
    at = torch.tensor([0, 1, _CHUNK - 1, _CHUNK, 2 * _CHUNK, 2 * _CHUNK + 2])
    assert torch.equal(value[at], shift_kl("gumbel", "logistic", delta[at]))


@pytest.mark.parametrize(("q", "p", "even"), [("logistic", "gumbel", True), ("triangular", "laplace", False)])
def test_evenly_spaced_nodes_are_known_as_such(q, p, even):
    """For them an index is a product, which is several times as fast as a search; found alike."""
    table = table_of(get(q), get(p))
    assert table.even is even
    delta = torch.cat([table.nodes[:-1], (table.nodes[1:] + table.nodes[:-1]) / 2, table.nodes[-1:]])
    searched = dataclasses.replace(table)
    searched.__dict__["even"] = False
    assert torch.equal(table(delta)[0], searched(delta)[0])


@pytest.mark.parametrize("pair", [("normal", "normal"), ("uniform", "laplace"), ("normal", "logistic")])
def test_a_shift_that_is_no_number_has_no_divergence(pair):
    """An ∞ in its place would say that a law does not reach."""
    assert math.isnan(evaluate(*pair, math.nan))


@pytest.mark.parametrize("delta", [0.3, 13.0])
def test_a_divergence_is_looked_up_in_inference_mode(delta):
    """Whose table then serves gradients too."""
    q, p = get("student_t", df=7.25), get("logistic")
    with torch.inference_mode():
        found = evaluate(q, p, delta)
    shift = torch.tensor(delta, dtype=DOUBLE, requires_grad=True)
    value = shift_kl(q, p, shift)
    value.backward()
    assert value.item() == found
    assert shift.grad > 0


# ---- gradients -------------------------------------------------------------------------------------------------------


def gradient(q, p, delta):
    delta = delta.clone().requires_grad_()
    return torch.autograd.grad(shift_kl(q, p, delta).sum(), delta)[0]


@pytest.mark.parametrize(("q", "p"), FINITE)
def test_gradient_equals_central_differences_of_scipys_quadrature(q, p):
    h, points = 1e-3, [-2.9, -0.53, 0.021, 1.7]
    found = gradient(q, p, torch.tensor(points, dtype=DOUBLE)).tolist()
    for delta, slope in zip(points, found, strict=True):
        near, far = (
            (by_quadrature(q, p, delta + k * h) - by_quadrature(q, p, delta - k * h)) / (2 * k * h) for k in (1, 2)
        )
        assert slope == pytest.approx((4 * near - far) / 3, rel=2e-6, abs=2e-6)  # Richardson's extrapolation


@pytest.mark.parametrize(("q", "p"), FINITE)
def test_gradient_passes_gradcheck(q, p):
    delta = torch.linspace(-4, 4, 14, dtype=DOUBLE)  # not 0, where laplace/laplace has a kink
    assert torch.autograd.gradcheck(lambda d: shift_kl(q, p, d), delta.requires_grad_(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("q", "p"), FINITE)
def test_gradient_in_float32_is_that_in_float64(q, p):
    delta = torch.linspace(-14, 9, 400)
    found = gradient(q, p, delta)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), gradient(q, p, delta.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("q", "p"), [("gumbel", "logistic"), ("laplace", "laplace"), ("exponential", "normal")])
def test_gradient_flows_through_what_the_shift_is_made_of(q, p):
    weight = torch.tensor([0.5, -2.0], dtype=DOUBLE, requires_grad=True)
    x = torch.tensor([[0.3, 1.0], [2.0, -0.4]], dtype=DOUBLE)
    (shift_kl(q, p, x * weight) * x).sum().backward()
    torch.testing.assert_close(weight.grad, (gradient(q, p, (x * weight).detach()) * x * x).sum(0), rtol=1e-10, atol=0)


@pytest.mark.parametrize(("q", "p"), EVEN)
def test_gradient_of_an_even_pair_at_zero_is_zero(q, p):
    assert gradient(q, p, torch.zeros(3)).abs().max() < 1e-6


# ---- what holds for every pair ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("q", "p"), FINITE)
def test_never_negative_and_zero_only_without_a_difference(q, p):
    value = shift_kl(q, p, torch.cat([torch.linspace(-15, 15, 1201, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)]))
    assert value.isfinite().all()
    assert value.min() >= -1e-13
    if q != p:
        assert value.min() > 1e-4


@pytest.mark.parametrize("name", DENSE)
def test_a_step_has_no_divergence_from_itself(name):
    assert abs(constant(name, name)) <= 1e-12


@pytest.mark.parametrize(("q", "p"), EVEN)
def test_two_even_steps_have_an_even_divergence_that_grows(q, p):
    delta = torch.linspace(0, 15, 301, dtype=DOUBLE)
    value = shift_kl(q, p, delta)
    torch.testing.assert_close(value, shift_kl(q, p, -delta), rtol=1e-10, atol=1e-12)
    if get(p).name != "normal_mixture":  # of two modes, one of which a peak of q may come nearer to by a shift
        assert value.diff().min() > -1e-13


@pytest.mark.parametrize(("q", "p"), [pair for pair in FINITE if pair not in EVEN and pair[1] != "normal"])
def test_a_skewed_step_makes_the_sign_matter(q, p):
    assert abs(evaluate(q, p, 1.5) - evaluate(q, p, -1.5)) > 1e-2


@pytest.mark.parametrize(("q", "p"), FINITE)
def test_float32_keeps_its_type_and_six_digits(q, p):
    delta = torch.cat([-torch.logspace(-6, 1.5, 400), torch.logspace(-6, 1.2, 400)])
    value = shift_kl(q, p, delta)
    assert value.dtype == torch.float32
    # Closed forms of two laws subtract terms of order 1.
    torch.testing.assert_close(value.double(), shift_kl(q, p, delta.double()), rtol=1e-6, atol=0 if q == p else 3e-7)


INFORMED = [name for name in DENSE if math.isfinite(get(name).fisher_information)]


@pytest.mark.parametrize("name", INFORMED)
def test_curvature_at_zero_is_the_fisher_information(name):
    """K(d) = I d²/2 + O(d³); the mean of ±d is without the cubic term; a cusp |z|^b adds d^(2b + 1)."""
    h, information = 1e-4, get(name).fisher_information
    both = 0.5 * (evaluate(name, name, h) + evaluate(name, name, -h))
    assert both / (information / 2 * h**2) == pytest.approx(1, rel=0.1 if "0.7" in name else 1e-3)


def test_curvature_of_the_cusp_comes_closer():
    """Where I d²/2 is approached as d^(2b − 1)."""
    name = "generalized_normal(shape=0.7)"
    short = [1 - evaluate(name, name, h) / (get(name).fisher_information / 2 * h**2) for h in (1e-2, 1e-3, 1e-4)]
    assert all(coarse / fine == pytest.approx(10**0.4, rel=0.1) for coarse, fine in itertools.pairwise(short))


@pytest.mark.parametrize("name", [name for name in DENSE if name not in INFORMED])
def test_without_fisher_information_k_falls_slower_than_the_square(name):
    """Or is infinite on a side: a jump cannot be covered after a shift."""
    values = [evaluate(name, name, d) for d in (1e-3, -1e-3)]
    assert max(values) == math.inf
    assert min(values) >= 1e-3


@pytest.mark.parametrize("name", DENSE)
def test_curvature_of_a_step_with_itself_is_its_fisher_information(name):
    assert curvature(name, name) == get(name).fisher_information


@pytest.mark.parametrize("q", DENSE)
def test_curvature_with_a_normal_model_is_one(q):
    assert curvature(q, "normal") == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("q", DENSE)
def test_curvature_with_a_laplace_model_is_the_density_at_its_kink(q):
    """K = √2 E|z − d| + …, so K″(0) = 2√2 q(0): 2/√π for the normal, 2/√6 for the uniform, 2 for laplace itself."""
    assert curvature(q, "laplace") == pytest.approx(2 * ROOT2 * scipy_law(q).pdf(0), rel=1e-12)


@pytest.mark.parametrize(
    ("q", "p", "expected"),
    [
        ("normal", "laplace", 2 / math.sqrt(math.pi)),
        ("uniform", "laplace", 2 / ROOT6),
        ("uniform", "normal", 1.0),
        ("laplace", "laplace", 2.0),
        ("logistic", "logistic", math.pi**2 / 9),
        ("generalized_normal(shape=2)", "normal", 1.0),
        ("normal", "generalized_normal(shape=2)", 1.0),
        # K″(d) = E_q exp(−(z − d)/b − γ)/b² with b = √6/π
        ("uniform", "gumbel", math.exp(-EULER) / WIDTH**2 * math.sinh(ROOT3 / WIDTH) / (ROOT3 / WIDTH)),
        ("exponential", "gumbel", math.exp(1 / WIDTH - EULER) / (WIDTH**2 * (1 + 1 / WIDTH))),
        ("laplace", "gumbel", math.exp(-EULER) / WIDTH**2 / (1 - 0.5 / WIDTH**2)),
    ],
)
def test_curvatures(q, p, expected):
    assert curvature(q, p) == pytest.approx(expected, rel=1e-12)


def curvature_at(q, p, delta):
    """K″ by automatic differentiation, twice."""
    delta = torch.tensor(delta, dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(shift_kl(q, p, delta).sum(), delta, create_graph=True)
    return torch.autograd.grad(slope.sum(), delta)[0]


@pytest.mark.parametrize(("q", "p"), FINITE)
def test_curvature_by_quadrature_is_that_of_differences_of_the_slope(q, p):
    """Off the points where it jumps or is infinite."""
    h, delta = 2e-3, torch.tensor([-40.0, -13.0, -2.9, -0.53, 0.021, 0.4, 1.7, 7.3, 13.0], dtype=DOUBLE)
    slope = {k: integrate(get(q), get(p), delta + k * h)[1] for k in (-2, -1, 1, 2)}
    expected = (8 * (slope[1] - slope[-1]) - (slope[2] - slope[-2])) / (12 * h)
    torch.testing.assert_close(integrate_slope(get(q), get(p), delta)[1], expected, rtol=5e-6, atol=5e-6)


# Derivatives of tables cost a second each: smooth ones, and some with kinks that meet those of q.
TWICE = [pair for pair in FORMULAS if pair in FINITE] + [
    *(("gumbel", "logistic"), ("arcsine", "student_t(df=5)"), ("exponential", "gumbel"), ("logistic", "laplace")),
    *(("generalized_normal(shape=0.7)", "generalized_normal(shape=0.7)"), ("uniform", "generalized_normal(shape=1.5)")),
]


@pytest.mark.parametrize(("q", "p"), TWICE)
def test_the_second_derivative_is_the_curvature(q, p):
    """On both sides of ±12, too, where a table ends; at 0 exactly."""
    points = [-40.0, -13.0, -2.9, -0.53, 0.0, 0.021, 0.4, 1.7, 7.3, 13.0]
    found = curvature_at(q, p, points)
    expected = integrate_slope(get(q), get(p), torch.tensor(points, dtype=DOUBLE))[1]
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)
    assert found[4].item() == pytest.approx(curvature(q, p), rel=1e-9)


def test_second_derivative_of_nested_supports():
    """K′(d) = ½/√3 log((r + d)/(r − d)), r = √6 − √3, and no slope where K is infinite."""
    room, shift = ROOT6 - ROOT3, 0.3
    expected = (1 / (room + shift) + 1 / (room - shift)) / (2 * ROOT3)
    assert curvature_at("uniform", "triangular", [shift, 1.0, 5.0]).tolist() == pytest.approx(
        [expected, 0, 0], rel=1e-6
    )


@pytest.mark.parametrize("pair", [("laplace", "laplace"), ("gumbel", "logistic"), ("uniform", "student_t(df=5)")])
def test_second_derivative_serves_a_hessian_and_keeps_float32(pair):
    delta = torch.tensor([-0.7, 0.3, 2.0])
    hessian = torch.autograd.functional.hessian(lambda d: shift_kl(*pair, d).sum(), delta)
    assert hessian.dtype == torch.float32
    expected = torch.diag(curvature_at(*pair, delta.double().tolist()))
    torch.testing.assert_close(hessian.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("q", "p"),
    [
        *(("normal", "logistic"), ("uniform", "logistic"), ("gumbel", "logistic"), ("logistic", "gumbel")),
        *(("laplace", "student_t(df=5)"), ("student_t(df=9)", "student_t(df=5)"), ("logistic", "laplace")),
        *(("exponential", "generalized_normal(shape=4)"), ("triangular", "generalized_normal(shape=1.5)")),
    ],
)
def test_curvature_equals_second_differences_of_scipys_quadrature(q, p):
    near, far = (
        (by_quadrature(q, p, h) - 2 * by_quadrature(q, p, 0.0) + by_quadrature(q, p, -h)) / h**2 for h in (0.03, 0.06)
    )
    # Richardson's extrapolation, which kinks of either density leave with fewer digits.
    assert curvature(q, p) == pytest.approx((4 * near - far) / 3, rel=5e-3)


@pytest.mark.parametrize("q", ["gumbel", "exponential", "laplace"])
@pytest.mark.parametrize("p", ["gumbel", "logistic"])
@pytest.mark.parametrize("delta", [-0.8, 0.8])
def test_sign_is_the_models_mean_minus_the_true_one(q, p, delta):
    """E_q[log q(z) − log p(z − d)] on draws: the model z ~ p(z − d) has mean d, the truth 0."""
    z = get(q).sample((200_000,), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    values = get(q).log_prob(z) - get(p).log_prob(z - delta)
    assert abs(values.mean() - evaluate(q, p, delta)) < 5 * values.std() / len(z) ** 0.5


# ---- which pairs are finite ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", DENSE)
@pytest.mark.parametrize("p", ["uniform", "triangular", "arcsine", "exponential"])
def test_infinite_at_some_shift_if_the_model_ends(q, p):
    assert not is_finite(q, p)


@pytest.mark.parametrize("q", DENSE)
@pytest.mark.parametrize("p", ["normal", "laplace", "logistic", "student_t(df=5)", "generalized_normal(shape=1.5)"])
def test_a_fourth_moment_is_enough_for_every_model_that_asks_no_more(q, p):
    assert is_finite(q, p)


@pytest.mark.parametrize(
    ("q", "p", "finite"),
    [
        # gumbel's left tail asks for E exp(−πz/√6): π/√6 = 1.28 is less than laplace's √2 and logistic's π/√3.
        ("laplace", "gumbel", True),
        ("logistic", "gumbel", True),
        ("normal", "gumbel", True),
        ("gumbel", "gumbel", True),
        ("exponential", "gumbel", True),
        ("uniform", "gumbel", True),
        ("generalized_normal(shape=1.5)", "gumbel", True),
        ("generalized_normal(shape=0.7)", "gumbel", False),
        ("student_t(df=5)", "gumbel", False),
        ("student_t(df=500)", "gumbel", False),
        # A power |z|^b asks for a moment of order b: student_t has those below df.
        ("student_t(df=5)", "generalized_normal(shape=4)", True),
        ("student_t(df=5)", "generalized_normal(shape=4.9)", True),
        ("student_t(df=5)", "generalized_normal(shape=5)", False),
        ("student_t(df=5)", "generalized_normal(shape=6)", False),
        ("student_t(df=7)", "generalized_normal(shape=6)", True),
        ("generalized_normal(shape=0.7)", "generalized_normal(shape=8)", True),
        ("generalized_normal(shape=0.25)", "generalized_normal(shape=6)", True),
        ("gumbel", "generalized_normal(shape=8)", True),
        ("exponential", "generalized_normal(shape=8)", True),
    ],
)
def test_finite_if_the_tails_allow(q, p, finite):
    assert is_finite(q, p) is finite
    values = shift_kl(q, p, torch.tensor([-0.5, 0.0, 0.5], dtype=DOUBLE))
    assert values.isfinite().all() if finite else (values == math.inf).all()


def heavy_pair(df, b, delta):
    """K of student_t(df) and generalized_normal(b): ∫ q |z − d|^b in log |z|, on both sides, as far as it falls."""
    q = get("student_t", df=df)
    log_a = (math.lgamma(1 / b) - math.lgamma(3 / b)) / 2
    norm = math.log(b / 2) - log_a - math.lgamma(1 / b)
    log_q = log_t(df, 0.0)

    def integrand(s, side):
        log_density = log_q - (df + 1) / 2 * float(np.logaddexp(0, 2 * s - math.log(df - 2)))
        away = s + math.log(abs(1 - side * delta * math.exp(-s))) if s > -700 else math.log(abs(delta))
        return math.exp(log_density + s + b * (away - log_a))

    cuts = [-80.0, -5.0, *((math.log(abs(delta)),) if delta else ()), 2.0, 10.0, 60 / (df - b), 750 / (df - b)]
    cuts = [-80.0, *sorted(cuts[1:])]
    sides = itertools.product(itertools.pairwise(cuts), (-1, 1))
    moment = sum(quad(integrand, *ends, args=(side,), limit=500, epsrel=1e-11)[0] for ends, side in sides)
    return -q.entropy - norm + moment


@pytest.mark.parametrize(("df", "b"), [(5, 4.5), (4.5, 4.4), (5, 4.9), (5, 4.97), (5, 4.98), (5, 4.99), (4.2, 4.19)])
def test_a_pair_near_the_border_has_what_comes_from_far_out(df, b):
    q, p = get("student_t", df=df), get("generalized_normal", shape=b)
    for delta in (0.0, 0.7, -15.0):
        assert evaluate(q, p, delta) == pytest.approx(heavy_pair(df, b, delta), rel=1e-7)


@pytest.mark.parametrize(
    ("df", "b", "words"),
    [
        (5, 4.9999, "so near to where the divergence of the pair becomes infinite that it cannot be told"),
        # Where q, or the sum, leaves float64 before its nodes end.
        *((df, b, "is finite, but comes from so far out") for df, b in ((12, 11.9), (20, 19.98), (40, 39))),
    ],
)
def test_a_finite_pair_that_cannot_be_computed_is_not_called_infinite(df, b, words):
    q, p = get("student_t", df=df), get("generalized_normal", shape=b)
    for ask in (is_finite, lambda q, p: evaluate(q, p, 0.5)):
        with pytest.raises(StepError, match=words) as error:
            ask(q, p)
        assert str(error.value).startswith(f"{q}/{p}: ")


@pytest.mark.parametrize("q", ["student_t(df=5)", "student_t(df=500)", "generalized_normal(shape=0.25)", *DENSE])
@pytest.mark.parametrize("p", ["normal", "laplace", "logistic", "gumbel", "generalized_normal(shape=4)"])
def test_no_usual_pair_is_near_the_border(q, p):
    assert is_finite(q, p) in (True, False)


@pytest.mark.parametrize("other", STEPS)
def test_a_step_without_density_is_refused_with_the_pair(other):
    for q, p in ((other, "rademacher"), ("rademacher", other)):
        for ask in (lambda q, p: shift_kl(q, p, torch.zeros(1)), is_finite, constant):
            with pytest.raises(StepError, match="rademacher has no density") as error:
                ask(q, p)
            assert f"pair {q}/{p} is not defined" in str(error.value)


def test_steps_and_names_mean_the_same():
    delta = torch.linspace(-2, 2, 9)
    for q, p in (("uniform", "laplace"), ("student_t(df=5)", "gumbel"), ("gumbel", "student_t(df=5)")):
        assert torch.equal(shift_kl(get(q), get(p), delta), shift_kl(q, p, delta))
    assert is_finite(get("gumbel"), get("student_t", df=5))


def test_unknown_names_are_refused():
    with pytest.raises(StepError, match="known families"):
        shift_kl("normal", "sech", torch.zeros(1))


def test_numbers_are_shifts_and_whole_numbers_in_a_tensor_are_not():
    expected = shift_kl("laplace", "laplace", torch.tensor([1.0, 2.0], dtype=DOUBLE))
    assert torch.equal(shift_kl("laplace", "laplace", [1, 2]), expected)
    assert shift_kl("laplace", "laplace", 2) == expected[1]
    with pytest.raises(ValueError, match=r"delta must be floating point, found torch\.int64; use delta\.double\(\)"):
        shift_kl("laplace", "laplace", torch.tensor([1, 2]))
