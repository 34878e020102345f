"""Geometry: lines, circles, parabolas, helices, and the images that are nearest."""

import math

import pytest
import torch
from problems import normals

from nonnormal.analysis.geometry import (
    arc_chord_ratio,
    bridge,
    chord_distance,
    curvature,
    end_distance,
    explained_variance,
    monotone_share,
    nearest_image,
    project,
    remaining_cosine,
    residual_variance,
    score_deviation,
    torsion,
)
from nonnormal.denoisers import GaussianMixtureDenoiser, NFECounter, OptimalDenoiser
from nonnormal.samplers import polynomial, sample_euler


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


def test_distance_of_other_points_to_the_chord():
    path = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(chord_distance(path, path[1:4]), chord_distance(path)[1:4])
    flat = torch.tensor([[0.0, 0.0], [4.0, 0.0]], dtype=torch.float64).unsqueeze(1)
    points = torch.tensor([[1.0, 3.0], [9.0, -2.0], [2.0, 0.0]], dtype=torch.float64).unsqueeze(1)
    assert chord_distance(flat, points)[:, 0].tolist() == [3.0, 2.0, 0.0]


def along_x(*positions):
    """(T + 1, 1, 1, 2): states on a line."""
    x = torch.tensor(positions, dtype=torch.float64)
    return torch.stack([x, torch.zeros_like(x)], dim=-1).reshape(-1, 1, 1, 2)


def test_end_distance_is_the_distance_to_the_last_state():
    assert end_distance(along_x(5, 3, 4, -1))[:, 0].tolist() == [6, 4, 5, 0]


def test_monotone_share_counts_those_that_have_not_yet_turned_back():
    steady, turns, stands, late = (5, 4, 3, 2, 0), (5, 4, 4.5, 2, 0), (5, 5, 3, 2, 0), (5, 4, 3, -3.5, 0)
    path = torch.cat([along_x(*each) for each in (steady, turns, stands, late)], dim=1)
    assert monotone_share(path).tolist() == [0.75, 0.5, 0.25, 0.25]


def test_remaining_cosine_is_one_where_the_noise_points_away_from_the_end():
    end, x = torch.tensor([0.0, 0.0]), torch.tensor([3.0, 0.0])
    path = torch.stack([x, x, x, end]).unsqueeze(1).double()
    denoised = torch.tensor([[2.0, 0.0], [3.0, -1.0], [2.0, -1.0]]).unsqueeze(1).double()
    expected = torch.tensor([1.0, 0.0, math.sqrt(0.5)], dtype=torch.float64)
    torch.testing.assert_close(remaining_cosine(path, denoised)[:, 0], expected)


# ---- three dimensions ------------------------------------------------------------------------------------------------


def rotation(dims, seed=0):
    return torch.linalg.qr(normals(dims, dims, seed=seed))[0]


def helix(n, radius=2.0, pitch=0.5, turns=1.5, uneven=0.0):
    """(n + 1, 1, 3) on (ρ cos u, ρ sin u, p u): curvature ρ/(ρ² + p²), torsion p/(ρ² + p²)."""
    u = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    u = 2 * math.pi * turns * (u + uneven * torch.sin(2 * math.pi * u) / (2 * math.pi))
    return torch.stack([radius * u.cos(), radius * u.sin(), pitch * u], dim=-1).unsqueeze(1)


def test_a_line_has_neither_curvature_nor_torsion():
    start, end = normals(2, 1, 3, 3)
    curve = start + torch.tensor([0, 0.1, 0.5, 0.6, 1.0], dtype=torch.float64).reshape(-1, 1, 1) * (end - start)
    assert curvature(curve).shape == (3, 3)
    assert torsion(curve).shape == (2, 3)
    assert curvature(curve).max() < 1e-13
    assert torsion(torch.arange(5.0).reshape(-1, 1, 1) * torch.tensor([1.0, 2.0, 4.0])).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("radius", [0.1, 1.0, 30.0])
def test_a_circle_of_any_spacing_has_one_over_its_radius_and_no_torsion(radius):
    angle = torch.tensor([0.0, 0.1, 0.7, 0.8, 2.0, 3.5], dtype=torch.float64)
    circle = radius * torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=-1).unsqueeze(1)
    turned = circle @ rotation(3) + 1
    torch.testing.assert_close(curvature(turned), torch.full((4, 1), 1 / radius, dtype=torch.float64))
    assert torsion(turned).abs().max() < 1e-9 / radius


