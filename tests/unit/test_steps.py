"""Step families: what each says of itself against quadrature of its density and against scipy, and their names."""

import dataclasses
import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from problems import DENSE, STEPS, HyperbolicSecant, scipy_law
from scipy import stats
from scipy.integrate import quad

from nonnormal import steps
from nonnormal.steps import StepError, divergence, get, shift_kl
from nonnormal.steps.base import check
from nonnormal.steps.closed_forms import CLOSED_FORMS, closed_form

DOUBLE = torch.float64


def density(step, z):
    return step.log_prob(torch.tensor(z, dtype=DOUBLE)).exp().item()


def integral(step, f, points=(0.0,)):
    """∫ f over the support, split where the density may have a kink or a jump."""
    low, high = step.support
    cuts = [low, *sorted({point for point in points if low < point < high}), high]
    return sum(quad(f, a, b, epsabs=1e-11)[0] for a, b in itertools.pairwise(cuts))


def inside(step, reach=5.0, n=11):
    """N points of the support's interior, at most `reach` from 0."""
    low, high = step.support
    return torch.linspace(max(low, -reach), min(high, reach), n + 2, dtype=DOUBLE)[1:-1]


def test_the_families_are_those_of_the_design():
    expected = "normal laplace uniform logistic student_t generalized_normal triangular arcsine gumbel exponential"
    assert set(steps.families()) == {*expected.split(), "rademacher", "normal_mixture"}
    assert {get(name).name for name in STEPS} == set(steps.families())


# ---- density and moments ---------------------------------------------------------------------------------------------


def test_density_integrates_to_one(dense):
    assert integral(dense, lambda z: density(dense, z)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("power", "attribute"), [(1, None), (2, None), (3, "skewness"), (4, "excess_kurtosis")])
def test_moments_by_quadrature_are_those_stated(dense, power, attribute):
    moment = integral(dense, lambda z: z**power * density(dense, z))
    stated = getattr(dense, attribute) + (3 if power == 4 else 0) if attribute else float(power == 2)
    assert moment == pytest.approx(stated, abs=1e-8)


def test_moments_of_rademacher_are_those_of_two_points():
    rademacher = get("rademacher")
    assert (rademacher.skewness, rademacher.excess_kurtosis, rademacher.support) == (0, 1 - 3, (-1, 1))
    assert not rademacher.has_density


def test_entropy_is_scipys(dense):
    assert dense.entropy == pytest.approx(float(scipy_law(str(dense)).entropy()), abs=1e-9)


@pytest.mark.parametrize("shape", [0.25, 0.5, 1.0, 2.0, 8.0, 16.0, 64.0])
def test_quadrature_keeps_its_digits_over_the_range_of_shapes(shape):
    """The nodes that divergences are computed with: total probability, variance and entropy."""
    step = get("generalized_normal", shape=shape)
    check(step, tolerance=1e-8)
    assert step.entropy == pytest.approx(float(scipy_law(str(step)).entropy()), abs=1e-8)


@pytest.mark.parametrize("df", [4.01, 5.0, 30.0, 1e4])
def test_quadrature_keeps_its_digits_over_the_range_of_degrees_of_freedom(df):
    step = get("student_t", df=df)
    check(step, tolerance=1e-8)
    assert step.entropy == pytest.approx(float(scipy_law(str(step)).entropy()), abs=1e-8)


@pytest.mark.parametrize(
    ("step", "limit"), [("generalized_normal(shape=1)", "laplace"), ("student_t(df=1e5)", "normal")]
)
def test_families_contain_their_special_cases(step, limit):
    z = torch.linspace(-4, 4, 33, dtype=DOUBLE)
    for method in ("log_prob", "cdf", "sf"):
        torch.testing.assert_close(getattr(get(step), method)(z), getattr(get(limit), method)(z), rtol=2e-3, atol=1e-5)
    assert get("generalized_normal(shape=2)").fisher_information == pytest.approx(1, rel=1e-12)


# ---- Fisher information ----------------------------------------------------------------------------------------------


