"""Diffusers: a scheduler with any step, and pretrained networks."""
