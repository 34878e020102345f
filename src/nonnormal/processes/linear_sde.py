"""The complete recipe: linear diffusions of n variables that keep a normal prior.

    dz = −β (D + Q) ∇H dt + √(2βD) dw,   H(z) = zᵀ H z / 2,   D symmetric, Q skew, H positive definite, β = β(t).

Every linear diffusion that keeps exp(−H) has this form with D(t) and Q(t). Here D and Q are constant and β alone
depends on time: a component-wise schedule in which the ratio of two rates moves is not one of these, and VE, whose
prior is not stationary, has no such form at all.

exp(−H) is stationary whatever D and Q are: with P = H⁻¹, (D + Q) H P + P Hᵀ (D + Q)ᵀ = D + Q + Dᵀ + Qᵀ = 2D, which is
Lyapunov's equation. D determines which variables get noise, and Q how noise passes between them. The correction tau of
the recipe is the divergence of D + Q, so 0 here. Transitions depend on time only through B = ∫β:

    Φ = exp(F B),   Σ = ∫₀ᴮ exp(F b) 2D exp(F b)ᵀ db,   F = −(D + Q) H.

Σ = P − Φ P Φᵀ loses its digits for small B, and Van Loan's block exponential contains exp(−F B), which overflows for
large B. Here the series is summed for a short B and then doubled, which is accurate for both.

Knows nothing of steps, networks or losses.

Source: PSLD (2303.01748), after Ma et al. (1506.04696), for the form; what constant D and Q leave out and the algorithm
for Σ are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.processes.base import LinearProcess, as_matrix, as_time, ordered

Matrix = Sequence[Sequence[float]] | Tensor
Rate = float | tuple[float, float]

_ROUNDING = 1e-13  # what a matrix may miss its symmetry or its sign by, relative to its largest entry
_TERMS = 20  # of the series with ‖F‖B ≤ ½: the first that is left out is below 1/20! of the leading one


@dataclass(frozen=True, eq=False)
class LinearSDE(LinearProcess):
    """Any linear diffusion of the complete recipe that keeps a normal prior.

    dz = −β (D + Q) H z dt + √(2βD) dw with constant n×n matrices D, Q and H, started from N(A_0 z_0, C_0).

    Attributes:
        D: diffusion matrix, symmetric and positive semi-definite.
        Q: skew matrix: a rotation that keeps the prior.
        H: inverse covariance of the prior, symmetric and positive definite.
        beta: rate of time, a number or its two ends (β at t = 0, β at t = 1) with a straight line between.
        A_0: which variables are data; the identity if None.
        C_0: covariance of the variables given the data at t = 0; zero if None. A likelihood needs it positive
            in the data, as it needs a VP schedule to start at a finite log-SNR, or t_min above 0.
        t_min: where chains and flows end.

    Raises:
        ValueError: a matrix does not have the property above, or the noise does not reach all variables, so that the
            state at t = 1 would depend on the data for any beta.

    Examples:
        >>> from nonnormal import LinearSDE
        >>> process = LinearSDE(D=[[1.0]], Q=[[0.0]], H=[[1.0]], C_0=[[1e-4]])  # an Ornstein–Uhlenbeck process
        >>> A, C = process.marginal(1.0)
        >>> round(A.item(), 4)  # exp(−1)
        0.3679
    """

    D: Matrix
    Q: Matrix
    H: Matrix
    beta: Rate = 1.0
    A_0: Matrix | None = None
    C_0: Matrix | None = None
    t_min: float = 0.0

    def __post_init__(self):
        n = torch.as_tensor(self.H).shape[:1].numel()
        a_0 = torch.eye(n) if self.A_0 is None else self.A_0
        c_0 = torch.zeros(n, n) if self.C_0 is None else self.C_0
        checked = dict(
            n=n,
            H=_symmetric("H", _square("H", self.H, n), least="definite"),
            D=_symmetric("D", _square("D", self.D, n), least="semi-definite"),
            Q=_symmetric("Q", _square("Q", self.Q, n), sign=-1),
            A_0=_square("A_0", a_0, n),
            C_0=_symmetric("C_0", _square("C_0", c_0, n), least="semi-definite"),
        )
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # frozen for all others
        rate_ends(self.beta)
        if not 0 <= self.t_min < 1:
            raise ValueError(f"t_min must be 0 or more and below 1, found {self.t_min}")
        slowest = torch.linalg.eigvals(-self.drift).real.min().item()
        if slowest <= _ROUNDING * self.drift.abs().max():
            raise ValueError(
                f"the noise D does not reach all variables through Q and H: (D + Q) H has an eigenvalue of real part "
                f"{slowest:.6g}, and all must be positive"
            )

    @property
    def drift(self) -> Tensor:
        """F = −(D + Q) H, (n, n)."""
        return -(self.D + self.Q) @ self.H

    def sde(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(β F, 2 β D) at time t: dz = β F z dt + G dw with G Gᵀ = 2 β D; two of shape t.shape + (n, n)."""
        beta = as_matrix(rate(self.beta, as_time(t)))
        return beta * self.drift, beta * 2 * self.D

    def initial(self):
        return self.A_0, self.C_0

    def transition(self, s, t):
        return moments(self.drift, 2 * self.D, elapsed(self.beta, *ordered(s, t)))

    def prior_covariance(self):
        return torch.linalg.inv(self.H)