def score_information(step):
    """E (∂ log q / ∂z)² by quadrature."""

    def integrand(z):
        z = torch.tensor(z, dtype=DOUBLE, requires_grad=True)
        log_q = step.log_prob(z)
        (score,) = torch.autograd.grad(log_q, z)
        return (log_q.exp() * score.square()).item() if log_q > -700 else 0.0  # where q itself is 0 in float64

    return integral(step, integrand)


def hellinger_information(step, h):
    """4/h² ∫ (√q(z − h) − √q(z))² dz, which tends to the Fisher information of location, or to ∞ as that does."""
    low, high = step.support
    shifts = (-100 * h, -10 * h, 0.0, h, 11 * h, 101 * h)
    ends = [end + shift for end in (*step.breakpoints, low, high) if math.isfinite(end) for shift in shifts]
    first, last = max(low, -40.0), min(high, 40.0) + h
    cuts = sorted({first, 0.0, h, *(end for end in ends if first < end < last), last})
    distance = sum(
        quad(lambda z: (math.sqrt(density(step, z - h)) - math.sqrt(density(step, z))) ** 2, a, b, epsabs=1e-14)[0]
        for a, b in itertools.pairwise(cuts)
    )
    return 4 * distance / h**2


FINITE = [name for name in DENSE if math.isfinite(get(name).fisher_information)]


@pytest.mark.parametrize("name", FINITE)
def test_fisher_information_is_the_mean_square_of_the_score(name):
    assert score_information(get(name)) == pytest.approx(get(name).fisher_information, rel=1e-6)


# A cusp |z|^b is seen at order h^(2b − 1): far from its limit for b = 0.7.
@pytest.mark.parametrize("name", [name for name in FINITE if name != "generalized_normal(shape=0.7)"])
def test_fisher_information_is_the_curvature_of_the_hellinger_distance(name):
    assert hellinger_information(get(name), 1e-3) == pytest.approx(get(name).fisher_information, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "h", "growth"),
    [
        # By how much the expression above grows from 10 h to h: a strip of width h, mass q(end) h, at a jump …
        ("uniform", 1e-3, lambda fine, coarse: fine / coarse == pytest.approx(10, rel=1e-3)),
        ("exponential", 1e-3, lambda fine, coarse: fine / coarse == pytest.approx(10, rel=3e-2)),
        # … mass √h at an end where q ~ distance^(−1/2): h^(−3/2) …
        ("arcsine", 1e-3, lambda fine, coarse: fine / coarse == pytest.approx(10**1.5, rel=3e-2)),
        # … ln(1/h)/6 at each of two ends to which q falls linearly …
        ("triangular", 1e-3, lambda fine, coarse: fine - coarse == pytest.approx(math.log(10) / 3, rel=3e-2)),
        # … and h^(2b − 1) at a cusp |z|^b, of a law that is narrow at its middle.
        ("generalized_normal(shape=0.3)", 1e-8, lambda fine, coarse: fine / coarse == pytest.approx(10**0.4, rel=0.1)),
    ],
    ids=["uniform", "exponential", "arcsine", "triangular", "cusp"],
)
def test_infinite_fisher_information_shows_in_the_hellinger_distance(name, h, growth):
    step = get(name)
    assert step.fisher_information == math.inf
    assert growth(hellinger_information(step, h), hellinger_information(step, 10 * h))


def test_every_infinite_fisher_information_has_its_reason_tested():
    infinite = {name for name in STEPS if get(name).fisher_information == math.inf}
    assert infinite == {"uniform", "exponential", "arcsine", "triangular", "rademacher"}


def test_fisher_information_is_at_least_one_and_one_only_for_the_normal(step):
    assert step.fisher_information >= 1
    assert (step.fisher_information == 1) == (step.name == "normal")


