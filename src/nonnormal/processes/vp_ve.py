"""Processes of one variable: x_t = alpha x_0 + sigma eps, and nothing else moves.

VP and VE of the same log-SNR are one process in two coordinates, x_VE = x_VP / alpha: a denoiser serves both.
Knows schedules, but nothing of steps or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nonnormal.processes.base import LinearProcess, as_matrix, as_time, component_mean, ordered
from nonnormal.processes.schedules import LinearLogSNR, Schedule


@dataclass(frozen=True)
class VP(LinearProcess):
    """Variance-preserving process: alpha² + sigma² = 1, alpha² = sigmoid(log_snr).

    Φ = alpha_t / alpha_s, Σ = −sigma_t² expm1(log_snr_t − log_snr_s).

    Source: VDM (2107.00630) Eq. 2–3 and App. A.

    Examples:
        >>> from nonnormal import VP
        >>> A, C = VP().marginal(0.5)
        >>> round((A**2 + C).item(), 6)
        1.0
    """

    schedule: Schedule = field(default_factory=LinearLogSNR)

    def __post_init__(self):
        if not isinstance(self.schedule, Schedule):
            raise ValueError(f"schedule must be an object of Schedule, as LinearLogSNR(9, -7); found {self.schedule!r}")

    @property
    def shortest_window(self):
        return self.schedule.shortest_window

    def mean_log_snr(self, t):
        """The schedule's own, averaged over components."""
        t = as_time(t)
        return component_mean(self.schedule.log_snr(t), t)

    def initial(self):
        log_snr = self.schedule.log_snr(0.0)
        return as_matrix(torch.sigmoid(log_snr).sqrt()), as_matrix(torch.sigmoid(-log_snr))

    def transition(self, s, t):
        s, t = ordered(s, t)
        log_snr_s, log_snr_t = self.schedule.log_snr(s), self.schedule.log_snr(t)
        phi = (torch.sigmoid(log_snr_t) / torch.sigmoid(log_snr_s)).sqrt()
        return as_matrix(phi), as_matrix(-torch.sigmoid(-log_snr_t) * torch.expm1(log_snr_t - log_snr_s))

    def sde(self, t):
        """F = ½ sigma² d log_snr/dt, G² = −sigma² d log_snr/dt, which is GUD's β."""
        t = as_time(t)
        rate = torch.sigmoid(-self.schedule.log_snr(t)) * self.schedule.slope(t)
        return as_matrix(rate / 2), as_matrix(-rate)

    def prior_covariance(self):
        return torch.eye(1, dtype=torch.float64)


@dataclass(frozen=True)
class VE(LinearProcess):
    """Variance-exploding process: alpha = 1, sigma^(1/rho) linear in t from sigma_min to sigma_max.

    Φ = 1, Σ = sigma_t² − sigma_s². Uniform times give EDM's grid of noise levels. At t = 0 the state has the noise
    sigma_min. Sampling starts from N(0, sigma_max²), which neglects the variance of the data.

    Attributes:
        sigma_min: sigma at t = 0.
        sigma_max: sigma at t = 1.
        rho: how much closer the levels lie at the lower end; 1 is linear.

    Raises:
        ValueError: the ends are not 0 < sigma_min < sigma_max, or rho is not positive.

    Source: EDM (2206.00364) Eq. 5 with its ends and rho as defaults.

    Examples:
        >>> from nonnormal import VE
        >>> A, C = VE().marginal(1.0)
        >>> A.item(), round(C.sqrt().item(), 6)
        (1.0, 80.0)
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"0 < sigma_min < sigma_max is needed, found sigma_min = {self.sigma_min}, sigma_max = {self.sigma_max}"
            )
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho must be positive, found {self.rho}")

    def sigma(self, t: float | Tensor) -> Tensor:
        """(sigma_min^(1/rho) + t (sigma_max^(1/rho) − sigma_min^(1/rho)))^rho at time t in [0, 1]: float64."""
        return self._root(t)[0] ** self.rho

    def _root(self, t: float | Tensor) -> tuple[Tensor, float]:
        """(sigma^(1/rho) at time t, its slope)."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return low + as_time(t) * (high - low), high - low

    def initial(self):
        return torch.eye(1, dtype=torch.float64), as_matrix(self.sigma(0.0).square())

    def transition(self, s, t):
        sigma_s, sigma_t = (self.sigma(time) for time in ordered(s, t))
        return as_matrix(torch.ones_like(sigma_t)), as_matrix((sigma_t - sigma_s) * (sigma_t + sigma_s))

    def sde(self, t):
        """F = 0, G² = d sigma²/dt."""
        root, slope = self._root(t)
        noise = 2 * self.rho * slope * root ** (2 * self.rho - 1)
        return as_matrix(torch.zeros_like(noise)), as_matrix(noise)

    def prior_covariance(self):
        return as_matrix(self.sigma(1.0).square())
