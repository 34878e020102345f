"""Schedules: log_snr(t) = log(alpha² / sigma²), falling from data (t = 0) to prior (t = 1).

A schedule is the one thing that the noise level of a one-variable process depends on; alpha and sigma follow from the
process (`VP`: alpha² = sigmoid(log_snr)). Computed in float64. Knows nothing of processes or data.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule(ABC):
    """log_snr(t) between two ends.

    Attributes:
        log_snr_max: log-SNR at t = 0.
        log_snr_min: log-SNR at t = 1.

    Raises:
        ValueError: the ends do not fall.
    """

    log_snr_max: float = 13.3
    log_snr_min: float = -5.0

    def __post_init__(self):
        if not self.log_snr_min < self.log_snr_max:
            raise ValueError(
                f"log_snr_max = {self.log_snr_max} must be larger than log_snr_min = {self.log_snr_min}: "
                "time 0 is data, time 1 is the prior"
            )

    @abstractmethod
    def log_snr(self, t: float | Tensor) -> Tensor:
        """log(alpha²/sigma²) at time t in [0, 1]: float64, shape of t."""


class LinearLogSNR(Schedule):
    """log_snr(t) = log_snr_max + t (log_snr_min − log_snr_max).

    Source: VDM (2107.00630) §3.2 with the ends −γ = 13.3 and −5 as defaults.
    """

    def log_snr(self, t):
        t = torch.as_tensor(t, dtype=torch.float64)
        return self.log_snr_max + t * (self.log_snr_min - self.log_snr_max)


class Cosine(Schedule):
    """log_snr(t) = −2 log tan(a + t (b − a)), with a, b such that the ends are log_snr_max and log_snr_min.

    Source: Nichol & Dhariwal (2102.09672) §3.2 in continuous time; cutting at the ends derived here.
    """

    def log_snr(self, t):
        t = torch.as_tensor(t, dtype=torch.float64)
        low, high = (math.atan(math.exp(-end / 2)) for end in (self.log_snr_max, self.log_snr_min))
        return -2 * torch.log(torch.tan(low + t * (high - low)))
