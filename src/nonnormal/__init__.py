"""Diffusion models with any step distribution."""

__version__ = "0.1.0"
