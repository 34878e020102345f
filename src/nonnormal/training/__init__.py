"""Training: loop, checkpoints, several processes, speed. `load_denoiser` reads what a training stored."""

from nonnormal.training.checkpoints import build_denoiser, load_denoiser, save_weights

__all__ = ["build_denoiser", "load_denoiser", "save_weights"]
