"""The ancestral sampler: x_s = mean_q(x_t, x̂0) + L z with z ~ any step, from the prior to the data.

This is the chain that the model defines. Each image has its own seed, so image i does not depend on batch size, device
count or order. Knows steps, processes and denoisers, but nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nonnormal.bases import Basis
from nonnormal.denoisers import Denoiser, StateDenoiser, basis_of, predict_x0_observed
from nonnormal.processes import LinearProcess, apply, as_time, cholesky, lift, project, state_shape
from nonnormal.seeds import ImageNoise
from nonnormal.steps import Normal, Step, get
from nonnormal.steps.fitted import FITTED, FittedStep, ResidualStep, shape_of

Callback = Callable[[dict], None]

_ROUNDING = 1e-7  # of a time in float32


@torch.no_grad()
def sample_ancestral(
    denoiser: Denoiser,
    process: LinearProcess,
    step: Step | str | Sequence[Step | str | FittedStep | ResidualStep],
    shape: tuple[int, ...],
    *,
    times: Tensor,
    seeds: Sequence[int],
    basis: Basis | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    known: tuple[Tensor, Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling with any step: one network call for each interval of the grid.

    x_s = coef_xt x_t + coef_x0 x̂0(x_t, t) + L z from the prior to the data; the result is y at the last time.

    Args:
        denoiser: in VE coordinates, or of the states of this process.
        process: its `posterior` gives the coefficients.
        step: law of z, or one for each interval, from the data to the prior, unit steps or fitted ones; the prior draw
            is normal for every step.
        shape: (N, C, H, W), or (N, ...) for other data.
        times: the T + 1 times of the grid in [process.t_min, 1], in either order; 1 is one of them.
        seeds: N seeds, one an image.
        basis: representation in which the step's coordinates are independent; the denoiser's own if None.
        dtype: of the state; coefficients are float64 in any case.
        device: of the state.
        batch_size: images per network call, all if None.
        known: (images of the result's shape, mask (C, H, W) of components of the basis), for inpainting: components in
            the mask are known, and take their own x0 in the place of x̂0. The others are sampled from their exact
            conditional law if the schedule has the known components clean before the others begin; else they see the
            known ones through noise.
        callback: called at each step with {"i", "t", "x", "denoised"}, after x̂0 is known and before x moves.

    Returns:
        Images `shape`, not clipped.

    Raises:
        ValueError: the number of seeds is not N; the grid has fewer than two times, repeats one, leaves [t_min, 1] or
            does not contain 1; numbers of steps and intervals differ; fitted steps for a process with several variables
            per component; known images are integers, the mask is not of bool, or they have another shape; the denoiser
            needs another basis; the process has schedules for components of another shape.

    Source: Ho et al. (2006.11239) Algorithm 2 for normal steps; any other step: li2024 §3; soft conditioning: GUD
    (2410.02667) §5, by bridges of the known components: derived here.

    Examples:
        >>> import torch
        >>> from nonnormal import VP, GaussianMixtureDenoiser, sample_ancestral
        >>> denoiser = GaussianMixtureDenoiser(torch.tensor([[[[-1.0]]], [[[1.0]]]]), torch.zeros(2))
        >>> times = torch.linspace(0, 1, 11)  # 10 network calls
        >>> x = sample_ancestral(denoiser, VP(), "laplace", (8, 1, 1, 1), times=times, seeds=range(8))
        >>> x.flatten().round(decimals=2)
        tensor([-1., -1., -1., -1., -1.,  1., -1., -1.])
    """
    state = state_shape(process, shape[1:])
    times, basis = falling_times(times, seeds, shape, process), basis_of(denoiser, basis)
    steps = _falling_steps(step, len(times) - 1, process)
    if known is not None and (known[0].shape != tuple(shape) or known[1].shape != tuple(shape[1:])):
        found = f"{tuple(known[0].shape)} and {tuple(known[1].shape)}"
        raise ValueError(f"known takes images {tuple(shape)} and a mask {tuple(shape[1:])}, found {found}")
    if known is not None and not known[0].is_floating_point():
        raise ValueError(f"known takes images in [−1, 1] as data.scale makes them, found {known[0].dtype}")
    if known is not None and known[1].dtype != torch.bool:
        raise ValueError(f"the mask of known components is of bool, found {known[1].dtype}")
    # All to the state's dtype and device at once: on a GPU each such step would be waited for.
    weights, levels = (value.to(device, dtype) for value in process.observation(times))
    coefficients = [value.to(device, dtype) for value in process.posterior(times[1:], times[:-1])]
    prior, mask = cholesky(process.prior_covariance()), None if known is None else known[1].to(device)
    images = []
    for start in range(0, len(seeds), batch_size or len(seeds)):
        chunk = slice(start, start + (batch_size or len(seeds)))
        noise = ImageNoise(seeds[chunk], state, dtype, device)
        given = None if known is None else basis.forward(known[0][chunk].to(device, dtype))
        xt = apply(prior, noise.draw(Normal()))
        draws = _draws(noise, [shape_of(each) for each in steps])
        for i, (coef_xt, coef_x0, chol, z) in enumerate(zip(*coefficients, draws, strict=True)):
            if isinstance(denoiser, StateDenoiser):
                x0_hat = denoiser.predict_x0(process, xt, times[i], basis)
            else:
                x0_hat = predict_x0_observed(denoiser, weights[i], levels[i], xt, basis)
            if given is not None:
                x0_hat = torch.where(mask, given, x0_hat)
            if callback is not None:
                callback({"i": i, "t": times[i].item(), "x": xt, "denoised": x0_hat})
            if isinstance(steps[i], FittedStep):
                z = steps[i].noise(z, x0_hat)
            elif isinstance(steps[i], ResidualStep):
                z = steps[i].noise(z, noise.uniform())
            xt = apply(coef_xt, xt) + apply(coef_x0, lift(x0_hat, process.n)) + apply(chol, z)
        y = project(weights[-1], xt)
        images.append(basis.inverse(y if given is None else torch.where(mask, given, y)))
    return torch.cat(images)


