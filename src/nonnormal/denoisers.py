"""Denoisers: whatever predicts the clean image x̂0 from a noisy one.

All denoisers speak one language, VE coordinates: `denoiser(x, sigma) -> x0_hat` with x = x0 + sigma·eps, all of them
images. A state of any linear process is carried there by `LinearProcess.observation` (`predict_x0`), so a network
trained on one process is used on every other, momentum or not. Sigma is a number, (B,), or one level for each component
of an orthonormal basis, ([B,] C, H, W): then the noise is Uᵀ(sigma ⊙ eps), and the denoiser names U as its `basis`.

Networks of any parametrisation are wrapped by `NetworkDenoiser`; normals, mixtures of normals and finite sets of images
have exact denoisers. Knows processes, but nothing of losses or of what kind of network it wraps.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from nonnormal.bases import PIXEL, Basis, Components
from nonnormal.processes import LinearProcess, apply, contract, embed, trailing

Denoiser = Callable[[Tensor, Tensor], Tensor]


class StateDenoiser(ABC):
    """What predicts from a whole state of one process, not from its observation y: see `state_networks`."""

    @abstractmethod
    def predict_x0(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis = PIXEL) -> Tensor:
        """Coefficients of x̂0, (B, C, ...)."""

    @abstractmethod
    def score(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis = PIXEL) -> Tensor:
        """∇ log p(x_t), in x_t's shape, as far as noise moves the state."""


def predict_x0(
    denoiser: Denoiser | StateDenoiser, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis = PIXEL
) -> Tensor:
    """x̂0(x_t, t) = U denoiser(U⁻¹ y, σ) with y = wᵀ x_t = x_0 + σ eps, of any linear process.

    Args:
        denoiser: in VE coordinates, on images; or of the states of this process.
        process: gives w and σ by `observation`.
        xt: state (B, n·C, ...), coefficients in `basis`.
        t: time, a number or (B,).
        basis: U. If it is orthonormal and σ one level an image, white noise on coefficients is white noise on pixels,
            and any denoiser serves; else the denoiser must name this basis as its own.

    Returns:
        Coefficients of x̂0, (B, C, ...).

    Raises:
        ValueError: the noise is not white, and the denoiser has no basis or another one.
    """
    if isinstance(denoiser, StateDenoiser):
        return denoiser.predict_x0(process, xt, t, basis)
    return predict_x0_observed(denoiser, *process.observation(t), xt, basis, axes=torch.as_tensor(t).dim())


def predict_x0_observed(
    denoiser: Denoiser, weights: Tensor, sigma: Tensor, xt: Tensor, basis: Basis = PIXEL, *, axes: int = 0
) -> Tensor:
    """`predict_x0` for w and σ of `LinearProcess.observation`, where they are known already.

    Args:
        weights, sigma: w and σ.
        axes: of time in them, which come before the components: 0 where it is a number, 1 where it is (B,).
    """
    components = sigma.shape[axes:]
    if components or not basis.orthonormal:
        _same_basis(denoiser, basis, components)
    x = basis.inverse(contract(weights, xt))
    return basis.forward(denoiser(x, sigma.to(xt)))


def _same_basis(denoiser: Denoiser, basis: Basis, components: tuple[int, ...]) -> None:
    """Refuses a denoiser that has no basis or another one than the noise."""
    found = getattr(denoiser, "basis", None)
    if found is None or not basis.matches(found):
        noise = f"a noise level for each of {tuple(components)} components" if components else "noise that is not white"
        raise ValueError(
            f"{noise} of the basis {type(basis).__name__} needs a denoiser of that basis, found "
            f"{type(denoiser).__name__} of {'no basis' if found is None else type(found).__name__}"
        )


def score(
    denoiser: Denoiser | StateDenoiser, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis = PIXEL
) -> Tensor:
    """∇ log p(x_t) = C⁻¹ (A (x̂0, 0) − x_t): Tweedie's formula, exact for an exact denoiser; in x_t's shape.

    Args, errors: as in `predict_x0`; t above 0 where C is singular there.

    Source: Tweedie; that y alone decides the score of position and momentum is derived here.
    """
    if isinstance(denoiser, StateDenoiser):
        return denoiser.score(process, xt, t, basis)
    a, c = process.marginal(t)
    residual = apply(a, embed(predict_x0(denoiser, process, xt, t, basis), process.n)) - xt
    return apply(torch.linalg.inv(c), residual)


