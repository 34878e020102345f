"""Chains of fitted steps: one for each choice, basis, grid of times and number of timesteps; one file per network.

The step q of the true process is normal, whatever pair the network was trained with: the network predicts images, and
along the normal chain the coordinates of every basis are independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonnormal.bases import Basis, rotation
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.objectives.fitting import RESIDUALS, fit_step, in_residual_pca, residuals
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.step_files import load_steps, save_steps
from nonnormal.processes import uniform_times
from nonnormal.samplers.bound_grid import bound_costs
from nonnormal.seeds import derive, generator
from nonnormal.steps import FittedStep, Normal, ResidualStep, Step
from nonnormal.study.config import Study
from nonnormal.study.config.build import design
from nonnormal.study.results.context import Context

UNIFORM, SEARCHED = "uniform", "searched"
PIXEL, RESIDUAL_PCA = "pixel", "residual_pca"
_OTHER_BASES = ("diagonal", "conditional", "diagonal+shape", "conditional+shape")


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps of one choice.

    Attributes:
        choice, basis, grid: their names.
        times: the T + 1 times, rising.
        steps: one for each interval, from the data to the prior.
    """

    choice: str
    basis: str
    grid: str
    times: Tensor
    steps: tuple[Step | FittedStep | ResidualStep, ...]

    @property
    def conditions(self) -> dict[str, str | int]:
        """Conditions of the chain in rows of the summary."""
        return {"choice": self.choice, "basis": self.basis, "T": len(self.steps), "grid": self.grid}


def normal_design(study: Study, run: str, denoiser: NetworkDenoiser) -> Design:
    """The run's process and basis with normal steps."""
    point = design(study.run(run), denoiser.components)
    return Design(point.process, Loss("normal", "normal"), point.basis)


def fit_images(study: Study, images: Tensor, fit: int) -> tuple[Tensor, list[int]]:
    """Images of one fit, drawn from those of the training split, and their seeds."""
    n = min(study.few_steps.n_fit or len(images), len(images))
    picked = torch.randperm(len(images), generator=generator(study.seed, "few-steps images", fit))[:n]
    return images[picked], [derive(study.seed, "few-steps fit", fit, i) for i in range(n)]


def unit_chain(times: Tensor, grid: str) -> Chain:
    """The chain in which nothing is fitted."""
    return Chain("unit", PIXEL, grid, times, (Normal(),) * (len(times) - 1))


def kinds(study: Study, choices: Iterable[str]) -> list[tuple[str, str]]:
    """(choice, basis) of all chains that are fitted for the choices."""
    found = [(choice, PIXEL) for choice in dict.fromkeys(choices) if choice not in ("unit", RESIDUALS)]
    others = [basis for basis in dict.fromkeys(study.few_steps.bases) if basis != PIXEL]
    return found + [(choice, basis) for basis in others for choice, _ in found if choice in _OTHER_BASES]


def fit_chains(
    denoiser: NetworkDenoiser,
    point: Design,
    images: Tensor,
    seeds: Sequence[int],
    times: Tensor,
    grid: str,
    wanted: Sequence[tuple[str, str]],
    n_draws: int,
) -> list[Chain]:
    """A chain for each (choice, basis), all from the same network calls."""
    if not wanted:
        return []
    bases: dict[str, Basis | None] = {PIXEL: None}
    for _, basis in wanted:
        if basis not in (RESIDUAL_PCA, *bases):
            bases[basis] = rotation(basis, images.cpu())
    with_pca = any(basis == RESIDUAL_PCA for _, basis in wanted)
    steps: dict[tuple[str, str], list[FittedStep]] = {kind: [] for kind in wanted}
    for errors in residuals(denoiser, point, images, times, seeds=seeds, n_draws=n_draws):
        odd, components = in_residual_pca(errors) if with_pca else (errors, None)
        for (choice, basis), found in steps.items():
            own = (odd, components) if basis == RESIDUAL_PCA else (errors, bases[basis])
            found.append(fit_step(own[0], choice, basis=own[1], seed=seeds[0]))
    return [Chain(choice, basis, grid, times, tuple(reversed(steps[choice, basis]))) for choice, basis in wanted]


def interval_costs(
    study: Study, denoiser: NetworkDenoiser, point: Design, images: Tensor, seeds: Sequence[int]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(spread, costs of all intervals, times of the fine grid) for each spread of the grid's choices."""
    section = study.few_steps
    fine, n = uniform_times(section.grid_points, point.process.t_min), min(section.grid_images, len(images))
    for spread in dict.fromkeys(choice.partition("+")[0] for choice in section.grid_choices):
        yield spread, bound_costs(denoiser, point, images[:n], fine, choice=spread, seeds=seeds[:n]), fine


def save_chains(context: Context, chains: Sequence[Chain]) -> None:
    """Write the chains as one file of fitted steps beside the weights, with the settings they were fitted for."""
    rows, steps = [], []
    for chain in chains:
        rows.append({**chain.conditions, "first": len(steps), "times": chain.times.tolist()})
        steps += chain.steps
    facts = {"chains": rows, "network": context.study.training_facts(context.run)}
    save_steps(context.layout.arrays("few-steps", context.run), steps, **facts)


def load_chains(context: Context) -> list[Chain]:
    """The chains of a run.

    Raises:
        ValueError: the file is damaged, or belongs to another network.
    """
    path = context.layout.arrays("few-steps", context.run)
    steps, facts = load_steps(path)
    if facts.get("network") != context.study.training_facts(context.run):
        raise ValueError(
            f"{path} holds steps fitted for another network; evaluate few-steps for run {context.run} again"
        )
    found = []
    for row in facts["chains"]:
        own = steps[row["first"] : row["first"] + row["T"]]
        times = torch.tensor(row["times"], dtype=torch.float64)
        found.append(Chain(row["choice"], row["basis"], row["grid"], times, own))
    return found