def _falling_steps(
    step: Step | str | Sequence[Step | str | FittedStep | ResidualStep], n_steps: int, process: LinearProcess
) -> list[Step | FittedStep | ResidualStep]:
    """A step for each interval, from the prior to the data."""
    if isinstance(step, (Step, str, type, *FITTED)):
        return [get(step)] * n_steps
    steps = [each if isinstance(each, FITTED) else get(each) for each in reversed(list(step))]
    if len(steps) != n_steps:
        raise ValueError(f"a step for each of {n_steps} intervals is needed, found {len(steps)}")
    if process.n > 1 and any(isinstance(each, FITTED) for each in steps):
        raise ValueError(f"fitted steps need one variable per component, {type(process).__name__} has {process.n}")
    return steps


def _draws(noise: ImageNoise, shapes: list[Step]) -> Iterator[Tensor]:
    """The next draw of every image from each of the laws; of equal laws many at a time."""
    if len(set(shapes)) == 1:
        return noise.draws(shapes[0], len(shapes))
    return map(noise.draw, shapes)


def falling_times(times: Tensor, seeds: Sequence[int], shape: tuple[int, ...], process: LinearProcess) -> Tensor:
    """The times of a grid, from 1 down to the process's t_min or a later time, float64.

    Raises:
        ValueError: there are no images, or another number of seeds; the grid has fewer than two times, repeats one,
            leaves [t_min, 1], or does not contain t = 1, where the prior is drawn.
    """
    if not shape[0]:
        raise ValueError(f"one image or more is needed, found shape {tuple(shape)}")
    if len(seeds) != shape[0]:
        raise ValueError(f"one seed an image: found {len(seeds)} seeds for shape {tuple(shape)}")
    times = as_time(times).sort(descending=True).values
    if len(times) < 2 or (times.diff() == 0).any():
        raise ValueError(f"a grid needs two or more distinct times, found {times.tolist()}")
    first, last = times[0].item(), times[-1].item()
    if first < 1 - _ROUNDING:
        raise ValueError(f"a grid begins at t = 1, where the prior is drawn, found {first:.6g}")
    if last < process.t_min - _ROUNDING:
        raise ValueError(f"{type(process).__name__} has times from t_min = {process.t_min:g} to 1, found {last:.6g}")
    return times.clamp(min=process.t_min)