# ---- cdf, sf, log_prob -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [-2.5, -1.0, -0.1, 0.0, 0.3, 1.7, 3.0])
def test_cdf_is_the_integral_of_the_density(dense, z):
    low, high = dense.support
    ends = sorted({low, *(min(max(cut, low), high) for cut in (0.0, z) if cut <= z), min(max(z, low), high)})
    mass = sum(quad(lambda u: density(dense, u), a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(ends))
    assert dense.cdf(torch.tensor(z, dtype=DOUBLE)).item() == pytest.approx(mass, abs=1e-9)


def test_cdf_of_rademacher_is_a_staircase():
    z = torch.tensor([-1.1, -1.0, 0.0, 0.9, 1.0, 2.0])
    assert get("rademacher").cdf(z).tolist() == [0, 0.5, 0.5, 0.5, 1, 1]
    assert get("rademacher").sf(z).tolist() == [1, 0.5, 0.5, 0.5, 0, 0]


def test_cdf_and_sf_sum_to_one_and_end_at_zero_and_one(step):
    z = torch.tensor([-math.inf, *torch.linspace(-6, 6, 49).tolist(), math.inf], dtype=DOUBLE)
    torch.testing.assert_close(step.cdf(z) + step.sf(z), torch.ones_like(z), rtol=0, atol=1e-14)
    assert step.cdf(z).diff().min() >= 0
    assert step.cdf(z[[0, -1]]).tolist() == [0.0, 1.0]
    assert step.sf(z[[0, -1]]).tolist() == [1.0, 0.0]


def test_log_prob_is_scipys_also_far_out(dense):
    z = torch.cat([inside(dense, 5.0, 24), inside(dense, 100.0, 24)])
    np.testing.assert_allclose(dense.log_prob(z).numpy(), scipy_law(str(dense)).logpdf(z.numpy()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tail", ["cdf", "sf"])
def test_tails_keep_their_digits_against_scipy(dense, tail):
    """From the middle to where 1e-290 of the mass is left: where bins of a likelihood may lie."""
    law = scipy_law(str(dense))
    left = 10.0 ** -np.arange(1, 291, 7)
    z = law.ppf(left) if tail == "cdf" else law.isf(left)
    # Towards a finite end the mass hangs on the last digits of z itself; far out a power has no end.
    clear = (z > max(dense.support[0] + 1e-3, -1e30)) & (z < min(dense.support[1] - 1e-3, 1e30))
    expected = getattr(law, tail)(z[clear])
    assert len(expected) >= 1
    np.testing.assert_allclose(getattr(dense, tail)(torch.tensor(z[clear])).numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("method", ["log_prob", "cdf", "sf"])
def test_float32_agrees_with_float64(dense, method):
    z = inside(dense, 8.0, 101).float()
    found = getattr(dense, method)(z)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), getattr(dense, method)(z.double()), rtol=2e-6, atol=2e-6)


def test_density_vanishes_outside_the_support_only(dense):
    low, high = dense.support
    assert dense.log_prob(inside(dense)).isfinite().all()
    outside = torch.tensor([end * 1.001 for end in (low, high) if math.isfinite(end)], dtype=DOUBLE)
    assert (dense.log_prob(outside) == -math.inf).all()


def test_rademacher_has_no_density_to_ask_for():
    with pytest.raises(StepError, match=r"rademacher has no density.*samples.*no likelihood"):
        get("rademacher").log_prob(torch.zeros(1))


# ---- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 4), (0, 2)])
def test_sample_has_shape_and_dtype_asked_for(step, dtype, shape):
    z = step.sample(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert (z.shape, z.dtype) == (shape, dtype)
    answers = [step.cdf(z), step.sf(z)] + ([step.log_prob(z)] if step.has_density else [])
    assert {(answer.shape, answer.dtype) for answer in answers} == {(torch.Size(shape), dtype)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*STEPS, "generalized_normal(shape=0.25)", "problems:HyperbolicSecant"])
def test_draws_of_sixteen_bits_are_those_of_float32(name, dtype):
    """A draw in as few digits has too short a tail, and of logistic ones that are infinite."""
    step, source = get(name), torch.Generator()
    found = step.sample((1000, 3), dtype=dtype, generator=source.manual_seed(0))
    assert torch.equal(found, step.sample((1000, 3), generator=source.manual_seed(0)).to(dtype))
    assert found.dtype == dtype


def test_draws_of_sixteen_bits_are_finite(step):
    assert step.sample((400_000,), dtype=torch.float16, generator=torch.Generator().manual_seed(0)).isfinite().all()


def test_sample_is_reproducible_from_a_generator_and_advances_it(step):
    first, second = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    draw = step.sample((100,), generator=first)
    assert torch.equal(draw, step.sample((100,), generator=second))
    assert not torch.equal(draw, step.sample((100,), generator=first))


def test_sample_with_a_generator_leaves_the_global_state_alone(step):
    before = torch.get_rng_state()
    step.sample((10,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


# ---- names -----------------------------------------------------------------------------------------------------------


def test_steps_are_frozen_values(step):
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.has_density = False
    again = get(str(step))
    assert again == step
    assert hash(again) == hash(step)
    assert [name for name in STEPS if get(name) == step] == [str(step)]


def test_get_returns_a_step_as_it_is(step):
    assert get(step) is step


@pytest.mark.parametrize("text", ["student_t(df=5)", "student_t( df = 5.0 )", "student_t (df=5e0)", "student_t(df=5,)"])
def test_parameters_may_stand_in_the_name(text):
    assert get(text) == get("student_t", df=5)
    assert str(get(text)) == "student_t(df=5)"


@pytest.mark.parametrize("df", [4.5, 5.1234567, 1000001.0, 100 / 3])
def test_names_keep_all_digits_of_a_parameter(df):
    step = get("student_t", df=df)
    assert get(str(step)) == step


@pytest.mark.parametrize("name", ["sech", "Normal", "student_t5"])
def test_unknown_family_is_refused_with_the_known_ones(name):
    with pytest.raises(StepError, match=name) as error:
        get(name)
    assert all(family in str(error.value) for family in steps.families())


@pytest.mark.parametrize("text", ["", "normal(", "normal)", "student_t(df=5", "a b", "student_t((df=5))", "normal;x"])
def test_what_is_no_expression_is_refused_with_the_ways_to_write_one(text):
    with pytest.raises(StepError, match="names no step; write a family"):
        get(text)


@pytest.mark.parametrize("text", ["student_t(5)", "student_t(df)", "student_t(df=)", "student_t(df=five)"])
def test_a_parameter_that_is_no_number_is_refused(text):
    with pytest.raises(StepError, match=r"parameters are written parameter=number, found '(5|df|df=|df=five)'"):
        get(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("normal(df=5)", "normal.*df.*its parameters: none"),
        ("student_t(shape=5)", "student_t.*shape.*its parameters: df"),
        ("student_t", r"student_t needs df, as student_t\(df=5\)"),
        ("student_t()", r"student_t needs df, as student_t\(df=5\)"),
        ("problems:HeavySecant", r"problems:HeavySecant needs mass, as problems:HeavySecant\(mass=number\)"),
    ],
)
def test_missing_and_unknown_parameters_are_refused_with_the_known_ones(text, words):
    with pytest.raises(StepError, match=words):
        get(text)


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(StepError, match="df"):
        get("student_t(df=5, df=6)")


@pytest.mark.parametrize("df", [2.0, 1, 0, -5, math.inf, math.nan])
def test_degrees_of_freedom_without_a_variance_are_refused(df):
    with pytest.raises(StepError, match=r"df must be larger than 2.*DLPM .*t-EDM"):
        get("student_t", df=df)


@pytest.mark.parametrize("name", ["stable(alpha=1.5)", "cauchy"])
def test_steps_without_a_variance_are_refused_with_what_they_need(name):
    with pytest.raises(StepError, match=r"has no variance.*DLPM \(2407\.18609\) and t-EDM \(2410\.14171\)"):
        get(name)


@pytest.mark.parametrize("df", [2.5, 3.0, 4.0])
def test_without_a_fourth_moment_the_law_is_still_students(df):
    step, law = get("student_t", df=df), scipy_law(f"student_t(df={df:g})")
    z = torch.tensor([-3.0, -0.2, 0.0, 1.0, 8.0], dtype=torch.float64)
    assert step.excess_kurtosis == math.inf
    assert np.allclose(step.log_prob(z), law.logpdf(z.numpy())) and np.allclose(step.cdf(z), law.cdf(z.numpy()))
    draws = step.sample((20_000,), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert stats.kstest(draws.numpy(), law.cdf).pvalue > 1e-3
    assert shift_kl(step, step, torch.tensor([1.0], dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize("df", [1.1e8, 1e14, 1e39])
def test_degrees_of_freedom_beyond_which_the_law_is_normal_are_refused(df):
    with pytest.raises(StepError, match=r"beyond 1e8 it is the normal law: use normal"):
        get("student_t", df=df)


@pytest.mark.parametrize("df", [4.5, 60.0, 199.0, 201.0, 1e4, 1e6, 1e8])
def test_students_density_keeps_its_digits_at_any_degrees_of_freedom(df):
    step = get("student_t", df=df)
    with mpmath.workdps(50):
        d = mpmath.mpf(df)
        norm = mpmath.loggamma((d + 1) / 2) - mpmath.loggamma(d / 2) - mpmath.log(mpmath.pi * (d - 2)) / 2
        expected = [float(norm - (d + 1) / 2 * mpmath.log1p(mpmath.mpf(z) ** 2 / (d - 2))) for z in (0.0, 1.5, 6.0)]
    found = step.log_prob(torch.tensor([0.0, 1.5, 6.0], dtype=DOUBLE))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert step.sample((1000,), generator=torch.Generator().manual_seed(0)).isfinite().all()


@pytest.mark.parametrize("df", [40.0, 50.0, 51.0, 200.0, 1e4, 1e8])
def test_students_characteristic_function_at_many_degrees_of_freedom(df):
    """φ = exp(−ω²/2) (1 + κ ω⁴/24 + …) with κ = 6/(df − 4), and 1 at 0; it goes on where the formula ends."""
    omega = torch.tensor([0.0, 1e-9, 1e-3, 0.1, 0.5], dtype=DOUBLE)
    phi = get("student_t", df=df).characteristic(omega)
    expected = torch.exp(-0.5 * omega.square() + omega**4 / (4 * (df - 4)))
    torch.testing.assert_close(phi.real, expected, rtol=0, atol=1e-13 + 1e-2 / df**2)
    assert phi.imag.abs().max() < 1e-13


@pytest.mark.parametrize("shape", [0.2, 0, -1, 65, math.inf, math.nan])
def test_shapes_out_of_range_are_refused(shape):
    with pytest.raises(StepError, match=rf"found shape = {shape:g}; shape must lie in \[0.25, 64\]"):
        get("generalized_normal", shape=shape)


# ---- families from elsewhere -----------------------------------------------------------------------------------------


def test_a_step_is_imported_from_another_module():
    assert get("problems:HyperbolicSecant") == HyperbolicSecant()
    assert get("problems:HeavySecant(mass=1)").mass == 1


def test_an_imported_step_knows_what_is_not_said():
    assert HyperbolicSecant().entropy == pytest.approx(math.log(4), abs=1e-12)


def test_an_imported_steps_fisher_information():
    assert score_information(HyperbolicSecant()) == pytest.approx(HyperbolicSecant.fisher_information, rel=1e-9)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("problems:WideSecant", r"problems:WideSecant\(\) is not standardised: variance 2 \(must be 1\)$"),
        (
            "problems:LateSecant",
            r"problems:LateSecant\(\) is not standardised: mean 1 \(must be 0\), variance 2 \(must be 1\)$",
        ),
        (
            "problems:HeavySecant(mass=1.5)",
            r"is not standardised: total probability 1.5 \(must be 1\), variance 1.5 \(must be 1\)$",
        ),
        ("problems:NotAStep", "'problems:NotAStep' is not a subclass of nonnormal.steps.Step"),
        ("problems:scipy_law", "is not a subclass"),
        ("problems:Missing", "'problems:Missing' cannot be loaded.*Missing"),
        ("no_such_module:Step", "'no_such_module:Step' cannot be loaded.*no_such_module.* in the working folder"),
        ("problems:", "'problems:' cannot be loaded"),
        (":HyperbolicSecant", "':HyperbolicSecant' cannot be loaded"),
        (".problems:HyperbolicSecant", "'.problems:HyperbolicSecant' cannot be loaded"),
        ("problems:HyperbolicSecant(df=5)", "df.*its parameters: none"),
    ],
)
def test_what_is_no_standardised_step_elsewhere_is_refused(path, words):
    with pytest.raises(StepError, match=words):
        get(path)


@pytest.mark.parametrize(("found", "words"), [(HyperbolicSecant, r"HyperbolicSecant\(\)$"), (None, "found None$")])
def test_what_is_neither_a_name_nor_a_step_is_refused(found, words):
    with pytest.raises(StepError, match=f"a step is a name or an object of a Step; .*{words}"):
        get(found)


def test_every_family_is_standardised(dense):
    check(dense, tolerance=1e-9)


def test_check_lets_a_law_without_density_pass():
    check(get("rademacher"))


@pytest.fixture
def registered():
    """A family that is known to the registry while the test lasts."""
    yield steps.register(HyperbolicSecant)
    del steps.base._FAMILIES[HyperbolicSecant.name]


def test_a_new_family_is_known_to_get(registered):
    assert get("hyperbolic_secant") == registered()
    assert steps.families()[-1] == "hyperbolic_secant"


def test_a_new_family_has_divergences_by_quadrature(registered):
    delta = torch.tensor([0.0, 0.5])
    owed = -registered().entropy + 0.5 * (1 + math.log(2 * math.pi))  # h(normal) − h(q): the variances agree
    torch.testing.assert_close(divergence.shift_kl("hyperbolic_secant", "normal", delta), 0.5 * delta**2 + owed)
    assert divergence.is_finite("normal", "hyperbolic_secant")
    assert divergence.shift_kl("hyperbolic_secant", "hyperbolic_secant", delta)[0] == pytest.approx(0, abs=1e-7)


def test_a_closed_form_takes_the_place_of_quadrature(monkeypatch):
    monkeypatch.setitem(CLOSED_FORMS, (HyperbolicSecant, steps.Normal), None)  # so that it is removed afterwards
    closed_form(HyperbolicSecant, steps.Normal)(lambda q, p, delta: 0.5 * delta.square() + 0.25)
    found = divergence.shift_kl("problems:HyperbolicSecant", "normal", torch.tensor([0.0, 0.5]))
    assert found.tolist() == [0.25, 0.375]


def test_a_taken_name_is_refused(registered):
    with pytest.raises(StepError, match=r"already registered by problems.HyperbolicSecant"):
        steps.register(type("Other", (registered,), {}))
    assert steps.register(registered) is registered


@pytest.mark.parametrize("shape", [1, 1.2, 1.5, 2, 4, 16, 64])
@pytest.mark.parametrize("size", [(), (0, 3), (70_001,), (2, 3, 5)])
def test_generalized_normal_draws_are_normal_ones_mapped(shape, size):
    """In float32 each draw is F⁻¹(Φ(n)) of a normal draw n, which scipy inverts here."""
    step, draws = get("generalized_normal", shape=shape), torch.Generator()
    z = step.sample(size, generator=draws.manual_seed(3))
    n = torch.randn(size, generator=draws.manual_seed(3))
    assert z.dtype == torch.float32
    expected = scipy_law(step).isf(torch.special.ndtr(-n.abs().double()).numpy())
    torch.testing.assert_close(z.double().abs(), torch.as_tensor(expected), rtol=1e-6, atol=3e-7)
    assert torch.equal(z.sign(), n.sign())


COUPLED = (
    *("laplace", "uniform", "logistic", "student_t(df=5)", "generalized_normal(shape=4)", "triangular", "arcsine"),
    "normal_mixture(kurtosis=-1, separation=0.9)",
    steps.ScaleMixture((0.5, 0.3, 0.2), (0.4, 1.0, 2.5)),
)


@pytest.mark.parametrize("name", COUPLED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_coupled_draws_have_the_quantiles_of_normal_ones(name, dtype):
    step, draws = get(name), torch.Generator()
    z = steps.coupled(step).sample((3, 7_001), generator=draws.manual_seed(3), dtype=dtype)
    n = torch.randn((3, 7_001), generator=draws.manual_seed(3), dtype=torch.promote_types(dtype, torch.float32))
    assert z.dtype == dtype
    if dtype != torch.bfloat16:
        expected = torch.special.ndtr(n.double())
        off = (step.cdf(z.double()) - expected).abs()
        assert off.max() < 1e-4  # the arcsine's ends, where the cdf is a root
        assert off.mean() < 1e-6
    assert torch.equal(z.sign(), n.to(dtype).sign())


@pytest.mark.parametrize("name", COUPLED)
def test_no_pair_of_draws_is_closer_than_a_coupled_one(name):
    """E (z − n)² is 2 − 2 ∫ F⁻¹(u) Φ⁻¹(u) du, its least value by Hoeffding and Fréchet."""
    step, draws = get(name), torch.Generator()
    z = steps.coupled(step).sample((400_000,), generator=draws.manual_seed(5)).double()
    n = steps.coupled(get("normal")).sample((400_000,), generator=draws.manual_seed(5)).double()
    least = (z.sort().values - n.sort().values).square().mean()
    assert (z - n).square().mean() == pytest.approx(least.item(), rel=1e-3)
    own = step.sample((400_000,), generator=draws.manual_seed(5)).double()
    assert (z - n).square().mean() <= 1.001 * (own - n).square().mean()


def test_a_coupled_step_is_the_same_law():
    step = steps.coupled(get("student_t(df=5)"))
    assert isinstance(step, steps.StudentT)
    assert (str(step), step.excess_kurtosis) == ("student_t(df=5)", 6)
    z = steps.coupled(get("rademacher")).sample((10_000,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(z.abs(), torch.ones(10_000))
    for name in ("normal", "gumbel", "exponential"):
        assert steps.coupled(get(name)) == get(name)


# ---- mixtures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kurtosis", "separation"), [(0, 0), (3, 0), (100, 0), (-1, 0.85), (-0.8192, 0.8), (20, 0.7)])
def test_a_normal_mixture_has_the_kurtosis_and_the_centres_that_are_asked_for(kurtosis, separation):
    step = get("normal_mixture", kurtosis=kurtosis, separation=separation)
    check(step)
    weights, variances = step.parts
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    assert separation**2 + sum(w * v for w, v in zip(weights, variances, strict=True)) == pytest.approx(1, abs=1e-12)
    z = step.sample((400_000,), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    assert z.square().mean().item() == pytest.approx(1, abs=5 * math.sqrt((kurtosis + 2) / 4e5) + 1e-9)
    assert get(str(step)) == step


def test_a_normal_mixture_without_kurtosis_and_separation_is_the_normal():
    z = torch.linspace(-6, 6, 25, dtype=DOUBLE)
    torch.testing.assert_close(get("normal_mixture(kurtosis=0)").log_prob(z), get("normal").log_prob(z))


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        (dict(kurtosis=-0.5), r"found kurtosis = -0\.5; with separation = 0 it must lie in \[-?0, 100\]"),
        (dict(kurtosis=-1, separation=0.8), r"it must lie in \[-0\.8192, 100\]"),
        (dict(kurtosis=101), r"found kurtosis = 101"),
        (dict(kurtosis=math.nan), r"found kurtosis = nan"),
        (dict(kurtosis=0, separation=0.96), r"found separation = 0\.96; it must lie in \[0, 0\.95\]"),
    ],
)
def test_normal_mixtures_that_do_not_exist_are_refused(parameters, found):
    with pytest.raises(StepError, match=found):
        get("normal_mixture", **parameters)


def test_a_scale_mixture_is_what_it_says_and_divides_by_its_deviation():
    mixture, deviation = steps.ScaleMixture.standardised([2.0, 1.0, 1.0], [1.0, 4.0, 16.0])
    assert deviation == pytest.approx(math.sqrt(5.5))
    check(mixture)
    assert mixture.variances == pytest.approx((1 / 5.5, 4 / 5.5, 16 / 5.5))


@pytest.mark.parametrize(
    ("weights", "variances", "found"),
    [
        ((), (), "as many positive weights"),
        ((0.5, 0.5), (1.0,), "as many positive weights"),
        ((1.5, -0.5), (1.0, 1.0), "as many positive weights"),
        ((0.5, 0.5), (1.0, math.inf), "as many positive weights"),
        ((0.5, 0.6), (1.0, 1.0), "must sum to 1, found 1.1"),
        ((0.5, 0.5), (1.0, 2.0), "variance must be 1, found 1.5"),
    ],
)
def test_scale_mixtures_that_are_no_steps_are_refused(weights, variances, found):
    with pytest.raises(StepError, match=found):
        steps.ScaleMixture(weights, variances)
