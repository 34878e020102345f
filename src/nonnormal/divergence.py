"""Shift divergence K_{q,p}(d) = KL( q(z) ‖ p(z − d) ): what a model pays, per coordinate, for missing the mean by d.

q is the law of the step in the true process, p in the model, d = `delta` the model's mean minus the true mean in units
of the step's standard deviation; both laws have variance 1. The sign of d matters for skewed steps. K is in nats.

A pair with a closed form uses it (`closed_form` enters one). Every other pair is integrated numerically once and
tabulated: `_Table`. Where q(z) reaches outside the support of p(z − d), K is ∞. This room knows steps and nothing else.

Source: derived here for unit variances; li2024 Table 1 prints four pairs for other scales (and L/L with +1 for −1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonnormal.steps import Laplace, Normal, Step, StepError, Uniform, get
from nonnormal.steps.quadrature import expectation_nodes

_CLOSED_FORMS: dict[tuple[type[Step], type[Step]], Callable[[Step, Step, Tensor], Tensor]] = {}


def closed_form(q: type[Step], p: type[Step]):
    """Decorator that enters K(q, p, delta) -> nats as the shift divergence of the families q and p."""

    def enter(formula):
        _CLOSED_FORMS[q, p] = formula
        return formula

    return enter


def shift_kl(q: Step | str, p: Step | str, delta: Tensor | float) -> Tensor:
    """K_{q,p}(d) = ∫ q(z) log( q(z) / p(z − d) ) dz, nats, elementwise and differentiable in d.

    Args:
        q: step of the true process, or its family's name.
        p: step of the model, or its family's name.
        delta: d, any shape, floating point; the result has its shape and dtype. Numbers are float64.

    Raises:
        StepError: a step has no density, or the name of none.
        ValueError: d is a tensor of whole numbers, which has no room for the result.

    Source: derived here, checked against 30-digit quadrature (`tests/golden/shift_kl.csv`).
    """
    delta = delta if isinstance(delta, Tensor) else torch.as_tensor(delta, dtype=torch.float64)
    if not delta.is_floating_point():
        raise ValueError(f"delta must be floating point, found {delta.dtype}; use delta.double()")
    q, p = get(q), get(p)
    _need_densities(q, p)
    formula = _CLOSED_FORMS.get((type(q), type(p))) or (_any_normal if isinstance(p, Normal) else _tabulated)
    return formula(q, p, delta)


def constant(q: Step | str, p: Step | str) -> float:
    """K_{q,p}(0), nats: owed per coordinate at every step by a model whose mean is perfect."""
    return shift_kl(q, p, torch.zeros((), dtype=torch.float64)).item()


def curvature(q: Step | str, p: Step | str) -> float:
    """K″(0): what a model with many steps pays is T K(0) + ½ K″(0) Σ d². For q = p the Fisher information of location.

    For different steps the difference quotient of K′ over ±1e-3, as q smooths a kink of p; ∞ where K is.
    """
    q, p = get(q), get(p)
    if not is_finite(q, p):
        return math.inf
    if q == p:
        return q.fisher_information
    delta = torch.tensor([-1e-3, 1e-3], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(shift_kl(q, p, delta).sum(), delta)
    return ((slope[1] - slope[0]) / 2e-3).item()


def is_finite(q: Step | str, p: Step | str) -> bool:
    """Whether K_{q,p}(d) < ∞ for every shift d: p reaches everywhere, and q's tails are lighter than −log p grows.

    Raises:
        StepError: a step has no density.
    """
    q, p = get(q), get(p)
    _need_densities(q, p)
    return p.support == (-math.inf, math.inf) and _tails_allow(q, p)


def _tails_allow(q: Step, p: Step) -> bool:
    """Whether q |log p| falls faster than 1/|z| where both reach to infinity."""
    far = 60.0 * 2.0 ** torch.arange(20, dtype=torch.float64)
    for end, side in zip(q.support, (-far, far), strict=True):
        if math.isinf(end):
            # In logarithms, since both factors may leave the range of float64; as far out as these do not.
            tail = q.log_prob(side) + (-p.log_prob(side)).log() + far.log()
            falls = tail[tail.isfinite()].diff()
            if len(falls) < 2 or not (falls[-1] < -0.01 and falls[-1] - falls[-2] < 1e-3):
                return False
    return True


def _need_densities(q: Step, p: Step) -> None:
    for step in (q, p):
        if not step.has_density:
            raise StepError(f"{step} has no density: it samples, but the divergence of the pair {q}/{p} is not defined")


# ---- closed forms ----------------------------------------------------------------------------------------------------


@closed_form(Normal, Normal)
def _normal_normal(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = d²/2."""
    return 0.5 * delta.square()


