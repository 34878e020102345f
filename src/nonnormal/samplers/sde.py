"""Samplers of states: from the prior of any linear process to the data, by its reverse equations.

With dz = F z dt + G dw, prior N(0, P) and the score s of `denoisers.score`, time runs from t down to t − h:

    Euler–Maruyama   z ← z − h (F z − G Gᵀ s) + √h G ξ
    SSCS             half a step of the stationary process, z ← z + h G Gᵀ (s + P⁻¹ z), and half a step of it again;
                     G and s are those of t (`sample_sscs`), or those of the middle of the step (`sample_sscs_midpoint`)
    flow             dz/dt = F z − ½ G Gᵀ s, by Euler's method, Heun's, or adaptive steps

The reverse equation is that of the stationary process, run backwards, plus G Gᵀ (s + P⁻¹ z), which vanishes at the
prior. SSCS solves the first part exactly, by the law of z_s | z_t of the stationary process,

    N(K z_t, (I − KΦ) P (I − KΦ)ᵀ + K Σ Kᵀ),   K = P Φᵀ P⁻¹,

and the second part by one Euler step between its halves. ξ has independent coordinates from any step of unit variance.
A chain ends at the last time with y = x_0 + σ eps, or, after one more network call, with x̂0.
Deviates: PSLD's code ends with one step of Euler's without noise to t = 0, which is x̂0 to first order in t_min.

Knows steps, processes and denoisers, but nothing of training.

Source: PSLD (2303.01748) and CLD (2112.07068) for the samplers in phase space; the stationary half step by the
transition, which serves every process that keeps its prior, is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from nonnormal.bases import Basis
from nonnormal.denoisers import Denoiser, basis_of, predict_x0, score
from nonnormal.objectives.probability_flow import step_limit, velocity
from nonnormal.processes import LinearProcess, apply, cholesky, need_process, project, state_shape
from nonnormal.samplers.ancestral import Callback, falling_times
from nonnormal.seeds import ImageNoise
from nonnormal.steps import Normal, Step, get

Move = Callable[[Tensor, Tensor, Tensor, ImageNoise], Tensor]  # (state at t, t, s, noise) -> state at s


class Options(TypedDict, total=False):
    """What all samplers of states take by name.

    times: the grid in [process.t_min, 1], in either order; 1 is one of them.
    seeds: N seeds, one an image.
    denoise: whether the result is x̂0 of the last state, for one network call more, in place of its y; true if left out.
    basis: representation in which the step's coordinates are independent; the denoiser's own if left out.
    dtype: of the state, float32 if left out; coefficients are float64 in any case.
    device: of the state.
    batch_size: images per network call, all if left out.
    callback: called at each step with {"i", "t", "x"}, before x moves.
    """

    times: Tensor
    seeds: Sequence[int]
    denoise: bool
    basis: Basis | None
    dtype: torch.dtype
    device: torch.device | str
    batch_size: int | None
    callback: Callback | None


def sample_em(
    denoiser: Denoiser, process: LinearProcess, step: Step | str, shape: tuple[int, ...], **options: Unpack[Options]
) -> Tensor:
    """Euler–Maruyama sampler of the reverse equation, with any step. Weak order 1, one network call a step.

    z ← z − h (F z − G Gᵀ s) + √h G ξ, ξ ~ step.

    Args:
        denoiser: in VE coordinates, or a network of states.
        process: any.
        step: law of ξ, or its name; the prior draw is normal for every step.
        shape: (N, C, H, W), or (N, C, ...) for other data.
        options: see `Options`; times and seeds are needed.

    Returns:
        Images `shape`, not clipped.

    Raises:
        ValueError: the number of seeds is not N; the grid has fewer than two times, repeats one, leaves [t_min, 1] or
            does not contain 1; the denoiser needs another basis.

    Source: Song et al. (2011.13456) App. D; any other step: li2024 §3.

    Examples:
        >>> import torch
        >>> from nonnormal import VP, GaussianMixtureDenoiser, sample_em
        >>> from nonnormal.processes import uniform_times
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1, 1, 1), torch.ones(1))  # data from N(0, 1)
        >>> process = VP()
        >>> times = uniform_times(100, process.t_min)
        >>> x = sample_em(denoiser, process, "laplace", (500, 1, 1, 1), times=times, seeds=range(500))
        >>> bool(0.8 < x.std() < 1.2)
        True
    """
    step, basis = get(step), options.get("basis")

    def move(z, t, s, noise):
        drift, spread = process.sde(t)
        pull = apply(drift, z) - apply(spread, score(denoiser, process, z, t, basis))
        return z - (t - s).item() * pull + apply((t - s).sqrt() * cholesky(spread), noise.draw(step))

    return _walk(denoiser, process, shape, move, **options)


def sample_sscs(
    denoiser: Denoiser, process: LinearProcess, step: Step | str, shape: tuple[int, ...], **options: Unpack[Options]
) -> Tensor:
    """Symmetric splitting sampler (SSCS) of CLD and PSLD. One network call a step.

    Half a step of the stationary process, then z ← z + h G Gᵀ (s + P⁻¹ z), then half a step of the stationary process.

    Score and rates are taken at the time where the step begins, also in the second half step, as in the sources' code.
    Weak order 1. If the score is the prior's, steps of any size keep the prior.

    Args, Returns, Raises: as `sample_em`; the process must keep its prior.

    Source: CLD (2112.07068) §4 Algorithm 1 and its code, PSLD's code [code]; for any process that keeps its prior:
    derived here.

    Examples:
        >>> import torch
        >>> from nonnormal import PSLD, GaussianMixtureDenoiser, sample_sscs
        >>> from nonnormal.processes import uniform_times
        >>> denoiser = GaussianMixtureDenoiser(torch.zeros(1, 1, 1, 1), torch.ones(1))  # data from N(0, 1)
        >>> process = PSLD()
        >>> times = uniform_times(100, process.t_min)
        >>> x = sample_sscs(denoiser, process, "laplace", (500, 1, 1, 1), times=times, seeds=range(500))
        >>> bool(0.8 < x.std() < 1.2)
        True
    """

    def schedule(t, middle, s):
        return t, (t, middle)

    return _split(denoiser, process, step, shape, schedule, options)


def sample_sscs_midpoint(
    denoiser: Denoiser, process: LinearProcess, step: Step | str, shape: tuple[int, ...], **options: Unpack[Options]
) -> Tensor:
    """`sample_sscs` with score and G at the middle of the step, and each half step with the rates of its own time.

    Weak order 1, since the step between the halves is Euler's; where the score is the prior's it is exact for steps of
    any size.

    Args, Returns, Raises: as `sample_sscs`.

    Source: derived here.

    Deviates: CLD's and PSLD's code takes score and rates at the time where the step begins (`sample_sscs`).
    """

    def schedule(t, middle, s):
        return middle, (middle, s)

    return _split(denoiser, process, step, shape, schedule, options)


def _split(
    denoiser: Denoiser,
    process: LinearProcess,
    step: Step,
    shape: tuple[int, ...],
    schedule: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, tuple[Tensor, Tensor]]],
    options: Options,
) -> Tensor:
    """SSCS, with the time of score and G and the interval of the second half step from `schedule(t, middle, s)`."""
    step, basis, prior = get(step), options.get("basis"), need_process(process).prior_covariance()
    _keeps(process, prior)
    precision = torch.linalg.inv(prior)

    def stationary(z, t, s, noise):
        phi, sigma = process.transition(s, t)
        back = prior @ phi.mT @ precision
        rest = torch.eye(process.n, dtype=torch.float64) - back @ phi
        covariance = rest @ prior @ rest.mT + back @ sigma @ back.mT
        return apply(back, z) + apply(cholesky(covariance), noise.draw(step))

    def move(z, t, s, noise):
        middle = (s + t) / 2
        at, second = schedule(t, middle, s)
        z = stationary(z, t, middle, noise)
        _, spread = process.sde(at)
        pull = score(denoiser, process, z, at, basis) + apply(precision, z)
        return stationary(z + (t - s).item() * apply(spread, pull), *second, noise)

    return _walk(denoiser, process, shape, move, **options)


def sample_flow_euler(
    denoiser: Denoiser, process: LinearProcess, shape: tuple[int, ...], **options: Unpack[Options]
) -> Tensor:
    """z ← z − h v(z, t), v the probability flow's velocity; order 1, one network call a step.

    Args, Returns, Raises: as `sample_em`, without `step`: only the prior draw is random.

    Source: Song et al. (2011.13456) App. D.
    """

    def move(z, t, s, noise):
        return z - (t - s).item() * velocity(denoiser, process, z, t, options.get("basis"))

    return _walk(denoiser, process, shape, move, **options)


def sample_flow_heun(
    denoiser: Denoiser, process: LinearProcess, shape: tuple[int, ...], **options: Unpack[Options]
) -> Tensor:
    """z ← z − h/2 (v(z, t) + v(z − h v(z, t), t − h)); order 2, two network calls a step.

    Args, Returns, Raises: as `sample_flow_euler`.

    Source: EDM (2206.00364) Algorithm 1, in the states of the process.
    """
    basis = options.get("basis")

    def move(z, t, s, noise):
        h, here = (t - s).item(), velocity(denoiser, process, z, t, basis)
        return z - h / 2 * (here + velocity(denoiser, process, z - h * here, s, basis))

    return _walk(denoiser, process, shape, move, **options)


def sample_flow_adaptive(
    denoiser: Denoiser,
    process: LinearProcess,
    shape: tuple[int, ...],
    *,
    rtol: float,
    atol: float,
    **options: Unpack[Options],
) -> Tensor:
    """The flow by Dormand–Prince 5(4) with steps of its own, between each two times of the grid.

    The error is controlled over the batch as a whole, so image i depends, within the tolerance, on its batch.

    Args:
        rtol, atol: relative and absolute tolerance of a step.

    Other arguments, result and errors as in `sample_flow_euler`.

    Source: PSLD (2303.01748), which solves the flow by an adaptive method of order 5(4); torchdiffeq.
    """
    from torchdiffeq import odeint

    basis = options.get("basis")

    def move(z, t, s, noise):
        def rate(time, state):
            return velocity(denoiser, process, state, time.clamp(s, t).cpu(), basis)

        ends = torch.stack([t, s]).to(z.device)
        solver = dict(rtol=rtol, atol=atol, method="dopri5", options=dict(step_t=ends[-1:]) | step_limit(process))
        return odeint(rate, z, ends, **solver)[-1]

    return _walk(denoiser, process, shape, move, **options)


@torch.no_grad()
def _walk(
    denoiser: Denoiser,
    process: LinearProcess,
    shape: tuple[int, ...],
    move: Move,
    *,
    times: Tensor,
    seeds: Sequence[int],
    denoise: bool = True,
    basis: Basis | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Moves states from the prior down the grid, batch by batch."""
    state = state_shape(process, shape[1:])
    times, basis = falling_times(times, seeds, shape, process), basis_of(denoiser, basis)
    prior = cholesky(process.prior_covariance())
    weights, _ = process.observation(times[-1])
    images = []
    for start in range(0, len(seeds), batch_size or len(seeds)):
        chunk = seeds[start : start + (batch_size or len(seeds))]
        noise = ImageNoise(chunk, state, dtype, device)
        z = apply(prior, noise.draw(Normal()))
        for i, (t, s) in enumerate(pairwise(times)):
            if callback is not None:
                callback({"i": i, "t": t.item(), "x": z})
            z = move(z, t, s, noise)
        last = predict_x0(denoiser, process, z, times[-1], basis) if denoise else project(weights, z)
        images.append(basis.inverse(last))
    return torch.cat(images)


def _keeps(process: LinearProcess, prior: Tensor) -> None:
    """Raises an error if the prior of the process is not stationary: F P + P Fᵀ + G Gᵀ ≠ 0."""
    for t in (process.t_min, 0.5, 1.0):
        drift, spread = process.sde(t)
        gap = (drift @ prior + prior @ drift.mT + spread).abs().max().item()
        if not math.isclose(gap, 0.0, abs_tol=1e-9 * spread.abs().max().item()):
            raise ValueError(f"SSCS needs a process that keeps its prior, which {type(process).__name__} does not")
