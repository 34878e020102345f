"""Step distributions: the law of the standardised increment z of a diffusion step.

A structured random walk x_{k+1} = x_k + f(x_k, t_k) Δ + g(t_k) √Δ z_k moves by steps z whose coordinates are
independent with mean 0 and variance 1. As Δ → 0 the walk converges to one and the same diffusion whatever the law
of z (structured invariance principle), so the law is a free choice: a `Step`.

Symbols: z, standardised increment, dimensionless. This room knows one coordinate at a time; it must not know of
processes, networks, or of how two steps compare (see `divergence`).

Source: li2024 §3 (structured random walk); the standardisation is derived here, the paper's Laplace is not of unit
variance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_FAMILIES: dict[str, type[Step]] = {}


@dataclass(frozen=True)
class Step(ABC):
    """A law of z with E z = 0 and Var z = 1; frozen and hashable, parameters are its fields.

    A family is a subclass with a `name`, the four class attributes below and the three methods; decorate it with
    `register` and every study can name it.

    Attributes:
        skewness: E z³.
        excess_kurtosis: E z⁴ − 3. It must be finite: the invariance principle needs a fourth moment.
        fisher_information: of location, E (∂ log q(z) / ∂z)²; at least 1, and 1 only for the normal (Cramér–Rao).
            `math.inf` where the density jumps.
        support: (low, high), the smallest closed interval that carries the law.
    """

    name: ClassVar[str]
    skewness: ClassVar[float]
    excess_kurtosis: ClassVar[float]
    fisher_information: ClassVar[float]
    support: ClassVar[tuple[float, float]]

    @abstractmethod
    def sample(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Z ~ q, independent entries.

        Args:
            shape: shape of the result.
            generator: source of randomness, on `device`; torch's default generator where it is None.
            dtype: floating type of the result.
            device: where the result lives.
        """

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z), nats, elementwise; −∞ outside the support."""

    @abstractmethod
    def cdf(self, z: Tensor) -> Tensor:
        """P(Z ≤ z), elementwise, in [0, 1]."""

    def __str__(self) -> str:
        return self.name


def register(family: type[Step]) -> type[Step]:
    """Makes a family known by its `name` to `get` and to every study file.

    Raises:
        ValueError: the name is taken by another class.
    """
    known = _FAMILIES.setdefault(family.name, family)
    if known is not family:
        raise ValueError(f"step family {family.name!r} is already registered by {known.__module__}.{known.__name__}")
    return family


def families() -> tuple[str, ...]:
    """Names of all registered families, in the order of registration."""
    return tuple(_FAMILIES)


def get(family: str | Step, **parameters: float) -> Step:
    """The step of the given family name, e.g. `get("laplace")`; a `Step` is returned as it is.

    Raises:
        ValueError: the name is not registered (the message lists those that are) or a parameter is not of the family.
    """
    if isinstance(family, Step):
        return family
    if family not in _FAMILIES:
        raise ValueError(f"unknown step family {family!r}; known families: {', '.join(_FAMILIES)}")
    try:
        return _FAMILIES[family](**parameters)
    except TypeError as error:
        raise ValueError(f"step family {family!r}: {error}") from None


@register
@dataclass(frozen=True)
class Normal(Step):
    """q(z) = exp(−z²/2) / √(2π): the classical choice, and the limit of all others."""

    name = "normal"
    skewness = 0.0
    excess_kurtosis = 0.0
    fisher_information = 1.0
    support = (-math.inf, math.inf)

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        return torch.randn(shape, generator=generator, dtype=dtype, device=device)

    def log_prob(self, z):
        return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)

    def cdf(self, z):
        return torch.special.ndtr(z)


@register
@dataclass(frozen=True)
class Laplace(Step):
    """q(z) = exp(−√2 |z|) / √2: scale b = 1/√2, so that the variance 2b² is 1.

    Deviates: li2024 sets b to the step's standard deviation, which makes the variance 2.
    """

    name = "laplace"
    skewness = 0.0
    excess_kurtosis = 3.0
    fisher_information = 2.0
    support = (-math.inf, math.inf)

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        # The difference of two exponentials is Laplace, and no draw of either is infinite.
        pair = torch.empty((2, *shape), dtype=dtype, device=device).exponential_(math.sqrt(2), generator=generator)
        return pair[0] - pair[1]

    def log_prob(self, z):
        return -math.sqrt(2) * z.abs() - 0.5 * math.log(2)

    def cdf(self, z):
        tail = 0.5 * torch.exp(-math.sqrt(2) * z.abs())
        return torch.where(z < 0, tail, 1 - tail)


@register
@dataclass(frozen=True)
class Uniform(Step):
    """q(z) = 1/(2√3) on [−√3, √3]."""

    name = "uniform"
    skewness = 0.0
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
