"""Loss of a chain with a step of its own in each interval, unit or fitted.

Let delta be the whitened error in the design's coordinates. A unit step p costs K_{q,p}(delta). A fitted step costs
K_{q,shape}((U delta)_i; s_i) with its scale s at the prediction x̂0, summed over the components of its basis. The
rotation is exact for a normal q, whose coordinates are independent in every orthonormal basis; other q take no basis
but the design's.

Source: derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.objectives.losses import Loss
from nonnormal.processes import LinearProcess
from nonnormal.steps import Normal, Step
from nonnormal.steps.divergence import shift_kl
from nonnormal.steps.fitted import FittedStep, ResidualStep
from nonnormal.steps.scaled_divergence import scaled_kl

_NORMAL = Normal()


@dataclass(frozen=True)
class FittedLoss:
    """The loss of a chain that has a step of its own in each interval.

    Attributes:
        q: step of the true process.
        steps: of the model, one for each interval, from the data to the prior; unit steps or fitted ones.
        p: step of unit variance by which the reconstruction term is made.

    Raises:
        ValueError: there are no steps, one draws whole residuals, or a fitted one has a basis and q is not normal.
    """

    q: Step
    steps: Sequence[Step | FittedStep]
    p: Step = _NORMAL

    convention = "exact"

    def __post_init__(self):
        if not len(self.steps):
            raise ValueError("a step for each interval is needed, found none")
        if any(isinstance(step, ResidualStep) for step in self.steps):
            raise ValueError("a step that draws whole residuals serves samples: its components are not independent")
        rotated = any(isinstance(step, FittedStep) and step.basis is not None for step in self.steps)
        if rotated and type(self.q) is not Normal:
            raise ValueError(
                f"a fitted step has a basis of its own only where q is normal, found {self.q}; fit it in the "
                "coordinates of the design"
            )

    def error(
        self, process: LinearProcess, s: float | Tensor, t: float | Tensor, x0_hat: Tensor, x0: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`Loss.error` of an exact loss: the whitened error and which coordinates move."""
        return Loss(self.q, self.p).error(process, s, t, x0_hat, x0)

    def of_interval(self, k: int, delta: Tensor, moves: Tensor, x0_hat: Tensor) -> Tensor:
        """Cost of each coordinate in interval k, nats, (B, C, ...), float64; 0 where a coordinate does not move.

        Args:
            k: number of the interval, from 0 at the data.
            delta: whitened error in the coordinates of the design (B, C, ...).
            moves: which coordinates move, (n,) or (*components, n).
            x0_hat: prediction in the same coordinates.

        Raises:
            ValueError: the process has more than one variable per component, or a basis mixes coordinates of which some
                do not move.
        """
        if moves.shape[-1] != 1:
            raise ValueError(f"steps for each interval need one variable per component, found {moves.shape[-1]}")
        step = self.steps[k]
        if not isinstance(step, FittedStep):
            cost = shift_kl(self.q, step, delta)
        elif step.basis is not None and not moves.all():
            raise ValueError("the basis of a fitted step mixes components of which some do not move in this interval")
        else:
            cost = scaled_kl(self.q, step.shape, step.rotated(delta), step.scale_at(x0_hat))
        return cost if moves.all() else torch.where(moves[..., 0].to(cost.device), cost, 0.0)
