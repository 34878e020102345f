"""Fourier transform of a step's density, φ(ω) = ∫ q(z) exp(iωz) dz, to about 1e-12 at every ω, from log q alone.

Both q and φ are piecewise polynomials on panels. Panels are halved until the Legendre series of degree 15 converges on
each, which resolves kinks, cusps and jumps of q, and tails out to 1e24. A panel of q with centre c and half-width h has
the transform h exp(iωc) Σ_k a_k 2 iᵏ j_k(ωh), with its Legendre coefficients a_k and the spherical Bessel functions
j_k. This formula is stable for every ω.

Source: DLMF 18.17.19 for the transform of a Legendre polynomial; Bakhvalov & Vasil'eva, USSR Comput. Math. Math. Phys.
8 (1968) 241 for the quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.polynomial import legendre

if TYPE_CHECKING:
    from scipy.interpolate import PPoly

    from nonnormal.steps.base import Step

_TERMS = 16
_NODES, _WEIGHTS = legendre.leggauss(_TERMS)
# Values at the nodes -> coefficients: a_k = (k + ½) Σ_j w_j P_k(x_j) f(x_j).
_ANALYSIS = legendre.legvander(_NODES, _TERMS - 1) * _WEIGHTS[:, None] * (np.arange(_TERMS) + 0.5)
# Coefficients -> those of the powers of x + 1.
_POWERS = np.array([np.pad(legendre.leg2poly(unit), (0, _TERMS))[:_TERMS] for unit in np.eye(_TERMS)]) @ np.array(
    [[math.comb(k, j) * (-1.0) ** (k - j) if j <= k else 0.0 for j in range(_TERMS)] for k in range(_TERMS)]
)

_HAND_OVER = 16.0  # of ωh: below it 32 nodes are exact to the last digit, above it j_k can be had by recurrence
_MOST = 100_000  # panels: a law that asks for more is not resolved


class Unresolved(ArithmeticError):
    """Raised if panels cannot resolve a density or its transform."""


@dataclass(frozen=True, eq=False)
class Panels:
    """A function as Σ_k coefficients[:, k] P_k((x − centre)/half) on each panel, (P,), (P,) and (P, 16)."""

    centre: np.ndarray
    half: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def of(cls, f: Callable, edges: np.ndarray, tolerance: float, weight: Callable = lambda reach, half: 1.0) -> Panels:
        """Approximates f between rising edges, until the last coefficients times the weight are below the tolerance.

        Raises:
            Unresolved: it takes too many panels.
        """
        left, right, found, count = edges[:-1], edges[1:], [], 0
        while len(left):
            centre, half, reach = (left + right) / 2, (right - left) / 2, np.maximum(abs(left), abs(right))
            coefficients = f(centre[:, None] + half[:, None] * _NODES) @ _ANALYSIS
            rest = abs(coefficients[:, -4:]).max(1) * weight(reach, half)
            done = (rest <= tolerance) | (half < 1e-15 * reach)
            found.append((centre[done], half[done], coefficients[done]))
            count += len(left)
            if count > _MOST:
                raise Unresolved(f"it is not resolved by {_MOST} panels")
            left, middle, right = left[~done], centre[~done], right[~done]
            left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        centre, half, coefficients = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(centre)
        return cls(centre[order], half[order], coefficients[order])

    def transform(self, omega: np.ndarray, chunk: int = 256) -> np.ndarray:
        """Its Fourier transform at omega, any shape, complex128."""
        flat, found = omega.reshape(-1), []
        for part in np.split(flat, range(chunk, len(flat), chunk)):
            waves = _waves(np.multiply.outer(part, self.half))
            sums = np.einsum("npk,pk->np", waves, self.coefficients)
            found.append((sums * np.exp(1j * np.multiply.outer(part, self.centre))) @ self.half)
        return np.concatenate(found).reshape(omega.shape)

    def polynomial(self) -> PPoly:
        """The same function, quick to evaluate."""
        from scipy.interpolate import PPoly

        powers = (self.coefficients @ _POWERS).T[::-1] / self.half ** np.arange(_TERMS)[::-1, None]
        edges = np.append(self.centre - self.half, self.centre[-1] + self.half[-1])

        return PPoly(powers, edges)


def _waves(kappa: np.ndarray) -> np.ndarray:
    """∫ P_k(x) exp(iκx) dx over [−1, 1] = 2 iᵏ j_k(κ), for k = 0 … 15 along a new last axis."""
    near = abs(kappa) < _HAND_OVER
    waves = np.empty((*kappa.shape, _TERMS), dtype=complex)
    x, w = legendre.leggauss(2 * _TERMS)
    waves[near] = np.exp(1j * np.multiply.outer(kappa[near], x)) @ (legendre.legvander(x, _TERMS - 1) * w[:, None])
    far = kappa[~near]
    below, bessel = np.cos(far) / far, np.sin(far) / far  # j_(−1), j_0
    for k in range(_TERMS):
        waves[~near, k] = 2 * 1j**k * bessel
        below, bessel = bessel, (2 * k + 1) / far * bessel - below
    return waves


def characteristic_function(step: Step, reach: float = 4096.0) -> Callable[[np.ndarray], np.ndarray]:
    """φ of a step with a density, at real ω of any shape: interpolated up to |ω| = reach, summed directly beyond.

    It is divided by the total probability that was found, so that φ(0) = 1.

    Raises:
        Unresolved: the panels cannot resolve the density, or its integral differs from 1 by more than 1e-10.
    """
    octaves = 2.0 ** np.arange(-2, 81)
    edges = np.unique(np.clip([*step.breakpoints, 0.0, *octaves, *-octaves], *step.support))

    def density(z: np.ndarray) -> np.ndarray:
        return step.log_prob(torch.from_numpy(z)).exp().numpy()

    # What is left of a panel is weighed as it enters the total probability and the variance.
    law = Panels.of(density, edges, 1e-14, lambda reach, half: half * (1 + reach**2))
    mass = 2 * (law.half * law.coefficients[:, 0])
    total = mass.sum()
    if not abs(total - 1) <= 1e-10:
        raise Unresolved(f"its integral is found to be {total:.12g}")
    law = Panels(*(part[mass > 0] for part in (law.centre, law.half, law.coefficients / total)))
    edges = np.array([0.0, *2.0 ** np.arange(-6, math.log2(reach) + 1)])
    table = Panels.of(law.transform, edges, 1e-12).polynomial()

    def evaluate(omega: np.ndarray) -> np.ndarray:
        size = abs(omega)
        value = np.where(size > 0, table(np.minimum(size, reach)), 1)
        value[size > reach] = law.transform(size[size > reach])
        return np.where(omega < 0, value.conj(), value)

    return evaluate
