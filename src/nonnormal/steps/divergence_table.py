"""Tables of the shift divergence K_{q,p}(d) and its derivatives, integrated by quadrature; see `divergence`.

Source: derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonnormal.steps.base import Step
from nonnormal.steps.quadrature import expectation_nodes
from nonnormal.steps.tails import beyond_nodes, tails_allow, weighted


def tabulated(q: Step, p: Step, delta: Tensor) -> Tensor:
    """K at the shifts, from the pair's table."""
    return _Lookup.apply(delta, table_of(q, p))


_CHUNK = 2**14  # numbers that stay in a processor's cache


@cache
def table_of(q: Step, p: Step) -> Table:
    """The table of the pair, made once."""
    return Table.build(q, p)


@dataclass(frozen=True, eq=False)
class Table:
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
    def build(cls, q: Step, p: Step) -> Table:
        # Nesting: p.support + d ⊇ q.support.
        low = q.support[1] - p.support[1] if math.isfinite(p.support[1]) else -math.inf
        high = q.support[0] - p.support[0] if math.isfinite(p.support[0]) else math.inf
        start, stop = max(low, -cls.REACH), min(high, cls.REACH)
        if not start <= stop or not tails_allow(q, p):
            empty = torch.zeros(0, dtype=torch.float64)
            return cls(q, p, math.inf, -math.inf, empty, empty, empty, integrate)
        breaks = [a - b for a in q.breakpoints for b in p.breakpoints] + [low, high]
        even = torch.arange(start, stop, cls.SPACING, dtype=torch.float64)
        # Each octave of the distance, from 1 to 1e-9, in 24 steps: near a break K may go like its power or logarithm.
        graded = torch.logspace(0, -30, 30 * 24 + 1, base=2, dtype=torch.float64)
        near = [torch.tensor([start, stop], dtype=torch.float64), even]
        for point in filter(math.isfinite, breaks):
            near += [point - graded, torch.tensor([point], dtype=torch.float64), point + graded]
        nodes = torch.cat(near)
        nodes = nodes[(nodes >= start) & (nodes <= stop)].unique()
        return cls(q, p, low, high, nodes, *integrate(q, p, nodes), integrate)

    @cached_property
    def derivative(self) -> Table:
        """K′ and K″ at the same nodes, integrated when a second derivative is first needed."""
        value, slope = integrate_slope(self.q, self.p, self.nodes)
        return replace(self, value=value, slope=slope, rule=integrate_slope)

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


# ---- quadrature ------------------------------------------------------------------------------------------------------

_FAR = 16.0  # beyond it a shifted kink makes a piece so long that quadrature has too few nodes where q is


def integrate(q: Step, p: Step, d: Tensor, chunk: int = 2048) -> tuple[Tensor, Tensor]:
    """K = −h(q) − E_q[log p(z − d)] and K′ = E_q[(log p)′(z − d)] at shifts d (D,) by quadrature."""
    value, slope = torch.empty_like(d), torch.empty_like(d)
    breakpoints, rest = torch.tensor(p.breakpoints, dtype=torch.float64), beyond_nodes(q, p) - q.entropy
    for where in _chunks(d, chunk):
        part = d[where].unsqueeze(1)
        z, w = expectation_nodes(q, _cuts(part, part + breakpoints))
        log_p, score = _derivatives(p, z - part, 1)
        # A node that rounding put on a kink has next to no weight, and there log p or its slope may be infinite.
        lost = _on(z - part, p, breakpoints) & ~(log_p.isfinite() & score.isfinite())
        w = torch.where(lost, 0.0, w)
        value[where] = rest - weighted(w, log_p)
        slope[where] = weighted(w, score)
    if q == p:  # exactly, also where quadrature has few digits
        value[d == 0], slope[d == 0] = 0.0, 0.0
    return value, slope


def integrate_slope(q: Step, p: Step, d: Tensor, chunk: int = 512) -> tuple[Tensor, Tensor]:
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
        slope[where] = weighted(w, score)
        bend[where] = -weighted(w, change * share) - weighted(heights.exp(), rise)
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
