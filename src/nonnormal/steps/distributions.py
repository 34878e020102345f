"""The families: each a law of mean 0 and variance 1, with its moments in closed form.

Scales follow from the variance; they are noted with each density.

Source: standard densities; standardisation and Fisher informations derived here and held against quadrature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nonnormal.steps.base import WITHOUT_VARIANCE, Step, StepError, Symmetric, register
from nonnormal.steps.normal_map import mapped, polar, sizes

_REAL_LINE = (-math.inf, math.inf)


@register
@dataclass(frozen=True)
class Normal(Symmetric):
    """q(z) = exp(−z²/2) / √(2π): the classical choice, and the limit of all others."""

    name = "normal"
    excess_kurtosis = 0.0
    fisher_information = 1.0
    support = _REAL_LINE

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        return torch.randn(shape, generator=generator, dtype=dtype, device=device)

    def log_prob(self, z):
        return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)

    def cdf(self, z):
        return 0.5 * torch.special.erfc(-z / math.sqrt(2))  # ndtr loses the lower tail

    def characteristic(self, omega):
        return _complex(torch.exp(-0.5 * omega.square()))


@register
@dataclass(frozen=True)
class Laplace(Symmetric):
    """q(z) = exp(−√2 |z|) / √2: scale b = 1/√2, so that the variance 2b² is 1.

    Deviates: li2024 sets b to the step's standard deviation, which makes the variance 2.
    """

    name = "laplace"
    excess_kurtosis = 3.0
    fisher_information = 2.0
    support = _REAL_LINE
    breakpoints = (0.0,)

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        side, size = polar(shape, generator, dtype, device)
        return size.mul_(side.sign_()).div_(math.sqrt(2))

    def log_prob(self, z):
        return -math.sqrt(2) * z.abs() - 0.5 * math.log(2)

    def cdf(self, z):
        tail = 0.5 * torch.exp(-math.sqrt(2) * z.abs())
        return torch.where(z < 0, tail, 1 - tail)

    def characteristic(self, omega):
        return _complex(1 / (1 + 0.5 * omega.square()))


@register
@dataclass(frozen=True)
class Uniform(Symmetric):
    """q(z) = 1/(2√3) on [−√3, √3]."""

    name = "uniform"
    excess_kurtosis = -1.2
    fisher_information = math.inf
    support = (-math.sqrt(3), math.sqrt(3))

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        return (torch.rand(shape, generator=generator, dtype=dtype, device=device) - 0.5) * math.sqrt(12)

    def log_prob(self, z):
        inside = torch.full_like(z, -0.5 * math.log(12))
        return torch.where(z.abs() <= math.sqrt(3), inside, -math.inf)

    def cdf(self, z):
        return (z / math.sqrt(12) + 0.5).clamp(0, 1)

    def characteristic(self, omega):
        return _complex(torch.sinc(math.sqrt(3) / math.pi * omega))


@register
@dataclass(frozen=True)
class Logistic(Symmetric):
    """q(z) = exp(−z/s) / (s (1 + exp(−z/s))²), s = √3/π."""

    name = "logistic"
    excess_kurtosis = 1.2
    fisher_information = math.pi**2 / 9
    support = _REAL_LINE

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        # P(|Z| > s x) = 2/(1 + e^x), which is exp(−E) for x = log(2 e^E − 1).
        side, size = polar(shape, generator, dtype, device)
        return size.expm1_().mul_(2).log1p_().mul_(side.sign_()).mul_(math.sqrt(3) / math.pi)

    def log_prob(self, z):
        # The law is symmetric; with |z| the exponential cannot overflow.
        u = z.abs() * (math.pi / math.sqrt(3))
        return -u - 2 * torch.log1p(torch.exp(-u)) + math.log(math.pi / math.sqrt(3))

    def cdf(self, z):
        return torch.sigmoid(z * (math.pi / math.sqrt(3)))

    def characteristic(self, omega):
        u = math.sqrt(3) * omega.abs()
        # u / sinh u, written so that nothing overflows and 0 is no exception.
        return _complex(torch.where(u > 0, -2 * u * torch.exp(-u) / torch.expm1(-2 * u), 1.0))


@register
@dataclass(frozen=True)
class StudentT(Symmetric):
    """q(z) ∝ (1 + z²/(df − 2))^(−(df + 1)/2): Student's t, divided by its standard deviation √(df/(df − 2)).

    Attributes:
        df: degrees of freedom, larger than 2, so that the step has a variance, and at most 1e8, where the law is normal
            except for an excess kurtosis of 6e-8. With 4 or fewer there is no fourth moment, which the invariance
            principle asks for; walks still converge, but more slowly (`analysis.boundary`).
    """

    df: float

    name = "student_t"
    support = _REAL_LINE

    def __post_init__(self):
        if not 2 < self.df < math.inf:
            raise StepError(
                f"student_t: found df = {self.df:g}; df must be larger than 2, since a step has a variance. Without "
                f"one the walk goes to another process: {WITHOUT_VARIANCE}"
            )
        if self.df > 1e8:
            raise StepError(f"student_t: found df = {self.df:g}; beyond 1e8 it is the normal law: use normal")

    @property
    def excess_kurtosis(self):
        return 6 / (self.df - 4) if self.df > 4 else math.inf

    @property
    def fisher_information(self):
        return self.df * (self.df + 1) / ((self.df - 2) * (self.df + 3))

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        # Bailey (1994): √(df (exp(2E/df) − 1)) cos θ is Student's t for a uniform angle θ, and √(2E) cos θ is normal.
        normal, size = polar(shape, generator, dtype, device)
        stretch = torch.mul(size, 2 / self.df).expm1_().div_(size).mul_(self.df / 2 - 1)
        return normal.mul_(stretch.sqrt_())

    def log_prob(self, z):
        norm = _half_step(self.df / 2) - 0.5 * math.log(math.pi * (self.df - 2))
        return norm - (self.df + 1) / 2 * torch.log1p(z.square() / (self.df - 2))

    def cdf(self, z):
        from scipy import special

        t = (z * math.sqrt(self.df / (self.df - 2))).detach()
        return torch.as_tensor(special.stdtr(self.df, t.double().cpu().numpy())).to(z)

    def characteristic(self, omega):
        if self.df > 50:  # K_ν(u) overflows where ν is large and u small
            return super().characteristic(omega)
        from scipy import special

        half = self.df / 2
        u = np.maximum(np.abs(omega.numpy()) * math.sqrt(self.df - 2), 1e-8)
        # K_ν(u) = kve(u) exp(−u), which underflows to the 0 that φ is there.
        log_phi = half * np.log(u) - u - (half - 1) * math.log(2) - math.lgamma(half)
        return _complex(torch.as_tensor(special.kve(half, u) * np.exp(log_phi)))


def _half_step(x: float) -> float:
    """log Γ(x + ½) − log Γ(x); of large x by its asymptotic series, since the difference loses digits as they grow."""
    if x < 100:
        return math.lgamma(x + 0.5) - math.lgamma(x)
    return 0.5 * math.log(x) - 1 / (8 * x) + 1 / (192 * x**3) - 1 / (640 * x**5)


@register
@dataclass(frozen=True)
class GeneralizedNormal(Symmetric):
    """q(z) = b exp(−|z/a|^b) / (2a Γ(1/b)) with b = shape and a² = Γ(1/b)/Γ(3/b): b = 1 is Laplace, 2 normal.

    Attributes:
        shape: b, at least 0.25 and at most 64.
    """

    shape: float

    name = "generalized_normal"
    support = _REAL_LINE

    def __post_init__(self):
        if not 0.25 <= self.shape <= 64:
            raise StepError(f"generalized_normal: found shape = {self.shape:g}; shape must lie in [0.25, 64]")

    @property
    def breakpoints(self):
        """Of large shapes also ±a, where the density falls so fast that quadrature needs a cut."""
        return (-self._scale, 0.0, self._scale) if self.shape > 6 else (0.0,)

    @property
    def _scale(self):
        return math.exp((math.lgamma(1 / self.shape) - math.lgamma(3 / self.shape)) / 2)

    @property
    def excess_kurtosis(self):
        b = self.shape
        return math.exp(math.lgamma(5 / b) + math.lgamma(1 / b) - 2 * math.lgamma(3 / b)) - 3

    @property
    def fisher_information(self):
        b = self.shape
        return b**2 * math.gamma(2 - 1 / b) / (self._scale**2 * math.gamma(1 / b)) if b > 0.5 else math.inf

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        if dtype == torch.float32 and self.shape >= 1:
            normal = torch.randn(shape, generator=generator, dtype=dtype, device=device)
            return mapped(sizes(self, normal.device), normal)
        # Gamma(1/b)^(1/b) as Gamma(1 + 1/b)^(1/b) U, since the former underflows where b is large.
        order = torch.full(shape, 1 + 1 / self.shape, dtype=dtype, device=device)
        size = self._scale * torch._standard_gamma(order, generator=generator).pow(1 / self.shape)
        size = size * torch.rand(shape, generator=generator, dtype=dtype, device=device)
        sign = torch.randint(2, shape, generator=generator, dtype=dtype, device=device) * 2 - 1
        return sign * size

    def log_prob(self, z):
        norm = math.log(self.shape / (2 * self._scale)) - math.lgamma(1 / self.shape)
        return norm - (z / self._scale).abs().pow(self.shape)

    def cdf(self, z):
        order = torch.full_like(z, 1 / self.shape)
        tail = 0.5 * torch.special.gammaincc(order, (z / self._scale).abs().pow(self.shape))
        return torch.where(z < 0, tail, 1 - tail)


@register
@dataclass(frozen=True)
class Triangular(Symmetric):
    """q(z) = (√6 − |z|)/6 on [−√6, √6]: the sum of two equal uniform steps."""

    name = "triangular"
    excess_kurtosis = -0.6
    fisher_information = math.inf
    support = (-math.sqrt(6), math.sqrt(6))
    breakpoints = (-math.sqrt(6), 0.0, math.sqrt(6))

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        pair = torch.rand((2, *shape), generator=generator, dtype=dtype, device=device)
        return (pair[0] - pair[1]) * math.sqrt(6)

    def log_prob(self, z):
        return ((math.sqrt(6) - z.abs()).clamp(min=0) / 6).log()

    def cdf(self, z):
        tail = (math.sqrt(6) - z.abs()).clamp(min=0).square() / 12
        return torch.where(z < 0, tail, 1 - tail)

    def characteristic(self, omega):
        return _complex(torch.sinc(math.sqrt(6) / (2 * math.pi) * omega).square())


@register
@dataclass(frozen=True)
class Arcsine(Symmetric):
    """q(z) = 1/(π √(2 − z²)) on [−√2, √2]: most of its mass at the ends."""

    name = "arcsine"
    excess_kurtosis = -1.5
    fisher_information = math.inf
    support = (-math.sqrt(2), math.sqrt(2))
    entropy = math.log(math.pi / math.sqrt(2))  # at the ends float64 has no digits for a quadrature of log q

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        return self.quantile(torch.rand(shape, generator=generator, dtype=dtype, device=device))

    def log_prob(self, z):
        inside = z.abs() <= math.sqrt(2)
        room = (2 - z.square()).clamp(min=torch.finfo(z.dtype).tiny)
        return torch.where(inside, -math.log(math.pi) - 0.5 * room.log(), -math.inf)

    def cdf(self, z):
        return 0.5 + torch.asin((z / math.sqrt(2)).clamp(-1, 1)) / math.pi

    def quantile(self, u: Tensor) -> Tensor:
        """z with cdf(z) = u; quadrature goes through it, for the density is infinite at its ends."""
        return math.sqrt(2) * torch.sin(math.pi * (u - 0.5))

    def characteristic(self, omega):
        return _complex(torch.special.bessel_j0(math.sqrt(2) * omega))


@register
@dataclass(frozen=True)
class Gumbel(Step):
    """q(z) = exp(−u − exp(−u))/b with u = z/b + γ, b = √6/π and γ Euler's constant: skewed to the right."""

    name = "gumbel"
    skewness = 12 * math.sqrt(6) * 1.2020569031595942 / math.pi**3  # ζ(3)
    excess_kurtosis = 2.4
    fisher_information = math.pi**2 / 6
    support = _REAL_LINE

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        _, exponential = polar(shape, generator, dtype, device)
        return exponential.log_().add_(_EULER).mul_(-math.sqrt(6) / math.pi)

    def log_prob(self, z):
        u = z * (math.pi / math.sqrt(6)) + _EULER
        return -u - torch.exp(-u) + math.log(math.pi / math.sqrt(6))

    def cdf(self, z):
        return torch.exp(-torch.exp(-z * (math.pi / math.sqrt(6)) - _EULER))

    def sf(self, z):
        return -torch.expm1(-torch.exp(-z * (math.pi / math.sqrt(6)) - _EULER))

    def characteristic(self, omega):
        from scipy import special

        u = math.sqrt(6) / math.pi * omega.numpy()
        return torch.as_tensor(np.exp(special.loggamma(1 - 1j * u) - 1j * _EULER * u))


