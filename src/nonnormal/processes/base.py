"""Linear processes: x_t = A(t) x_0 + noise, given by exact transitions of their Gaussian limit.

A process supplies, for s < t, the transition x_t | x_s ~ N(Φ x_s, Σ) and its law at t = 0; marginals and posteriors
follow here by linear-Gaussian algebra. Matrices are n×n *per component*: n = 1 for VP, n = 2 in phase space (position
and momentum). All are float64, of shape `t.shape + components + (n, n)`, where `components` is () if one schedule
serves all components and (C, H, W) if each has its own. A state has shape (B, n·C, H, W): n blocks of C channels.

The clean data are (x_0, 0, …): variables beside the first are not observed, their law at t = 0 is part of C_0
(`lift`). Let a be the first column of A. All the information of a state on x_0 is, per component, in

    y = wᵀ x_t = x_0 + σ eps,   w = C⁻¹a / (aᵀC⁻¹a),   σ⁻² = aᵀC⁻¹a,

because w is sufficient. These are its VE coordinates: a denoiser that predicts x_0 from y at noise level σ serves every
linear process.

Symbols: t in [0, 1], 0 data, 1 prior; A, C mean map and covariance of x_t | x_0; Φ, Σ of x_t | x_s.
Knows nothing of steps, networks or losses.

Source: GUD (2410.02667), PSLD (2303.01748) and VDM (2107.00630) are all of this form; the general algebra, and VE
coordinates of more than one variable, are derived.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor


class LinearProcess(ABC):
    """Base class of linear processes: subclasses define transitions; marginals and posteriors follow here.

    Attributes:
        n: variables per component (1, or 2 in phase space).
        t_min: time at which chains and flows end: 0 if the state at t = 0 is noisy, else a small positive time.
        shortest_window: shortest time interval in which a component changes; an adaptive solver must not step over it.

    Examples:
        >>> from nonnormal import VP, LinearLogSNR
        >>> process = VP(LinearLogSNR(9, -7))
        >>> A, C = process.marginal(1.0)  # E[x_t | x_0] = A x_0 and Cov[x_t | x_0] = C
        >>> round(A.item(), 4), round(C.item(), 4)
        (0.0302, 0.9991)
        >>> coef_xt, coef_x0, chol = process.posterior(0.4, 0.5)  # of x_s given x_t and x_0
    """

    n: int = 1
    t_min: float = 0.0
    shortest_window: float = 1.0

    @abstractmethod
    def initial(self) -> tuple[Tensor, Tensor]:
        """(A_0, C_0) of the state at t = 0, which is N(A_0 x_0, C_0) given the clean data x_0."""

    @abstractmethod
    def transition(self, s: float | Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Transition (Φ, Σ): x_t | x_s ~ N(Φ x_s, Σ) in the Gaussian limit, for 0 ≤ s < t ≤ 1.

        Raises:
            ValueError: times out of order or out of [0, 1].
        """

    @abstractmethod
    def sde(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(F, G Gᵀ) at time t of dx = F x dt + G dw, the Gaussian limit: two of shape t.shape + components + (n, n)."""

    @abstractmethod
    def prior_covariance(self) -> Tensor:
        """Covariance per component of the prior at t = 1, which is normal with mean 0."""

    def marginal(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Marginal (A, C): E[x_t | x_0] = A x_0 and Cov[x_t | x_0] = C, with A = Φ A_0, C = Φ C_0 Φᵀ + Σ from time 0.

        Args:
            t: time(s) in [0, 1], a number or any shape.

        Returns:
            Two float64 tensors of shape t.shape + components + (n, n).
        """
        t = as_time(t)
        phi, sigma = self._from_zero(t)
        a0, c0 = self.initial()
        if self.n == 1:
            return phi * a0, phi * c0 * phi + sigma
        return phi @ a0, phi @ c0 @ phi.mT + sigma

    @cached_property
    def components(self) -> tuple[int, ...]:
        """Shape (C, H, W) of the components that have a schedule each; () if all have the same."""
        return tuple(self.observation(1.0)[1].shape)

    def observation(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """VE coordinates of a state: (w, σ) with y = Σ_j w_j x_j = x_0 + σ eps, all its information on x_0, per
        component.

        One and two variables use the adjugate of C, which exists for a singular C; more variables need an invertible C.

        Returns:
            Two float64 tensors of shape t.shape + components + (n,) and t.shape + components.
        """
        mean, c = self.marginal(t)
        a = mean[..., 0]
        if self.n == 1:
            return 1 / a, (c[..., 0, 0].sqrt() / a[..., 0])
        if self.n == 2:
            xx, xm, mm = c[..., 0, 0], c[..., 0, 1], c[..., 1, 1]
            ax, am = a.unbind(-1)
            scaled, size = torch.stack([mm * ax - xm * am, xx * am - xm * ax], -1), xx * mm - xm * xm
        else:
            scaled, size = torch.linalg.solve(c, a), torch.ones_like(a[..., 0])
        known = (a * scaled).sum(-1)
        return scaled / known[..., None], (size.clamp(min=0) / known).sqrt()

    def log_snr_rate(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(SNR, −d log SNR/dt) of y at time t, per component, SNR = 1/σ²: float64, t.shape + components both.

        SNR falls as −d SNR/dt = uᵀ G Gᵀ u with u = C⁻¹a = w/σ². Source: derived from Kalman-Bucy.
        """
        weights, level = self.observation(t)
        _, noise = self.sde(t)
        fall = (weights[..., None, :] @ noise @ weights[..., None])[..., 0, 0]
        return level**-2, fall * level**-2

    def mean_log_snr(self, t: float | Tensor) -> Tensor:
        """log SNR of y at time t, averaged over components: float64, t's shape."""
        return component_mean(-2 * self.observation(t)[1].log(), as_time(t))

    def time_at(self, log_snr: float | Tensor) -> Tensor:
        """The time at which `mean_log_snr` has a value: float64, of log_snr's shape.

        By bisection between t_min and 1. A value beyond those at the ends gives the end.
        """
        wanted = torch.as_tensor(log_snr, dtype=torch.float64)
        low, high = torch.full_like(wanted, self.t_min), torch.ones_like(wanted)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            above = self.mean_log_snr(middle) > wanted
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return high

    def posterior(self, s: float | Tensor, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior (coef_xt, coef_x0, chol): x_s | x_t, x_0 ~ N(coef_xt x_t + coef_x0 x_0, chol cholᵀ), for s < t.

        With the gain G = C_s Φᵀ (Φ C_s Φᵀ + Σ)⁻¹: coef_xt = G, coef_x0 = (I − GΦ) A_s, and the covariance in Joseph's
        form (I − GΦ) C_s (I − GΦ)ᵀ + G Σ Gᵀ, which rounding cannot make indefinite.

        Source: linear-Gaussian algebra; for VP it is VDM's q(z_s | z_t, x).
        """
        s, t = ordered(s, t)
        phi, sigma = self.transition(s, t)
        a_s, c_s = self.marginal(s)
        if self.n == 1:  # products of numbers, and no solver for each of them
            gain = phi * c_s / (phi * c_s * phi + sigma)
            keep = 1 - gain * phi
            return gain, keep * a_s, (keep * c_s * keep + gain * sigma * gain).sqrt()
        innovation = phi @ c_s @ phi.mT + sigma
        gain = torch.linalg.solve(innovation, phi @ c_s).mT
        keep = torch.eye(self.n, dtype=torch.float64) - gain @ phi
        covariance = keep @ c_s @ keep.mT + gain @ sigma @ gain.mT
        return gain, keep @ a_s, cholesky(covariance)

    def _from_zero(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Transition from time 0, which at t = 0 is the identity without noise."""
        start = t <= 0
        phi, sigma = self.transition(torch.zeros_like(t), torch.where(start, 1.0, t))
        at_start = start.reshape(start.shape + (1,) * (phi.dim() - start.dim()))
        phi = torch.where(at_start, torch.eye(self.n, dtype=torch.float64), phi)
        return phi, torch.where(at_start, 0.0, sigma)


_BISECTIONS = 60  # leave 2⁻⁶⁰ of the unit interval


# ---- helpers for everything that uses a process ----------------------------------------------------------------------


def apply(matrix: Tensor, x: Tensor) -> Tensor:
    """The product M x per component, in the dtype and on the device of x.

    Args:
        matrix: (n, n), (B, n, n) or (B, *components, n, n).
        x: state (B, n·C, ...); components are what follows B in each of its n blocks.
    """
    n = matrix.shape[-1]
    matrix = matrix.to(x)
    components = matrix.shape[1:-2]
    if not components and matrix.dim() == 3:
        matrix = matrix.reshape(matrix.shape[0], *(1,) * (x.dim() - 1), n, n)
    if n == 1:
        return matrix[..., 0, 0] * x
    blocks = torch.stack(x.chunk(n, dim=1), dim=-1)
    product = (matrix @ blocks.unsqueeze(-1)).squeeze(-1)
    return torch.cat(product.unbind(-1), dim=1)


def lift(x0: Tensor, n: int) -> Tensor:
    """(x_0, 0, …): clean data (B, C, ...) as a state of n variables per component, (B, n·C, ...)."""
    return x0 if n == 1 else torch.cat([x0, *[torch.zeros_like(x0)] * (n - 1)], dim=1)


def project(weights: Tensor, x: Tensor) -> Tensor:
    """Σ_j w_j x_j per component, (B, C, ...), for weights (n,), (B, n) or ([B,] *components, n) and a state x."""
    n = weights.shape[-1]
    return sum(append_dims(weights[..., j], x) * block for j, block in enumerate(x.chunk(n, dim=1)))


def component_mean(value: Tensor, t: Tensor) -> Tensor:
    """Mean over the components of a value of shape t.shape + components."""
    return value.flatten(t.dim()).mean(-1) if value.dim() > t.dim() else value


def append_dims(value: Tensor, x: Tensor) -> Tensor:
    """Value (), (B,), (*components) or (B, *components) as x's dtype and device, such that it broadcasts against x."""
    value = value.to(x)
    return value.reshape(value.shape + (1,) * (x.dim() - 1)) if value.dim() == 1 else value


def cholesky(covariance: Tensor) -> Tensor:
    """Lower triangular L with L Lᵀ = covariance, for small n; zero rows where the covariance is singular."""
    n = covariance.shape[-1]
    factor = torch.zeros_like(covariance)
    for j in range(n):
        pivot = (covariance[..., j, j] - factor[..., j, :j].square().sum(-1)).clamp(min=0).sqrt()
        factor[..., j, j] = pivot
        for i in range(j + 1, n):
            rest = covariance[..., i, j] - (factor[..., i, :j] * factor[..., j, :j]).sum(-1)
            factor[..., i, j] = torch.where(pivot > 0, rest / pivot.clamp(min=torch.finfo(pivot.dtype).tiny), 0.0)
    return factor


def solve_lower(factor: Tensor, matrix: Tensor) -> Tensor:
    """L⁻¹ M for the L of `cholesky`, (..., n, n) both; a row without noise gives 0 where M has nothing, else ±∞."""
    solved = torch.zeros_like(torch.broadcast_tensors(factor, matrix)[1])
    for i in range(factor.shape[-1]):
        known = (factor[..., i, :i, None] * solved[..., :i, :]).sum(-2)
        rest, pivot = matrix[..., i, :] - known, factor[..., i, i, None]
        solved[..., i, :] = torch.where(rest == 0, 0.0, rest / pivot)
    return solved


def as_matrix(value: Tensor) -> Tensor:
    """A scalar coefficient as a 1×1 matrix."""
    return value[..., None, None]


def as_time(t: float | Tensor) -> Tensor:
    """Time as float64 on the CPU.

    Raises:
        ValueError: a time lies outside [0, 1].
    """
    t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
    if t.numel() and not (t.min() >= 0 and t.max() <= 1):
        raise ValueError(f"times must lie in [0, 1] (0 is data, 1 is the prior), found {t.min():.6g} to {t.max():.6g}")
    return t


def ordered(s: float | Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
    """Both times as float64, broadcast.

    Raises:
        ValueError: a time lies outside [0, 1], or s < t does not hold everywhere.
    """
    s, t = torch.broadcast_tensors(as_time(s), as_time(t))
    if not (s < t).all():
        raise ValueError(
            f"transitions need s < t (0 is data, 1 is the prior), found s = {s.max():.6g}, t = {t.min():.6g}"
        )
    return s, t


def need_steps(n_steps: int) -> None:
    """Raises an error for a chain without steps.

    Raises:
        ValueError: n_steps is under 1.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, found {n_steps}")


def uniform_times(n_steps: int, t_min: float = 0.0) -> Tensor:
    """The n_steps + 1 times from t_min to 1, equally spaced, float64; n_steps ≥ 1."""
    need_steps(n_steps)
    return t_min + (1 - t_min) * (torch.arange(n_steps + 1, dtype=torch.float64) / n_steps)


def quadratic_times(n_steps: int, t_min: float = 0.0) -> Tensor:
    """The n_steps + 1 times t_min + (1 − t_min) (k/n_steps)², from t_min to 1, dense at the data, float64; n_steps ≥ 1.

    Source: PSLD (2303.01748), its authors' code.
    """
    need_steps(n_steps)
    return t_min + (1 - t_min) * (torch.arange(n_steps + 1, dtype=torch.float64) / n_steps).square()


TIMES: dict[str, Callable[[int, float], Tensor]] = {"uniform": uniform_times, "quadratic": quadratic_times}
"""Time grids by name."""


def need_process(process: LinearProcess) -> LinearProcess:
    """The process; raises a ValueError for anything else in its place, a design above all."""
    if not isinstance(process, LinearProcess):
        hint = "; give design.process" if hasattr(process, "process") else ""
        raise ValueError(f"a process is needed, an object of LinearProcess; found {process!r}{hint}")
    return process


def state_shape(process: LinearProcess, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the state of an image of shape (C, ...): (n·C, ...).

    Raises:
        ValueError: no process, or one whose components have schedules of their own and are not those of the image.
    """
    components, found = need_process(process).components, tuple(shape)
    if components not in ((), found):
        raise ValueError(
            f"the schedules of the process are of components {components}, found images {found}; "
            "labels.expand(shape) gives a label to each"
        )
    return (process.n * shape[0], *shape[1:])
