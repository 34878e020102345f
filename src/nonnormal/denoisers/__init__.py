"""Denoisers: functions that predict the clean image x̂0 from a noisy one.

All denoisers use VE coordinates: `denoiser(x, sigma) -> x0_hat` with x = x0 + sigma·eps, all of them images.
`LinearProcess.observation` maps a state of any linear process to these coordinates (`predict_x0`), so a network trained
on one process can be used on every other, with or without momentum. Sigma is a number, (B,), or one level for each
component of a basis U, ([B,] C, H, W): then the noise is U⁻¹(sigma ⊙ eps), and the denoiser names U as its `basis`. A
denoiser with a whitened basis expects noise that is white in that basis, also if sigma is a number. Samplers and bounds
use the denoiser's own basis unless another one is given, and raise an error if the noise in that one would differ.

Networks of any parametrisation are wrapped by `NetworkDenoiser`; normals, mixtures of normals and finite sets of images
have exact denoisers. Knows processes, but nothing of losses or of what kind of network it wraps.
"""

from nonnormal.denoisers.base import (
    Denoiser,
    NFECounter,
    StateDenoiser,
    StateNFECounter,
    alpha_and_level,
    basis_of,
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
    "Denoiser",
    "GaussianMixtureDenoiser",
    "NFECounter",
    "NetworkDenoiser",
    "NormalDenoiser",
    "OptimalDenoiser",
    "StateDenoiser",
    "StateNFECounter",
    "Wrapper",
    "alpha_and_level",
    "basis_of",
    "counted",
    "fourier_features",
    "pixels_of",
    "predict_x0",
    "predict_x0_observed",
    "score",
]