@register
@dataclass(frozen=True)
class Exponential(Step):
    """q(z) = exp(−(z + 1)) on [−1, ∞): the exponential law, shifted to mean 0."""

    name = "exponential"
    skewness = 2.0
    excess_kurtosis = 6.0
    fisher_information = math.inf
    support = (-1.0, math.inf)

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        _, exponential = polar(shape, generator, dtype, device)
        return exponential.sub_(1)

    def log_prob(self, z):
        return torch.where(z >= -1, -(z + 1), -math.inf)

    def cdf(self, z):
        return -torch.expm1(-(z + 1).clamp(min=0))

    def sf(self, z):
        return torch.exp(-(z + 1).clamp(min=0))

    def characteristic(self, omega):
        return torch.exp(-1j * omega) / (1 - 1j * omega)


@register
@dataclass(frozen=True)
class Rademacher(Step):
    """±1 with equal probability. It can be sampled, but has no density, so every likelihood raises an error."""

    name = "rademacher"
    skewness = 0.0
    excess_kurtosis = -2.0
    fisher_information = math.inf
    support = (-1.0, 1.0)
    has_density = False

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        return torch.randint(2, shape, generator=generator, dtype=dtype, device=device) * 2 - 1

    def log_prob(self, z):
        raise StepError("rademacher has no density: it samples, but it has no likelihood")

    def cdf(self, z):
        return 0.5 * ((z >= -1).to(z.dtype) + (z >= 1).to(z.dtype))

    def characteristic(self, omega):
        return _complex(torch.cos(omega))


_EULER = 0.5772156649015329


def _complex(value: Tensor) -> Tensor:
    return value.to(torch.complex128)