def alpha_and_level(process: LinearProcess, t: float | Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma/alpha) at time t: how a state is carried to VE coordinates, and its noise level there; float64.

    Args:
        process: a process of one variable per component and one schedule for all.
        t: time, a number or any shape, which the results have.

    Raises:
        ValueError: the process has more than one variable per component, or a noise level of its own for each.
    """
    if process.n != 1:
        raise ValueError(f"VE coordinates need one variable per component, {type(process).__name__} has {process.n}")
    a, c = process.marginal(t)
    if components := tuple(a.shape[torch.as_tensor(t).dim() : -2]):
        raise ValueError(f"VE coordinates need one noise level an image, found one for each of {components}")
    alpha = a[..., 0, 0]
    return alpha, c[..., 0, 0].sqrt() / alpha


class Counted:
    """The same denoiser, with `nfe`, the number of its calls, whatever the size of their batches."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser, self.nfe = denoiser, 0

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """x̂0 (B, ...), counted once."""
        self.nfe += 1
        return self.denoiser(x, sigma)


class CountedStates(StateDenoiser):
    """The same for what predicts from whole states."""

    def __init__(self, denoiser: StateDenoiser):
        self.denoiser, self.nfe = denoiser, 0

    def predict_x0(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis = PIXEL) -> Tensor:
        """x̂0 (B, C, ...), counted once."""
        self.nfe += 1
        return self.denoiser.predict_x0(process, xt, t, basis)

    def score(self, process: LinearProcess, xt: Tensor, t: float | Tensor, basis: Basis = PIXEL) -> Tensor:
        """The score, counted once."""
        self.nfe += 1
        return self.denoiser.score(process, xt, t, basis)


def counted(denoiser: Denoiser | StateDenoiser) -> Counted | CountedStates:
    """The same denoiser with its calls counted, whichever it is."""
    return CountedStates(denoiser) if isinstance(denoiser, StateDenoiser) else Counted(denoiser)


# ---- parametrisations ------------------------------------------------------------------------------------------------


def _eps(sigma: Tensor, sigma_data: Tensor):
    return torch.ones_like(sigma), -sigma, _alpha(sigma)


def _v(sigma: Tensor, sigma_data: Tensor):
    return _alpha(sigma).square(), -_alpha(sigma) * sigma, _alpha(sigma)


def _x0(sigma: Tensor, sigma_data: Tensor):
    return torch.zeros_like(sigma), torch.ones_like(sigma), _alpha(sigma)


def _edm(sigma: Tensor, sigma_data: Tensor):
    total = (sigma.square() + sigma_data**2).sqrt()
    return (sigma_data / total).square(), sigma * sigma_data / total, 1 / total


def _alpha(sigma: Tensor) -> Tensor:
    """Alpha of the VP state with the log-SNR of x0 + sigma·eps."""
    return (1 + sigma.square()).rsqrt()


PARAMETRISATIONS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    "eps": _eps,
    "v": _v,
    "x0": _x0,
    "edm": _edm,
}


class Wrapper(nn.Module):
    """A module around the learnt part, `network`."""

    network: nn.Module

    def around(self, network: nn.Module) -> Self:
        """The same with another network inside."""
        other = copy.copy(self)
        other._modules = {**self._modules, "network": network}
        return other


