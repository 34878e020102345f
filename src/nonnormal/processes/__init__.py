"""Processes: how data becomes noise, by exact linear-Gaussian transitions.

VP(schedule), VE(sigma_min=0.002, sigma_max=80), PSLD(friction_x=0.01), Recipe(D, Q, H)
"""

from nonnormal.processes.base import (
    TIMES,
    LinearProcess,
    apply,
    as_matrix,
    as_time,
    cholesky,
    component_mean,
    contract,
    embed,
    ordered,
    quadratic_times,
    solve_lower,
    trailing,
    uniform_times,
)
from nonnormal.processes.linear_sde import Recipe, vp_recipe
from nonnormal.processes.phase_space import PSLD, langevin_recipe
from nonnormal.processes.vp_ve import VE, VP

__all__ = [
    "PSLD",
    "TIMES",
    "VE",
    "VP",
    "LinearProcess",
    "Recipe",
    "apply",
    "as_matrix",
    "as_time",
    "cholesky",
    "component_mean",
    "contract",
    "embed",
    "langevin_recipe",
    "ordered",
    "quadratic_times",
    "solve_lower",
    "trailing",
    "uniform_times",
    "vp_recipe",
]
