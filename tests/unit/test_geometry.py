"""Geometry: lines, a half circle, a parabola."""

import math

import pytest
import torch

from nonnormal.geometry import arc_chord_ratio, chord_distance


def half_circle(n, turn=0.0):
    """(n + 1, 1, 2): from angle 0 to π around the origin, turned."""
    angle = torch.linspace(0, math.pi, n + 1, dtype=torch.float64) + turn
    return torch.stack([angle.cos(), angle.sin()], dim=-1).unsqueeze(1)


def test_a_line_has_no_distance_to_its_chord_and_no_detour():
    draws = torch.Generator().manual_seed(0)
    start, end = torch.randn(2, 3, 1, 4, 4, generator=draws, dtype=torch.float64)
    pace = torch.tensor([0, 0.1, 0.5, 0.6, 1.0], dtype=torch.float64).reshape(-1, 1, 1, 1, 1)
    path = start + pace * (end - start)
    torch.testing.assert_close(chord_distance(path), torch.zeros(5, 3, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(arc_chord_ratio(path), torch.ones(3, dtype=torch.float64))


def test_ends_of_any_path_lie_on_its_chord():
    path = torch.randn(9, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distance = chord_distance(path)
    assert distance.shape == (9, 4)
    torch.testing.assert_close(distance[[0, -1]], torch.zeros(2, 4, dtype=torch.float64), rtol=0, atol=1e-14)
    assert (distance[1:-1] > 0.1).all()


@pytest.mark.parametrize("turn", [0.0, 0.7, 2.0])
def test_half_circle_rises_as_the_sine(turn):
    distance = chord_distance(half_circle(8, turn))[:, 0]
    expected = torch.linspace(0, math.pi, 9, dtype=torch.float64).sin()
    torch.testing.assert_close(distance, expected, rtol=0, atol=1e-14)


def test_parabola_has_its_height():
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    distance = chord_distance(torch.stack([x, 1 - x.square()], dim=-1).unsqueeze(1))
    torch.testing.assert_close(distance[:, 0], 1 - x.square())


def test_arc_of_a_half_circle_tends_to_half_pi_from_below():
    ratios = [arc_chord_ratio(half_circle(n)).item() for n in (2, 20, 200)]
    # Chords of n equal pieces: n sin(π/2n), which falls short by a share of π²/24n².
    assert ratios == pytest.approx([n * math.sin(math.pi / (2 * n)) for n in (2, 20, 200)], rel=1e-12)
    assert ratios[-1] == pytest.approx(math.pi / 2, rel=2e-5)


def test_measures_follow_the_scale_of_the_path():
    path = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(chord_distance(5 * path + 2), 5 * chord_distance(path))
    torch.testing.assert_close(arc_chord_ratio(5 * path + 2), arc_chord_ratio(path))
