"""Networks of any parametrisation and architecture as denoisers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from nonnormal.bases import PIXEL, Basis, BasisStatistics
from nonnormal.processes import append_dims


def _eps(sigma: Tensor, sigma_data: Tensor):
    return torch.ones_like(sigma), -sigma, _alpha(sigma)


def _v(sigma: Tensor, sigma_data: Tensor):
    return _alpha(sigma).square(), -_alpha(sigma) * sigma, _alpha(sigma)


def _x0(sigma: Tensor, sigma_data: Tensor):
    return torch.zeros_like(sigma), torch.ones_like(sigma), _alpha(sigma)


def _edm(sigma: Tensor, sigma_data: Tensor):
    total = torch.hypot(sigma, torch.as_tensor(sigma_data, dtype=sigma.dtype, device=sigma.device))
    return (sigma_data / total).square(), sigma_data * (sigma / total), 1 / total


def _alpha(sigma: Tensor) -> Tensor:
    """alpha of the VP state with the log-SNR of x0 + sigma·eps; sigma² itself may leave single precision."""
    return 1 / torch.hypot(torch.ones_like(sigma), sigma)


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
    """Turns a network F of any parametrisation into a denoiser.

    x̂0 = m + c_skip·(x − m) + c_out·F(c_in·(x − m), log_snr), with coefficients set by what F predicts:

    | parametrisation | F predicts | c_skip | c_out | c_in |
    |---|---|---|---|---|
    | eps | the noise | 1 | −σ | α |
    | v | α·eps − (ασ)·x0 | α² | −ασ | α |
    | x0 | the image | 0 | 1 | α |
    | edm | unit-variance residual | σ_d²/(σ²+σ_d²) | σσ_d/√(σ²+σ_d²) | 1/√(σ²+σ_d²) |

    Here α = 1/√(1+σ²), so c_in·x is the VP state of the same log-SNR for all but edm. All products are component by
    component of the basis U: x stands for Ux. The network works on images, so Uᵀ is applied to its input and U to its
    prediction. With m and σ_d of each component and edm, a network that predicts 0 is the best linear denoiser of
    uncorrelated components, which is the optimal one for a normal law in its PCA.

    Args:
        network: module F(z, log_snr) with z (B, C', H, W), log_snr (B,), result (B, C, H, W); C' is C without Fourier
            features and noise shares. For points, z is (B, C').
        parametrisation: a key of `PARAMETRISATIONS`.
        sigma_data: standard deviation of the data, used by edm, with m = 0; None takes m and σ_d of each component.
        fourier: exponents n of the features sin(2ⁿπ αx), cos(2ⁿπ αx) that are appended to the channels; they let a
            network see on which grey level a nearly clean pixel stands.
        components: U and the statistics of the data in it; pixels if None.
        sees_levels: whether the network is given the noise share σ²/(σ²+σ_d²) of every component, scaled to [−1, 1],
            as C more channels, as an image Uᵀ(…); log_snr is then the mean over components.

    Raises:
        ValueError: an unknown parametrisation, neither sigma_data nor components, a sigma_data that is not positive, a
            network that is no module, components that are no `BasisStatistics`.

    Source: EDM (2206.00364) Table 1; v: Salimans & Ho (2202.00512); Fourier features: VDM (2107.00630) App. C; that a
    network sees each component's noise: GUD (2410.02667).

    Examples:
        >>> import torch
        >>> from nonnormal import NetworkDenoiser
        >>> class Network(torch.nn.Conv2d):
        ...     def forward(self, z, log_snr):  # yours: log_snr is (B,)
        ...         return super().forward(z)
        ...
        >>> denoiser = NetworkDenoiser(Network(1, 1, 3, padding=1), parametrisation="edm", sigma_data=0.5)
        >>> denoiser(torch.zeros(4, 1, 8, 8), torch.tensor(0.5)).shape  # the prediction of the clean images
        torch.Size([4, 1, 8, 8])
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
        components: BasisStatistics | None = None,
        sees_levels: bool = False,
    ):
        super().__init__()
        if not isinstance(network, nn.Module):
            raise ValueError(f"network must be a torch.nn.Module, found {network!r}")
        if not isinstance(components, BasisStatistics | None):
            raise ValueError(f"components must be BasisStatistics, found {components!r}")
        if parametrisation not in PARAMETRISATIONS:
            raise ValueError(f"unknown parametrisation {parametrisation!r}; known: {', '.join(PARAMETRISATIONS)}")
        if sigma_data is None and components is None:
            raise ValueError("a denoiser without sigma_data needs components, whose deviations it takes")
        if sigma_data is not None and not 0 < torch.as_tensor(sigma_data).min() < math.inf:
            raise ValueError(f"sigma_data must be a positive number, found {sigma_data}")
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
        """x̂0 (B, C, H, W), in x's dtype, for x (B, C, H, W) and sigma a number, (B,) or ([B,] C, H, W).

        Raises:
            ValueError: the network returns another shape.
        """
        parameter = next(self.network.parameters(), None)
        dtype = x.dtype if parameter is None else parameter.dtype
        mean, sigma_data = self.mean.to(dtype), self.sigma_data.to(dtype)
        state = self.basis.forward(x.to(dtype)) - mean
        sigma = append_dims(torch.as_tensor(sigma, dtype=dtype, device=x.device), state)
        c_skip, c_out, c_in = PARAMETRISATIONS[self.parametrisation](sigma, sigma_data)
        channels = [self._image(c_in * state)]
        if self.fourier:
            channels += fourier_features(self.basis.inverse(_alpha(sigma) * (state + mean)), self.fourier)
        if self.sees_levels:
            share = 2 / (1 + (sigma_data / sigma).square()) - 1
            rows = len(share) if share.dim() == x.dim() else 1  # one where all images have the same levels
            channels.append(self._image(share.expand(rows, *x.shape[1:])).expand(x.shape))
        log_snr = -2 * sigma.log()
        log_snr = (log_snr.flatten(1).mean(1) if log_snr.dim() == x.dim() else log_snr.mean()).expand(len(x))
        found = self.network(torch.cat(channels, dim=1), log_snr)
        if getattr(found, "shape", None) != x.shape:  # which broadcasting could hide
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"the network returns {shape} for {tuple(x.shape)}; the shapes must be equal")
        prediction = self.basis.rotation.forward(found)
        return self.basis.inverse(mean + c_skip * state + c_out * prediction).to(x.dtype)

    def _image(self, c: Tensor) -> Tensor:
        """Coefficients of unit scale as an image."""
        return self.basis.rotation.inverse(c)


def fourier_features(z: Tensor, exponents: tuple[int, ...]) -> list[Tensor]:
    """[sin(2ⁿπz), cos(2ⁿπz)] for each n in exponents."""
    return [f(math.pi * 2**n * z) for n in exponents for f in (torch.sin, torch.cos)]
