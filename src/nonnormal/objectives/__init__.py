"""Objectives of a design (process, basis, pair of steps): training losses, bounds and likelihoods."""

from nonnormal.objectives.bounds import Bound, Marginals, bits_per_dim, bound, continuous_bound
from nonnormal.objectives.fitted_loss import FittedLoss
from nonnormal.objectives.fitting import fit_step, fit_steps
from nonnormal.objectives.losses import ELBO, Design, EDMLoss, HybridScoreMatching, Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.objectives.step_files import load_steps, save_steps

__all__ = [
    "ELBO",
    "Bound",
    "Design",
    "EDMLoss",
    "FittedLoss",
    "HybridScoreMatching",
    "Loss",
    "Marginals",
    "bits_per_dim",
    "bound",
    "continuous_bound",
    "fit_step",
    "fit_steps",
    "flow_bound",
    "load_steps",
    "save_steps",
]
