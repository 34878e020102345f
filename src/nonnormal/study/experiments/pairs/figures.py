"""Figures that are not drawn from the summary: samples, training curves, shapes of the losses."""

from __future__ import annotations

from matplotlib.figure import Figure

from nonnormal.study.experiments.pairs.figure_losses import loss_shapes
from nonnormal.study.experiments.pairs.figure_training import training_curves
from nonnormal.study.report.sample_grid import sample_rows
from nonnormal.study.results.context import Context
from nonnormal.study.results.summary import read_table


def samples(context: Context) -> Figure:
    """Training images, and the first samples of each run at the headline number of steps, one row per run."""
    study = context.study
    rows = {"training images": context.data.train.images.numpy()}
    rows |= {study.labels[run]: context.samples(run, study.headline_steps).numpy() for run in study.runs}
    return sample_rows(rows, context.levels)


def training(context: Context) -> Figure:
    """Training curves of all runs."""
    trainings = context.study.trainings
    logs = {
        context.study.labels[run]: (
            settings.q,
            settings.p,
            [read_table(context.layout.log(each)) for each in trainings([run])],
        )
        for run, settings in context.study.runs.items()
    }
    return training_curves(logs)


def losses(context: Context) -> Figure:
    """K of each pair that has a finite one."""
    return loss_shapes(
        list(dict.fromkeys((its.q, its.p) for its in context.study.runs.values() if its.has_native_bound))
    )