@pytest.mark.parametrize("pitch", [0.5, -0.5])
@pytest.mark.parametrize("uneven", [0.0, 0.6])
def test_a_helix_has_its_curvature_and_torsion_to_second_order(uneven, pitch):
    errors = []
    for n in (100, 200):
        curve = helix(n, pitch=pitch, uneven=uneven)
        errors.append(
            [
                (curvature(curve) - 2 / (4 + 0.25)).abs().max().item(),
                (torsion(curve) - pitch / (4 + 0.25)).abs().max().item(),
            ]
        )
    for coarse, fine in zip(*errors, strict=True):
        assert fine < 2e-3
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.15)


def test_torsion_of_a_helix_under_any_spacing():
    """Neighbouring steps of ratios up to ten: the error is of first order, where that of a wrong length would stay."""
    errors = []
    for n in (200, 2000):
        steps = 0.1 + 0.9 * torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        u = 10 * torch.cat([torch.zeros(1), steps.cumsum(0) / steps.sum()])
        curve = torch.stack([2 * u.cos(), 2 * u.sin(), 0.5 * u], dim=-1).unsqueeze(1)
        errors.append((torsion(curve) / (0.5 / 4.25) - 1).abs().max().item())
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 8


def test_a_mirror_turns_torsion_and_a_scale_divides_both():
    curve = helix(30)
    mirrored = curve * torch.tensor([1.0, 1.0, -1.0])
    torch.testing.assert_close(torsion(mirrored), -torsion(curve))
    torch.testing.assert_close(curvature(mirrored), curvature(curve))
    torch.testing.assert_close(torsion(4 * curve), torsion(curve) / 4)
    torch.testing.assert_close(curvature(4 * curve), curvature(curve) / 4)


def in_many_dimensions(curve, dims=(2, 3, 4), seed=0):
    """The curve (T + 1, B, 3) in a three-dimensional subspace of a space of the given shape."""
    size = math.prod(dims)
    return (curve @ rotation(size, seed)[:3] + normals(size, seed=9)).reshape(*curve.shape[:2], *dims)


def test_projection_finds_a_curve_of_three_dimensions_again():
    curve = torch.cat([helix(40), helix(40, pitch=-1.0, turns=0.4)], dim=1)
    found = project(in_many_dimensions(curve))
    assert found.shape == (41, 2, 3)
    gaps = [(path[:, None] - path[None]).norm(dim=-1) for path in (found, curve)]
    torch.testing.assert_close(*gaps, rtol=0, atol=1e-12)
    torch.testing.assert_close(curvature(found), curvature(curve), rtol=0, atol=1e-9)
    torch.testing.assert_close(torsion(found).abs(), torsion(curve).abs(), rtol=0, atol=1e-9)


def test_projection_runs_from_zero_along_the_chord():
    path = normals(9, 4, 1, 3, 3)
    found = project(path)
    chord = (path[-1] - path[0]).flatten(1).norm(dim=1)
    torch.testing.assert_close(found[0], torch.zeros(4, 3, dtype=torch.float64), rtol=0, atol=1e-14)
    expected = torch.stack([chord, 0 * chord, 0 * chord], dim=1)
    torch.testing.assert_close(found[-1], expected, rtol=0, atol=1e-13)
    side = found[:, :, 1:]
    assert (side.amax(0) >= -side.amin(0)).all()
    centred = side - side.mean(0)
    assert torch.einsum("tb,tb->b", centred[..., 0], centred[..., 1]).abs().max() < 1e-12
    assert (centred.square().sum(0)[:, 0] >= centred.square().sum(0)[:, 1]).all()
    # With all components, nothing of the distance to the chord is lost.
    torch.testing.assert_close(project(path, 8)[..., 1:].norm(dim=-1), chord_distance(path), rtol=0, atol=1e-12)


