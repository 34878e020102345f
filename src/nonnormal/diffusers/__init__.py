"""Diffusers: a scheduler with any step, and this project's networks as models. Importing it takes seconds.

Both classes are imported here, because diffusers loads a saved component only from a module that is already imported.
"""

from nonnormal.diffusers.predictor import NoisePredictor
from nonnormal.diffusers.scheduler import NonNormalScheduler

__all__ = ["NoisePredictor", "NonNormalScheduler"]
