"""Convergence in law of a walk with any step to the diffusion, without training and without sampling.

In one dimension the law of a chain can be carried forward exactly. A step maps x to m(x) + c z: the density is pushed
through the increasing map m and convolved with the step's law by its characteristic function,

    f_m(m(x)) = f(x) / m′(x),    f̂_new(ω) = f̂_m(ω) φ_z(c ω).

Distances to the limit law are then free of sampling noise: Wasserstein-1 ∫|F − F_limit| dx and Kolmogorov–Smirnov
max|F − F_limit|. In the plane the same chains are sampled and their projections on lines held against the limit's,
which are known (sliced distances); samples of the limit itself show the floor of such a comparison. A third measure is
functional, of whole paths: the law of the maximum of a random walk against that of Brownian motion (reflection
principle), by sampling.

Expected orders in the number of steps T, derived here: the chain's error in the mean is of order 1/T for every step;
the step's own law enters by its cumulants, in order 1/√T by the third and 1/T by the fourth. So symmetric steps are of
order 1, skewed ones of order ½. The maximum of a path is of order ½ for all, for a discrete path misses its peak.

Source: li2024 Theorem 1 (convergence); the orders and the propagation are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from scipy import special
from scipy.interpolate import CubicSpline

from nonnormal.denoisers import GaussianMixtureDenoiser
from nonnormal.processes import VP, LinearProcess, uniform_times
from nonnormal.processes.schedules import LinearLogSNR
from nonnormal.steps import Step, get


@dataclass(frozen=True)
class Mixture:
    """A normal mixture on the line: Σ_k weights_k N(means_k, stds_k²)."""

    means: tuple[float, ...] = (-0.8, 0.1, 0.9)
    stds: tuple[float, ...] = (0.25, 0.1, 0.15)
    weights: tuple[float, ...] = (0.3, 0.3, 0.4)

    def denoiser(self) -> GaussianMixtureDenoiser:
        """Its exact denoiser, for x (B, 1)."""
        means, stds, weights = (torch.tensor(v, dtype=torch.float64) for v in (self.means, self.stds, self.weights))
        return GaussianMixtureDenoiser(means.unsqueeze(1), stds, weights)

    def noisy_cdf(self, x: np.ndarray, sigma: float) -> np.ndarray:
        """P(x_0 + sigma·eps ≤ x) at x (N,)."""
        spread = np.sqrt(np.square(self.stds) + sigma**2)[:, None]
        return np.asarray(self.weights) @ special.ndtr((x - np.asarray(self.means)[:, None]) / spread)

    def marginal(self, process: LinearProcess, t: float, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(density, cdf) at x of the limit's x_t for x_0 of this law."""
        a, c = (v.item() for v in process.marginal(t))
        scale = np.sqrt(a**2 * np.square(self.stds) + c)[:, None]
        z, weights = (x - a * np.asarray(self.means)[:, None]) / scale, np.asarray(self.weights)[:, None]
        density = weights * np.exp(-0.5 * z**2) / (scale * math.sqrt(2 * math.pi))
        return density.sum(0), (weights * special.ndtr(z)).sum(0)


MIXTURE = Mixture()
PROCESS = VP(LinearLogSNR(8.0, -8.0))


