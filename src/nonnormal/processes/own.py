"""Processes of the user's own: a `LinearProcess` that a study names as "module:NAME", and whether it is one process.

The matrices that it gives must be of one Gaussian Markov process: transitions that compose, noise that is a covariance,
drift and diffusion that are the transitions' derivatives, a prior near the law at t = 1, and SNR that falls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from nonnormal.files import own
from nonnormal.processes.base import LinearProcess

_TIMES = (0.1, 0.35, 0.6, 0.9)
_H = 1e-5  # of differences, whose error is its square over a time scale cubed
LOG_SNR = 170.0
"""log-SNR beyond which sigma, or alpha, leaves single precision."""


def named(kind: str) -> LinearProcess:
    """The process that "module:NAME" names, an object or a class without arguments, checked; its module is imported.

    Raises:
        ValueError: it cannot be loaded, is no `LinearProcess`, or is not what it must be.
    """
    process = own.loaded(kind, LinearProcess, "process")
    check(process)
    return process


def source_files(kind: str) -> tuple[Path, ...]:
    """Source files of a process of the user's own and of its base classes, without those of this package."""
    if ":" not in kind:
        return ()
    found = own.loaded(kind, LinearProcess, "process")
    return own.files_of({kind.partition(":")[0], *own.modules_of(type(found), LinearProcess)})


def check(process: LinearProcess) -> None:
    """Refuse a process whose matrices are not those of one linear process with one schedule for all components.

    Raises:
        ValueError: what is wrong, what was found, what it must be.
    """
    try:
        wrong = next(_mistakes(process), None)
    except (Exception, SystemExit) as error:  # whatever the user's code does
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        raise ValueError(f"process {type(process).__name__}: {wrong}")


def _mistakes(process: LinearProcess) -> Iterator[str]:
    n = process.n
    if not (type(n) is int and n >= 1):
        yield f"n: found {n!r}; must be the number of variables per component"
        return
    if not (0 <= process.t_min < 1 and 0 < process.shortest_window <= 1):
        yield f"t_min, shortest_window: found {process.t_min}, {process.shortest_window}; must be in [0, 1), (0, 1]"
    hash(process)
    times = torch.tensor(_TIMES, dtype=torch.float64)
    later = (times + 1) / 2
    for name, found, shape in (
        ("initial", process.initial(), (n, n)),
        ("transition", process.transition(0.2, 0.7), (n, n)),
        ("transition", process.transition(times, later), (len(times), n, n)),
        ("sde", process.sde(0.5), (n, n)),
        ("sde", process.sde(times), (len(times), n, n)),
        ("prior_covariance", (process.prior_covariance(),), (n, n)),
    ):
        for matrix in found:
            if not isinstance(matrix, Tensor) or (tuple(matrix.shape), matrix.dtype) != (shape, torch.float64):
                said = f"{tuple(matrix.shape)} of {matrix.dtype}" if isinstance(matrix, Tensor) else f"{matrix!r:.40}"
                yield f"{name}: returns {said}; must be {shape} of float64 (one schedule for all components)"
                return
    yield from _covariances(process, times, later)
    yield from _differs(
        "transition of a batch − those of its times",
        _stacked(process, times, later),
        [*process.transition(times, later)],
    )
    yield from _composition(process)
    yield from _derivatives(process, times)
    yield from _ends(process)


def _stacked(process: LinearProcess, s: Tensor, t: Tensor) -> list[Tensor]:
    found = [process.transition(a, b) for a, b in zip(s.tolist(), t.tolist(), strict=True)]
    return [torch.stack(part) for part in zip(*found, strict=True)]


def _covariances(process: LinearProcess, s: Tensor, t: Tensor) -> Iterator[str]:
    found = {
        "initial: C_0": process.initial()[1],
        "transition: Σ": process.transition(s, t)[1],
        "sde: G Gᵀ": process.sde(s)[1],
        "prior_covariance": process.prior_covariance(),
    }
    for name, matrix in found.items():
        scale = matrix.abs().max().item()
        least = torch.linalg.eigvalsh((matrix + matrix.mT) / 2).min().item()
        if not ((matrix - matrix.mT).abs().max().item() <= 1e-9 * scale and least >= -1e-9 * scale):
            yield f"{name}: found {matrix.tolist()}; must be symmetric, without negative eigenvalues"


def _composition(process: LinearProcess) -> Iterator[str]:
    """Chapman-Kolmogorov: Φ(r→t) = Φ(s→t) Φ(r→s), Σ(r→t) = Φ(s→t) Σ(r→s) Φ(s→t)ᵀ + Σ(s→t)."""
    for r, s, t in ((0.0, 0.2, 0.5), (0.3, 0.6, 1.0), (0.85, 0.86, 0.9)):
        (phi_1, sigma_1), (phi_2, sigma_2) = process.transition(r, s), process.transition(s, t)
        both = [phi_2 @ phi_1, phi_2 @ sigma_1 @ phi_2.mT + sigma_2]
        name = f"transitions {r} → {s} → {t} composed − the one {r} → {t}"
        yield from _differs(name, both, [*process.transition(r, t)])


def _derivatives(process: LinearProcess, times: Tensor) -> Iterator[str]:
    """F = dΦ/dh, G Gᵀ = dΣ/dh at h = 0, by the symmetric second difference of t − h → t + h."""
    drift, noise = process.sde(times)
    phi, sigma = process.transition(times - _H, times + _H)
    identity = torch.eye(process.n, dtype=torch.float64)
    found = [(phi - identity) / (2 * _H), sigma / (2 * _H)]
    yield from _differs("sde − the derivatives (F, G Gᵀ) of transition", found, [drift, noise], 1e-3)


def _ends(process: LinearProcess) -> Iterator[str]:
    grid = torch.linspace(process.t_min, 1, 101, dtype=torch.float64)
    log_snr = process.mean_log_snr(grid)
    if not (log_snr.isfinite().all() and log_snr.abs().max() <= LOG_SNR):
        yield f"log-SNR from {log_snr[0]:.4g} to {log_snr[-1]:.4g}; must be finite from t_min on, within ±{LOG_SNR:g}"
    if not (log_snr.diff() <= 1e-9).all() or not log_snr[0] > log_snr[-1]:
        yield f"log-SNR rises in time, e.g. by {log_snr.diff().max():.3g}; must fall, 0 is data and 1 is the prior"
    law, prior = process.marginal(1.0)[1], process.prior_covariance()
    apart = (law - prior).abs().max().item()
    if not apart <= 0.5 * prior.abs().max().item():
        yield f"prior_covariance: found {prior.tolist()}, the law at t = 1 has {law.tolist()}; must be near it"


def _differs(name: str, found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-6) -> Iterator[str]:
    for one, other in zip(found, expected, strict=True):
        worst, scale = (one - other).abs().max().item(), other.abs().max().item()
        if not worst <= tolerance * max(1.0, scale):
            yield f"{name}: found a difference of {worst:.3g}; must be 0 to {tolerance:g} of {scale:.3g}"
