"""Schedules: ends, direction, and the cosine's own formula."""

import math

import pytest
import torch

from nonnormal.schedules import Cosine, LinearLogSNR

KINDS = [LinearLogSNR, Cosine]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("high", "low"), [(13.3, -5.0), (9.0, -7.0), (2.0, 1.0), (-1.0, -3.0)])
def test_ends_are_those_asked_for(kind, high, low):
    schedule = kind(high, low)
    assert schedule.log_snr(0.0).item() == pytest.approx(high, abs=1e-12)
    assert schedule.log_snr(1.0).item() == pytest.approx(low, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_falls_with_time(kind):
    assert (kind(13.3, -5.0).log_snr(torch.linspace(0, 1, 1001, dtype=torch.float64)).diff() < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_is_float64_in_the_shape_of_the_time(kind):
    value = kind().log_snr(torch.rand(2, 3, dtype=torch.float32))
    assert (value.shape, value.dtype) == ((2, 3), torch.float64)


def test_linear_is_linear():
    schedule = LinearLogSNR(13.3, -5.0)
    assert schedule.log_snr(0.25).item() == pytest.approx(13.3 - 0.25 * 18.3, abs=1e-12)


def test_cosine_with_far_ends_is_the_published_one():
    # Nichol and Dhariwal: alpha = cos(πt/2), sigma = sin(πt/2); ends at ±30 cut off 3e-7 of the angle.
    schedule = Cosine(30.0, -30.0)
    for t in (0.1, 0.25, 0.5, 0.9):
        assert schedule.log_snr(t).item() == pytest.approx(-2 * math.log(math.tan(math.pi * t / 2)), abs=1e-5)


def test_cosine_angle_is_linear_between_its_ends():
    schedule = Cosine(9.0, -7.0)
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    angle = torch.atan(torch.exp(-schedule.log_snr(t) / 2))
    torch.testing.assert_close(angle.diff(), angle.diff().mean().expand(20), rtol=1e-9, atol=0)
    assert angle[10].item() == pytest.approx((math.atan(math.exp(-4.5)) + math.atan(math.exp(3.5))) / 2, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("high", "low"), [(-5.0, 13.3), (1.0, 1.0), (math.nan, 0.0)])
def test_ends_in_the_wrong_order_are_refused(kind, high, low):
    with pytest.raises(ValueError, match=r"log_snr_max = .* must be larger than log_snr_min = "):
        kind(high, low)


def test_schedules_are_values():
    assert LinearLogSNR(9, -7) == LinearLogSNR(9, -7)
    assert hash(LinearLogSNR(9, -7)) == hash(LinearLogSNR(9, -7))
    assert LinearLogSNR(9, -7) != Cosine(9, -7)
    assert LinearLogSNR(9, -7) != LinearLogSNR(9, -6)
