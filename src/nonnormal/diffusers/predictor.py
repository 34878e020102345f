"""A network of this project as a model of diffusers: ε̂ on the timesteps of a DDPM scheduler.

This project's networks are denoisers x̂0(x, sigma) in VE coordinates, conditioned on a continuous log-SNR. Here

    ε̂(x_k, k) = (x_k/alpha_k − x̂0(x_k/alpha_k, sigma_k))/sigma_k,
    alpha_k² = sigmoid(log_snr_k),    sigma_k² = exp(−log_snr_k),

with the exact log_snr_k of timestep k, so that pipelines and schedulers of diffusers can use it like a `UNet2DModel`.
Depends on diffusers and denoisers; independent of studies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, BasisStatistics
from nonnormal.denoisers import NetworkDenoiser, _torchvision
from nonnormal.denoisers.unet import UNet

_torchvision.ensure_importable()
# DiffusionPipeline.from_pretrained looks for the base class ModelMixin in the module of a component.
from diffusers import ConfigMixin, ModelMixin  # noqa: E402
from diffusers.configuration_utils import register_to_config  # noqa: E402
from diffusers.models.unets.unet_2d import UNet2DOutput  # noqa: E402


class NoisePredictor(ModelMixin, ConfigMixin):
    """ε̂ (B, C, H, W) of a `NetworkDenoiser` at the timesteps 0 … T − 1, as `UNet2DModel` gives it.

    Args:
        sample_size: height and width of the images.
        in_channels, out_channels: C, the channels of the images.
        network: arguments of `UNet`.
        denoiser: arguments of `NetworkDenoiser`, without the network and the components.
        log_snrs: log-SNR of each timestep, T of them, falling.
        mean, std: of each pixel, (C, H, W) as nested lists, if the denoiser scales by them; else None.

    Raises:
        ValueError: C differs between input and output, or log_snrs do not fall.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int,
        in_channels: int,
        out_channels: int,
        network: dict[str, Any],
        denoiser: dict[str, Any],
        log_snrs: list[float],
        mean: list | None = None,
        std: list | None = None,
    ):
        super().__init__()
        self.levels = torch.tensor(log_snrs, dtype=torch.float64)  # no buffer, which half precision would round
        if in_channels != out_channels:
            raise ValueError(f"out_channels must be in_channels, {in_channels}; found {out_channels}")
        if not (self.levels.diff() < 0).all():
            raise ValueError("log_snrs must fall from timestep to timestep")
        components = None
        if mean is not None:
            moments = [torch.tensor(value, dtype=torch.float64) for value in (mean, std)]
            components = BasisStatistics(PIXEL, *moments, floor=torch.zeros_like(moments[0]))
        self.model = NetworkDenoiser(UNet(**network), **denoiser, components=components)

    def log_snr(self, timestep: int | float | Tensor) -> Tensor:
        """log-SNR at a timestep: exact for whole numbers, linear between them; float64 on the CPU."""
        timestep = torch.as_tensor(timestep, dtype=torch.float64, device="cpu").clamp(0, len(self.levels) - 1)
        below = timestep.floor().long()
        above = (below + 1).clamp(max=len(self.levels) - 1)
        return torch.lerp(self.levels[below], self.levels[above], timestep - below)

    def forward(
        self, sample: Tensor, timestep: int | float | Tensor, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """ε̂ (B, C, H, W) for x_k (B, C, H, W) and k a number or (B,)."""
        log_snr = self.log_snr(timestep)
        shape = (-1, 1, 1, 1) if log_snr.dim() else ()
        alpha = torch.sigmoid(log_snr).sqrt().to(sample).reshape(shape)
        sigma = torch.exp(-log_snr / 2).to(sample)
        x = sample / alpha
        eps = (x - self.model(x, sigma)) / sigma.reshape(shape)
        return UNet2DOutput(sample=eps) if return_dict else (eps,)
