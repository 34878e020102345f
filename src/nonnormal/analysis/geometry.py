"""Geometry of sampling: measures of the path from noise to data.

A path is a tensor (T + 1, B, ...) of states x_t from prior to data. Its denoised path r_t = r(x_t, sigma_t) is
(T, B, ...), without a value at the last state. The functions do not depend on how a path was made.

Source: chen2023 (2305.19947) §4, and its sequel (2405.11326) for the projection on three dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from nonnormal.denoisers import Denoiser, OptimalDenoiser

# ---- distances -------------------------------------------------------------------------------------------------------


def chord_distance(path: Tensor, points: Tensor | None = None) -> Tensor:
    """‖x_end − x_t − proj(x_end − x_t)‖: distance of each state to the chord from the first state to the last.

    Args:
        path: (T + 1, B, ...).
        points: (K, B, ...), measured in place of the states; for example the denoised path.

    Returns:
        (T + 1, B), or (K, B), in the units of the state; 0 at both ends of the path.
    """
    flat = path.flatten(2)
    rest = flat[-1] - (flat if points is None else points.flatten(2))
    chord = normalize(flat[-1] - flat[0], dim=-1)
    along = (rest * chord).sum(-1, keepdim=True) * chord
    return (rest - along).norm(dim=-1)


def arc_chord_ratio(path: Tensor) -> Tensor:
    """Σ_k ‖x_{k+1} − x_k‖ / ‖x_end − x_start‖, (B,): 1 for a straight line, larger for a detour."""
    flat = path.flatten(2)
    return flat.diff(dim=0).norm(dim=-1).sum(0) / (flat[-1] - flat[0]).norm(dim=-1)


def end_distance(path: Tensor) -> Tensor:
    """‖x_t − x_end‖ of each state of a path (T + 1, B, ...), (T + 1, B)."""
    flat = path.flatten(2)
    return (flat - flat[-1]).norm(dim=-1)


def monotone_share(path: Tensor) -> Tensor:
    """Share of the B trajectories whose ‖x_t − x_end‖ has fallen at every step up to step k, (T,), float64.

    The last is the share of trajectories that come nearer to their end all the way.
    """
    fell = end_distance(path).diff(dim=0) < 0
    return fell.cummin(dim=0).values.double().mean(dim=1)


def remaining_cosine(path: Tensor, denoised: Tensor) -> Tensor:
    """cos(eps_t, x_t − x_end) with eps_t ∝ x_t − r_t, (T, B): 1 where the predicted noise is what remains of the way.

    Args:
        path: (T + 1, B, ...).
        denoised: (T, B, ...).
    """
    flat, r = path.flatten(2), denoised.flatten(2)
    return cosine_similarity(flat[:-1] - r, flat[:-1] - flat[-1], dim=-1)


# ---- three dimensions ------------------------------------------------------------------------------------------------


def explained_variance(path: Tensor, components: int = 2) -> Tensor:
    """Share of Σ_t ‖x_t − x̄‖² on the chord, on chord + 1 PC, …, on chord + `components` PCs, (components + 1, B).

    The PCs are those of one trajectory's components perpendicular to its chord.

    Raises:
        ValueError: more components than there are states or coordinates to the side of the chord.

    Source: 2405.11326.
    """
    along, _, singular, _ = _frame(path, components)
    square = torch.cat([(along - along.mean(0)).square().sum(0).unsqueeze(1), singular.square()], dim=1)
    return (square.cumsum(1) / square.sum(1, keepdim=True))[:, : components + 1].T


def residual_variance(path: Tensor, components: int = 2) -> Tensor:
    """Share of the variance across the chord that lies outside the first k = 1 … `components` PCs, (components, B).

    The variance on the chord itself does not enter: of a long chord it is nearly all, whatever the path does beside it.
    0 for a straight line. What a path without structure has is that of its `bridge`.

    Raises:
        ValueError: as in `explained_variance`.
    """
    square = _frame(path, components)[2].square()
    outside = square.flip(1).cumsum(1).flip(1)
    share = torch.where(outside[:, :1] > 0, outside / outside[:, :1], 0)
    return torch.cat([share, torch.zeros_like(share[:, :1])], dim=1)[:, 1 : components + 1].T


def bridge(path: Tensor, noise: Tensor) -> Tensor:
    """Brownian bridge around the chord of each path, (T + 1, B, ...): the same steps along it, random ones across it.

    Each step across has the path's mean square length and a random direction, and the walk is tied to the chord's end.
    Two PCs of a bridge of T → ∞ equal steps in many dimensions leave 1 − 6/π² = 0.39 of its variance across the chord.

    Args:
        path: (T + 1, B, ...).
        noise: standard normal numbers (T, B, ...).

    Source: derived here; the centred bridge has the eigenvalues 1/(2πk)², each twice, whose sum is 1/12.
    """
    flat = path.flatten(2)
    chord = normalize(flat[-1] - flat[0], dim=-1)

    def across(vectors: Tensor) -> Tensor:
        return vectors - (vectors * chord).sum(-1, keepdim=True) * chord

    steps = flat.diff(dim=0)
    square = across(steps).square().sum(-1, keepdim=True)
    walk = across(noise.flatten(2)) * (square / (flat.shape[-1] - 1)).sqrt()
    total = square.sum(0)
    tied = walk.cumsum(0) - torch.where(total > 0, square.cumsum(0) / total, 0) * walk.sum(0)
    moved = torch.cat([torch.zeros_like(tied[:1]), (steps - across(steps)).cumsum(0) + tied])
    return (flat[0] + moved).reshape(path.shape)


def project(path: Tensor, components: int = 2) -> Tensor:
    """(x_t − x_start)·(u, v_1, v_2, …), (T + 1, B, components + 1): u along the chord, v_i its PCs as above.

    It starts in 0 and ends in (‖x_end − x_start‖, 0, …). Each v_i points to where the path goes farthest along it.

    Raises:
        ValueError: as in `explained_variance`.

    Source: 2405.11326; the signs are chosen here.
    """
    along, across, _, axes = _frame(path, components)
    side = torch.einsum("tbd,bkd->tbk", across, axes[:, :components])
    farthest = side.gather(0, side.abs().argmax(0, keepdim=True))
    return torch.cat([along.unsqueeze(-1), side * torch.where(farthest < 0, -1.0, 1.0)], dim=-1)


def _frame(path: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x_t − x_start)·u (T + 1, B), the rest of it (T + 1, B, D), and singular values and axes of the centred rest."""
    flat = (path - path[0]).flatten(2)
    if not 0 <= components <= min(len(flat), flat.shape[-1] - 1):
        raise ValueError(f"{components} components do not fit {len(flat)} states of {flat.shape[-1]} coordinates")
    chord = normalize(flat[-1], dim=-1)
    along = (flat * chord).sum(-1)
    across = flat - along.unsqueeze(-1) * chord
    _, singular, axes = torch.linalg.svd((across - across.mean(0)).transpose(0, 1), full_matrices=False)
    return along, across, singular, axes


