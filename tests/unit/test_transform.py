"""The characteristic function that is made from a density alone: against closed forms, series, and limits."""

import math
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import torch
from problems import HeavySecant, HyperbolicSecant

from nonnormal.analysis.convergence import Grid, sampler_distances, walk_distances
from nonnormal.steps import Step, StepError, get
from nonnormal.steps.base import Symmetric

DOUBLE = torch.float64
OMEGA = torch.cat([torch.zeros(1), torch.logspace(-6, 4, 301), -torch.logspace(-3, 3, 50)]).double()


@pytest.mark.parametrize(
    "name",
    [
        *("normal", "laplace", "logistic", "uniform", "triangular", "gumbel", "exponential"),
        *("student_t(df=4.1)", "student_t(df=5)", "student_t(df=30)"),
    ],
)
def test_transform_of_the_density_is_the_closed_form(name):
    """With jumps, kinks and tails that are powers, and beyond the frequencies that are tabulated."""
    step = get(name)
    torch.testing.assert_close(Step.characteristic(step, OMEGA), step.characteristic(OMEGA), rtol=0, atol=1e-12)


def series(b, omega):
    """φ(ω) of generalized_normal(b) by its powers of u = aω, or for b < 1, where those diverge, of u^(−b).

    ∫ exp(−y^b) cos(uy) dy = Σ_k Γ(1 + bk) (−1)^(k + 1) sin(πbk/2) / (k! u^(1 + bk)), k ≥ 1, turning each term of
    exp(−y^b) onto the imaginary axis.
    """
    with mpmath.workdps(120):
        b = mpmath.mpf(b)
        u = mpmath.sqrt(mpmath.gamma(1 / b) / mpmath.gamma(3 / b)) * mpmath.mpf(omega)
        if b >= 1:
            powers = (mpmath.gamma((2 * k + 1) / b) * (-(u**2)) ** k / mpmath.factorial(2 * k) for k in range(200))
            return float(mpmath.fsum(powers) / mpmath.gamma(1 / b))
        powers = (
            -((-1) ** k)
            * mpmath.gamma(1 + b * k)
            * mpmath.sin(mpmath.pi / 2 * b * k)
            / mpmath.factorial(k)
            / u ** (1 + b * k)
            for k in range(1, 1000)
        )
        return float(b / mpmath.gamma(1 / b) * mpmath.fsum(powers))


@pytest.mark.parametrize(
    ("shape", "omegas"),
    [
        *((0.25, (0.5, 3.0, 90.0, 900.0)), (0.3, (0.5, 3.0, 90.0)), (0.5, (0.5, 3.0, 90.0)), (0.75, (4.0, 90.0))),
        *((1.5, (0.01, 0.5, 3.0)), *((shape, (0.01, 0.5, 3.0, 11.0)) for shape in (4.0, 16.0, 64.0))),
    ],
)
def test_generalized_normal_has_the_characteristic_function_of_its_series(shape, omegas):
    found = get("generalized_normal", shape=shape).characteristic(torch.tensor(omegas, dtype=DOUBLE))
    np.testing.assert_allclose(found.numpy(), [series(shape, omega) for omega in omegas], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [0.25, 0.3, 0.5, 1.0, 4.0, 64.0])
def test_the_moments_survive_a_power(shape):
    """φ(0) = 1 exactly, and φ(ω/√T)^T comes near exp(−ω²/2 + κ ω⁴/24T)."""
    step, steps, omega = get("generalized_normal", shape=shape), 2.0**24, torch.tensor([0.0, 0.3, 1.0], dtype=DOUBLE)
    phi = step.characteristic(omega / math.sqrt(steps))
    assert phi[0] == 1
    expected = -(omega**2) / 2 + step.excess_kurtosis * omega**4 / (24 * steps)
    assert (phi**4096).real.log().mul(steps / 4096).numpy() == pytest.approx(expected.numpy(), abs=3e-6)


def test_laplace_by_two_names_walks_alike():
    laplace, same, grid = get("laplace"), get("generalized_normal", shape=1), Grid(2048)
    assert sampler_distances(same, 32, grid) == pytest.approx(sampler_distances(laplace, 32, grid), rel=1e-9)
    assert walk_distances(same, 1024, grid) == pytest.approx(walk_distances(laplace, 1024, grid), rel=1e-7)


def test_a_walk_with_a_narrow_cusp_stays_a_law():
    """Of shape 0.3, fourth moment 154: its distances are of the order of those of any other law."""
    coarse, fine = (max(walk_distances(get("generalized_normal", shape=0.3), n, Grid(2048))) for n in (64, 512))
    assert 0.3 > coarse > 2 * fine


@dataclass(frozen=True)
class Bumps(Symmetric):
    """Normal laws of width s at ±√(1 − s²), of which `kinks` does not speak, times a constant."""

    width: float = 0.01
    mass: float = 1.0

    name = "bumps"
    support = (-math.inf, math.inf)
    excess_kurtosis = fisher_information = math.nan

    def sample(self, shape, **options):
        raise NotImplementedError

    cdf = sample

    def log_prob(self, z):
        far = (z.abs() - math.sqrt(1 - self.width**2)) / self.width
        return -0.5 * far.square() - math.log(2 * math.sqrt(2 * math.pi) * self.width) + math.log(self.mass)


def test_a_law_from_elsewhere_is_transformed():
    found = HyperbolicSecant().characteristic(OMEGA)
    torch.testing.assert_close(found.real, 1 / torch.cosh(OMEGA), rtol=0, atol=1e-12)
    found, s = Bumps().characteristic(OMEGA), Bumps().width
    expected = torch.cos(math.sqrt(1 - s**2) * OMEGA) * torch.exp(-0.5 * (s * OMEGA) ** 2)
    torch.testing.assert_close(found.real, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("step", [HeavySecant(1.5), HeavySecant(1 + 2e-10), Bumps(mass=1 - 2e-10)])
def test_a_density_that_does_not_integrate_to_one_is_not_transformed(step):
    with pytest.raises(StepError, match=r"cannot be transformed: its integral is found to be.*method `characteristic`"):
        step.characteristic(OMEGA)


@pytest.mark.parametrize("step", [get("arcsine"), Bumps(mass=math.nan)], ids=str)
def test_a_density_that_cannot_be_followed_is_not_transformed(step):
    """Near the ends at which arcsine's is infinite float64 has too few points."""
    with pytest.raises(StepError, match="cannot be transformed"):
        Step.characteristic(step, OMEGA)
