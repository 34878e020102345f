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
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonnormal.steps.base import Step, StepError, get
from nonnormal.steps.distributions import Laplace, Normal, Uniform
from nonnormal.steps.quadrature import LOG_LAST, beyond_last, expectation_nodes

_CLOSED_FORMS: dict[tuple[type[Step], type[Step]], Callable[[Step, Step, Tensor], Tensor]] = {}


def closed_form(q: type[Step], p: type[Step]):
    """Decorator that enters K(q, p, delta) -> nats as the shift divergence of the families q and p."""

    def enter(formula):
        _CLOSED_FORMS[q, p] = formula
        return formula

    return enter


def shift_kl(q: Step | str, p: Step | str, delta: Tensor | float) -> Tensor:
    """K_{q,p}(d) = ∫ q(z) log( q(z) / p(z − d) ) dz, nats, elementwise and twice differentiable in d.

    Args:
        q: step of the true process, or its family's name.
        p: step of the model, or its family's name.
        delta: d, any shape, floating point; the result has its shape and dtype. Numbers are float64.

    Raises:
        StepError: a step has no density, a name is that of none, or the pair is too near to the border (`is_finite`).
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

    ∞ where K is.
    """
    q, p = get(q), get(p)
    if not is_finite(q, p):
        return math.inf
    if q == p:
        return q.fisher_information
    return _integrate_slope(q, p, torch.zeros(1, dtype=torch.float64))[1].item()


def is_finite(q: Step | str, p: Step | str) -> bool:
    """Whether K_{q,p}(d) < ∞ for every shift d: p reaches everywhere, and q's tails are lighter than −log p grows.

    Raises:
        StepError: a step has no density, or the pair is so near to the border that K is finite and cannot be computed,
            or that it cannot be told whether it is finite.
    """
    q, p = get(q), get(p)
    _need_densities(q, p)
    finite = p.support == (-math.inf, math.inf) and _tails_allow(q, p)
    if finite and not isinstance(p, Normal):
        _beyond(q, p)
    return finite


def with_itself_finite(step: Step | str) -> bool:
    """Whether K of the step with itself is finite for every shift; not so of a law without density."""
    step = get(step)
    return step.has_density and is_finite(step, step)


_STRAIGHT = 1e-3  # the change of a fall from octave to octave below which it goes on as it is
_SPAN = 16  # points over which the slope of a tail is taken: a factor of 5 in z


def _tails_allow(q: Step, p: Step) -> bool:
    """Whether q |log p| falls faster than 1/|z| where both reach to infinity: by more than 1e-4 in an octave.

    It does not where its fall ends, or slows down more and more.

    Raises:
        StepError: it falls, but by less, or slows down, so that it cannot be told.
    """
    far = 60.0 * 2.0 ** torch.arange(20, dtype=torch.float64)
    for end, side in zip(q.support, (-far, far), strict=True):
        if math.isinf(end):
            # In logarithms, since both factors may leave the range of float64; as far out as these do not.
            tail = q.log_prob(side) + (-p.log_prob(side)).log() + far.log()
            falls = tail[tail.isfinite()].diff()
            slower = falls.diff()
            if len(falls) < 3 or falls[-1] > -1e-9 or (slower[-1] > _STRAIGHT and slower[-1] > slower[-2]):
                return False
            if falls[-1] > -1e-4 or slower[-1] > _STRAIGHT:
                raise StepError(
                    f"{q}/{p}: the tails are so near to where the divergence of the pair becomes infinite that it "
                    "cannot be told on which side; choose parameters that are farther apart"
                )
    return True


