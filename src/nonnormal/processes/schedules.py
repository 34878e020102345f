"""Schedules: log_snr(t) = log(alpha² / sigma²), falling from data (t = 0) to prior (t = 1).

The schedule determines the noise level of a one-variable process at each time; alpha and sigma follow from the process
(`VP`: alpha² = sigmoid(log_snr)). `LinearLogSNR` and `Cosine` have one log-SNR for all components, `ComponentWise` has
one for each component (C, H, W) of a basis. Computed in float64. Knows nothing of processes or data.

The order of components is that of their labels: **the larger label is noised first, and so generated last.**
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Beyond, alpha² or sigma² = exp(∓log_snr) leaves float64.
REACH = 700.0


class Schedule(ABC):
    """Base class of noise schedules: log_snr(t), which never rises."""

    @abstractmethod
    def log_snr(self, t: float | Tensor) -> Tensor:
        """log(alpha²/sigma²) at time t in [0, 1]: float64, t.shape + components; components is () or (C, H, W)."""

    def slope(self, t: float | Tensor) -> Tensor:
        """Slope d log_snr/dt, 0 or negative: float64, of log_snr's shape. By forward differentiation of log_snr."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return torch.func.jvp(self.log_snr, (t,), (torch.ones_like(t),))[1]

    @property
    def shortest_window(self) -> float:
        """Shortest time interval in which a component changes; 1 if every component changes all the time."""
        return 1.0


# ---- one for all components ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TwoEnded(Schedule):
    """Base class of schedules between two ends, the same for all components.

    Attributes:
        log_snr_max: log-SNR at t = 0.
        log_snr_min: log-SNR at t = 1.

    Raises:
        ValueError: the ends do not fall.
    """

    log_snr_max: float = 13.3
    log_snr_min: float = -5.0

    def __post_init__(self):
        _check_ends(self.log_snr_max, self.log_snr_min)


class LinearLogSNR(TwoEnded):
    """Linear schedule: log_snr(t) = log_snr_max + t (log_snr_min − log_snr_max).

    Source: VDM (2107.00630) §3.2 with the ends −γ = 13.3 and −5 as defaults.

    Examples:
        >>> from nonnormal import LinearLogSNR
        >>> LinearLogSNR(log_snr_max=9, log_snr_min=-7).log_snr(0.5).item()
        1.0
    """

    def log_snr(self, t):
        t = torch.as_tensor(t, dtype=torch.float64)
        return self.log_snr_max + t * (self.log_snr_min - self.log_snr_max)

    def slope(self, t):
        return torch.full_like(torch.as_tensor(t, dtype=torch.float64), self.log_snr_min - self.log_snr_max)


class Cosine(TwoEnded):
    """Cosine schedule, cut at two ends: log_snr(t) = −2 log tan(a + t (b − a)).

    a and b are such that the ends are log_snr_max and log_snr_min. The tangent is computed as sin θ / sin(π/2 − θ),
    which is accurate at both ends.

    Source: Nichol & Dhariwal (2102.09672) §3.2 in continuous time; cutting at the ends derived here.

    Examples:
        >>> from nonnormal import Cosine
        >>> [round(Cosine(9, -9).log_snr(t).item(), 2) for t in (0, 0.5, 1)]
        [9.0, 0.0, -9.0]
    """

    def log_snr(self, t):
        t = torch.as_tensor(t, dtype=torch.float64)
        ends = self.log_snr_max, self.log_snr_min
        low, high = (math.atan(math.exp(-end / 2)) for end in ends)
        more, rest = (math.atan(math.exp(end / 2)) for end in ends)
        turn = high - low if sum(ends) > 0 else more - rest  # of the smaller angles
        return 2 * (torch.log(torch.sin(rest + (1 - t) * turn)) - torch.log(torch.sin(low + t * turn)))