def _any_normal(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = d²/2 + ½ (1 + log 2π) − h(q), for every q of unit variance with entropy h."""
    return 0.5 * delta.square() + (0.5 * (1 + math.log(2 * math.pi)) - q.entropy)


@closed_form(Laplace, Laplace)
def _laplace_laplace(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = a + exp(−a) − 1 with a = √2 |d|."""
    return exp_excess(delta, math.sqrt(2))


@closed_form(Uniform, Normal)
def _uniform_normal(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = d²/2 + ½ (1 + log(π/6))."""
    return 0.5 * delta.square() + 0.5 * (1 + math.log(math.pi / 6))


@closed_form(Uniform, Laplace)
def _uniform_laplace(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = (d² + 3)/√6 − ½ log 6 for |d| ≤ √3, √2 |d| − ½ log 6 beyond; once differentiable at √3."""
    # Huber's loss is d²/2 up to √3 and √3 |d| − 3/2 beyond.
    huber = torch.nn.functional.huber_loss(delta, torch.zeros_like(delta), reduction="none", delta=math.sqrt(3))
    return math.sqrt(2 / 3) * huber + (math.sqrt(1.5) - 0.5 * math.log(6))


@closed_form(Normal, Laplace)
def _normal_laplace(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K(d) = √2 E|Z + d| + ½ log 2 − ½ (1 + log 2π), Z standard normal."""
    nats = math.sqrt(2) * _FoldedNormal.apply(_wide(delta)) + (0.5 * math.log(2) - 0.5 * (1 + math.log(2 * math.pi)))
    return nats.to(delta.dtype)


class _FoldedNormal(torch.autograd.Function):
    """E|Z + d| = 2 φ(d) + a (2 Φ(a) − 1) with a = |d| going forward; its slope sign(d) (2 Φ(a) − 1) going back.

    On a CPU gelu(a) = a Φ(a) and exp2 take a quarter of the time of erf and exp; float32 keeps 8e-7 of the value.
    """

    CUT = 16.0  # where Φ is 1 in every digit, and ∞ has not come in

    @staticmethod
    def forward(ctx, d):
        far = d.abs()
        near = far.clamp(max=_FoldedNormal.CUT)
        inner = torch.nn.functional.gelu(near).mul_(2).sub_(near)
        density = d.square().mul_(-0.5 * math.log2(math.e)).exp2_()
        folded = density.mul_(math.sqrt(2 / math.pi)).add_(inner).add_(far.sub_(near))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(d, inner.div_(near.add_(torch.finfo(d.dtype).tiny)))
        return folded

    @staticmethod
    def backward(ctx, gradient):
        d, size = ctx.saved_tensors
        if torch.is_grad_enabled():  # of a derivative that will be differentiated
            return gradient * torch.erf(d / math.sqrt(2))
        return _signed(gradient, d).mul_(size)


def exp_excess(x: Tensor, rate: float = 1.0) -> Tensor:
    """E(a) = a + exp(−a) − 1 with a = rate · |x|, to all digits also where it is a²/2."""
    return _ExpExcess.apply(_wide(x), rate).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    """The same numbers, those of 16 bits in 32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _ExpExcess(torch.autograd.Function):
    """E = a + exp(−a) − 1 going forward; rate · sign(x) (1 − exp(−a)) going back, made in the same passes.

    With n = min(a, c) and f = a − n, E(a) = E(n) + f + e^−c (e^−f − 1) and 1 − exp(−a) = a − E(a): for E(n) a short
    formula serves, the rest is exactly 0 below c, and above it little cancels. What it costs are passes over the
    tensor, hence the work in place; on a CPU exp2 is several times as fast as exp or expm1, and `where` slower.
    """

    CUT = 0.4

    @staticmethod
    def forward(ctx, x, rate):
        far = x.abs().mul_(rate)
        near = far.clamp(max=_ExpExcess.CUT)
        far.sub_(near)
        excess = _series(near) if x.dtype == torch.float64 else _root_form(near)
        excess.add_(torch.mul(far, -math.log2(math.e)).exp2_().sub_(1), alpha=math.exp(-_ExpExcess.CUT))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x, near.sub_(excess).mul_(rate))
            ctx.rate = rate
        return excess.add_(far)

    @staticmethod
    def backward(ctx, gradient):
        x, size = ctx.saved_tensors
        if torch.is_grad_enabled():  # of a derivative that will be differentiated
            return gradient * x.sign() * torch.expm1(-ctx.rate * x.abs()) * -ctx.rate, None
        return _signed(gradient, x).mul_(size), None


def _signed(gradient: Tensor, x: Tensor) -> Tensor:
    """sign(x) · gradient in one pass; −gradient at 0."""
    return torch.ops.aten.leaky_relu_backward(gradient, x, -1.0, False)


def _series(a: Tensor) -> Tensor:
    """E(a) = Σ_k (−a)^k / k!, k ≥ 2; cut after a¹⁴ it is exact to float64 up to 0.4."""
    total = torch.full_like(a, 1 / math.factorial(14))
    for k in range(13, 1, -1):
        total.mul_(a).add_((-1) ** k / math.factorial(k))
    return total.mul_(a).mul_(a)


def _root_form(a: Tensor) -> Tensor:
    """E(a) = (a / Y)², Y = √2 (1 + a/6 − …a³): Y has no square, so that three terms serve float32 up to 0.4."""
    # Fitted to Y on [0, 0.4] for the smallest relative error of the result, 1.1e-7.
    y = a.square().mul_(-0.0012555619).add_(0.235700405).mul_(a).add_(1.41421364)
    return torch.div(a, y, out=y).square_()


# ---- every other pair ------------------------------------------------------------------------------------------------


def _tabulated(q: Step, p: Step, delta: Tensor) -> Tensor:
    return _Lookup.apply(delta, _table(q, p))


@cache
def _table(q: Step, p: Step) -> _Table:
    return _Table.build(q, p)


@dataclass(frozen=True, eq=False)
class _Table:
    """K and K′ of a pair at nodes in d, read by cubic Hermite interpolation; beyond the nodes, quadrature at d itself.

    Nodes are 1/64 apart, and closer and closer towards the points where K is not smooth: where a kink of p, shifted by
    d, meets a kink of q, and where the supports cease to nest. Between nodes the error is below 1e-7 of |K| + 0.01.

    Attributes:
        low, high: shifts for which the supports nest; K is ∞ outside of [low, high].
        nodes, value, slope: (N,), float64, rising in the nodes.
    """

    q: Step
    p: Step
    low: float
    high: float
    nodes: Tensor
    value: Tensor
    slope: Tensor

    REACH = 12.0
    SPACING = 1 / 64

    @classmethod
    def build(cls, q: Step, p: Step) -> _Table:
        # Nesting: p.support + d ⊇ q.support.
        low = q.support[1] - p.support[1] if math.isfinite(p.support[1]) else -math.inf
        high = q.support[0] - p.support[0] if math.isfinite(p.support[0]) else math.inf
        start, stop = max(low, -cls.REACH), min(high, cls.REACH)
        if not start <= stop or not _tails_allow(q, p):
            empty = torch.zeros(0, dtype=torch.float64)
            return cls(q, p, math.inf, -math.inf, empty, empty, empty)
        breaks = [a - b for a in q.kinks for b in p.kinks] + [low, high]
        even = torch.arange(start, stop, cls.SPACING, dtype=torch.float64)
        # Each octave of the distance, from 1 to 1e-9, in 24 steps: near a break K may go like its power or logarithm.
        graded = torch.logspace(0, -30, 30 * 24 + 1, base=2, dtype=torch.float64)
        near = [torch.tensor([start, stop], dtype=torch.float64), even]
        for point in filter(math.isfinite, breaks):
            near += [point - graded, torch.tensor([point], dtype=torch.float64), point + graded]
        nodes = torch.cat(near)
        nodes = nodes[(nodes >= start) & (nodes <= stop)].unique()
        return cls(q, p, low, high, nodes, *_integrate(q, p, nodes))

    def __call__(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """(K, K′) at d (any shape, float64 on the CPU)."""
        flat = d.reshape(-1)
        value, slope = torch.where(flat.isnan(), flat, math.inf), torch.zeros_like(flat)
        if len(self.nodes):
            tabulated = (flat >= self.nodes[0]) & (flat <= self.nodes[-1])
            value[tabulated], slope[tabulated] = self._interpolate(flat[tabulated])
            beyond = ~tabulated & flat.isfinite() & (flat >= self.low) & (flat <= self.high)
            value[beyond], slope[beyond] = _integrate(self.q, self.p, flat[beyond])
        return value.reshape(d.shape), slope.reshape(d.shape)

    def _interpolate(self, d: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.nodes) == 1:
            return self.value.expand_as(d), self.slope.expand_as(d)
        right = torch.searchsorted(self.nodes, d, right=True).clamp(1, len(self.nodes) - 1)
        left = right - 1
        width = self.nodes[right] - self.nodes[left]
        u = (d - self.nodes[left]) / width
        rise = (self.value[right] - self.value[left]) / width
        a, b = self.slope[left], self.slope[right]
        # Newton's form of the cubic with these values and slopes at both ends.
        second, third = rise - a, a + b - 2 * rise
        value = self.value[left] + width * u * (a + u * (second + (u - 1) * third))
        slope = a + u * (2 * second + (3 * u - 2) * third)
        return value, slope


class _Lookup(torch.autograd.Function):
    """A table's value going forward and its slope going back."""

    @staticmethod
    def forward(ctx, delta, table):
        value, slope = table(delta.detach().double().cpu())
        ctx.save_for_backward(slope.to(delta))
        return value.to(delta)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (slope,) = ctx.saved_tensors
        return gradient * slope, None


def _integrate(q: Step, p: Step, d: Tensor, chunk: int = 2048) -> tuple[Tensor, Tensor]:
    """(K, K′) at shifts d (D,) by quadrature: K = −h(q) − E_q[log p(z − d)], K′ = E_q[(log p)′(z − d)]."""
    value, slope = torch.empty_like(d), torch.empty_like(d)
    kinks = torch.tensor(p.kinks, dtype=torch.float64)
    for i in range(0, len(d), chunk):
        part = d[i : i + chunk].unsqueeze(1)
        z, w = expectation_nodes(q, part + kinks)
        with torch.enable_grad():
            y = (z - part).clamp(*p.support).requires_grad_()
            log_p = p.log_prob(y) + 0 * y  # on the graph even where p is flat
            (score,) = torch.autograd.grad(log_p.sum(), y)
        # A node that rounding put on a kink has next to no weight, and there log p or its slope may be infinite.
        lost = (y.detach().unsqueeze(-1) == kinks).any(-1) & ~(log_p.isfinite() & score.isfinite())
        w = torch.where(lost, 0.0, w)
        value[i : i + chunk] = -q.entropy - _weighted(w, log_p.detach())
        slope[i : i + chunk] = _weighted(w, score)
    if q == p:  # exactly, also where quadrature has few digits
        value[d == 0], slope[d == 0] = 0.0, 0.0
    return value, slope


def _weighted(w: Tensor, f: Tensor) -> Tensor:
    """Σ w f over the last axis, where nodes without weight count nothing whatever f is there."""
    return torch.where(w > 0, w * f, 0.0).sum(-1)
