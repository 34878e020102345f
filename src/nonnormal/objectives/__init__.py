"""Objectives: what a choice of process, basis and pair of steps costs, as a loss, as a bound and as a likelihood."""

from nonnormal.objectives.bounds import Bound, Marginals, bits_per_dim, bound, continuous_bound
from nonnormal.objectives.losses import ELBO, Design, EDMLoss, HybridScoreMatching, Loss
from nonnormal.objectives.probability_flow import flow_bound

__all__ = [
    "ELBO",
    "Bound",
    "Design",
    "EDMLoss",
    "HybridScoreMatching",
    "Loss",
    "Marginals",
    "bits_per_dim",
    "bound",
    "continuous_bound",
    "flow_bound",
]
