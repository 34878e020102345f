"""Processes: how data becomes noise, by exact linear-Gaussian transitions.

VP(schedule), VE(sigma_min=0.002, sigma_max=80), PSLD(friction_x=0.01), LinearSDE(D, Q, H)
"""

from nonnormal.processes.base import (
    TIMES,
    LinearProcess,
    append_dims,
    apply,
    as_matrix,
    as_time,
    cholesky,
    component_mean,
    lift,
    need_process,
    need_steps,
    ordered,
    project,
    quadratic_times,
    solve_lower,
    state_shape,
    uniform_times,
)
from nonnormal.processes.linear_sde import LinearSDE, vp_sde
from nonnormal.processes.own import check, named, source_files
from nonnormal.processes.phase_space import PSLD, langevin_sde
from nonnormal.processes.schedules import ComponentWise, Cosine, LinearLogSNR, Polynomial
from nonnormal.processes.vp_ve import VE, VP

__all__ = [
    "PSLD",
    "TIMES",
    "VE",
    "VP",
    "ComponentWise",
    "Cosine",
    "LinearLogSNR",
    "LinearProcess",
    "LinearSDE",
    "Polynomial",
    "append_dims",
    "apply",
    "as_matrix",
    "as_time",
    "check",
    "cholesky",
    "component_mean",
    "langevin_sde",
    "lift",
    "named",
    "need_process",
    "need_steps",
    "ordered",
    "project",
    "quadratic_times",
    "solve_lower",
    "source_files",
    "state_shape",
    "uniform_times",
    "vp_sde",
]
