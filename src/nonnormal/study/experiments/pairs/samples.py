"""Samples of the runs in numbers: distances to the training split, and style."""

from __future__ import annotations

import pandas as pd

from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import fidelity_rows, held_out_rows, style_rows


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary: distances and style of all runs' samples."""
    study = context.study
    images = {run: {n: context.samples(run, n) for n in study.sample_steps} for run in study.runs}
    rows = [fidelity_rows(study, run, its, context.reference, context.device) for run, its in images.items()]
    floor = held_out_rows(study, context.data, context.reference, context.device)
    return pd.concat([*rows, floor, style_rows(study, images, context.data)], ignore_index=True)