class NetworkDenoiser(Wrapper):
    """x̂0 = m + c_skip·(x − m) + c_out·F(c_in·(x − m), log_snr), with coefficients set by what the network F predicts.

    | parametrisation | F predicts | c_skip | c_out | c_in |
    |---|---|---|---|---|
    | eps | the noise | 1 | −σ | α |
    | v | α·eps − (ασ)·x0 | α² | −ασ | α |
    | x0 | the image | 0 | 1 | α |
    | edm | unit-variance residual | σ_d²/(σ²+σ_d²) | σσ_d/√(σ²+σ_d²) | 1/√(σ²+σ_d²) |

    Here α = 1/√(1+σ²), so c_in·x is the VP state of the same log-SNR for all but edm. All products are component by
    component of the basis U: x stands for Ux. The network works on images, so what it is given is carried back by Uᵀ
    and what it predicts by U. With m and σ_d of each component a network that predicts 0 is, with edm, the best
    linear denoiser of components that are not correlated: the optimal one for a normal law in its PCA.

    Args:
        network: F(z, log_snr) with z (B, C', H, W), log_snr (B,), result (B, C, H, W).
        parametrisation: a key of `PARAMETRISATIONS`.
        sigma_data: standard deviation of the data, used by edm, with m = 0; None takes m and σ_d of each component.
        fourier: exponents n of the features sin(2ⁿπ αx), cos(2ⁿπ αx) that are appended to the channels; they let a
            network see on which grey level a nearly clean pixel stands.
        components: U and the statistics of the data in it; pixels where it is None.
        sees_levels: whether the network is given the noise share σ²/(σ²+σ_d²) of every component, scaled to [−1, 1],
            as C more channels, as an image Uᵀ(…); log_snr is then the mean over components.

    Raises:
        ValueError: an unknown parametrisation, or neither sigma_data nor components.

    Source: EDM (2206.00364) Table 1; v: Salimans & Ho (2202.00512); Fourier features: VDM (2107.00630) App. C; that a
    network sees each component's noise: GUD (2410.02667).
    """

    sigma_data: Tensor
    mean: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        parametrisation: str = "edm",
        sigma_data: float | None = 0.5,
        fourier: tuple[int, ...] = (),
        components: Components | None = None,
        sees_levels: bool = False,
    ):
        super().__init__()
        if parametrisation not in PARAMETRISATIONS:
            raise ValueError(f"unknown parametrisation {parametrisation!r}; known: {', '.join(PARAMETRISATIONS)}")
        if sigma_data is None and components is None:
            raise ValueError("a denoiser without sigma_data needs components, whose deviations it takes")
        self.network, self.components, self.sees_levels = network, components, sees_levels
        self.parametrisation, self.fourier = parametrisation, tuple(fourier)
        mean, std = (components.mean, components.std) if sigma_data is None else (0.0, sigma_data)
        for name, value in (("mean", mean), ("sigma_data", std)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64), persistent=False)

    @property
    def basis(self) -> Basis:
        """U, in whose components noise levels are given."""
        return PIXEL if self.components is None else self.components.basis

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """x̂0 (B, C, H, W), in x's dtype, for x (B, C, H, W) and sigma a number, (B,) or ([B,] C, H, W)."""
        dtype = next(self.network.parameters()).dtype
        mean, sigma_data = self.mean.to(dtype), self.sigma_data.to(dtype)
        state = self.basis.forward(x.to(dtype)) - mean
        sigma = trailing(torch.as_tensor(sigma, dtype=dtype, device=x.device), state)
        c_skip, c_out, c_in = PARAMETRISATIONS[self.parametrisation](sigma, sigma_data)
        channels = [self._image(c_in * state)]
        channels += fourier_features(self.basis.inverse(_alpha(sigma) * (state + mean)), self.fourier)
        if self.sees_levels:
            share = 2 * sigma.square() / (sigma.square() + sigma_data.square()) - 1
            channels.append(self._image(share.expand(x.shape)))
        log_snr = -2 * sigma.log()
        log_snr = (log_snr.flatten(1).mean(1) if log_snr.dim() == x.dim() else log_snr.mean()).expand(len(x))
        prediction = self.basis.rotation.forward(self.network(torch.cat(channels, dim=1), log_snr))
        return self.basis.inverse(mean + c_skip * state + c_out * prediction).to(x.dtype)

    def _image(self, c: Tensor) -> Tensor:
        """Coefficients of unit scale as an image."""
        return self.basis.rotation.inverse(c)


def fourier_features(z: Tensor, exponents: tuple[int, ...]) -> list[Tensor]:
    """[sin(2ⁿπz), cos(2ⁿπz)] for each n in exponents."""
    return [f(math.pi * 2**n * z) for n in exponents for f in (torch.sin, torch.cos)]


# ---- exact denoisers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NormalDenoiser:
    """E[x0 | x0 + U⁻¹(σ ⊙ eps) = x] for x0 ~ N(mean, covariance), exactly, for white noise and for any other.

    x̂0 = mean + Σ (Σ + U⁻¹ diag(σ²) U⁻ᵀ)⁻¹ (x − mean).

    Args:
        mean: (C, H, W).
        covariance: Σ, (D, D) with D = C·H·W.
        basis: U, in whose components σ is given; orthonormal or not.

    Source: linear-Gaussian algebra.
    """

    mean: Tensor
    covariance: Tensor
    basis: Basis = PIXEL

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """x̂0 (B, C, H, W) for x (B, C, H, W) and sigma a number, (B,) or ([B,] C, H, W)."""
        columns = pixels_of(self.basis, self.mean.shape, x)
        sigma = trailing(torch.as_tensor(sigma, dtype=x.dtype), x)
        sigma = sigma.expand(len(sigma) if sigma.dim() == x.dim() else 1, *self.mean.shape).flatten(1)
        covariance, gap = self.covariance.to(x), (x - self.mean.to(x)).flatten(1)
        total = covariance + (columns * sigma.square().unsqueeze(1)) @ columns.mT
        known = torch.linalg.solve(total, gap.unsqueeze(-1)).squeeze(-1)
        return self.mean.to(x) + (known @ covariance).reshape(x.shape)