@cache
def _beyond(q: Step, p: Step) -> float:
    """What −E_q[log p(z − d)] has, for any d, farther out than quadrature's nodes, nats.

    There |z q log p| of heavy tails is a power of z: small where it falls fast, and else carried on as what it is.

    Raises:
        StepError: it is not small, but q or log p leaves float64 before the nodes end, or the sum over the nodes does.
    """
    refusal = StepError(
        f"{q}/{p}: the divergence of the pair is finite, but comes from so far out in the tails that it cannot be "
        "computed; choose parameters that are farther apart"
    )
    z, w = (nodes[0] for nodes in expectation_nodes(q, torch.zeros(1, 0)))
    log_p = p.log_prob(z.clamp(*p.support))
    if p.support == (-math.inf, math.inf) and not _weighted(w, log_p).isfinite():
        raise refusal
    within, total = _weighted(w, torch.where(log_p.isfinite(), log_p, 0.0)).abs(), 0.0
    log_z = torch.linspace(4, LOG_LAST, 2**9, dtype=torch.float64)
    for end, side in zip(q.support, (-log_z.exp(), log_z.exp()), strict=True):
        log_q, growth = q.log_prob(side), -p.log_prob(side)
        kept = int(((log_q > -690) & growth.isfinite()).cummin(0).values.sum())
        if math.isfinite(end) or kept < 2 * _SPAN:
            continue
        tail = (log_q + growth.log() + log_z)[:kept]
        falls = (tail[:-_SPAN] - tail[_SPAN:]) / (log_z[_SPAN] - log_z[0])
        fall = falls[-1].item()
        if fall > 0 and math.exp(tail[-1]) / fall < 1e-9 * within:
            continue
        if kept < len(log_z) or fall <= 0 or abs(falls[-1] - falls[-_SPAN]) > 1e-7 * fall:
            raise refusal
        total += beyond_last(tail[-1].item(), fall)
    return total


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
            return gradient * _ExpSlope.apply(x, ctx.rate), None
        return _signed(gradient, x).mul_(size), None


class _ExpSlope(torch.autograd.Function):
    """rate · sign(x) (1 − exp(−a)) with a = rate · |x|; its slope rate² exp(−a), at 0 as well, where sign has none."""

    @staticmethod
    def forward(ctx, x, rate):
        ctx.save_for_backward(x)
        ctx.rate = rate
        return x.sign() * torch.expm1(-rate * x.abs()) * -rate

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * ctx.rate**2 * torch.exp(-ctx.rate * x.abs()), None


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


_CHUNK = 2**14  # numbers that stay in a processor's cache


@cache
def _table(q: Step, p: Step) -> _Table:
    return _Table.build(q, p)


