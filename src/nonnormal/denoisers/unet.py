"""Networks: F(z, log_snr), the learnt part of a denoiser.

The backbone is diffusers' `UNet2DModel`. Here it gets its size, and the log-SNR as condition in place of a step index,
so that one network serves every schedule and every number of steps. Knows nothing of processes or losses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nonnormal.denoisers._diffusers import unet_2d_model

# log-SNR in [−20, 20] is mapped onto the index range [0, 1000] that the sinusoidal embedding resolves.
_LOG_SNR_RANGE = 20.0
_INDEX_RANGE = 1000.0


class UNet(nn.Module):
    """diffusers' U-Net on images (B, C, H, W), conditioned on log-SNR through its sinusoidal time embedding.

    Args:
        in_channels: channels of z, features included.
        out_channels: channels of the prediction.
        image_size: height and width, one number or both; halved at each level after the first.
        widths: channels at each level; each a multiple of `groups`. One level is a constant resolution.
        layers_per_block: residual blocks per level.
        attention: levels (0 is the full resolution) that get self-attention; the middle then has it, too.
        middle_attention: whether the middle has it in any case.
        dropout: probability, in [0, 1).
        groups: groups of the group normalisation.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        image_size: int | Sequence[int],
        widths: tuple[int, ...],
        layers_per_block: int = 1,
        attention: tuple[int, ...] = (),
        middle_attention: bool = False,
        dropout: float = 0.0,
        groups: int = 8,
    ):
        super().__init__()
        levels = range(len(widths))
        self.unet = unet_2d_model()(
            sample_size=image_size if isinstance(image_size, int) else tuple(image_size),
            in_channels=in_channels,
            out_channels=out_channels,
            block_out_channels=tuple(widths),
            layers_per_block=layers_per_block,
            down_block_types=tuple("AttnDownBlock2D" if i in attention else "DownBlock2D" for i in levels),
            up_block_types=tuple("AttnUpBlock2D" if i in attention else "UpBlock2D" for i in reversed(levels)),
            attention_head_dim=groups,
            norm_num_groups=groups,
            dropout=dropout,
            add_attention=middle_attention or bool(attention),
        )

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        """Prediction (B, out_channels, H, W) for z (B, in_channels, H, W) and log_snr (B,)."""
        index = (_LOG_SNR_RANGE - log_snr) * (_INDEX_RANGE / (2 * _LOG_SNR_RANGE))
        return self.unet(z, index, return_dict=False)[0]


def initialised(build, seed: int) -> nn.Module:
    """build() with initial weights drawn from `seed`; torch's global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