def curvature(curve: Tensor) -> Tensor:
    """κ = 2 sin θ/‖x_{k+1} − x_{k−1}‖, θ between the edges that meet in x_k.

    One over the radius of the circle through three neighbours: exact on circles for any spacing.

    Args:
        curve: (T + 1, B, 3).

    Returns:
        (T − 1, B), at inner points, per unit of the state.

    Source: Menger's curvature.
    """
    edge = curve.diff(dim=0)
    area = torch.linalg.cross(edge[:-1], edge[1:]).norm(dim=-1)
    return 2 * area / (edge[:-1].norm(dim=-1) * edge[1:].norm(dim=-1) * (edge[:-1] + edge[1:]).norm(dim=-1))


def torsion(curve: Tensor) -> Tensor:
    """τ = φ/ℓ, φ the signed angle between the planes of (x_{k−1}, x_k, x_{k+1}) and (x_k, x_{k+1}, x_{k+2}).

    The length ℓ is the mean of the three edges. Positive where the curve winds as a right-handed screw.

    Args:
        curve: (T + 1, B, 3).

    Returns:
        (T − 2, B), on inner edges, per unit of the state; 0 on a line. On a projected path its sign is the signs of the
        axes', so only the size has meaning.

    Source: discrete Frenet frame. The plane through three points is the osculating plane at their mean arc length up to
    second order, and two such means lie (sum of the three edges)/3 apart for any spacing; so the error is of second
    order where the spacing changes smoothly, else of first: derived here.
    """
    edge = curve.diff(dim=0)
    length = edge.norm(dim=-1)
    plane = torch.linalg.cross(edge[:-1], edge[1:])
    sine = length[1:-1] * (edge[:-2] * plane[1:]).sum(-1)
    angle = torch.atan2(sine, (plane[:-1] * plane[1:]).sum(-1))
    return 3 * angle / (length[:-2] + length[1:-1] + length[2:])


# ---- against the optimal denoiser ------------------------------------------------------------------------------------


@torch.no_grad()
def score_deviation(path: Tensor, denoised: Tensor, sigmas: Tensor, optimal: Denoiser) -> Tensor:
    """‖r_t − r*(x_t, sigma_t)‖ along a path, (T, B): the distance of the two scores times sigma_t².

    Args:
        path: (T + 1, B, ...), of any denoiser, the optimal one's own included.
        denoised: r_t at its states, (T, B, ...).
        sigmas: (T + 1,).
        optimal: r*, called once a step.

    Raises:
        ValueError: lengths that do not belong together.

    Source: chen2023 (2305.19947).
    """
    if not len(path) == len(denoised) + 1 == len(sigmas):
        found = f"{len(path)} states, {len(denoised)} denoised states, {len(sigmas)} levels"
        raise ValueError(f"a path has a level for each state and a denoised state for all but the last, found {found}")
    pairs = zip(path[:-1], denoised, torch.as_tensor(sigmas).to(path), strict=False)
    return torch.stack([(r - optimal(x, sigma)).flatten(1).norm(dim=-1) for x, r, sigma in pairs])


@torch.no_grad()
def nearest_image(
    x: Tensor, images: Tensor, *, levels: int | None = None, chunk_size: int = 1024
) -> tuple[Tensor, Tensor]:
    """(argmin_i ‖x − y_i‖, min_i ‖x − y_i‖), each (B,): nearest training image, the first of several, and its distance.

    Args:
        x: (B, *event).
        images: y (N, *event), with `levels` and `chunk_size` as in `OptimalDenoiser`.

    Raises:
        ValueError: as `OptimalDenoiser`.
    """
    index = torch.zeros(len(x), 1, dtype=torch.long, device=x.device)
    least = torch.full((len(x), 1), math.inf, dtype=torch.float64, device=x.device)
    for k, chunk in enumerate(OptimalDenoiser(images, levels, chunk_size).chunks(x)):
        lower = torch.minimum(least, chunk.square.amin(1, keepdim=True))
        chunk.settle(chunk.square <= lower + 2 * chunk.bound)
        where = chunk.square.argmin(1, keepdim=True)
        here = chunk.square.gather(1, where)
        index, least = torch.where(here < least, where + k * chunk_size, index), torch.minimum(here, least)
    return index.squeeze(1), least.squeeze(1).sqrt().to(torch.promote_types(x.dtype, torch.float32))
