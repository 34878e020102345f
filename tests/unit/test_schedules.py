"""Schedules: ends, direction, and the cosine's own formula; component-wise: GUD's formula, its order and its limits."""

import itertools
import math

import mpmath
import pytest
import torch
from problems import normals

from nonnormal.bases import DCT, Haar
from nonnormal.processes import VP, uniform_times
from nonnormal.processes.schedules import (
    ComponentWise,
    Cosine,
    LinearLogSNR,
    Polynomial,
    Schedule,
    column_labels,
    row_labels,
    sequential,
    variance_labels,
)
from nonnormal.samplers import grids

KINDS = [LinearLogSNR, Cosine, Polynomial]


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


def test_uniform_times_of_the_polynomial_are_edms_levels():
    ends = -2 * math.log(0.002), -2 * math.log(80)
    sigma = (-Polynomial(*ends).log_snr(uniform_times(17)) / 2).exp()
    torch.testing.assert_close(sigma.sort(descending=True).values, grids.polynomial(17, to_zero=False))


def test_cosine_with_far_ends_is_the_published_one():
    # Nichol and Dhariwal: alpha = cos(πt/2), sigma = sin(πt/2); ends at ±30 cut off 3e-7 of the angle.
    schedule = Cosine(30.0, -30.0)
    for t in (0.1, 0.25, 0.5, 0.9):
        assert schedule.log_snr(t).item() == pytest.approx(-2 * math.log(math.tan(math.pi * t / 2)), abs=1e-5)


