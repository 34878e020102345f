"""Exact denoisers: of normals, of mixtures of normals, and of finite sets of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, Basis
from nonnormal.denoisers.base import pixels_of
from nonnormal.processes import append_dims


@dataclass(frozen=True, eq=False)
class NormalDenoiser:
    """Exact denoiser of a normal law, for white and other noise: E[x0 | x0 + U⁻¹(σ ⊙ eps) = x].

    With x0 ~ N(mean, Σ), x̂0 = mean + Σ (Σ + U⁻¹ diag(σ²) U⁻ᵀ)⁻¹ (x − mean).

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
        sigma = append_dims(torch.as_tensor(sigma, dtype=x.dtype), x)
        sigma = sigma.expand(len(sigma) if sigma.dim() == x.dim() else 1, *self.mean.shape).flatten(1)
        covariance, gap = self.covariance.to(x), (x - self.mean.to(x)).flatten(1)
        total = covariance + (columns * sigma.square().unsqueeze(1)) @ columns.mT
        known = torch.linalg.solve(total, gap.unsqueeze(-1)).squeeze(-1)
        return self.mean.to(x) + (known @ covariance).reshape(x.shape)


@dataclass(frozen=True, eq=False)
class GaussianMixtureDenoiser:
    """Exact denoiser of a normal mixture: E[x0 | x0 + sigma·eps = x] for x0 ~ Σ_k w_k N(m_k, s_k² I).

    x̂0 = Σ_k r_k(x) (m_k + s_k²/(s_k²+σ²) (x − m_k)) with responsibilities r_k ∝ w_k N(x; m_k, s_k²+σ²), all by pixel.

    Args:
        means: (K, *event).
        stds: (K,), may be 0 (a point mass).
        weights: (K,), sums to 1; equal weights if None.
        basis: basis in which a noise level for each component may be given: pixels.

    Source: Bayes' rule; the mixture of points is the optimal denoiser of chen2023 §3.

    Examples:
        >>> import torch
        >>> from nonnormal import GaussianMixtureDenoiser
        >>> denoiser = GaussianMixtureDenoiser(means=torch.tensor([[-0.5], [0.5]]), stds=torch.zeros(2))
        >>> denoiser(torch.tensor([[0.4]]), torch.tensor(0.1))  # surely from the point at 0.5
        tensor([[0.5000]])
        >>> denoiser(torch.tensor([[0.4]]), torch.tensor(10.0))  # near the mean of both
        tensor([[0.0010]])
    """

    means: Tensor
    stds: Tensor
    weights: Tensor | None = None
    basis: Basis = PIXEL

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """x̂0 (B, *event) for x (B, *event) and sigma a number, (B,) or, by pixel, (B, *event).

        Where an event has more than one axis sigma may also be (*event); a single axis is always that of the batch.

        Raises:
            ValueError: sigma has one axis, and not B levels.
        """
        if isinstance(sigma, Tensor) and sigma.dim() == 1 and len(sigma) not in (1, len(x)):
            raise ValueError(
                f"sigma of one axis has a level for each of the batch of {len(x)}, found {len(sigma)}; "
                "levels by pixel of events of one axis are (B, D)"
            )
        means, stds = self.means.to(x), self.stds.to(x)
        weights = torch.full_like(stds, 1 / len(stds)) if self.weights is None else self.weights.to(x)
        sigma = append_dims(torch.as_tensor(sigma, dtype=x.dtype), x)
        # One level for all is kept one number, so that a variance is taken once and not for each pixel of each image.
        sigma = sigma.reshape(1, 1, 1) if sigma.numel() == 1 else sigma.expand(x.shape).flatten(1).unsqueeze(1)
        variance = stds.square().unsqueeze(-1) + sigma.square()
        gap = (x.unsqueeze(1) - means).flatten(2)
        log_weight = weights.log() - 0.5 * (gap.square() / variance + variance.log()).sum(-1)
        posterior_means = means.flatten(1) + stds.square().unsqueeze(-1) / variance * gap
        return (log_weight.softmax(1).unsqueeze(-1) * posterior_means).sum(1).reshape(x.shape)


# What a denoised pixel may err by, for images in [−1, 1], by the precision of the sums.
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}


@dataclass(frozen=True, eq=False)
class OptimalDenoiser:
    """Optimal denoiser of a finite set of images y_i: r*(x; σ) = Σ_i softmax_i(−‖x − y_i‖²/2σ²) y_i.

    A call is one step of annealed mean shift.

    The sum runs over chunks of images with a running least distance m. Only one chunk, its distances and the sums
    Σ exp((m − ‖x − y_i‖²)/2σ²) (1, y_i) are in memory. At σ = 0 the result is the nearest image, or the mean of several
    that are equally near. Sums have x's precision, but at least float32. There are no gradients.

    It costs two matrix products. One makes ‖x‖² + ‖y‖² − 2xy, x and y centred, which at unit roundoff u errs by at
    most E = (D + 4)(u(‖y‖² + 2‖x‖‖y‖) + 2⁻⁵³‖x‖²), for ‖x‖² is in float64, but by about e = E/(D + 4), as rounding goes
    either way. So an image that looks farther than the nearest by g has at most the share s = exp((2E − g)/2σ²)/Σ of
    the sum, with a relative error of about e/2σ². For different images these are independent, so from all whose share
    is s or less comes an error of √s·e/2σ² at most. Where this is above the tolerance, the distance is taken again,
    from differences in float64: at small σ for the few images that could be nearest or have weight beside it, at large
    σ for the few of large weight. The other product is the sum, but for each chunk's largest weight, in which small
    ones would drown. Products must be of full precision, as torch's are unless told otherwise, and the device must have
    float64.

    Args:
        images: (N, *event), floating point of any precision, or grey levels 0 … levels − 1 of any integer type.
        levels: number of grey levels of integer images, which stand for 2v/(levels − 1) − 1.
        chunk_size: images that are handled at once.

    Raises:
        ValueError: there are no images, chunk_size is under 1, or integer images come without levels or the reverse.

    Source: chen2023 (2305.19947) §3; the running sum and its errors are derived here.

    Examples:
        >>> import torch
        >>> from nonnormal import OptimalDenoiser
        >>> denoiser = OptimalDenoiser(images=torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1))
        >>> denoiser(torch.full((1, 1, 1, 1), 0.1), torch.tensor(0.0)).item()  # the nearest image
        1.0
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
        """r* (B, *event), in x's dtype, for x (B, *event) and sigma ≥ 0 a number or (B,).

        Raises:
            RuntimeError: products of matrices are set to fewer digits (TF32, autocast).
        """
        kind = x.device.type
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        if autocast or torch.get_float32_matmul_precision() != "highest":
            raise RuntimeError("the optimal denoiser needs products of full float32: no autocast, no TF32")
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
