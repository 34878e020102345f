"""Figures that the papers print."""

from __future__ import annotations

import pandas as pd


def cifar10(published: pd.DataFrame, q: object, p: object, metric: str) -> float | None:
    """li2024's CIFAR-10 figure for a pair; None if it prints none."""
    names = {"normal": "Gaussian", "laplace": "Laplace", "uniform": "Uniform"}
    model = f"{names.get(str(q))}/{names.get(str(p))}"
    found = published[(published.key == "li2024") & (published.model == model) & (published.metric == metric)]
    return float(found.value.iloc[0]) if len(found) else None
