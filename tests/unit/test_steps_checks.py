"""Steps from elsewhere: what they say of themselves is held against their density and their draws."""

import math
import sys
import time
from dataclasses import dataclass

import pytest
import torch
from problems import STEPS, HyperbolicSecant
from scipy.special import zeta

from nonnormal.steps import StepError, Symmetric, base, get, register
from nonnormal.steps.base import check

SECANT = HyperbolicSecant()


def ignoring(shape, *, generator=None, dtype=torch.float32, device="cpu"):
    return SECANT.sample(shape, dtype=dtype)


def failing(*arguments):
    raise KeyError("x")


def leaving(*arguments, **options):
    sys.exit(0)


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
        ("log_prob", lambda z: SECANT.log_prob(z.detach()), r"autograd finds the slope 0 at .*write it in torch"),
        ("sample", leaving, "sample raises SystemExit: 0"),
        ("log_prob", leaving, "log_prob raises SystemExit: 0"),
        ("support", property(leaving), "cannot be checked: SystemExit"),
        ("name", property(leaving), "cannot be checked: SystemExit"),
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


@dataclass(frozen=True)
class Atoms(Symmetric):
    """Three atoms, 0 with probability 1 − 1/a² and ±a with half of the rest each."""

    a: float = math.sqrt(2)

    name = "atoms"
    fisher_information = math.inf
    has_density = False

    @property
    def support(self):
        return -self.a, self.a

    @property
    def excess_kurtosis(self):
        return self.a**2 - 3

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        u = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
        half = 0.5 / self.a**2
        return (((u >= 1 - half).double() - (u < half).double()) * self.a).to(dtype)

    def log_prob(self, z):
        raise StepError("atoms has no density")

    def cdf(self, z):
        half = 0.5 / self.a**2
        below, middle, above = (z >= place for place in (-self.a, 0, self.a))
        return half * below.to(z.dtype) + (1 - 2 * half) * middle.to(z.dtype) + half * above.to(z.dtype)

    def sf(self, z):
        return 1 - self.cdf(z)


@pytest.mark.parametrize("a", [math.sqrt(2), math.sqrt(3), 1.3, 4.0])
def test_atoms_that_float32_rounds_are_where_the_law_has_them(a):
    """√2 is rounded down, √3 up."""
    check(Atoms(a))


def test_atoms_beside_those_of_the_law_are_refused():
    own = type("Own", (Atoms,), {"name": "own", "cdf": lambda self, z: Atoms.cdf(self, z - 1e-3)})
    with pytest.raises(StepError, match=r"sample: 20,000 draws are 0\.\d* away from cdf"):
        check(own())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"excess_kurtosis": 50.0}, r"excess_kurtosis 50 \(cdf has -1"),
        ({"skewness": 0.1}, r"skewness 0\.1 \(cdf has -?\d"),
        ({"cdf": lambda self, z: Atoms.cdf(self, z / 1.01), "support": (-1.5, 1.5)}, r"variance 1 \(cdf has 1\.02"),
    ],
)
def test_moments_of_a_law_without_density_are_those_of_its_cdf(said, words):
    with pytest.raises(StepError, match=words):
        check(type("Own", (Atoms,), {"name": "own", **said})())


@pytest.mark.parametrize("a", [4.5, 6, 8])
def test_a_lattice_without_ends_is_what_it_says(a):
    """±k/s with a chance of k^−a, half to either side."""
    unit = math.sqrt(zeta(a - 2) / zeta(a))
    kurtosis = zeta(a - 4) * zeta(a) / zeta(a - 2) ** 2 - 3 if a > 5 else math.inf

    class Lattice(Symmetric):
        name, fisher_information, has_density = "lattice", math.inf, False
        support, excess_kurtosis = (-math.inf, math.inf), kurtosis

        def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
            u = torch.rand((2, *shape), generator=generator, dtype=torch.float64)
            k = torch.arange(1, 2000, dtype=torch.float64)
            size = 1 + torch.searchsorted(torch.tensor(1 - zeta(a, k.numpy() + 1) / zeta(a)), u[0])
            return (size * (2 * (u[1] < 0.5) - 1) / unit).to(dtype)

        def log_prob(self, z):
            raise StepError("no density")

        def cdf(self, z):
            k = (z.abs() * unit).double()
            below = zeta(a, k.ceil().clamp(min=1).numpy()) / zeta(a) / 2  # P(Z ≤ −|z|)
            above = 1 - zeta(a, k.floor().numpy() + 1) / zeta(a) / 2
            return torch.where(z < 0, torch.tensor(below), torch.tensor(above)).to(z.dtype)

    check(Lattice())


def test_parameters_that_are_no_fields_are_refused():
    """Two such steps would be equal, and share one table of K."""

    class Own(HyperbolicSecant):
        def __init__(self, width):
            self.width = width

    with pytest.raises(StepError, match=r"Own\.width is set, but is no field; .*@dataclass\(frozen=True\)"):
        Own(1.0)


def test_a_registered_family_of_ones_own_is_checked_by_its_name(monkeypatch):
    monkeypatch.setattr(base, "_FAMILIES", {**base._FAMILIES})

    @register
    @dataclass(frozen=True)
    class Wide(HyperbolicSecant):
        name = "too_wide_a_secant"
        excess_kurtosis = 3.0

    with pytest.raises(StepError, match=r"Wide\(\) excess_kurtosis 3 \(log_prob has 2\)"):
        get("too_wide_a_secant")


OWN = """
from dataclasses import dataclass
from problems import HyperbolicSecant

@dataclass(frozen=True)
class Text(HyperbolicSecant):
    name = "text"
    kind: str = "plain"

class Unhashed(HyperbolicSecant):
    name = "unhashed"
    __hash__ = None

@dataclass(frozen=True)
class Listed(HyperbolicSecant):
    name = "listed"
    knots: list = None
    def __post_init__(self):
        object.__setattr__(self, "knots", [1.0])

class Leaving(HyperbolicSecant):
    name = "leaving"
    def __init__(self):
        raise SystemExit(0)
"""


@pytest.fixture
def own_steps(tmp_path, monkeypatch):
    (tmp_path / "own_steps.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_steps", None)


@pytest.mark.parametrize(
    ("name", "words"),
    [("Unhashed", "unhashable"), ("Listed", "unhashable"), ("Leaving", r"own_steps:Leaving': SystemExit\(0\)")],
)
def test_a_class_that_makes_no_step_is_refused(own_steps, name, words):
    with pytest.raises(StepError, match=words):
        get(f"own_steps:{name}")


def test_a_step_may_have_a_field_of_text(own_steps):
    assert str(get("own_steps:Text")) == "text(kind='plain')"
