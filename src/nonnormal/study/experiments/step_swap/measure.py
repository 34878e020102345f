"""One network sampled with each step: distances, and style against the normal step."""

from __future__ import annotations

import pandas as pd

from nonnormal.study.results.context import Context
from nonnormal.study.results.distances import exchange_rows


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary for one network."""
    return exchange_rows(context.study, context.run, context.network(), context.data, context.reference, context.device)
