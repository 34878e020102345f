"""Phase space: position x and momentum m, with friction and noise on either (PSLD; CLD is friction on m alone).

    dx = (β/2) (M⁻¹ m − Γ x) dt + √(Γβ) dw,   dm = (β/2) (−x − ν m) dt + √(Mνβ) dw,   prior x ~ N(0, 1), m ~ N(0, M).

In code M⁻¹ is `mass_inv`, Γ `friction_x`, ν `friction_m`. The state is z = (x, m) with the channels of x first. What is
passed as clean data is (x_0, 0): the momentum's own law N(0, momentum_var M) at t = 0 is in the covariance, so
marginals and posteriors are those of hybrid score matching, with the momentum integrated out.

Knows nothing of steps, networks or losses.

Source: PSLD (2303.01748); CLD (2112.07068); the form of the kernel is derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.processes.base import LinearProcess, as_matrix, ordered
from nonnormal.processes.linear_sde import LinearSDE, Rate, elapsed, rate_ends


@dataclass(frozen=True)
class PSLD(LinearProcess):
    """Phase-space Langevin diffusion (PSLD; CLD for friction_x = 0) of position and momentum, critically damped.

    Φ and Σ are in closed form for (Γ − ν)² = 4 M⁻¹. With κ = (Γ + ν) B / 2 and B = ∫β:

        Φ = e^(−κ/2) [[1 + (ν − Γ)B/4, M⁻¹B/2], [−B/2, 1 − (ν − Γ)B/4]]
        Σ_xx = P(3, κ) + e^(−κ) ΓB (1 + νB/2),   Σ_xm = e^(−κ) (ν − Γ) B²/4,
        Σ_mm = M [P(3, κ) + e^(−κ) νB (1 + ΓB/2)].

    P(3, κ) = 1 − e^(−κ) (1 + κ + κ²/2) is the regularised incomplete gamma function. All terms of the variances are
    positive, so no digit is lost for small B, where without friction on x its variance is of order B³. Other dampings:
    `langevin_sde`.

    Attributes:
        mass_inv: M⁻¹.
        friction_x: Γ, friction and noise on the position; 0 is CLD.
        friction_m: ν, friction and noise on the momentum.
        beta: rate of time, a number or its two ends.
        momentum_var: variance of the momentum at t = 0 in units of M.
        t_min: where chains and flows end; at t = 0 the position is the clean image.

    Raises:
        ValueError: a parameter out of range, or damping that is not critical.

    Source: PSLD (2303.01748) prints the kernel expanded in powers of B, which cancel; this sum is derived here.

    Examples:
        >>> from nonnormal import PSLD
        >>> process = PSLD()
        >>> A, C = process.marginal(1.0)
        >>> C.round(decimals=2)  # position of variance 1, momentum of variance M = 1/4
        tensor([[1.0000, 0.0000],
                [0.0000, 0.2500]], dtype=torch.float64)
    """

    mass_inv: float = 4.0
    friction_x: float = 0.01
    friction_m: float = 4.01
    beta: Rate = 8.0
    momentum_var: float = 0.04
    t_min: float = 1e-3

    n = 2

    def __post_init__(self):
        _check(self.mass_inv, self.friction_x, self.friction_m, self.momentum_var)
        if not 0 < self.t_min < 1:
            raise ValueError(f"t_min must lie between 0, where the position has no noise, and 1, found {self.t_min}")
        rate_ends(self.beta)
        root = 2 * math.sqrt(self.mass_inv)
        # The closed form is off by about as much as the damping is.
        if not math.isclose(abs(self.friction_m - self.friction_x), root, rel_tol=1e-12):
            lower = f" or {self.friction_x - root:.12g}" if self.friction_x >= root else ""
            raise ValueError(
                f"friction_m = {self.friction_m} is not critical: with friction_x = {self.friction_x} and mass_inv = "
                f"{self.mass_inv} it must be {self.friction_x + root:.12g}{lower}; langevin_sde takes any damping"
            )

    @property
    def recipe(self) -> LinearSDE:
        """The same process by its D, Q and H."""
        settings = self.mass_inv, self.friction_x, self.friction_m, self.beta, self.momentum_var, self.t_min
        return langevin_sde(*settings)

    def initial(self):
        momentum = self.momentum_var / self.mass_inv
        return torch.eye(2, dtype=torch.float64), torch.tensor([[0.0, 0.0], [0.0, momentum]], dtype=torch.float64)

    def sde(self, t):
        return self.recipe.sde(t)

    def transition(self, s, t):
        span, fx, fm = elapsed(self.beta, *ordered(s, t)), self.friction_x, self.friction_m
        kappa, turn = (fx + fm) * span / 2, (fm - fx) * span / 4
        decay = torch.exp(-kappa)
        phi = as_matrix(torch.exp(-kappa / 2)) * _matrix(1 + turn, self.mass_inv * span / 2, -span / 2, 1 - turn)
        forgotten = torch.special.gammainc(torch.tensor(3.0, dtype=torch.float64), kappa)
        sigma_xx = forgotten + decay * fx * span * (1 + fm * span / 2)
        sigma_xm = decay * turn * span
        sigma_mm = (forgotten + decay * fm * span * (1 + fx * span / 2)) / self.mass_inv
        return phi, _matrix(sigma_xx, sigma_xm, sigma_xm, sigma_mm)

    def prior_covariance(self):
        return torch.tensor([[1.0, 0.0], [0.0, 1 / self.mass_inv]], dtype=torch.float64)


def langevin_sde(
    mass_inv: float = 4.0,
    friction_x: float = 0.01,
    friction_m: float = 4.01,
    beta: Rate = 8.0,
    momentum_var: float = 0.04,
    t_min: float = 1e-3,
) -> LinearSDE:
    """D = ½ diag(Γ, Mν), Q = ½ [[0, −1], [1, 0]], H = diag(1, M⁻¹): PSLD of any damping, over, under or critical.

    Args:
        mass_inv, friction_x, friction_m, beta, momentum_var, t_min: as in `PSLD`.

    Raises:
        ValueError: a parameter out of range.

    Source: PSLD (2303.01748), which takes the factor ½ into its rate β/2.
    """
    _check(mass_inv, friction_x, friction_m, momentum_var)
    return LinearSDE(
        D=[[friction_x / 2, 0.0], [0.0, friction_m / mass_inv / 2]],
        Q=[[0.0, -0.5], [0.5, 0.0]],
        H=[[1.0, 0.0], [0.0, mass_inv]],
        beta=beta,
        C_0=[[0.0, 0.0], [0.0, momentum_var / mass_inv]],
        t_min=t_min,
    )


def _check(mass_inv: float, friction_x: float, friction_m: float, momentum_var: float) -> None:
    if not 0 < mass_inv < math.inf:
        raise ValueError(f"mass_inv must be positive, found {mass_inv}")
    for name, value in (("friction_x", friction_x), ("friction_m", friction_m), ("momentum_var", momentum_var)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must not be negative, found {value}")


def _matrix(xx: Tensor, xm: Tensor, mx: Tensor, mm: Tensor) -> Tensor:
    """[[xx, xm], [mx, mm]] in the last two axes."""
    return torch.stack([torch.stack([xx, xm], -1), torch.stack([mx, mm], -1)], -2)