class Polynomial(TwoEnded):
    """EDM's schedule: log_snr(t) = −2 rho log(a + t (b − a)), so sigma^(1/rho) rises linearly from a to b; rho = 7.

    Uniform times are then EDM's levels, from sigma = exp(−log_snr_max/2) to exp(−log_snr_min/2).

    Source: EDM (2206.00364) Eq. 5; `samplers.grids.polynomial` has the same levels.
    """

    def log_snr(self, t):
        t, rho = torch.as_tensor(t, dtype=torch.float64), 7
        low, high = (math.exp(-end / (2 * rho)) for end in (self.log_snr_max, self.log_snr_min))
        return -2 * rho * torch.log(low + t * (high - low))


# ---- one for each component ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ComponentWise(Schedule):
    """Schedule with a log-SNR for each component, in the order of labels l_i.

    log_snr_i(t) = log_snr_max + a (l_max − l_i) − t (log_snr_max − log_snr_min + a (l_max − l_min)) − log Σ_i

    Here a = 1/softness. So log(Σ_i alpha_i²/sigma_i²), the log-SNR counted in the variance Σ_i of the data, falls on
    parallel lines: from log_snr_max for the component noised first, down to log_snr_min for the one noised last.

    - softness ∞ (a = 0): all components have one SNR.
    - softness 1 with `variance_labels` (l_i = −log Σ_i): standard diffusion, one alpha and sigma for all.
    - softness → 0: autoregressive, components of one label after those of another.

    Attributes:
        labels: l_i, (C, H, W): `variance_labels`, `column_labels`, `row_labels`, a basis's `frequency`, or any other.
        softness: 1/a, positive, may be ∞.
        variance: Σ_i, (C, H, W), variance of the data's components; None where they are whitened, Σ_i = 1.
        log_snr_max: log-SNR of the component with the largest label at t = 0.
        log_snr_min: log-SNR of the component with the smallest label at t = 1.
        low, high: log_snr_i is clipped to [low, high]; while it is clipped the component does not change.

    Raises:
        ValueError: shapes, softness or ends are wrong, a component never moves between low and high, or a log-SNR
            is beyond ±700.

    Source: GUD (2410.02667) Eq. 13 and its authors' code, where γ = −log_snr; clipping as in that code's sequential
        schedule.
    Deviates: where that code contradicts its docstring, ours follows the docstring. `variance_adjusted_schedule` states
        Eq. 13, with a (l_i − l_max), but uses the greatest of a l_i + log Σ_i in place of a l_max, and the range of
        a l_i + log Σ_i in place of that of a l_i. So all its lines are shifted, and fall by another amount.

    Examples:
        >>> import torch
        >>> from nonnormal import VP, ComponentWise
        >>> labels = torch.tensor([[[0.0, 4.0]]])  # two components; the second becomes noise first
        >>> schedule = ComponentWise(labels, softness=1, log_snr_max=9, log_snr_min=-7)
        >>> schedule.log_snr(0.5)
        tensor([[[ 3., -1.]]], dtype=torch.float64)
        >>> process = VP(schedule)
    """

    labels: Tensor
    softness: float = 1.0
    variance: Tensor | None = None
    log_snr_max: float = 13.3
    log_snr_min: float = -5.0
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self):
        _check_ends(self.log_snr_max, self.log_snr_min)
        if self.labels.dim() != 3 or not self.labels.numel() or not self.labels.isfinite().all():
            raise ValueError(f"labels must be finite, one for each component (C, H, W), found {_summary(self.labels)}")
        if self.variance is not None and (self.variance.shape != self.labels.shape or not _positive(self.variance)):
            raise ValueError(
                f"variance must be positive and of the labels' shape {tuple(self.labels.shape)}, found "
                f"{_summary(self.variance)}"
            )
        if not self.softness > 0:
            raise ValueError(f"softness must be positive, found {self.softness}; towards 0 is autoregressive")
        first, last = self.log_snr(0.0), self.log_snr(1.0)
        if still := int((first <= last).sum()):
            raise ValueError(f"{still} of {first.numel()} components never move between {self.low} and {self.high}")
        if not (first.max() <= REACH and last.min() >= -REACH):
            raise ValueError(
                f"log-SNRs from {first.max():.4g} to {last.min():.4g} leave float64: soften the order, or clip by "
                f"low and high (±{REACH:.0f} at most)"
            )

    @cached_property
    def _lines(self) -> tuple[Tensor, Tensor]:
        """(log_snr_i(0), fall), float64, before clipping."""
        labels = self.labels.detach().to("cpu", torch.float64)
        ahead = (labels.max() - labels) / self.softness
        start = self.log_snr_max + ahead
        if self.variance is not None:
            start = start - self.variance.detach().to("cpu", torch.float64).log()
        return start, self.log_snr_max - self.log_snr_min + ahead.max()

    def log_snr(self, t):
        t = torch.as_tensor(t, dtype=torch.float64)[..., None, None, None]
        start, fall = self._lines
        return (start - t * fall).clamp(self.low, self.high)

    @property
    def shortest_window(self):
        return min((self.high - self.low) / self._lines[1].item(), 1.0)


