"""Fitted steps: the best step of the model in each interval of a chain, from the residuals of a trained network.

The best step of the model is the law of the residual r = z − δ of a coordinate along the true chain, with z ~ q. For
given q and network the remaining cost is h(r) − h(z) (`attainable`). The choices, each with `+shape` or without:

    unit         nothing is fitted: a step of unit variance
    scale        one variance of all components, 1 + E δ²
    diagonal     a variance for each component of a basis
    conditional  the diagonal times a factor by the network's prediction x̂0 of the component, in bins
    +shape       a scale mixture of normals, by EM on r/s, in the place of the normal
    residuals    whole vectors r, drawn from those of the images: for samples, it has no bound

E r² = 1 + E δ² needs no draw of z, since z is independent of x_t and of x0. Variances are shrunk towards the common one
by an inverse-gamma prior of ν images: (n s_i² + ν s²)/(n + ν). ν, up to infinity, minimises the normal bound of
held-out images in five folds. So with few images, or components that hardly change, no choice is worse than `scale`. A
shape is kept if it improves on the normal for held-out images.

Source: variances: Analytic-DPM (2201.06503) for one, OCM (2406.10808) and SN-DDPM (2206.07309) for a diagonal;
shrinkage, factors by prediction, and shapes are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases import PCA, PIXEL, Basis, rotation
from nonnormal.denoisers import Denoiser, predict_x0
from nonnormal.objectives.losses import (
    Design,
    Marginals,
    marginal_state,
    need_design,
    need_marginals,
    need_numbers,
    whitened_error,
)
from nonnormal.processes import apply, as_time
from nonnormal.seeds import ImageNoise, derive, generator, one_seed_an_image
from nonnormal.steps import FittedStep, Normal, ResidualStep, ScaleMixture, Step
from nonnormal.steps.mixtures import excess_cost, scale_mixture

ModelStep = Step | FittedStep | ResidualStep
CHOICES = ("unit", "scale", "diagonal", "conditional", "scale+shape", "diagonal+shape", "conditional+shape")
RESIDUALS = "residuals"
BASES = ("pixel", "dct", "fourier", "haar", "pca", "residual_pca")

N_BINS = 24  # of x̂0
FOLDS = 5
_PRIORS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, math.inf)  # ν, images
_MOST_DRAWS = 400_000  # numbers by which a shape is fitted
_NARROWEST = 1 / 16  # least variance of a part of a shape times the least scale: a quarter of the true step's deviation


@dataclass(frozen=True, eq=False)
class Residuals:
    """Errors of a network in one interval, M of them: those of every draw of every image.

    Attributes:
        q: step of the true process.
        delta: whitened error (M, C, ...), float64, in the coordinates of the design.
        x0_hat: prediction, of the same shape and in the same coordinates.
        image: number of the image, (M,), from 0.
        moves: which coordinates move in this interval, (C, ...), or () for all alike; None if all do.

    Raises:
        ValueError: a basis mixes coordinates of which some do not move.
    """

    q: Step
    delta: Tensor
    x0_hat: Tensor
    image: Tensor
    moves: Tensor | None = None

    def rotated(self, basis: Basis | None) -> Residuals:
        """The same in the components of a basis."""
        if basis is None:
            return self
        self.need_all_moving()
        return Residuals(self.q, basis.forward(self.delta), basis.forward(self.x0_hat), self.image)

    @property
    def all_move(self) -> bool:
        """Whether all coordinates move in this interval."""
        return self.moves is None or bool(self.moves.all())

    def need_all_moving(self) -> None:
        """Refuses an interval in which some coordinates do not move."""
        if not self.all_move:
            raise ValueError("the basis of a fitted step mixes components of which some do not move in an interval")

    @property
    def n_images(self) -> int:
        """How many images there are."""
        return int(self.image.max()) + 1


@torch.no_grad()
def residuals(
    denoiser: Denoiser,
    design: Design,
    images: Tensor,
    times: Tensor,
    *,
    seeds: Sequence[int],
    n_draws: int = 3,
    marginals: Marginals = "limit",
    batch_size: int = 512,
) -> Iterator[Residuals]:
    """Residuals of each interval of the chain, from the prior to the data; n_draws network calls an image and interval.

    Args:
        denoiser: in VE coordinates.
        design: basis, process and q; the process has one variable per component.
        images: of the training split (N, C, ...), in [−1, 1].
        times: the T + 1 times of the chain, in either order.
        seeds: one an image.
        n_draws: draws of an image.
        marginals: law of the states: the limit's, or the bridge walk of q.
        batch_size: images per network call.

    Raises:
        ValueError: as many seeds as images are needed, one draw or more, two or more distinct times, and a process of
            one variable per component; or the marginals are of another name.
    """
    need_numbers(images)
    one_seed_an_image(seeds, images)
    process, basis, times = need_design(design).process, design.basis, as_time(times).sort().values
    if process.n != 1:
        raise ValueError(f"fitted steps need one variable per component, {type(process).__name__} has {process.n}")
    if n_draws < 1 or len(times) < 2 or (times.diff() == 0).any():
        raise ValueError(
            f"one draw or more of two or more distinct times are needed, found {n_draws} and {times.tolist()}"
        )
    need_marginals(marginals)
    c0 = basis.forward(images).repeat(n_draws, *(1,) * (images.dim() - 1))
    image = torch.arange(len(images)).repeat(n_draws)
    chain_seeds = [derive(seed, "residual", draw) for draw in range(n_draws) for seed in seeds]
    noise = ImageNoise(chain_seeds, c0.shape[1:], c0.dtype, c0.device)
    limit = Normal()
    ct = marginal_state(process, c0, times[-1], noise.draw(limit))
    for k in range(len(times) - 2, -1, -1):
        s, t = times[k], times[k + 1]
        if marginals == "limit" and k < len(times) - 2:
            ct = marginal_state(process, c0, t, noise.draw(limit))
        c0_hat = torch.cat([predict_x0(denoiser, process, part, t, basis) for part in ct.split(batch_size)]).double()
        delta, moves = whitened_error(process, s, t, c0_hat, c0.double())
        yield Residuals(design.q, delta.cpu(), c0_hat.cpu(), image, moves[..., 0])
        if marginals == "bridge":
            coef_xt, coef_x0, chol = process.posterior(s, t)
            ct = apply(coef_xt, ct) + apply(coef_x0, c0) + apply(chol, noise.draw(design.q))


def fit_steps(
    denoiser: Denoiser,
    design: Design,
    images: Tensor,
    times: Tensor,
    *,
    choice: str | Sequence[str],
    seeds: Sequence[int],
    basis: str | Basis = "pixel",
    n_draws: int = 3,
    marginals: Marginals = "limit",
    batch_size: int = 512,
) -> tuple[ModelStep, ...] | dict[str, tuple[ModelStep, ...]]:
    """Fits the model's step of each interval to the errors of a network, after training; ordered from data to prior.

    Args:
        denoiser, design, images, times, seeds, n_draws, marginals, batch_size: see `residuals`.
        choice: one of `CHOICES` or `RESIDUALS`, or several, which then share the network calls.
        basis: basis of the fitted variances and shapes, on top of the design's: one of `BASES`, or a basis. "pixel" are
            the coordinates of the design. "pca" is fitted to the images. "residual_pca" is fitted to the residuals of
            every other image in each interval, and variances and shapes to those of the rest.

    Returns:
        Steps for `bound` (`FittedLoss`) and `sample_ancestral`; of several choices {choice: steps}.

    Raises:
        ValueError: an unknown choice or basis, a basis where q is not normal or some coordinates do not move, and see
            `residuals`.

    Examples:
        >>> import torch
        >>> from nonnormal import VP, Design, GaussianMixtureDenoiser, Loss, fit_steps
        >>> from nonnormal.processes import uniform_times
        >>> denoiser = GaussianMixtureDenoiser(torch.tensor([[[[-1.0]]], [[[1.0]]]]), torch.zeros(2))
        >>> x0, design = torch.ones(50, 1, 1, 1), Design(VP(), Loss("normal", "normal"))
        >>> steps = fit_steps(denoiser, design, x0, uniform_times(4), choice="scale", seeds=range(50))
        >>> [bool(step.scale >= 1) for step in steps]  # one step for each interval, wider than the true one
        [True, True, True, True]
    """
    choices = (choice,) if isinstance(choice, str) else tuple(choice)
    for name in choices:
        parsed(name)
    if basis not in ("pixel", PIXEL) and type(design.q) is not Normal:
        raise ValueError(f"a basis beside the design's needs a normal q, found {design.q}; give the design that basis")
    fixed = None if basis in ("pixel", PIXEL, "residual_pca") else basis
    if isinstance(fixed, str):
        if fixed not in BASES:
            raise ValueError(f"unknown basis {fixed!r}; known: {', '.join(BASES)}")
        fixed = rotation(fixed, design.basis.forward(images))
    found: dict[str, list[ModelStep]] = {name: [] for name in choices}
    options = dict(seeds=seeds, n_draws=n_draws, marginals=marginals, batch_size=batch_size)
    for errors in residuals(denoiser, design, images, times, **options):
        own, components = in_residual_pca(errors) if basis == "residual_pca" else (errors, fixed)
        for name in choices:
            step = design.p if name == "unit" else fit_step(own, name, basis=components, seed=seeds[0])
            found[name].append(step)
    steps = {name: tuple(reversed(each)) for name, each in found.items()}
    return steps[choice] if isinstance(choice, str) else steps


def in_residual_pca(errors: Residuals) -> tuple[Residuals, Basis]:
    """(residuals of the odd images, principal components of those of the even ones).

    If directions and variances were fitted to the same residuals, the shrinkage could not see how badly these
    directions fit other images.

    Raises:
        ValueError: there are not two images, or some coordinates do not move.
    """
    errors.need_all_moving()
    if errors.n_images < 2:
        raise ValueError("residual_pca needs residuals of two or more images, found those of one")
    even = errors.image % 2 == 0
    odd = Residuals(errors.q, errors.delta[~even], errors.x0_hat[~even], errors.image[~even] // 2)
    return odd, PCA.fit(errors.delta[even])


def fit_step(errors: Residuals, choice: str, *, basis: Basis | None = None, seed: int = 0) -> FittedStep | ResidualStep:
    """The step of one interval for a choice other than `unit`, fitted to the coordinates that move.

    Args:
        errors: residuals of the interval, in the coordinates of the design.
        choice: one of `CHOICES`, or `RESIDUALS`.
        basis: of the step, on top of the design's; whole residuals take none.
        seed: of the draws of z by which a shape is fitted.

    Raises:
        ValueError: an unknown choice.
    """
    if choice == RESIDUALS:
        return ResidualStep(errors.q, errors.delta)
    spread, shaped = parsed(choice)
    if spread == "unit":
        raise ValueError("unit: nothing is fitted")
    if basis is None and not errors.all_move:
        return _of_moving(errors, choice, seed)
    errors = errors.rotated(basis)
    step = _SCALES[spread](errors, basis)
    return _with_shape(errors, step, seed) if shaped else step


def _of_moving(errors: Residuals, choice: str, seed: int) -> FittedStep:
    """The step of the coordinates that move; the scale of the others, which is never used, is 1."""
    moves = errors.moves
    if not moves.any():
        return FittedStep(Normal(), torch.ones((), dtype=torch.float64))
    moving = Residuals(errors.q, errors.delta[:, moves], errors.x0_hat[:, moves], errors.image)
    step = fit_step(moving, choice, seed=seed)
    scale = step.scale
    if scale.dim():
        scale = torch.ones(moves.shape, dtype=torch.float64).masked_scatter(moves, scale)
    return FittedStep(step.shape, scale, step.edges, step.factors)


def parsed(choice: str) -> tuple[str, bool]:
    """(spread, whether a shape is fitted) of a choice.

    Raises:
        ValueError: an unknown choice.
    """
    if choice not in (*CHOICES, RESIDUALS):
        raise ValueError(f"unknown choice {choice!r}; known: {', '.join((*CHOICES, RESIDUALS))}")
    spread, _, shape = choice.partition("+")
    return spread, bool(shape)


# ---- scales ----------------------------------------------------------------------------------------------------------


def _one_scale(errors: Residuals, basis: Basis | None) -> FittedStep:
    return FittedStep(Normal(), (1 + errors.delta.square().mean()).sqrt(), basis=basis)


def _diagonal(errors: Residuals, basis: Basis | None) -> FittedStep:
    bins = torch.zeros_like(errors.delta, dtype=torch.int64)
    table = _Table.of(errors, bins, 1)
    components, _ = table.fitted([(prior, math.inf) for prior in _PRIORS])
    return FittedStep(Normal(), components.sqrt().reshape(errors.delta.shape[1:]), basis=basis)


def _conditional(errors: Residuals, basis: Basis | None) -> FittedStep:
    flat = errors.x0_hat.flatten()
    some = flat[:: max(1, len(flat) // 200_000)].sort().values
    places = torch.arange(1, N_BINS) * len(some) // N_BINS
    edges = some[places].unique()
    table = _Table.of(errors, torch.bucketize(errors.x0_hat, edges), len(edges) + 1)
    components, factors = table.fitted([(a, b) for a in _PRIORS for b in _PRIORS])
    return FittedStep(Normal(), components.sqrt().reshape(errors.delta.shape[1:]), edges, factors.sqrt(), basis)


_SCALES = {"scale": _one_scale, "diagonal": _diagonal, "conditional": _conditional}


@dataclass(frozen=True, eq=False)
class _Table:
    """How many residuals, and the sum of their 1 + δ², by fold of the images, component and bin, (F, D, b), float64."""

    count: Tensor
    total: Tensor
    n_images: int
    n_draws: float

    @classmethod
    def of(cls, errors: Residuals, bins: Tensor, n_bins: int) -> _Table:
        dims, folds = errors.delta[0].numel(), min(FOLDS, errors.n_images)
        fold = (errors.image % folds).unsqueeze(1)
        place = ((fold * dims + torch.arange(dims)) * n_bins + bins.flatten(1)).flatten()
        size = folds * dims * n_bins
        count = torch.bincount(place, minlength=size).double()
        total = torch.bincount(place, 1 + errors.delta.square().flatten(), minlength=size)
        shape = (folds, dims, n_bins)
        return cls(count.reshape(shape), total.reshape(shape), errors.n_images, len(errors.delta) / errors.n_images)

    def fitted(self, priors: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
        """(variance by component (D,), factor by bin (b,)) with the priors by which what is left out costs least."""
        best = priors[-1]
        if len(self.count) > 1:
            costs = [sum(self._left_out(fold, prior) for fold in range(len(self.count))) for prior in priors]
            best = priors[min(range(len(priors)), key=lambda i: costs[i])]
        return self._fit(self.count.sum(0), self.total.sum(0), self.n_images, best)

    def _left_out(self, fold: int, prior: tuple[float, float]) -> float:
        """Twice the normal cost of a fold by what the others say."""
        count, total = self.count.sum(0) - self.count[fold], self.total.sum(0) - self.total[fold]
        share = 1 - self.count[fold].sum() / self.count.sum()
        components, factors = self._fit(count, total, self.n_images * share.item(), prior)
        variance = components.unsqueeze(1) * factors
        return (self.total[fold] / variance + self.count[fold] * variance.log()).sum().item()

    def _fit(self, count: Tensor, total: Tensor, n: float, prior: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Variance s² a_i f_b by maximum likelihood, a and f shrunk towards 1; one after the other, three times."""
        common = total.sum() / count.sum()
        components, factors = torch.ones_like(count[:, 0]), torch.ones_like(count[0])
        for _ in range(1 if count.shape[1] == 1 else 3):
            if count.shape[1] > 1 and prior[1] < math.inf:
                # A bin has as many images' worth of numbers as the others have on average.
                images = count.sum(0) / count.sum() * count.shape[1] * n
                ratio = (total / (common * components.unsqueeze(1))).sum(0) / count.sum(0).clamp(min=1)
                factors = (images * ratio + prior[1]) / (images + prior[1]).clamp(min=1e-9)
                factors = torch.where(images + prior[1] > 0, factors, 1.0)
            if prior[0] < math.inf:
                ratio = (total / (common * factors)).sum(1) / count.sum(1)
                components = (n * ratio + prior[0]) / (n + prior[0])
        return common * components, factors


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _with_shape(errors: Residuals, step: FittedStep, seed: int) -> FittedStep:
    """The step with a scale mixture of normals, if images that are left out gain by it, else with the normal."""
    scale = step.scale_at(_unrotated(step, errors)).expand(errors.delta.shape).flatten(1)
    squares, folds = _scaled_squares(errors, scale, seed)
    least = _NARROWEST / scale.min().item() ** 2
    held = folds == 0
    if held.any() and not held.all():
        fitted = scale_mixture(squares[~held], least=least)
        if excess_cost(squares[held], *fitted) >= 0:
            return step
    mixture, deviation = ScaleMixture.standardised(*scale_mixture(squares, least=least))
    return FittedStep(mixture, step.scale * deviation, step.edges, step.factors, step.basis)


def _unrotated(step: FittedStep, errors: Residuals) -> Tensor:
    """Predictions of residuals that are in the step's components already, in the coordinates of the design."""
    return errors.x0_hat if step.basis is None else step.basis.inverse(errors.x0_hat)


def _scaled_squares(errors: Residuals, scale: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """((z − δ)²/s² for draws of z, fold of each), both flat."""
    delta = errors.delta.flatten(1)
    again = max(1, min(16, _MOST_DRAWS // delta.numel()))
    thin = max(1, delta.numel() // _MOST_DRAWS)
    g = generator(seed, "shape")
    flat, width = delta.flatten()[::thin], scale.flatten()[::thin]
    fold = (errors.image % FOLDS).unsqueeze(1).expand_as(delta).flatten()[::thin]
    z = errors.q.sample((again, len(flat)), generator=g, dtype=torch.float64)
    return ((z - flat) / width).square().flatten(), fold.repeat(again)
