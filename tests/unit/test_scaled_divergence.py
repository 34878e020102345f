"""Divergence of steps of another scale against 30-digit quadrature, equal scales and closed forms."""

import csv
import math
from pathlib import Path

import pytest
import torch

from nonnormal.steps import ScaleMixture, StepError
from nonnormal.steps.divergence import shift_kl
from nonnormal.steps.scaled_divergence import scaled_kl

DOUBLE = torch.float64
GOLDEN = Path(__file__).parents[1] / "golden" / "scaled_kl.csv"
SHIFTS = torch.tensor([-5.0, -1.0, 0.0, 0.3, 2.0, 9.0], dtype=DOUBLE)
MIXTURE = ScaleMixture((0.5, 0.5), (0.75, 1.25))


def golden_rows():
    with GOLDEN.open() as file:
        return list(csv.DictReader(file))


def test_golden_table_has_all_pairs():
    rows = golden_rows()
    assert len(rows) == 108
    assert {row["q"] for row in rows} == {"normal", "laplace", "uniform"}


@pytest.mark.parametrize("q", ["normal", "laplace", "uniform"])
def test_golden_table(q):
    """Values by mpmath's quadrature with 34 digits."""
    for row in golden_rows():
        if row["q"] == q:
            p = ScaleMixture(*(tuple(map(float, row[name].split())) for name in ("weights", "variances")))
            found = scaled_kl(q, p, float(row["delta"]), float(row["scale"])).item()
            assert found == pytest.approx(float(row["kl_nats"]), rel=1e-12, abs=1e-13), row


@pytest.mark.parametrize("p", ["normal", "laplace", "logistic", "student_t(df=5)", "normal_mixture(kurtosis=3)"])
@pytest.mark.parametrize("q", ["normal", "laplace", "uniform", "arcsine"])
def test_scale_one_is_the_shift_divergence(q, p):
    torch.testing.assert_close(scaled_kl(q, p, SHIFTS, 1.0), shift_kl(q, p, SHIFTS), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("q", ["normal", "laplace", "uniform", "gumbel"])
def test_a_mixture_of_one_part_is_the_normal(q):
    one = ScaleMixture((0.4, 0.6), (1.0, 1.0))
    torch.testing.assert_close(
        scaled_kl(q, one, SHIFTS, 1.7), scaled_kl(q, "normal", SHIFTS, 1.7), rtol=1e-12, atol=1e-12
    )


def test_scales_broadcast_and_the_result_is_float64():
    scale = torch.tensor([[0.9], [1.3]], dtype=DOUBLE)
    found = scaled_kl("normal", MIXTURE, SHIFTS.float(), scale)
    assert (found.shape, found.dtype) == ((2, 6), DOUBLE)
    assert found[1, 4].item() == pytest.approx(scaled_kl("normal", MIXTURE, 2.0, 1.3).item(), rel=1e-12)


def test_the_best_normal_scale_is_the_root_of_one_plus_the_square():
    scales = torch.linspace(1, 4, 3001, dtype=DOUBLE)
    best = scales[scaled_kl("laplace", "normal", 1.5, scales).argmin()].item()
    assert best == pytest.approx(math.sqrt(1 + 1.5**2), abs=1e-3)


def test_many_pairs_are_integrated_in_parts():
    shifts = torch.linspace(-3, 3, 5000, dtype=DOUBLE)
    found = scaled_kl("normal", MIXTURE, shifts, 1.2)
    torch.testing.assert_close(found, found.flip(0), rtol=1e-12, atol=1e-13)
    assert scaled_kl("normal", MIXTURE, shifts[:0], 1.2).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error", "found"),
    [
        (("normal", "normal", 0.0, 0.0), ValueError, "scales must be positive"),
        (("normal", MIXTURE, 0.0, math.nan), ValueError, "scales must be positive"),
        (("normal", "uniform", 0.0, 2.0), ValueError, "normal/uniform is infinite"),
        (("rademacher", MIXTURE, 0.0, 1.0), StepError, "no density"),
        (("rademacher", "normal", 0.0, 1.0), StepError, "no density"),
    ],
)
def test_refusals(arguments, error, found):
    with pytest.raises(error, match=found):
        scaled_kl(*arguments)
