"""Conventions: the four losses as li2024 prints them, beside the exact ones.

With r = eps − eps_hat and w = ½ (log_snr(s) − log_snr(t)), the paper writes its losses in r √w; here d = r √(2w), which
in the limit of small steps is the whitened error `delta`. The main text and the appendix differ:

| pair | main_text | appendix |
|---|---|---|
| normal/normal | d²/2 | d²/2 |
| laplace/laplace | a + exp(−a) − 1, a = abs(d)/√2 | the same with a = abs(d) |
| uniform/normal | d²/2 + ½ (1 + log(π/6)) | d²/2 + ½ (1 + log √(π/6)) |
| uniform/laplace | d²/2 + ½ for abs(d) ≤ 1, abs(d)/√2 beyond | d²/2 + ½ for abs(d) ≤ 1, abs(d) beyond |

Neither is the divergence of steps of unit variance: both take the Laplace scale, and the half-width of the uniform step
against it, to be the standard deviation. Near 0 their Laplace losses are ½ and 1 times the normal one, the exact loss
is 2 times.

Source: li2024, workshop version, §4.2 (main_text), App. A.2 and Table 1 (appendix); the body of the arXiv version was
not at hand and may differ. Deviates: sums over coordinates stand outside of exp, where the paper writes a norm inside.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nonnormal.steps.base import Step, get
from nonnormal.steps.closed_forms import exp_excess
from nonnormal.steps.divergence import shift_kl

Convention = Literal["exact", "main_text", "appendix"]
CONVENTIONS: tuple[Convention, ...] = ("exact", "main_text", "appendix")
PRINTED_PAIRS = (("normal", "normal"), ("laplace", "laplace"), ("uniform", "normal"), ("uniform", "laplace"))

_LAPLACE_FACTOR = {"main_text": 1 / math.sqrt(2), "appendix": 1.0}
_UNIFORM_CONSTANT = {
    "main_text": 0.5 * (1 + math.log(math.pi / 6)),
    "appendix": 0.5 * (1 + math.log(math.sqrt(math.pi / 6))),
}


def is_printed(q: Step | str, p: Step | str) -> bool:
    """Whether the paper prints a loss for the pair."""
    return (get(q).name, get(p).name) in PRINTED_PAIRS


def step_loss(q: Step | str, p: Step | str, delta: Tensor, convention: Convention = "exact") -> Tensor:
    """K_{q,p}(delta) as a convention has it, nats, elementwise.

    Args:
        q, p: steps of the true process and of the model, or their names.
        delta: whitened error; for the printed conventions its small-step form r √(2w).
        convention: `exact` is `divergence.shift_kl`.

    Raises:
        ValueError: the paper does not print the convention for this pair.
    """
    if convention == "exact":
        return shift_kl(q, p, delta)
    q, p = get(q), get(p)
    if not is_printed(q, p):
        pairs = ", ".join("/".join(pair) for pair in PRINTED_PAIRS)
        raise ValueError(f"convention {convention!r}: the paper prints no loss for {q}/{p}; it prints {pairs}")
    square = 0.5 * delta.square()
    if p.name == "normal":
        return square if q.name == "normal" else square + _UNIFORM_CONSTANT[convention]
    linear = _LAPLACE_FACTOR[convention] * delta.abs()
    return exp_excess(linear) if q.name == "laplace" else torch.where(delta.abs() <= 1, square + 0.5, linear)


def constant(q: Step | str, p: Step | str, convention: Convention = "exact") -> float:
    """The loss at delta = 0, nats: the cost of a model whose mean is perfect."""
    return step_loss(q, p, torch.zeros((), dtype=torch.float64), convention).item()
