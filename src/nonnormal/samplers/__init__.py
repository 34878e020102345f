"""Samplers: from noise to images by the model's chain, its reverse equations, or the probability flow."""

from nonnormal.samplers.ancestral import Callback, sample_ancestral
from nonnormal.samplers.grids import GRIDS, log_snr, polynomial, quadratic, uniform
from nonnormal.samplers.ode import (
    SOLVERS,
    sample_adaptive,
    sample_dpm_2,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
    sample_ipndm,
)
from nonnormal.samplers.outpainting import outpaint
from nonnormal.samplers.sde import (
    sample_em,
    sample_flow_adaptive,
    sample_flow_euler,
    sample_flow_heun,
    sample_sscs,
    sample_sscs_midpoint,
)

__all__ = [
    "GRIDS",
    "SOLVERS",
    "Callback",
    "log_snr",
    "outpaint",
    "polynomial",
    "quadratic",
    "sample_adaptive",
    "sample_ancestral",
    "sample_dpm_2",
    "sample_dpmpp_2m",
    "sample_em",
    "sample_euler",
    "sample_flow_adaptive",
    "sample_flow_euler",
    "sample_flow_heun",
    "sample_heun",
    "sample_ipndm",
    "sample_sscs",
    "sample_sscs_midpoint",
    "uniform",
]
