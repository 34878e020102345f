"""Diffusers: a scheduler with any step, and this project's networks as models. To import it takes seconds.

Both classes are imported here: diffusers loads a saved component only from a module that is imported already.
"""

from nonnormal.diffusers.predictor import NoisePredictor
from nonnormal.diffusers.scheduler import NonNormalScheduler

__all__ = ["NoisePredictor", "NonNormalScheduler"]