@dataclass(frozen=True, eq=False)
class _Table:
    """K and K′ of a pair at nodes in d, read by cubic Hermite interpolation; beyond the nodes, quadrature at d itself.

    Nodes are 1/64 apart, and closer and closer towards the points where K is not smooth: where a kink of p, shifted by
    d, meets a kink of q, and where the supports cease to nest. Between nodes the error is below 1e-7 of |K| + 0.01.

    It is read on the device of the shifts, where nodes and cubics are kept.

    Attributes:
        low, high: shifts for which the supports nest; K is ∞ outside of [low, high].
        nodes, value, slope: (N,), float64, rising in the nodes.
        rule: (q, p, d) -> (value, slope) by quadrature.
    """

    q: Step
    p: Step
    low: float
    high: float
    nodes: Tensor
    value: Tensor
    slope: Tensor
    rule: Callable[[Step, Step, Tensor], tuple[Tensor, Tensor]]

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
            return cls(q, p, math.inf, -math.inf, empty, empty, empty, _integrate)
        breaks = [a - b for a in q.breakpoints for b in p.breakpoints] + [low, high]
        even = torch.arange(start, stop, cls.SPACING, dtype=torch.float64)
        # Each octave of the distance, from 1 to 1e-9, in 24 steps: near a break K may go like its power or logarithm.
        graded = torch.logspace(0, -30, 30 * 24 + 1, base=2, dtype=torch.float64)
        near = [torch.tensor([start, stop], dtype=torch.float64), even]
        for point in filter(math.isfinite, breaks):
            near += [point - graded, torch.tensor([point], dtype=torch.float64), point + graded]
        nodes = torch.cat(near)
        nodes = nodes[(nodes >= start) & (nodes <= stop)].unique()
        return cls(q, p, low, high, nodes, *_integrate(q, p, nodes), _integrate)

    @cached_property
    def derivative(self) -> _Table:
        """K′ and K″ at the same nodes, integrated when a second derivative is first asked for."""
        value, slope = _integrate_slope(self.q, self.p, self.nodes)
        return replace(self, value=value, slope=slope, rule=_integrate_slope)

    def __call__(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """(K, K′) at d, of any shape, in its floating type and on its device; computed in float64."""
        flat = d.reshape(-1)
        value, slope = torch.empty_like(flat), torch.empty_like(flat)
        if len(self.nodes) and len(flat):
            chunk = _CHUNK if d.device.type == "cpu" else len(flat)
            for out, rise, part in zip(value.split(chunk), slope.split(chunk), flat.split(chunk), strict=True):
                self._interpolate(part.double(), out, rise)
        if len(flat) and not self._covers(flat):
            self._extend(flat, value, slope)
        return value.reshape(d.shape), slope.reshape(d.shape)

    def _covers(self, d: Tensor) -> bool:
        """Whether all of d lie between the nodes."""
        low, high = torch.stack(d.aminmax()).tolist()
        return len(self.nodes) > 0 and low >= self.nodes[0].item() and high <= self.nodes[-1].item()

    def _extend(self, d: Tensor, value: Tensor, slope: Tensor) -> None:
        """Writes K and K′ where d (N,) lies beyond the nodes: by quadrature, ∞ where the supports do not nest."""
        inside = (d >= self.nodes[0].item()) & (d <= self.nodes[-1].item()) if len(self.nodes) else d != d
        (where,) = (~inside).nonzero(as_tuple=True)
        far = d[where].double().cpu()
        k, rise = torch.where(far.isnan(), far, math.inf), torch.zeros_like(far)
        nested = far.isfinite() & (far >= self.low) & (far <= self.high)
        if nested.any():
            k[nested], rise[nested] = self.rule(self.q, self.p, far[nested])
        value[where], slope[where] = k.to(value), rise.to(slope)

    def _interpolate(self, d: Tensor, value: Tensor, slope: Tensor) -> None:
        """Writes the cubics and their slopes at d (N,), float64; nonsense beyond the nodes."""
        nodes, cubics = self.on(d.device)
        if self.even:
            left = (d - nodes[0]).mul_(1 / self.SPACING).to(torch.int32).clamp_(0, len(cubics) - 1)
        else:
            left = torch.searchsorted(nodes, d, right=True, out_int32=True).sub_(1).clamp_(0, len(cubics) - 1)
        x = d - nodes.index_select(0, left)
        a, b, c, e = cubics.index_select(0, left).unbind(1)
        cubic = e * x
        value.copy_(cubic.add(c).mul_(x).add_(b).mul_(x).add_(a))
        slope.copy_(cubic.mul_(1.5).add_(c).mul_(x).mul_(2).add_(b))

    @cached_property
    def even(self) -> bool:
        """Whether the nodes are `SPACING` apart, up to the last."""
        count = len(self.nodes)
        return count > 1 and torch.equal(self.nodes[:-1], self.nodes[0] + self.SPACING * torch.arange(count - 1))

    @cache  # noqa: B019 (tables live as long as the program)
    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(nodes, cubics) there; a cubic is a + b x + c x² + e x³ at distance x from its node, (N − 1, 4)."""
        value, slope = self.value, self.slope
        if len(self.nodes) == 1:
            return self.nodes.to(device), torch.stack([value, slope, 0 * value, 0 * value], 1).to(device)
        width, rise = self.nodes.diff(), value.diff() / self.nodes.diff()
        bend = slope[:-1] + slope[1:] - 2 * rise
        cubics = torch.stack([value[:-1], slope[:-1], (rise - slope[:-1] - bend) / width, bend / width.square()], 1)
        return self.nodes.to(device), cubics.to(device)


class _Lookup(torch.autograd.Function):
    """A table's value going forward and its slope going back."""

    @staticmethod
    def forward(ctx, delta, table):
        value, slope = table(delta.detach())
        ctx.save_for_backward(delta, slope)
        ctx.table = table
        return value

    @staticmethod
    def backward(ctx, gradient):
        delta, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # of a derivative that will be differentiated
            slope = _Slope.apply(delta, slope, ctx.table)
        return gradient * slope, None


class _Slope(torch.autograd.Function):
    """A table's slope, which is known, going forward and its second derivative going back."""

    @staticmethod
    def forward(ctx, delta, slope, table):
        ctx.save_for_backward(delta)
        ctx.table = table
        return slope.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (delta,) = ctx.saved_tensors
        return gradient * ctx.table.derivative(delta)[1], None, None


_FAR = 16.0  # beyond it a shifted kink makes a piece so long that quadrature has too few nodes where q is


def _integrate(q: Step, p: Step, d: Tensor, chunk: int = 2048) -> tuple[Tensor, Tensor]:
    """K = −h(q) − E_q[log p(z − d)] and K′ = E_q[(log p)′(z − d)] at shifts d (D,) by quadrature."""
    value, slope = torch.empty_like(d), torch.empty_like(d)
    breakpoints, rest = torch.tensor(p.breakpoints, dtype=torch.float64), _beyond(q, p) - q.entropy
    for where in _chunks(d, chunk):
        part = d[where].unsqueeze(1)
        z, w = expectation_nodes(q, _cuts(part, part + breakpoints))
        log_p, score = _derivatives(p, z - part, 1)
        # A node that rounding put on a kink has next to no weight, and there log p or its slope may be infinite.
        lost = _on(z - part, p, breakpoints) & ~(log_p.isfinite() & score.isfinite())
        w = torch.where(lost, 0.0, w)
        value[where] = rest - _weighted(w, log_p)
        slope[where] = _weighted(w, score)
    if q == p:  # exactly, also where quadrature has few digits
        value[d == 0], slope[d == 0] = 0.0, 0.0
    return value, slope


def _integrate_slope(q: Step, p: Step, d: Tensor, chunk: int = 512) -> tuple[Tensor, Tensor]:
    """K′ = E_q[s(z − d)] and K″ = −∫ q(z) s′(z − d) dz, s = (log p)′, at shifts d (D,) by quadrature.

    Where s jumps or s′ cannot be integrated, at a kink b of p, the integral is Hadamard's finite part: within `room` of
    the kink q(b + d) is taken off q(z), and its part of the integral, q(b + d) times the rise of s, is added.
    """
    slope, bend = torch.empty_like(d), torch.empty_like(d)
    breakpoints = torch.tensor(p.breakpoints, dtype=torch.float64)
    room = min(1.0, *(breakpoints.sort().values.diff() / 2).tolist()) if len(breakpoints) > 1 else 1.0
    for where in _chunks(d, chunk):
        part = d[where].unsqueeze(1)
        places = part + breakpoints
        below, above = (places - room).clamp(*q.support), (places + room).clamp(*q.support)
        z, w = expectation_nodes(q, _cuts(part, torch.cat([places, below, above], 1)))
        _, score, change = _derivatives(p, z - part, 2)
        w = torch.where(_on(z - part, p, breakpoints) & ~(score.isfinite() & change.isfinite()), 0.0, w)
        log_q, heights, share = q.log_prob(z), q.log_prob(places), torch.ones_like(z)
        for i in range(len(breakpoints)):
            near = (z - places[:, i : i + 1]).abs() < room
            share -= torch.where(near, (heights[:, i : i + 1] - log_q).exp(), 0.0)
        rise = _derivatives(p, above - part, 1)[1] - _derivatives(p, below - part, 1)[1]
        slope[where] = _weighted(w, score)
        bend[where] = -_weighted(w, change * share) - _weighted(heights.exp(), rise)
    if q == p and math.isfinite(q.fisher_information):
        slope[d == 0], bend[d == 0] = 0.0, q.fisher_information
    return slope, bend


def _chunks(d: Tensor, size: int) -> list[Tensor]:
    """Indices of d, in parts; far shifts have parts of their own."""
    far = d.abs() > _FAR
    return [part for group in (~far, far) for part in group.nonzero().flatten().split(size) if len(part)]


def _cuts(d: Tensor, places: Tensor) -> Tensor:
    """The places (D, m) at which to cut; for far shifts d (D, 1) also some between them and q, each 64 times as far."""
    if not (d.abs() > _FAR).any():
        return places
    steps = 8 * 64.0 ** torch.arange(7, dtype=torch.float64)
    between = places.sign().unsqueeze(-1) * torch.minimum(places.abs().unsqueeze(-1), steps)
    return torch.cat([places, between.flatten(1)], 1)


def _derivatives(p: Step, y: Tensor, order: int) -> list[Tensor]:
    """log p and its derivatives up to the order, at y within p's support."""
    with torch.inference_mode(False), torch.enable_grad():
        y = y.clamp(*p.support).requires_grad_()
        found = [p.log_prob(y) + 0 * y]  # on the graph even where p is flat
        for k in range(order):
            (slope,) = torch.autograd.grad(found[-1].sum(), y, create_graph=k + 1 < order)
            found.append(slope + 0 * y if k + 1 < order else slope)
    return [part.detach() for part in found]


def _on(y: Tensor, p: Step, breakpoints: Tensor) -> Tensor:
    """Which of y lie on a kink, or on the end of p's support."""
    return (y.clamp(*p.support).unsqueeze(-1) == breakpoints).any(-1)


def _weighted(w: Tensor, f: Tensor) -> Tensor:
    """Σ w f over the last axis, where nodes without weight count nothing whatever f is there."""
    return torch.where(w > 0, w * f, 0.0).sum(-1)