def vp_sde(beta: Rate = (0.1, 20.0)) -> LinearSDE:
    """D = ½, Q = 0, H = 1: dx = −½ β x dt + √β dw, with alpha² = exp(−B).

    Source: Song et al. (2011.13456) Eq. 11, with the ends and the first time of App. C as default.
    """
    return LinearSDE([[0.5]], [[0.0]], [[1.0]], beta, t_min=1e-3)


# ---- moments ---------------------------------------------------------------------------------------------------------


def moments(drift: Tensor, noise: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """(Φ, Σ) of dz = F z dt + G dw over a span B: Φ = Σ_k (FB)ᵏ/k!, Σ = Σ_k Bᵏ⁺¹/(k+1)! Lᵏ(GGᵀ), L(X) = FX + XFᵀ.

    The series are summed at b = B/2ʲ with ‖F‖b ≤ ½ and the transition composed with itself j times,
    Φ(2b) = Φ(b)², Σ(2b) = Σ(b) + Φ(b) Σ(b) Φ(b)ᵀ. Nothing cancels, so a variance of order B³ or smaller, of a variable
    that noise reaches through others, is as accurate as one of order B.

    Args:
        drift: F, (n, n).
        noise: G Gᵀ, (n, n).
        span: B > 0, any shape.

    Returns:
        Two float64 tensors of shape span.shape + (n, n).
    """
    doublings = (2 * torch.linalg.matrix_norm(drift) * span).log2().ceil().clamp(min=0)
    b = as_matrix(span * 2**-doublings)
    phi_term, sigma_term = torch.eye(len(drift), dtype=torch.float64).expand(*span.shape, -1, -1), b * noise
    phi, sigma = phi_term, sigma_term
    for k in range(1, _TERMS):
        phi_term = b / k * (drift @ phi_term)
        sigma_term = b / (k + 1) * (drift @ sigma_term + sigma_term @ drift.mT)
        phi, sigma = phi + phi_term, sigma + sigma_term
    for j in range(int(max(doublings.flatten().tolist(), default=0))):
        short = as_matrix(j < doublings)
        phi, sigma = torch.where(short, phi @ phi, phi), torch.where(short, sigma + phi @ sigma @ phi.mT, sigma)
    return phi, sigma


def rate(beta: Rate, t: Tensor) -> Tensor:
    """β(t), on the straight line between its ends."""
    start, end = rate_ends(beta)
    return start + t * (end - start)


def elapsed(beta: Rate, s: Tensor, t: Tensor) -> Tensor:
    """B = ∫ₛᵗ β, exactly (t − s) (β(s) + β(t)) / 2."""
    return (t - s) * (rate(beta, s) + rate(beta, t)) / 2


def rate_ends(beta: Rate) -> tuple[float, float]:
    """(β at t = 0, β at t = 1).

    Raises:
        ValueError: beta is neither a number nor two, or a rate is negative, or all rates are 0.
    """
    ends = tuple(beta) if isinstance(beta, Sequence) else (beta, beta)
    if len(ends) != 2 or not all(0 <= end < math.inf for end in ends) or not any(ends):
        raise ValueError(f"beta must be a positive number, or two that are not negative nor both 0, found {beta}")
    return ends


# ---- checks of a matrix ----------------------------------------------------------------------------------------------


def _square(name: str, value: Matrix, n: int) -> Tensor:
    """Value as a float64 matrix of n×n finite numbers that shares no memory with it."""
    matrix = torch.as_tensor(value, dtype=torch.float64, device="cpu").clone()
    if matrix.shape != (n, n):
        raise ValueError(f"{name} must be {n}×{n}, as H has {n} rows, found shape {tuple(matrix.shape)}")
    if not matrix.isfinite().all():
        i, j = (~matrix.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name} must be finite, found {name}[{i}][{j}] = {matrix[i, j]}")
    return matrix


def _symmetric(name: str, matrix: Tensor, sign: int = 1, least: str | None = None) -> Tensor:
    """Checks that a matrix is (skew-)symmetric, and positive if required; returns it without rounding errors."""
    gap = (matrix - sign * matrix.mT).abs()
    i, j = divmod(int(gap.argmax()), len(matrix))
    if gap[i, j] > _ROUNDING * matrix.abs().max():
        kind = "symmetric" if sign == 1 else "skew"
        entries = f"{name}[{i}][{j}] = {matrix[i, j]:.6g}, {name}[{j}][{i}] = {matrix[j, i]:.6g}"
        raise ValueError(f"{name} must be {kind}, found {entries}")
    matrix = (matrix + sign * matrix.mT) / 2
    if least is not None:
        lowest, slack = torch.linalg.eigvalsh(matrix).min(), _ROUNDING * matrix.abs().max()
        if lowest < -slack or (least == "definite" and lowest <= slack):
            raise ValueError(f"{name} must be positive {least}, found the eigenvalue {lowest:.6g}")
    return matrix
