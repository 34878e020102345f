"""Diffusion models with any step distribution."""
