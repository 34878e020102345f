"""Metrics of a run's samples: distances to the training split, and style statistics."""

from __future__ import annotations

import pandas as pd

from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import fidelity_rows, held_out_rows, style_rows


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary: distances and style of the run's samples, and differences in style to its normal pair's."""
    study, run = context.study, context.run
    runs = dict.fromkeys((run, study.baseline(run) or run))
    images = {name: {n: context.samples(name, n) for n in study.sample_steps} for name in runs}
    rows = fidelity_rows(study, run, images[run], context.reference, context.device)
    return pd.concat([rows, style_rows(study, run, images, context.data)], ignore_index=True)


def held_out(context: Context) -> pd.DataFrame:
    """Rows of the summary: distances and style of the held-out images."""
    return held_out_rows(context.study, context.data, context.reference, context.device)