def pixels_of(basis: Basis, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """U⁻¹ as a matrix (D, D) in like's dtype and on its device: column i is the image, flattened, of component i."""
    dims = math.prod(shape)
    units = torch.eye(dims, dtype=like.dtype, device=like.device).reshape(dims, *shape)
    return basis.inverse(units).flatten(1).T


@dataclass(frozen=True, eq=False)
class GaussianMixtureDenoiser:
    """E[x0 | x0 + sigma·eps = x] for x0 ~ Σ_k w_k N(m_k, s_k² I), exactly.

    x̂0 = Σ_k r_k(x) (m_k + s_k²/(s_k²+σ²) (x − m_k)) with responsibilities r_k ∝ w_k N(x; m_k, s_k²+σ²), all by pixel.

    Args:
        means: (K, *event).
        stds: (K,), may be 0 (a point mass).
        weights: (K,), sums to 1; equal weights where it is None.
        basis: the only one in which a level for each component is a level for each pixel.

    Source: Bayes' rule; the mixture of points is the optimal denoiser of chen2023 §3.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor | None = None
    basis: Basis = PIXEL

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """x̂0 (B, *event) for x (B, *event) and sigma a number, (B,) or, by pixel, ([B,] *event)."""
        means, stds = self.means.to(x), self.stds.to(x)
        weights = torch.full_like(stds, 1 / len(stds)) if self.weights is None else self.weights.to(x)
        sigma = trailing(torch.as_tensor(sigma, dtype=x.dtype), x).expand(x.shape).flatten(1).unsqueeze(1)
        variance = stds.square().unsqueeze(-1) + sigma.square()
        gap = (x.unsqueeze(1) - means).flatten(2)
        log_weight = weights.log() - 0.5 * (gap.square() / variance + variance.log()).sum(-1)
        posterior_means = means.flatten(1) + stds.square().unsqueeze(-1) / variance * gap
        return (log_weight.softmax(1).unsqueeze(-1) * posterior_means).sum(1).reshape(x.shape)


# What a denoised pixel may err by, for images in [−1, 1], by the precision of the sums.
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}


@dataclass(frozen=True, eq=False)
class OptimalDenoiser:
    """r*(x; σ) = Σ_i softmax_i(−‖x − y_i‖²/2σ²) y_i over the images y_i, exactly: a step of annealed mean shift.

    The sum runs over chunks of images with a running least distance m, so that no more is held than one chunk, its
    distances and the sums Σ exp((m − ‖x − y_i‖²)/2σ²) (1, y_i). At σ = 0 it is the nearest image, the mean of them
    where several are. Sums are in x's precision, but at least float32. No gradients.

    It costs two matrix products. One makes ‖x‖² + ‖y‖² − 2xy, x and y centred, which at unit roundoff u errs by at
    most E = (D + 4)(u(‖y‖² + 2‖x‖‖y‖) + 2⁻⁵³‖x‖²), for ‖x‖² is in float64, but by about e = E/(D + 4), as rounding goes
    either way. So an image that looks farther than the nearest by g has at most the share s = exp((2E − g)/2σ²)/Σ of
    the sum, with a relative error of about e/2σ². For different images these are independent, so from all whose share
    is s or less comes an error of √s·e/2σ² at most. Where this is above the tolerance, the distance is taken again,
    from differences in float64: at small σ for the few images that could be nearest or have weight beside it, at large
    σ for the few of large weight. The other product is the sum, but for each chunk's largest weight, in which small
    ones would drown. Products must be of full precision, as torch's are unless told otherwise (TF32, autocast), and
    the device must have float64.

    Args:
        images: (N, *event), floating point of any precision, or grey levels 0 … levels − 1 of any integer type.
        levels: number of grey levels of integer images, which stand for 2v/(levels − 1) − 1.
        chunk_size: images that are handled at once.

    Raises:
        ValueError: there are no images, chunk_size is under 1, or integer images come without levels or the reverse.

    Source: chen2023 (2305.19947) §3; the running sum and its errors are derived here.
    """

    images: Tensor
    levels: int | None = None
    chunk_size: int = 1024

    def __post_init__(self):
        if not len(self.images) or self.chunk_size < 1:
            raise ValueError(f"found {len(self.images)} images and chunk_size = {self.chunk_size}: need 1 or more")
        if self.images.is_floating_point() != (self.levels is None):
            raise ValueError(f"integer images, and only they, have levels: found {self.images.dtype}, {self.levels}")

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """r* (B, *event), in x's dtype, for x (B, *event) and sigma ≥ 0 a number or (B,)."""
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).expand(len(x)).unsqueeze(1)
        width = (2 * sigma.square()).clamp(min=1e-100)  # serves for sigma = 0, the limit
        least, total = torch.full_like(sigma, math.inf), torch.zeros_like(sigma)
        weighted = torch.zeros_like(x.flatten(1), dtype=torch.float64)
        tolerance, negligible = TOLERANCES[_working(x)], torch.finfo(_working(x)).eps ** 2

        def weigh(square):
            lower = torch.minimum(least, square.amin(1, keepdim=True))
            keep, weight = ((least - lower) / -width).exp(), ((square - lower) / -width).exp()
            return lower, keep, weight, keep * total + weight.sum(1, keepdim=True)

        for chunk in self.chunks(x):
            lower, _, _, share = weigh(chunk.square)
            error = chunk.bound / (chunk.images.shape[1] + 4) / width
            margin = 2 * chunk.bound + width * (2 * (error / tolerance).log() - share.log())
            chunk.settle(chunk.square < lower + margin)
            least, keep, weight, total = weigh(chunk.square)
            largest, at = weight.max(1, keepdim=True)
            weight = torch.threshold(weight.scatter_(1, at, 0), negligible, 0)
            used = weight.any(0)
            used = slice(None) if used.all() else used  # spares a copy
            weighted.mul_(keep).add_(largest * chunk.images[at.squeeze(1)])
            weighted.add_(weight[:, used].to(chunk.images) @ chunk.images[used])
        return (weighted / total + chunk.centre).reshape(x.shape).to(x.dtype)

    def chunks(self, x: Tensor) -> Iterator[Chunk]:
        """The images in chunks, on x's device, each with its distances from x (B, *event)."""
        scale, shift = (1.0, 0.0) if self.levels is None else (2 / (self.levels - 1), -1.0)
        parts, exact = self.images.flatten(1).split(self.chunk_size), x.flatten(1).double()
        mean = parts[0].mean(0, dtype=torch.float64).to(x.device, _working(x))
        centre = mean.double() * scale + shift
        flat = (exact - centre).to(mean)
        norm = (exact - centre).square().sum(1, keepdim=True)
        wide = torch.promote_types(parts[0].dtype, mean.dtype)
        terms, roundoff = flat.shape[1] + 4, torch.finfo(mean.dtype).eps / 2
        for part in parts:
            part = part.to(x.device)
            images = (part.to(wide) - mean).to(mean).mul_(scale)
            norms = torch.linalg.vecdot(images, images)
            square = torch.addmm(norms, flat, images.T, alpha=-2).double().add_(norm)
            bound = terms * (roundoff * (norms.max() + 2 * (norm * norms.max()).sqrt()) + 2**-53 * norm)
            yield Chunk(exact, part, scale, shift, centre, images, square, bound)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some images y and their distances from x.

    Args:
        x: (B, D), float64.
        values: (C, D), y = scale·values + shift.
        centre: (D,), float64.
        images: y − centre, (C, D).
        square: ‖x − y‖², (B, C), float64.
        bound: what an entry of `square` errs by at most, (B, 1), until it is settled.
    """

    x: Tensor
    values: Tensor
    scale: float
    shift: float
    centre: Tensor
    images: Tensor
    square: Tensor
    bound: Tensor

    def settle(self, where: Tensor) -> None:
        """Takes the entries of `square` where the mask (B, C) holds from differences in float64."""
        rows, columns = where.nonzero(as_tuple=True)
        size = max(1, len(self.values) // 8)  # pairs whose float64 is no more than the images
        for row, column in zip(rows.split(size), columns.split(size), strict=True):
            gap = self.values[column].double().mul_(self.scale).add_(self.shift).sub_(self.x[row])
            self.square[row, column] = gap.square_().sum(1)


def _working(x: Tensor) -> torch.dtype:
    """The dtype of x, but at least float32."""
    return torch.promote_types(x.dtype, torch.float32)
