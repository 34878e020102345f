"""Denoisers: whatever predicts the clean image x̂0 from a noisy one.

All denoisers speak one language, VE coordinates: `denoiser(x, sigma) -> x0_hat` with x = x0 + sigma·eps, all of them
images. A state of any linear process is carried there by `LinearProcess.observation` (`predict_x0`), so a network
trained on one process is used on every other, momentum or not. Sigma is a number, (B,), or one level for each component
of an orthonormal basis, ([B,] C, H, W): then the noise is Uᵀ(sigma ⊙ eps), and the denoiser names U as its `basis`.

Networks of any parametrisation are wrapped by `NetworkDenoiser`; normals, mixtures of normals and finite sets of images
have exact denoisers. Knows processes, but nothing of losses or of what kind of network it wraps.
"""

from nonnormal.denoisers.base import (
    Counted,
    CountedStates,
    Denoiser,
    StateDenoiser,
    alpha_and_level,
    counted,
    pixels_of,
    predict_x0,
    predict_x0_observed,
    score,
)
from nonnormal.denoisers.exact import GaussianMixtureDenoiser, NormalDenoiser, OptimalDenoiser
from nonnormal.denoisers.preconditioning import PARAMETRISATIONS, NetworkDenoiser, Wrapper, fourier_features

__all__ = [
    "PARAMETRISATIONS",
    "Counted",
    "CountedStates",
    "Denoiser",
    "GaussianMixtureDenoiser",
    "NetworkDenoiser",
    "NormalDenoiser",
    "OptimalDenoiser",
    "StateDenoiser",
    "Wrapper",
    "alpha_and_level",
    "counted",
    "fourier_features",
    "pixels_of",
    "predict_x0",
    "predict_x0_observed",
    "score",
]
