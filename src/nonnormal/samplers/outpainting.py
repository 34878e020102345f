"""Outpainting: images continued beyond their right border, some columns at a time.

Each round takes the last columns as the known left part of a new image and samples the rest. Use it with a schedule
that generates columns from left to right (`schedules.column_labels`).

Source: GUD (2410.02667) §5 extends images column by column; the rounds are written here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nonnormal.bases import PIXEL
from nonnormal.denoisers import Denoiser, basis_of
from nonnormal.processes import LinearProcess
from nonnormal.samplers.ancestral import sample_ancestral
from nonnormal.steps import Step


def outpaint(
    denoiser: Denoiser,
    process: LinearProcess,
    images: Tensor,
    *,
    kept: int,
    seeds: Sequence[Sequence[int]],
    step: Step | str,
    times: Tensor,
    **options,
) -> Tensor:
    """Continues images to the right, by W − kept columns in each round.

    Args:
        denoiser, process, step, times: as in `sample_ancestral`.
        images: (N, C, H, W).
        kept: columns that a round knows, 1 … W − 1.
        seeds: for each round N seeds.
        options: more of `sample_ancestral`; the basis must be pixels, whitened or not, whose columns are known or not.

    Returns:
        (N, C, H, W + rounds·(W − kept)).

    Raises:
        ValueError: kept is no number of columns that leaves any to sample; another basis than pixels; as in
            `sample_ancestral`.
    """
    basis = basis_of(denoiser, options.get("basis"))
    if basis.rotation != PIXEL:
        raise ValueError(f"columns are known of pixels alone, found components of {type(basis.rotation).__name__}")
    width = images.shape[-1]
    if not 0 < kept < width:
        raise ValueError(f"kept must be between 1 and {width - 1} columns, found {kept}")
    mask, strip = (torch.arange(width) < kept).expand(images.shape[1:]), images
    for round_seeds in seeds:
        known = torch.zeros_like(images)
        known[..., :kept] = strip[..., -kept:]
        drawn = sample_ancestral(
            denoiser, process, step, tuple(images.shape), times=times, seeds=round_seeds, known=(known, mask), **options
        )
        strip = torch.cat([strip, drawn[..., kept:].to(strip)], dim=-1)
    return strip
