"""Diffusers: a scheduler with any step, and pretrained networks. Loaded on first use, since diffusers takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["NonNormalScheduler"]

if TYPE_CHECKING:
    from nonnormal.diffusers.scheduler import NonNormalScheduler


def __getattr__(name: str) -> object:
    if name == "NonNormalScheduler":
        from nonnormal.diffusers.scheduler import NonNormalScheduler

        return NonNormalScheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