@dataclass(frozen=True)
class Grid:
    """`points` equally spaced points on [−10, 10), with the frequencies of their Fourier transform."""

    points: int
    half_width: float = 10.0

    @property
    def spacing(self) -> float:
        """Distance of neighbours."""
        return 2 * self.half_width / self.points

    @property
    def x(self) -> np.ndarray:
        """The points."""
        return -self.half_width + self.spacing * np.arange(self.points)

    @property
    def omega(self) -> np.ndarray:
        """Angular frequencies of the real transform."""
        return 2 * np.pi * np.fft.rfftfreq(self.points, self.spacing)

    def convolve(self, density: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Density of X + Y, for X of the given density and Y of the characteristic function `factor` at omega."""
        # numpy's transform has exp(−iωx), a characteristic function exp(+iωx).
        return np.fft.irfft(np.fft.rfft(density) * factor.conj(), self.points)

    def distances(self, density: np.ndarray, cdf: np.ndarray) -> tuple[float, float]:
        """(Wasserstein-1, Kolmogorov–Smirnov) of a density to the law with the given cdf at x."""
        gap = CubicSpline(self.x, density).antiderivative()(self.x) - cdf
        return float(np.abs(gap).sum() * self.spacing), float(np.abs(gap).max())


def sampler_distances(
    step: Step | str, n_steps: int, grid: Grid, mixture: Mixture = MIXTURE, process: LinearProcess = PROCESS
) -> tuple[float, float]:
    """(W1, KS) of what the ancestral sampler draws in n_steps steps to the limit's law at t = 0; exact denoiser.

    The sampler starts from the limit's law at t = 1 itself, so that nothing but the steps is measured.
    """
    return each_sampler_distances([step], n_steps, grid, mixture, process)[0]


def each_sampler_distances(
    steps: Sequence[Step], n_steps: int, grid: Grid, mixture: Mixture = MIXTURE, process: LinearProcess = PROCESS
) -> list[tuple[float, float]]:
    """`sampler_distances` of several steps, whose samplers all move by the same maps."""
    x, omega, denoiser = grid.x, grid.omega, mixture.denoiser()
    densities = [mixture.marginal(process, 1.0, x)[0]] * len(steps)
    for coef_xt, coef_x0, spread, a, c in _sampler_numbers(n_steps, process):
        x0_hat = denoiser(torch.from_numpy(x / a).unsqueeze(1), math.sqrt(c) / a).squeeze(1).numpy()
        moved = coef_xt * x + coef_x0 * x0_hat
        slope = CubicSpline(x, moved)(x, 1)
        for i, step in enumerate(steps):
            pushed = CubicSpline(moved, densities[i] / slope, extrapolate=False)(x)
            densities[i] = grid.convolve(np.nan_to_num(pushed), characteristic(step, spread * omega))
    cdf = mixture.marginal(process, 0.0, x)[1]
    return [grid.distances(density, cdf) for density in densities]


@lru_cache(32)  # asked for with every step
def _sampler_numbers(n_steps: int, process: LinearProcess) -> list[tuple[float, ...]]:
    """(coef_xt, coef_x0, spread, alpha, sigma²) of each of n_steps uniform steps, from t = 1 to t = 0."""
    times = uniform_times(n_steps)
    return [
        tuple(v.item() for v in (*process.posterior(times[k - 1], times[k]), *process.marginal(times[k])))
        for k in range(n_steps, 0, -1)
    ]


@lru_cache(32)  # asked for with every step
def _walk_numbers(n_steps: int, process: LinearProcess) -> list[tuple[float, ...]]:
    """(Φ, Σ) of each of n_steps uniform steps, and Φ from its end to t = 1, from t = 0 on."""
    times = uniform_times(n_steps)
    rest = [process.transition(t, 1.0)[0].item() for t in times[1:-1]] + [1.0]
    moves = [process.transition(s, t) for s, t in pairwise(times)]
    return [(phi.item(), sigma.item(), left) for (phi, sigma), left in zip(moves, rest, strict=True)]


def walk_distances(
    step: Step | str, n_steps: int, grid: Grid, mixture: Mixture = MIXTURE, process: LinearProcess = PROCESS
) -> tuple[float, float]:
    """(W1, KS) of the walk x_t = Φ x_s + √Σ z from data to t = 1, in n_steps steps, to the limit's x at t = 1.

    The map is linear, so the noise's characteristic function is a product over the steps.
    """
    omega = grid.omega
    total = np.ones_like(omega, dtype=complex)
    for _, sigma, rest in _walk_numbers(n_steps, process):
        total = total * characteristic(step, rest * math.sqrt(sigma) * omega)
    # The walk starts at the limit's x at t = 0, a normal mixture whose transform is known.
    (a0, c0), phi = process.marginal(0.0), process.transition(0.0, 1.0)[0].item()
    for_start = sum(
        w * np.exp(1j * omega * phi * a0.item() * m - 0.5 * (omega * phi) ** 2 * (a0.item() ** 2 * s**2 + c0.item()))
        for w, m, s in zip(mixture.weights, mixture.means, mixture.stds, strict=True)
    )
    density = np.fft.irfft((total * for_start).conj() * np.exp(-1j * omega * grid.half_width), grid.points)
    return grid.distances(density / grid.spacing, mixture.marginal(process, 1.0, grid.x)[1])


@dataclass(frozen=True)
class PlaneMixture:
    """A normal mixture in the plane: Σ_k weights_k N(means_k, stds_k² I)."""

    means: tuple[tuple[float, float], ...] = ((-0.9, 0.3), (0.2, -0.8), (0.5, 0.7))
    stds: tuple[float, ...] = (0.25, 0.1, 0.15)
    weights: tuple[float, ...] = (0.3, 0.3, 0.4)

    def denoiser(self) -> GaussianMixtureDenoiser:
        """Its exact denoiser, for x (B, 2)."""
        return GaussianMixtureDenoiser(*(torch.tensor(v, dtype=torch.float64) for v in self._fields))

    def projected(self, angle: float) -> Mixture:
        """Law of its projection on the line at that angle to the first axis."""
        means = np.asarray(self.means) @ (math.cos(angle), math.sin(angle))
        return Mixture(tuple(means.tolist()), self.stds, self.weights)

    def sample(self, process: LinearProcess, t: float, n: int, generator: torch.Generator) -> torch.Tensor:
        """n draws (n, 2) of the limit's x_t for x_0 of this law."""
        means, stds, weights = (torch.tensor(v, dtype=torch.float64) for v in self._fields)
        which = torch.multinomial(weights, n, replacement=True, generator=generator)
        a, c = (v.item() for v in process.marginal(t))
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return a * means[which] + (a**2 * stds[which].square() + c).sqrt().unsqueeze(1) * noise

    @property
    def _fields(self):
        return self.means, self.stds, self.weights


PLANE = PlaneMixture()


def plane_sampler(
    step: Step | str, n_steps: int, n: int, generator: torch.Generator, process: LinearProcess = PROCESS
) -> torch.Tensor:
    """n draws (n, 2) of the ancestral sampler with the exact denoiser of `PLANE`, started from the limit's law."""
    step, denoiser = get(step), PLANE.denoiser()
    x = PLANE.sample(process, 1.0, n, generator)
    for coef_xt, coef_x0, spread, a, c in _sampler_numbers(n_steps, process):
        x0_hat = denoiser(x / a, math.sqrt(c) / a)
        x = coef_xt * x + coef_x0 * x0_hat + spread * step.sample((n, 2), generator=generator, dtype=torch.float64)
    return x


def plane_walk(
    step: Step | str, n_steps: int, n: int, generator: torch.Generator, process: LinearProcess = PROCESS
) -> torch.Tensor:
    """n draws (n, 2) of the walk x_t = Φ x_s + √Σ z from the limit's x at t = 0, for `PLANE`, to t = 1."""
    step = get(step)
    x = PLANE.sample(process, 0.0, n, generator)
    for phi, sigma, _ in _walk_numbers(n_steps, process):
        x = phi * x + math.sqrt(sigma) * step.sample((n, 2), generator=generator, dtype=torch.float64)
    return x


def sliced_distances(
    x: torch.Tensor, t: float, process: LinearProcess = PROCESS, n_directions: int = 16
) -> tuple[float, float]:
    """(Wasserstein-1, Kolmogorov–Smirnov) of samples x (n, 2) to the limit's law at t for `PLANE`: means over lines.

    On each of `n_directions` lines the samples' projections are held against the exact law: W1 = ∫|x_n(u) − F⁻¹(u)| du
    at the n mid-points u, KS = max|F_n − F|.
    """
    n = len(x)
    u, found = (np.arange(n) + 0.5) / n, []
    for angle in (np.arange(n_directions) + 0.5) * math.pi / n_directions:
        grid, cdf = _projected_cdf(float(angle), t, process)
        sample = np.sort(x.numpy() @ (math.cos(angle), math.sin(angle)))
        w1 = np.abs(sample - np.interp(u, cdf, grid)).mean()
        ks = np.abs(np.interp(sample, grid, cdf) - u).max() + 0.5 / n
        found.append((w1, ks))
    return tuple(float(v) for v in np.mean(found, axis=0))


@lru_cache(128)  # asked for with every sample
def _projected_cdf(angle: float, t: float, process: LinearProcess) -> tuple[np.ndarray, np.ndarray]:
    """(points, cdf there) of the limit's law at t for `PLANE`, projected on the line at that angle."""
    grid = np.linspace(-8, 8, 16001)
    return grid, PLANE.projected(angle).marginal(process, t, grid)[1]


def path_maximum_distance(step: Step | str, n_steps: int, n_paths: int, seed: int) -> float:
    """KS distance of max(0, S_1, …, S_T)/√T, S sums of steps, to |N(0, 1)|, the maximum of Brownian motion on [0, 1].

    Donsker's theorem as a functional: f = 0, g = 1 in the structured random walk. By sampling n_paths paths.
    """
    step, generator = get(step), torch.Generator().manual_seed(seed)
    position = torch.zeros(n_paths, dtype=torch.float64)
    highest = position.clone()
    for _ in range(n_steps):
        position += step.sample((n_paths,), generator=generator, dtype=torch.float64)
        torch.maximum(highest, position, out=highest)
    found = (highest / math.sqrt(n_steps)).sort().values.numpy()
    limit = 2 * special.ndtr(found) - 1
    # A tie is one jump of the empirical cdf: compare with the cdf just after and just before each value.
    after = np.searchsorted(found, found, side="right") / n_paths
    before = np.searchsorted(found, found, side="left") / n_paths
    return float(np.maximum(np.abs(after - limit), np.abs(before - np.where(found > 0, limit, 0))).max())


def order(n_steps: list[int], distances: list[float]) -> tuple[float, float, float]:
    """(order, low, high): −slope of log distance against log T, with the 95 % interval of the scatter about the line.

    Raises:
        ValueError: three or more numbers of steps are needed for an interval.
    """
    from scipy import stats

    if len(n_steps) < 3:
        raise ValueError(f"an order needs three or more numbers of steps, found {n_steps}")
    fit = stats.linregress(np.log(n_steps), np.log(distances))
    half = stats.t.ppf(0.975, len(n_steps) - 2) * fit.stderr
    return -fit.slope, -fit.slope - half, -fit.slope + half


def characteristic(step: Step | str, omega: np.ndarray) -> np.ndarray:
    """φ(ω) = E exp(iωz) of a step, complex128."""
    return get(step).characteristic(torch.from_numpy(np.ascontiguousarray(omega))).numpy()