def sequential(labels: Tensor, delay: float, log_snr_max: float = 13.3, log_snr_min: float = -5.0) -> ComponentWise:
    """Sequential schedule: components of label l + 1 are generated `delay` windows after those of label l.

    In its window, of length w = 1/(1 + delay·(l_max − l_min)), the log-SNR of a component falls from log_snr_max to
    log_snr_min; outside the window it is constant. Delay 0: all labels at once; 1: each label starts when the last one
    ends; above 1: with a pause between them. It is `ComponentWise` with softness 1/(delay·(log_snr_max − log_snr_min)),
    clipped at the ends.

    Args:
        labels: l_i, (C, H, W), such as `column_labels`; for components of comparable variance.
        delay: in windows, 0 or more.
        log_snr_max: before the window (data).
        log_snr_min: after the window (prior).

    Raises:
        ValueError: as `ComponentWise`, or delay is negative or not finite.

    Source: the sequential schedule of GUD's code, with offset (l_max − l_i)·delay·w of the component i.
    """
    if not 0 <= delay < math.inf:
        raise ValueError(f"delay must be 0 or more windows, found {delay}")
    _check_ends(log_snr_max, log_snr_min)
    softness = 1 / (delay * (log_snr_max - log_snr_min)) if delay else math.inf
    return ComponentWise(labels, softness, None, log_snr_max, log_snr_min, log_snr_min, log_snr_max)


def variance_labels(variance: Tensor) -> Tensor:
    """Labels l_i = −log Σ_i: the component of least variance is generated last, as in standard diffusion."""
    if not _positive(variance):
        raise ValueError(f"variance labels need positive variances, found {_summary(variance)}")
    return -variance.double().log()


def column_labels(shape: tuple[int, int, int]) -> Tensor:
    """Labels l_i = column: images (C, H, W) are generated from left to right.

    Source: the docstring of GUD's `column_schedule`, "column 0 is generated first".
    Deviates: the code of `column_schedule` lets the last column wait longest before it is noised, so that it is
        generated first.
    """
    return torch.arange(shape[2], dtype=torch.float64).expand(shape)


def row_labels(shape: tuple[int, int, int]) -> Tensor:
    """Labels l_i = row: images (C, H, W) are generated from top to bottom."""
    return torch.arange(shape[1], dtype=torch.float64)[:, None].expand(shape)


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_ends(log_snr_max: float, log_snr_min: float) -> None:
    if not log_snr_min < log_snr_max:
        raise ValueError(
            f"log_snr_max = {log_snr_max} must be larger than log_snr_min = {log_snr_min}: "
            "time 0 is data, time 1 is the prior"
        )


def _positive(value: Tensor) -> bool:
    return bool((value > 0).all() and value.isfinite().all())


def _summary(value: Tensor) -> str:
    span = f" from {value.min():.4g} to {value.max():.4g}" if value.numel() else ""
    return f"shape {tuple(value.shape)}{span}"
