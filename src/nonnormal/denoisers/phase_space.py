"""Networks of states: eps_hat(z, t), which see position and momentum of a phase-space diffusion.

An image denoiser gets y = wᵀz only. Such a network sees the whole state and predicts the noise eps of

    hsm   z = A (x_0, 0) + L eps,        L Lᵀ = C, the momentum's own law inside,
    dsm   z = Φ (x_0, m_0) + L eps,      L Lᵀ = Σ, the momentum drawn,

of all 2d channels, or of the momentum's alone where no noise moves the position (friction_x = 0). Either way the score
is s = −L⁻ᵀ eps_hat. It determines the clean image, because z + C s = A (x̂0, 0) for the exact score: with the column a
of x_0 in A and σ⁻² = aᵀC⁻¹a,

    x̂0 = y + σ² aᵀ s,    or, from s_m alone,    x̂0 = (s_m + [C⁻¹z]_m) / [C⁻¹a]_m,

so samplers and bounds take a network of states where they take a denoiser.

Knows phase space, but nothing of losses.

Source: PSLD (2303.01748) for the parametrisation and both targets, hybrid score matching after CLD (2112.07068); x̂0 is
derived here.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nonnormal.bases import PIXEL, Basis
from nonnormal.denoisers import StateDenoiser, Wrapper, fourier_features
from nonnormal.processes import PSLD, LinearProcess, append_dims, apply, cholesky, project, solve_lower

Target = Literal["hsm", "dsm"]


def noise_factor(process: LinearProcess, t: float | Tensor, target: Target) -> Tensor:
    """L of the target at time t: of C for hsm, of Σ for dsm; float64, t.shape + (n, n)."""
    if target == "hsm":
        return cholesky(process.marginal(t)[1])
    return cholesky(process.transition(torch.zeros_like(torch.as_tensor(t, dtype=torch.float64)), t)[1])


class PhaseSpaceNetwork(StateDenoiser, Wrapper):
    """eps_hat(z, t) = F((x, m/√M, features of y), log_snr of y) by a network F.

    Args:
        network: F(z, log_snr) with as many output channels as noise is predicted of.
        process: the only one in which it is of use.
        target: which noise it predicts, see above.
        fourier: exponents n of the features sin(2ⁿπ αy), cos(2ⁿπ αy), α = 1/√(1 + σ²).

    Raises:
        ValueError: another target.

    Deviates: PSLD's network gets m without scaling, and the time; here m has unit variance at t = 1, and the network
    gets the log-SNR of y.
    """

    n = 2
    components = None  # a denoiser of images may have them, see `NetworkDenoiser`

    def __init__(self, network: nn.Module, process: PSLD, *, target: Target = "hsm", fourier: tuple[int, ...] = ()):
        super().__init__()
        if target not in get_args(Target):
            raise ValueError(f"target must be one of {', '.join(get_args(Target))}, found {target!r}")
        self.network, self.process, self.target, self.fourier = network, process, target, tuple(fourier)

    @property
    def momentum_alone(self) -> bool:
        """Whether the noise of the momentum is all that is predicted."""
        return self.process.friction_x == 0

    def forward(self, z: Tensor, t: float | Tensor) -> Tensor:
        """eps_hat (B, 2C, ...), or (B, C, ...) of the momentum alone, in z's dtype; t a number or (B,)."""
        dtype = next(self.network.parameters()).dtype
        weights, sigma = self.process.observation(t)
        x, m = z.to(dtype).chunk(2, dim=1)
        alpha = append_dims((1 + sigma.square()).rsqrt(), x)
        channels = [x, self.process.mass_inv**0.5 * m]
        channels += fourier_features(alpha * project(weights, z.to(dtype)), self.fourier) if self.fourier else []
        log_snr = (-2 * sigma.log()).to(x).expand(len(z))
        return self.network(torch.cat(channels, dim=1), log_snr).to(z.dtype)

    def predict_x0(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis | None = None) -> Tensor:
        """x̂0 (B, C, ...) of the state xt (B, 2C, ...)."""
        self._serves(process, basis)
        noise, factor = self(xt, t), noise_factor(process, t, self.target)
        a, c = process.marginal(t)
        if self.momentum_alone:
            xx, xm, mm = c[..., 0, 0], c[..., 0, 1], c[..., 1, 1]
            known = xx * a[..., 1, 0] - xm * a[..., 0, 0]
            spread = (xx * mm - xm * xm) / factor[..., 1, 1] / known
            return project(torch.stack([-xm, xx], -1) / known[..., None], xt) - append_dims(spread, noise) * noise
        weights, sigma = process.observation(t)
        spread = sigma.square()[..., None] * solve_lower(factor, a[..., :1])[..., 0]
        return project(weights, xt) - project(spread, noise)

    def score(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis | None = None) -> Tensor:
        """−L⁻ᵀ eps_hat, in xt's shape; 0 for a position that no noise moves, whose score nothing asks for."""
        self._serves(process, basis)
        noise, factor = self(xt, t), noise_factor(process, t, self.target)
        if self.momentum_alone:
            return torch.cat([torch.zeros_like(noise), -noise / append_dims(factor[..., 1, 1], noise)], dim=1)
        return -apply(torch.linalg.inv(factor).mT, noise)

    def _serves(self, process: LinearProcess, basis: Basis | None) -> None:
        """Raises an error for another process or basis than its own."""
        if process != self.process:
            raise ValueError(f"a network of the states of {self.process} does not serve {process}")
        if basis not in (None, PIXEL):
            raise ValueError(f"a network of states needs the pixel basis, found {type(basis).__name__}")
