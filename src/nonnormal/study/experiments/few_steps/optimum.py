"""The best attainable bound, exactly: diffusion terms on normal mixtures of one dimension with the exact denoiser."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import torch
from torch import Tensor

from nonnormal.analysis.attainable import residual_law
from nonnormal.analysis.convergence import Mixture
from nonnormal.metrics.intervals import Estimate
from nonnormal.objectives.fitting import fit_steps
from nonnormal.objectives.losses import Design, Loss
from nonnormal.processes import VP, uniform_times
from nonnormal.processes.schedules import LinearLogSNR
from nonnormal.seeds import derive, generator
from nonnormal.steps import FittedStep, Normal, get
from nonnormal.steps.divergence import with_itself_finite
from nonnormal.study.config import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.rows import frame, row

MIXTURES = {
    "sparse": Mixture((0.0, 0.0), (0.05, 0.5), (0.6, 0.4)),
    "skewed": Mixture((-0.2, 0.15), (0.35, 0.15), (0.5, 0.5)),
}
PROCESS = VP(LinearLogSNR(9.0, -7.0))
OPTIMUM = "optimum"
_DRAWS = 4000  # draws of a mixture to which a shape is fitted


def measure(context: Context) -> pd.DataFrame:
    """Rows `few_steps_optimum`: the diffusion term in bits, by mixture, T, step q of the true process, and choice.

    The choice "optimum" is Σ h(r_k) − h(z), a lower bound for all independent steps; "unit" has q itself, if that is
    finite. With a normal q there are also "scale" and "scale+shape"; only the shape is fitted to draws. All are
    integrals over the residuals' law, so the values have no interval: low and high equal the value.
    """
    study, section = context.study, context.study.few_steps
    rows = []
    for name, step, n_steps in itertools.product(section.mixtures, section.mixture_steps, section.mixture_timesteps):
        for choice, nats in costs(study, name, step, n_steps).items():
            bits = nats / math.log(2)
            conditions = {
                "data": None,
                "mixture": name,
                "step": step,
                "choice": choice,
                "T": n_steps,
                "grid": "uniform",
            }
            exact = Estimate(bits, bits, bits, 1)
            rows.append(row(study, None, "few_steps_optimum", exact, "bits/dim", n_steps, conditions))
    return frame(rows)


def costs(study: Study, name: str, step: str, n_steps: int) -> dict[str, float]:
    """The diffusion term of each choice, nats."""
    mixture, q, times = MIXTURES[name], get(step), uniform_times(n_steps)
    laws = [residual_law(mixture, PROCESS, s, t, q) for s, t in itertools.pairwise(times)]
    found = {OPTIMUM: sum(law.least_cost for law in laws)}
    if with_itself_finite(q):
        found["unit"] = sum(law.cost(q) for law in laws)
    if type(q) is Normal:
        scales = [FittedStep(q, torch.tensor(1 + law.error, dtype=torch.float64).sqrt()) for law in laws]
        found["scale"] = sum(law.cost(own) for law, own in zip(laws, scales, strict=True))
        shapes = _shapes(study, name, times)
        found["scale+shape"] = sum(law.cost(own) for law, own in zip(laws, shapes, strict=True))
    return found


def _shapes(study: Study, name: str, times: Tensor) -> tuple[FittedStep, ...]:
    mixture = MIXTURES[name]
    source = generator(study.seed, "few-steps mixture", name)
    which = torch.multinomial(torch.tensor(mixture.weights), _DRAWS, replacement=True, generator=source)
    means, stds = (torch.tensor(part, dtype=torch.float64)[which] for part in (mixture.means, mixture.stds))
    x0 = means + stds * torch.randn(_DRAWS, generator=source, dtype=torch.float64)
    seeds = [derive(study.seed, "few-steps mixture", name, i) for i in range(_DRAWS)]
    point = Design(PROCESS, Loss("normal", "normal"))
    options = dict(choice="scale+shape", seeds=seeds, n_draws=1, batch_size=_DRAWS)
    return fit_steps(mixture.denoiser(), point, x0.unsqueeze(1), times, **options)
