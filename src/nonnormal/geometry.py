"""Geometry: what the way from noise to data looks like.

A path is a tensor (T + 1, B, ...) of states from prior to data. Knows nothing of how it was made.

Source: chen2023 (2305.19947) §4.
"""

from __future__ import annotations

import torch
from torch import Tensor


def chord_distance(path: Tensor) -> Tensor:
    """‖x_end − x_t − proj(x_end − x_t)‖: distance of each state to the chord from the first state to the last.

    Args:
        path: (T + 1, B, ...).

    Returns:
        (T + 1, B), in the units of the state; 0 at both ends.
    """
    flat = path.flatten(2)
    rest = flat[-1] - flat
    chord = torch.nn.functional.normalize(flat[-1] - flat[0], dim=-1)
    along = (rest * chord).sum(-1, keepdim=True) * chord
    return (rest - along).norm(dim=-1)


def arc_chord_ratio(path: Tensor) -> Tensor:
    """Σ_k ‖x_{k+1} − x_k‖ / ‖x_end − x_start‖, (B,): 1 for a straight line, larger for a detour."""
    flat = path.flatten(2)
    return flat.diff(dim=0).norm(dim=-1).sum(0) / (flat[-1] - flat[0]).norm(dim=-1)
