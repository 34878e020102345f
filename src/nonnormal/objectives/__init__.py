"""Objectives: what a choice of process, basis and pair of steps costs, as a loss, as a bound and as a likelihood."""

from nonnormal.objectives.bounds import Bound, Marginals, bits_per_dim, bound, continuous_bound
from nonnormal.objectives.losses import ELBO, Design, Loss, Perceptual, StateMatching
from nonnormal.objectives.probability_flow import flow_bound

__all__ = [
    "ELBO",
    "Bound",
    "Design",
    "Loss",
    "Marginals",
    "Perceptual",
    "StateMatching",
    "bits_per_dim",
    "bound",
    "continuous_bound",
    "flow_bound",
]
