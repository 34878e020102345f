"""Training losses of a design: basis, process and pair of steps.

For s < t the model replaces x_0 by x̂0 in the posterior mean. The loss is

    delta = L⁻¹ (mean_q(x_t, x̂0) − mean_q(x_t, x0)),   L Lᵀ = cov_q(s, t),
    loss_t = Σ_i K_{q,p}(delta_i).

For one-variable processes delta_i = √(SNR_i(s) − SNR_i(t)) · (x̂0 − x0)_i; of n variables a component has n numbers
delta, whose squares sum to the same with the SNR of `LinearProcess.observation`. Losses are in nats per coordinate of
the image, one number per image. They leave out the constant K(0), which has no gradient; `bounds` counts it. The random
draws of a batch are made before its losses, so that a batch may be split without changing the draws.

Source: derived here; li2024 Eq. 10 prints the same bound for scales of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, Basis
from nonnormal.denoisers import Denoiser, predict_x0, predict_x0_observed
from nonnormal.denoisers.phase_space import PhaseSpaceNetwork, Target, noise_factor
from nonnormal.processes import (
    LinearProcess,
    apply,
    cholesky,
    lift,
    need_steps,
    solve_lower,
    state_shape,
    uniform_times,
)
from nonnormal.steps import Step, get
from nonnormal.steps.conventions import CONVENTIONS, Convention, constant, step_loss
from nonnormal.steps.divergence import is_finite

Draws = tuple[Tensor, Tensor]
Marginals = Literal["limit", "bridge"]

_STEPS = 64  # whose coefficients are computed at once, of all components


@dataclass(frozen=True)
class Loss:
    """Loss of one step for a pair q/p: K_{q,p} of the whitened error, or a loss as the paper prints it.

    Attributes:
        q: step of the true process, or its name.
        p: step of the model, or its name.
        convention: `exact`, or one of the paper's for the pairs that it prints.

    Examples:
        >>> import torch
        >>> from nonnormal import Loss
        >>> Loss(q="laplace", p="laplace")(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.6573])
    """

    q: Step
    p: Step
    convention: Convention = "exact"

    def __post_init__(self):
        for name in ("q", "p"):
            object.__setattr__(self, name, get(getattr(self, name)))
        if self.convention not in CONVENTIONS:
            raise ValueError(f"convention must be one of {', '.join(CONVENTIONS)}, found {self.convention!r}")

    def __call__(self, delta: Tensor) -> Tensor:
        """Loss of each coordinate, nats, of an error in units of the step's standard deviation."""
        return step_loss(self.q, self.p, delta, self.convention)

    def error(
        self, process: LinearProcess, s: float | Tensor, t: float | Tensor, x0_hat: Tensor, x0: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(argument of the loss for each coordinate, which coordinates move), s < t, numbers or (B,).

        The first is `whitened_error`, for a printed convention `printed_error`, (B, n·C, ...) in x0's dtype; the second
        is of shape (n,), (B, n) or ([B,] *components, n).
        """
        if self.convention == "exact":
            return whitened_error(process, s, t, x0_hat, x0)
        return printed_error(process, s, t, x0_hat, x0), _whitening(process, s, t)[1]

    def masked(self, delta: Tensor, moves: Tensor) -> Tensor:
        """Loss of each coordinate, nats, of what `error` returns: 0 where a coordinate does not move in this step.

        Neither the true process nor the model changes it there.
        """
        loss = self(delta)
        if moves.all():
            return loss
        return torch.where(apply(torch.diag_embed(moves.to(delta)), torch.ones_like(delta)) > 0, loss, 0.0)

    @cached_property
    def constant(self) -> float:
        """The loss of a perfect prediction, nats per coordinate that moves."""
        return constant(self.q, self.p, self.convention)

    def constant_cost(self, process: LinearProcess, n_steps: int, shape: tuple[int, ...]) -> float:
        """Loss of a perfect prediction over n_steps uniform steps, nats, of an image of that shape."""
        return self.constant * _moving(process, n_steps, tuple(shape))


@dataclass(frozen=True)
class Design:
    """A design: process, pair of steps, and basis.

    Attributes:
        process: schedule, drift and diffusion.
        loss: pair of steps, and the convention of their loss.
        basis: representation in which coordinates are counted; for a denoiser with a whitened basis, that basis.

    Raises:
        ValueError: one of them is an object of another class.

    Examples:
        >>> from nonnormal import VP, Design, Haar, Loss
        >>> design = Design(VP(), Loss("laplace", "laplace"), basis=Haar(levels=3))
        >>> str(design.q)
        'laplace'
    """

    process: LinearProcess
    loss: Loss
    basis: Basis = PIXEL

    def __post_init__(self):
        for name, kind in (("process", LinearProcess), ("loss", Loss), ("basis", Basis)):
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"{name} of a design must be an object of {kind.__name__}; found {value!r}")

    @property
    def q(self) -> Step:
        """Step of the true process."""
        return self.loss.q

    @property
    def p(self) -> Step:
        """Step of the model."""
        return self.loss.p


def need_numbers(x0: Tensor) -> None:
    """Raises an error for integer grey levels in the place of images in [−1, 1].

    Raises:
        ValueError: the images are integers.
    """
    if not x0.is_floating_point():
        raise ValueError(
            f"images are numbers in [−1, 1], found {x0.dtype}; nonnormal.data.scale(images, levels) makes them"
        )


def need_marginals(marginals: Marginals) -> None:
    """Raises a ValueError for another law of the states than those of `Marginals`."""
    if marginals not in get_args(Marginals):
        raise ValueError(f"marginals must be 'limit' or 'bridge', found {marginals!r}")


def need_design(design: Design) -> Design:
    """The design; raises a ValueError for anything else in its place, a process above all."""
    if not isinstance(design, Design):
        raise ValueError(f"a design is needed, as Design(process, loss, basis) makes it; found {design!r}")
    return design


def _trainable(design: Design) -> None:
    """Raises an error for a pair that cannot be trained, because its loss is infinite or undefined."""
    loss = need_design(design).loss
    if loss.convention == "exact" and not is_finite(loss.q, loss.p):
        raise ValueError(
            f"the divergence of the pair {loss.q}/{loss.p} is infinite; take a p with wider tails, or the normal pair "
            "for training"
        )


def whitened_error(
    process: LinearProcess, s: float | Tensor, t: float | Tensor, x0_hat: Tensor, x0: Tensor
) -> tuple[Tensor, Tensor]:
    """(delta = L⁻¹ coef_x0 (x̂0 − x0, 0), one per coordinate of the state (B, n·C, ...), which coordinates move).

    s < t, numbers or (B,). delta is 0 where a coordinate does not move; for the second see `Loss.error`.
    """
    matrix, moves = _whitening(process, s, t)
    return apply(matrix, lift(x0_hat - x0, process.n)), moves


def _whitening(process: LinearProcess, s: float | Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
    """(L⁻¹ coef_x0, whether L has noise for a coordinate): t.shape + components, then (n, n) and (n,)."""
    _, coef_x0, chol = process.posterior(s, t)
    return solve_lower(chol, coef_x0), chol.diagonal(dim1=-2, dim2=-1) > 0


@lru_cache(16)  # asked for by every loss of a run
def _moving(process: LinearProcess, n_steps: int, shape: tuple[int, ...]) -> int:
    """How many coordinates of an image's state move, summed over n_steps uniform steps."""
    times, moving = uniform_times(n_steps, process.t_min), 0
    for s, t in zip(times[:-1].split(_STEPS), times[1:].split(_STEPS), strict=True):
        _, moves = _whitening(process, s, t)  # (steps, n), or (steps, *shape, n)
        moving += moves.sum().item() * (1 if moves.dim() > 2 else math.prod(shape))
    return moving


def printed_error(process: LinearProcess, s: float | Tensor, t: float | Tensor, x0_hat: Tensor, x0: Tensor) -> Tensor:
    """√(log_snr(s) − log_snr(t)) · √SNR(t) (x̂0 − x0): `whitened_error` to first order in the step, as li2024 has it.

    √SNR(t) (x̂0 − x0) is the paper's eps − eps_hat.

    Raises:
        ValueError: the process has more than one variable, which the paper does not treat.
    """
    if process.n > 1:
        raise ValueError(f"the printed losses are of processes of one variable, found {process.n}")
    (a_s, c_s), (a_t, c_t) = process.marginal(s), process.marginal(t)
    snr_s, snr_t = a_s.square() / c_s, a_t.square() / c_t
    return apply(((snr_s / snr_t).log() * snr_t).sqrt(), x0_hat - x0)


def marginal_state(process: LinearProcess, x0: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
    """x_t = A (x_0, 0) + L noise with L Lᵀ = C: a draw of the limit marginal for normal noise (B, n·C, ...)."""
    a, c = process.marginal(t)
    return apply(a, lift(x0, process.n)) + apply(cholesky(c), noise)


def antithetic(n: int, generator: torch.Generator) -> Tensor:
    """n numbers in [0, 1), float64: one uniform draw and its n − 1 equally spaced rotations. Source: VDM App. I.1."""
    offset = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device).cpu()
    return (offset + torch.arange(n, dtype=torch.float64) / n) % 1


class _Objective:
    """Base class of the training losses: checks the design, and draws before it computes the loss."""

    def __post_init__(self):
        _trainable(self.design)

    def __call__(self, denoiser: Denoiser | PhaseSpaceNetwork, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Loss (B,) with its draws."""
        need_numbers(x0)
        return self.loss(denoiser, x0, *self.draw(x0.shape, generator, x0.dtype))


@dataclass(frozen=True)
class ELBO(_Objective):
    """Training loss by the bound: an unbiased draw of the diffusion term in T steps, without its constant.

    loss = T (K_{q,p}(delta) − K_{q,p}(0)) at a step k drawn from 1 … T, in nats per dimension.

    Times are antithetic over the batch; x_t is drawn from the limit marginal.

    Attributes:
        design: what is trained.
        n_steps: T.

    Examples:
        >>> import torch
        >>> from nonnormal import ELBO, VP, Design, GaussianMixtureDenoiser, Loss
        >>> objective = ELBO(Design(VP(), Loss("laplace", "laplace")), n_steps=100)
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1, 8, 8), torch.ones(1))
        >>> loss = objective(denoiser, torch.zeros(16, 1, 8, 8), torch.Generator().manual_seed(0))
        >>> loss.shape  # one loss an image, in nats per dimension
        torch.Size([16])
    """

    design: Design
    n_steps: int

    def __post_init__(self):
        need_steps(self.n_steps)
        super().__post_init__()

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Draws:
        """(k (B,), standard normal noise (B, n·C, H, W)) for a batch of images of that shape."""
        k = (antithetic(shape[0], generator) * self.n_steps).floor()
        shape = (shape[0], *state_shape(self.design.process, shape[1:]))
        return k, torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)

    def loss(self, denoiser: Denoiser, x0: Tensor, k: Tensor, noise: Tensor) -> Tensor:
        """Loss (B,), nats per coordinate, for x0 in [−1, 1], images (B, C, H, W) or points (B, C), and their draws."""
        need_numbers(x0)
        design, c0 = self.design, self.design.basis.forward(x0)
        times = uniform_times(self.n_steps, design.process.t_min)
        s, t = times[k.long()], times[k.long() + 1]
        ct = marginal_state(design.process, c0, t, noise)
        c0_hat = predict_x0(denoiser, design.process, ct, t, design.basis)
        delta, _ = design.loss.error(design.process, s, t, c0_hat, c0)
        return self.n_steps * _per_image(design.loss(delta) - design.loss.constant, x0)


@dataclass(frozen=True)
class EDMLoss(_Objective):
    """Training loss with EDM's noise levels and weights, and K in the place of the square.

    loss = K_{q,p}(e) − K_{q,p}(0) with EDM's weighted error e = √(σ²+σ_d²)/(σσ_d) · (x̂0 − x0) and ln σ ~ N(m, s²).

    With the normal pair this is half of EDM's loss.

    Attributes:
        design: what is trained; noise levels are drawn from the law of σ, not from the process.
        sigma_data: σ_d, standard deviation of the data.
        log_sigma_mean, log_sigma_std: m and s.

    Source: EDM (2206.00364) Table 1; K in place of the square: li2024 §5.

    Examples:
        >>> import torch
        >>> from nonnormal import VE, Design, EDMLoss, GaussianMixtureDenoiser, Loss
        >>> objective = EDMLoss(Design(VE(), Loss("laplace", "laplace")), sigma_data=0.5)
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1, 8, 8), torch.tensor([0.5]))
        >>> objective(denoiser, torch.zeros(16, 1, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([16])
    """

    design: Design
    sigma_data: float
    log_sigma_mean: float = -1.2
    log_sigma_std: float = 1.2

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Draws:
        """(standard normal level (B,), standard normal noise (B, C, H, W)) for a batch of images of that shape."""
        options = dict(generator=generator, dtype=dtype, device=generator.device)
        return torch.randn(shape[0], **options), torch.randn(shape, **options)

    def loss(self, denoiser: Denoiser, x0: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Loss (B,), nats per coordinate, for x0 in [−1, 1], images (B, C, H, W) or points (B, C), and their draws."""
        need_numbers(x0)
        c0 = self.design.basis.forward(x0)
        sigma = (self.log_sigma_mean + self.log_sigma_std * level).exp()
        column = sigma.reshape(-1, *(1,) * (c0.dim() - 1))
        observed, noisy = torch.ones(1, dtype=torch.float64), c0 + column * noise
        c0_hat = predict_x0_observed(denoiser, observed, sigma, noisy, self.design.basis, axes=1)
        weight = (column.square() + self.sigma_data**2).sqrt() / (column * self.sigma_data)
        return _per_image(self.design.loss(weight * (c0_hat - c0)) - self.design.loss.constant, x0)


@dataclass(frozen=True)
class HybridScoreMatching(_Objective):
    """Hybrid score matching: K_{q,p}(eps_hat − eps) − K_{q,p}(0) at a uniform time of [t_min, 1]; eps: noise of a
    state.

    With the normal pair this is half of PSLD's loss; other pairs put K in the place of the square. Times are antithetic
    over the batch.

    Attributes:
        design: what is trained; its process has two variables.
        target: `hsm`, the momentum integrated out, or `dsm`, the momentum drawn.
        momentum_alone: whether the noise of the momentum is all that is predicted.

    Source: PSLD (2303.01748) §3, after hybrid score matching of CLD (2112.07068) §3.2; K in place of the square here.
    """

    design: Design
    target: Target
    momentum_alone: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.target not in get_args(Target):
            raise ValueError(f"target must be one of {', '.join(get_args(Target))}, found {self.target!r}")

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Draws:
        """(u in [0, 1) (B,), standard normal noise (B, 3C, H, W) of state and first momentum) for a batch of images."""
        u = antithetic(shape[0], generator)
        shape = (shape[0], 3 * shape[1], *shape[2:])
        return u, torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)

    def loss(self, network: PhaseSpaceNetwork, x0: Tensor, u: Tensor, noise: Tensor) -> Tensor:
        """Loss (B,), nats per coordinate of the image, for images x0 (B, C, H, W) in [−1, 1] and the draws of each."""
        need_numbers(x0)
        process, channels = self.design.process, x0.shape[1]
        t = process.t_min + (1 - process.t_min) * u
        eps, first = noise[:, : 2 * channels], noise[:, 2 * channels :]
        start = lift(x0, 2)
        if self.target == "dsm":
            start = start + apply(cholesky(process.initial()[1]), torch.cat([torch.zeros_like(first), first], 1))
        z = apply(process.marginal(t)[0], start) + apply(noise_factor(process, t, self.target), eps)
        wanted = eps[:, channels:] if self.momentum_alone else eps
        return _per_image(self.design.loss(network(z, t) - wanted) - self.design.loss.constant, x0)


def _per_image(loss: Tensor, x0: Tensor) -> Tensor:
    """Sum over coordinates of the state, by the number of those of an image, (B,)."""
    return loss.flatten(1).sum(1) / x0[0].numel()