def test_explained_variance_of_lines_planes_and_space():
    line = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(-1, 1, 1) * torch.tensor([[[1.0, 2.0, 3.0]]])
    arc = torch.cat([half_circle(11), torch.zeros(12, 1, 1)], dim=-1)
    path = in_many_dimensions(torch.cat([line, arc, helix(11)], dim=1))
    shares = explained_variance(path)
    assert shares.shape == (3, 3)
    torch.testing.assert_close(shares[:, 0], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(shares[1:, 1], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(shares[2], torch.ones(3, dtype=torch.float64))
    x, y = half_circle(11)[:, 0].T  # the chord is the first axis
    assert shares[0, 1].item() == pytest.approx((x.var() / (x.var() + y.var())).item(), rel=1e-12)
    assert shares[1, 2] < 0.999


def test_explained_variance_is_that_of_the_projection():
    path = normals(9, 4, 1, 3, 3)
    total = path.flatten(2).var(dim=0).sum(-1)
    expected = (project(path, 3).var(dim=0).cumsum(-1) / total[:, None]).T
    torch.testing.assert_close(explained_variance(path, 3), expected)
    assert (explained_variance(path, 8)[-1] - 1).abs().max() < 1e-12


def test_residual_variance_is_what_the_components_leave_across_the_chord():
    path = normals(9, 4, 1, 3, 3)
    variances = project(path, 7).var(dim=0)[:, 1:]  # across the chord, one number a component
    expected = 1 - variances.cumsum(1)[:, :3].T / variances.sum(1)
    torch.testing.assert_close(residual_variance(path, 3), expected)
    space = in_many_dimensions(helix(11))
    torch.testing.assert_close(residual_variance(space)[1], torch.zeros(1, dtype=torch.float64), rtol=0, atol=1e-12)
    line = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(-1, 1, 1) * torch.tensor([[[4.0, 0.0, 0.0]]])
    assert residual_variance(line).tolist() == [[0.0], [0.0]]


def test_two_components_of_a_bridge_leave_what_its_eigenvalues_say():
    line = torch.linspace(0, 1, 301, dtype=torch.float64).reshape(-1, 1, 1) * normals(1, 20, 800)
    walk = line + normals(301, 20, 800, seed=1).cumsum(0) / 100
    found = residual_variance(bridge(walk, normals(300, 20, 800, seed=2)))[1]
    assert found.mean().item() == pytest.approx(1 - 6 / math.pi**2, abs=0.01)


def test_a_bridge_has_the_ends_the_chord_and_the_steps_of_its_path():
    path = normals(9, 4, 1, 3, 3).cumsum(0)
    found = torch.stack([bridge(path, normals(8, 4, 1, 3, 3, seed=seed)) for seed in range(1, 500)])
    torch.testing.assert_close(found[:, [0, -1]], path[[0, -1]].expand(499, 2, *path.shape[1:]))
    steps, random = path.flatten(2).diff(dim=0), found.flatten(3).diff(dim=1)
    chord = (path[-1] - path[0]).flatten(1)
    chord = chord / chord.norm(dim=-1, keepdim=True)
    along, random_along = (steps * chord).sum(-1), (random * chord).sum(-1)
    torch.testing.assert_close(random_along, along.expand_as(random_along))
    square = steps.square().sum(-1) - along.square()
    expected = square * (1 - square / square.sum(0))  # of a walk that is tied at its end
    torch.testing.assert_close((random.square().sum(-1) - along.square()).mean(0), expected, rtol=0.15, atol=0)


@pytest.mark.parametrize(("beside", "low", "high"), [("noise", 1.5, 5), ("walk", 0.9, 1.1), ("curve", 0, 0.05)])
def test_a_line_with_noise_about_it_leaves_as_much_as_its_bridge_and_a_curve_does_not(beside, low, high):
    """On the chord all three have over 0.99 of their variance."""
    t = torch.linspace(0, 1, 41, dtype=torch.float64).reshape(-1, 1, 1)
    noise = normals(41, 20, 64, seed=1)
    bend = torch.cat([(math.pi * t).sin(), (2 * math.pi * t).sin(), (3 * math.pi * t).sin() / 9], dim=-1)
    curve = torch.einsum("tbk,kbd->tbd", bend, normals(3, 20, 64, seed=3))
    path = 30 * t * normals(1, 20, 64) + {"noise": noise, "walk": 0.3 * noise.cumsum(0), "curve": curve}[beside] / 4
    assert explained_variance(path)[0].min() > 0.99
    control = residual_variance(bridge(path, normals(40, 20, 64, seed=2)))[1]
    assert low < (residual_variance(path)[1].mean() / control.mean()).item() < high


@pytest.mark.parametrize("components", [-1, 3, 9])
def test_more_components_than_there_is_room_for_are_refused(components):
    with pytest.raises(ValueError, match=f"{components} components do not fit 5 states of 3 coordinates"):
        project(normals(5, 2, 3), components)
    with pytest.raises(ValueError, match=f"{components} components"):
        explained_variance(normals(5, 2, 3), components)


# ---- against the optimal denoiser ------------------------------------------------------------------------------------


def test_score_deviation_is_nothing_for_the_optimal_denoiser_and_known_for_a_shifted_one():
    images, sigmas, shift = normals(20, 1, 3, 3), polynomial(5, 0.1, 5.0), torch.full((1, 3, 3), 0.5)
    optimal = NFECounter(OptimalDenoiser(images))
    for denoiser, expected in ((optimal.denoiser, 0.0), (lambda x, sigma: optimal.denoiser(x, sigma) + shift, 1.5)):
        seen = []
        end = sample_euler(denoiser, 5 * normals(4, 1, 3, 3, seed=1), sigmas, callback=seen.append)
        path, denoised = torch.stack([*(at["x"] for at in seen), end]), torch.stack([at["denoised"] for at in seen])
        found = score_deviation(path, denoised, sigmas, optimal)
        torch.testing.assert_close(found, torch.full((5, 4), expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert optimal.nfe == 10


def test_score_deviation_is_the_distance_of_scores_by_variance():
    a, b = (GaussianMixtureDenoiser(torch.zeros(1, 2), torch.tensor([s], dtype=torch.float64)) for s in (0.5, 0.8))
    path, sigmas = normals(3, 4, 2), torch.tensor([2.0, 1.0, 0.0])
    denoised = torch.stack([a(x, sigma) for x, sigma in zip(path[:2], sigmas, strict=False)])
    found = score_deviation(path, denoised, sigmas, b)
    for k, sigma in enumerate([2.0, 1.0]):
        scores = path[k] / (0.5**2 + sigma**2) - path[k] / (0.8**2 + sigma**2)
        torch.testing.assert_close(found[k], sigma**2 * scores.norm(dim=1))


def test_a_path_and_levels_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="3 states, 3 denoised states, 3 levels"):
        score_deviation(normals(3, 2, 1), normals(3, 2, 1), torch.tensor([2.0, 1.0, 0.0]), lambda x, sigma: x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk_size", [1, 7, 50, 64])
def test_nearest_image_is_the_least_of_all_distances(chunk_size, dtype):
    x, images = normals(9, 1, 3, 3).to(dtype), normals(50, 1, 3, 3, seed=1).to(dtype)
    distances = (x[:, None] - images).flatten(2).norm(dim=-1)
    index, distance = nearest_image(x, images, chunk_size=chunk_size)
    assert torch.equal(index, distances.argmin(1))
    assert distance.dtype == dtype
    torch.testing.assert_close(distance, distances.amin(1))


def test_nearest_image_of_grey_levels_and_of_twins():
    grey = torch.tensor([[0], [16], [16], [8]], dtype=torch.uint8)
    index, distance = nearest_image(torch.tensor([[0.9], [-0.2], [-3.0]]), grey, levels=17, chunk_size=1)
    assert index.tolist() == [1, 3, 0]
    torch.testing.assert_close(distance, torch.tensor([0.1, 0.2, 2.0]))


@pytest.mark.parametrize("chunk_size", [1, 5, 64])
def test_nearest_image_tells_twins_from_neighbours(chunk_size):
    """In single precision ‖x‖² + ‖y‖² − 2xy cannot: neighbours differ in one of 3072 pixels, twins in none."""
    images = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 1.9 - 1
    images[7:16] = images[3]
    images[7:12, 0, 0, 0] += torch.tensor([1e-3, 2e-3, 3e-3, 1e-3, 3e-3])
    index, distance = nearest_image(images, images, chunk_size=chunk_size)
    assert index.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 7, 9, 3, 3, 3, 3, 16, 17, 18, 19]
    assert (distance == 0).all()
    index, distance = nearest_image(images[7:8] + 100, images + 100, chunk_size=chunk_size)
    assert index.item() == 7