@pytest.mark.parametrize(
    ("high", "low"),
    [(20.0, -80.0), (20.0, -60.0), (80.0, -5.0), (300.0, -400.0), (80.0, 60.0), (-60.0, -80.0), (9.0, -7.0)],
)
def test_cosine_keeps_its_digits_towards_both_ends(high, low):
    schedule, t = Cosine(high, low), torch.tensor([0.0, 1e-9, 0.3, 0.5, 1 - 2**-30, 1.0], dtype=torch.float64)
    with mpmath.workdps(200):
        first, last = (mpmath.atan(mpmath.exp(mpmath.mpf(-end) / 2)) for end in (high, low))
        angles = [first + mpmath.mpf(time) * (last - first) for time in t.tolist()]
        expected = [float(-2 * mpmath.log(mpmath.tan(angle))) for angle in angles]
        slopes = [float(-4 * (last - first) / mpmath.sin(2 * angle)) for angle in angles]
    torch.testing.assert_close(schedule.log_snr(t), torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(schedule.slope(t), torch.tensor(slopes, dtype=torch.float64), rtol=1e-9, atol=0)


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


# ---- one for each component ------------------------------------------------------------------------------------------

SHAPE = (2, 3, 4)


LABELS, VARIANCE = normals(*SHAPE), normals(*SHAPE, seed=1).exp()
ORDERS = {
    "custom": LABELS,
    "variance": variance_labels(VARIANCE),
    "frequency": DCT().frequency(SHAPE),
    "scale": Haar(1).frequency((2, 4, 4)),
    "column": column_labels(SHAPE),
    "row": row_labels(SHAPE),
}


@pytest.mark.parametrize("softness", [0.2, 1.0, math.inf])
@pytest.mark.parametrize("labels", ORDERS.values(), ids=ORDERS.keys())
def test_component_wise_is_guds_formula(labels, softness):
    """γ_i(t) = γ_min + log Σ_i + a (l_i − l_max) + t (γ_max − γ_min + a (l_max − l_min)) with γ = −log_snr."""
    variance = normals(*labels.shape, seed=1).exp()
    schedule = ComponentWise(labels, softness, variance, 9.0, -7.0)
    a, start, end = 1 / softness, -9.0, 7.0
    for t in (0.0, 0.37, 1.0):
        slope = end - start + a * (labels.max() - labels.min())
        gamma = start + variance.log() + a * (labels - labels.max()) + t * slope
        torch.testing.assert_close(schedule.log_snr(t), -gamma, rtol=1e-13, atol=1e-12)


def test_component_wise_ends_are_those_of_the_first_and_the_last():
    schedule = ComponentWise(LABELS, 0.5, log_snr_max=9.0, log_snr_min=-7.0)
    assert schedule.log_snr(0.0).flatten()[LABELS.argmax()].item() == pytest.approx(9.0, abs=1e-12)
    assert schedule.log_snr(1.0).flatten()[LABELS.argmin()].item() == pytest.approx(-7.0, abs=1e-12)
    assert schedule.log_snr(0.0).min() >= 9.0 - 1e-12  # all data at least this clean, all noise at least this noisy
    assert schedule.log_snr(1.0).max() <= -7.0 + 1e-12


@pytest.mark.parametrize("labels", ORDERS.values(), ids=ORDERS.keys())
def test_larger_labels_are_noised_first_and_generated_last(labels):
    schedule = ComponentWise(labels, 0.5)
    order = labels.flatten().argsort()
    sorted_labels = labels.flatten()[order]
    for t in (0.0, 0.5, 1.0):
        log_snr = schedule.log_snr(t).flatten()[order]
        assert (log_snr.diff() <= 1e-12).all()
        assert (log_snr.diff()[sorted_labels.diff() > 1e-9] < 0).all()


def test_orders_are_those_of_their_names():
    columns, rows = (ComponentWise(of(SHAPE)).log_snr(0.5) for of in (column_labels, row_labels))
    assert (columns.diff(dim=2) < 0).all()
    assert (columns.diff(dim=1) == 0).all()
    assert (rows.diff(dim=1) < 0).all()
    assert (rows.diff(dim=2) == 0).all()
    assert (columns[0] == columns[1]).all()
    by_variance = ComponentWise(variance_labels(VARIANCE)).log_snr(0.5).flatten()
    assert torch.equal(by_variance.argsort(), VARIANCE.flatten().argsort())  # what varies most is clearest
    coarse = ComponentWise(ORDERS["frequency"]).log_snr(0.5)
    assert (coarse[:, 0, 0] == coarse.max()).all()
    assert (coarse[:, -1, -1] == coarse.min()).all()


@pytest.mark.parametrize("t", [0.3, torch.rand(5), torch.rand(2, 3)], ids=["()", "(5,)", "(2, 3)"])
def test_component_wise_shape_is_that_of_the_time_and_the_components(t):
    value = ComponentWise(LABELS.float(), 0.5, VARIANCE.float(), low=-6.0, high=8.0).log_snr(t)
    assert (value.shape, value.dtype) == ((*torch.as_tensor(t).shape, *SHAPE), torch.float64)


def test_all_components_have_one_snr_when_the_order_is_infinitely_soft():
    linear, t = LinearLogSNR(9.0, -7.0), torch.linspace(0, 1, 11, dtype=torch.float64)
    expected = linear.log_snr(t)[:, None, None, None].expand(11, *SHAPE)
    found = ComponentWise(LABELS, math.inf, log_snr_max=9.0, log_snr_min=-7.0).log_snr(t)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    # With the variance it is the SNR of the data that is one: Σ_i alpha_i²/sigma_i².
    counted = ComponentWise(LABELS, math.inf, VARIANCE, 9.0, -7.0).log_snr(t) + VARIANCE.log()
    torch.testing.assert_close(counted, expected, rtol=0, atol=1e-12)


def shares(schedule, steps=4000):
    """Share of each component's information, ½ log(1 + Σ SNR), that is gained in each unit of time: (steps, D)."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    information = 0.5 * torch.log1p(schedule.log_snr(t).exp()).flatten(1)
    return -information.diff(dim=0) / (information[0] - information[-1])


def overlap(schedule):
    """Σ_t min of two components' shares, the largest over all pairs of different labels: 1 together, 0 apart."""
    share, labels = shares(schedule), schedule.labels.flatten()
    pairs = [(i, j) for i in range(len(labels)) for j in range(i) if labels[i] != labels[j]]
    return max(torch.minimum(share[:, i], share[:, j]).sum().item() for i, j in pairs)


def test_components_are_generated_one_block_after_the_other_as_softness_falls():
    found = [
        overlap(ComponentWise(column_labels((1, 2, 3)), softness, None, 9.0, -7.0, low=-7.0, high=9.0))
        for softness in (math.inf, 1.0, 0.3, 0.1, 1 / 16)
    ]
    assert found[0] == pytest.approx(1, abs=1e-9)
    assert all(later < earlier - 0.03 for earlier, later in itertools.pairwise(found))
    # At a = 16, the whole fall of the log-SNR, windows touch and do not overlap.
    assert found[-1] < 1e-3


def test_blocks_follow_each_other_in_the_order_of_their_labels():
    share = shares(ComponentWise(column_labels((1, 2, 3)), 0.01, None, 9.0, -7.0, low=-7.0, high=9.0))
    t = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    centre, spread = share.T @ t, (share.T @ t.square() - (share.T @ t).square()).sqrt()
    assert torch.equal(centre[:3], centre[3:])  # two rows, one block a column
    assert (centre[:3].diff() < -0.4).all()  # from 1 down to 0: the left column is generated first
    assert (spread < 0.03).all()


def test_clipping_bounds_and_changes_nothing_inside():
    free = ComponentWise(LABELS, 0.3, VARIANCE)
    clipped = ComponentWise(LABELS, 0.3, VARIANCE, low=-6.0, high=8.0)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.equal(clipped.log_snr(t), free.log_snr(t).clamp(-6.0, 8.0))
    assert (clipped.log_snr(t) != free.log_snr(t)).any()
    assert (clipped.log_snr(t).diff(dim=0) <= 0).all()


@pytest.mark.parametrize("delay", [0.0, 0.25, 1.0, 2.0])
def test_columns_wait_for_their_turn(delay):
    """Column k is noised over a window w = 1/(1 + 3·delay) that begins (3 − k)·delay·w after time 0."""
    schedule = sequential(column_labels((1, 2, 4)), delay, 9.0, -7.0)
    window = 1 / (1 + 3 * delay)
    for column in range(4):
        start = (3 - column) * delay * window
        for t in torch.linspace(0, 1, 41, dtype=torch.float64):
            progress = min(max((t.item() - start) / window, 0), 1)
            found = schedule.log_snr(t)[0, :, column]
            torch.testing.assert_close(
                found, torch.full((2,), 9.0 - 16 * progress, dtype=torch.float64), rtol=0, atol=1e-11
            )


@pytest.mark.parametrize("delay", [-0.1, math.nan, math.inf])
def test_delays_must_be_finite_and_not_negative(delay):
    with pytest.raises(ValueError, match="delay must be 0 or more windows"):
        sequential(column_labels(SHAPE), delay)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": torch.zeros(4)}, r"labels must be finite, one for each component \(C, H, W\), found shape \(4,\)"),
        ({"labels": torch.zeros(1, 0, 2)}, "labels must be finite"),
        ({"labels": torch.full(SHAPE, math.nan)}, "labels must be finite"),
        ({"labels": torch.full(SHAPE, math.inf)}, "labels must be finite"),
        ({"variance": torch.ones(2, 3, 5)}, r"labels' shape \(2, 3, 4\), found shape \(2, 3, 5\)"),
        ({"variance": torch.zeros(SHAPE)}, "variance must be positive"),
        ({"variance": torch.full(SHAPE, math.nan)}, "variance must be positive"),
        ({"softness": 0.0}, "softness must be positive, found 0.0"),
        ({"softness": -1.0}, "softness must be positive"),
        ({"softness": math.nan}, "softness must be positive"),
        ({"softness": 1e-4}, r"leave float64: soften the order, or clip"),
        ({"softness": 1e-320}, r"leave float64"),
        ({"log_snr_max": -6.0}, r"log_snr_max = -6.0 must be larger than log_snr_min = -5.0"),
        ({"low": 20.0}, "24 of 24 components never move between 20.0 and inf"),
        ({"high": -5.5, "softness": 100.0}, r"\d+ of 24 components never move"),
        ({"low": 3.0, "high": 2.0}, "24 of 24 components never move"),
    ],
)
def test_component_wise_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ComponentWise(**{"labels": LABELS, **options})


def test_small_softness_is_allowed_between_caps():
    schedule = ComponentWise(LABELS, 1e-4, low=-5.0, high=13.3)
    assert schedule.log_snr(torch.linspace(0, 1, 11)).isfinite().all()


def test_variance_labels_need_variance():
    with pytest.raises(ValueError, match="positive variances, found shape"):
        variance_labels(torch.tensor([[[1.0, 0.0]]]))


def test_component_wise_schedules_are_themselves_alone():
    """Tensors have no single truth value, so two schedules are equal only if they are one object."""
    first, second = ComponentWise(LABELS), ComponentWise(LABELS)
    assert first == first != second
    assert len({first, second}) == 2
    assert VP(first) == VP(first) != VP(second)


@pytest.mark.parametrize("t", [0.3, torch.rand(2, 3, generator=torch.Generator().manual_seed(0))])
def test_the_slope_of_a_linear_schedule_is_what_differentiation_finds(t):
    schedule = LinearLogSNR(13.3, -5.0)
    assert torch.equal(schedule.slope(t), Schedule.slope(schedule, t))
