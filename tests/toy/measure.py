import torch

from nonnormal.metrics.intervals import Estimate, mean_interval
from nonnormal.seeds import generator
from nonnormal.study.results.rows import frame, row

from . import dice


def throws(context):
    """Rows of the summary: the mean of the throws, with its 95 % interval."""
    study = context.study
    values = dice.thrown(study.toy, generator(study.seed, "toy")).to(torch.float64).numpy()
    return frame([row(study, None, "toy_mean", Estimate(*mean_interval(values), len(values)), "pips", None, {})])
