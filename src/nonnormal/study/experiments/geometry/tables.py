"""The shape of trajectories, and solvers compared."""

from __future__ import annotations

import pandas as pd

from nonnormal.study.report.names import SOLVER_NAMES, source_name
from nonnormal.study.report.text import cell

_GEOMETRY = {
    "largest distance of a state from the chord, in chord lengths": "metric == 'path_largest_chord_distance'",
    "the same with the best linear denoiser": "metric == 'path_largest_chord_distance_null' and path == 'linear'",
    "the same with the untrained network": "metric == 'path_largest_chord_distance_null' and path == 'untrained'",
    "the same of a denoised state, from the states' chord": "metric == 'path_largest_denoised_chord_distance'",
    "the same of a denoised state, from the denoised states' own chord": "metric == 'path_denoised_own_chord_distance'",
    "arc over chord": "metric == 'path_arc_chord_ratio'",
    "share of variance on the chord": "metric == 'path_explained_variance' and components == 0",
    "share of variance on the chord and two components": "metric == 'path_explained_variance' and components == 2",
    "share of the variance across the chord that two components leave": (
        "metric == 'path_residual_variance' and components == 2 and path == 'sampled'"
    ),
    "the same of a random path around the chord by steps of the same sizes": (
        "metric == 'path_residual_variance' and components == 2 and path == 'bridge'"
    ),
    "what they leave with the best linear denoiser": "metric == 'path_residual_variance_null' and path == 'linear'",
    "what they leave with the untrained network": "metric == 'path_residual_variance_null' and path == 'untrained'",
    "share of trajectories that near their end at every step": "metric == 'path_monotone_share'",
    "distance of a sample to the nearest training image": "metric == 'nearest_train_distance' and of == 'samples'",
    "the same of a held-out image": "metric == 'nearest_train_distance' and of == 'held-out'",
    "the same of a sample of the best linear denoiser": "metric == 'nearest_train_distance_null' and path == 'linear'",
    "share of samples nearer than one in a hundred held-out images": "metric == 'copied_share'",
}
_PROPORTIONS = ("path_monotone_share", "copied_share")

_PUBLISHED_GEOMETRY = {
    "largest distance of a state from the chord, in chord lengths": "max deviation / chord length",
    "share of variance on the chord and two components": "chord + 2 PCs share of variance",
}


def geometry(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Shape of trajectories: one row per quantity, with its interval and a published figure of another network.

    Args:
        summary: rows of a study with the metrics of `evaluation.geometry`.
        published: `paper/references/published.csv`.
    """
    table = []
    for quantity, query in _GEOMETRY.items():
        rows = summary.query(query).to_dict("records")
        if len(rows) != 1:
            raise ValueError(f"found {len(rows)} rows with {query}, expected one")
        [row] = rows
        model = _PUBLISHED_GEOMETRY.get(quantity)
        found = published[published.model == model]
        row = {key: row[key] for key in ("metric", "value", "low", "high", "n")}
        table.append({"quantity": quantity, **row, "published": float(found.value.iloc[0]) if len(found) else None})
    return pd.DataFrame(table)


def readable_geometry(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `geometry` for reading."""
    rows = table.to_dict("records")
    columns = {
        "measured": [_measured(row) for row in rows],
        f"ImageNet-64 ({source_name('chen2024')})": [
            "–" if pd.isna(row["published"]) else f"{row['published']:g}" for row in rows
        ],
    }
    return pd.DataFrame(columns, index=pd.Index([row["quantity"] for row in rows], name="quantity"))


def _measured(row: dict) -> str:
    """A proportion with both ends of its interval, which is Wilson's and not symmetric."""
    if row["metric"] in _PROPORTIONS:
        return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    return cell(row, "value")


def solvers(summary: pd.DataFrame, fid: str) -> pd.DataFrame:
    """FID and distance to the adaptive solution: one row for each solver, grid and NFE."""
    keys = ["solver", "name", "grid", "nfe"]
    parts = []
    for metric, name in ((f"solver_{fid}", "fid"), ("solver_distance", "distance")):
        rows = summary[summary.metric == metric]
        rows = rows.assign(name=rows.solver.map(SOLVER_NAMES))
        names = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
        parts.append(rows.rename(columns=names)[[*keys, *names.values()]])
    return parts[0].merge(parts[1], on=keys)


def readable_solvers(table: pd.DataFrame) -> pd.DataFrame:
    """FID of the table of `solvers`: rows are solver and grid, columns are NFE."""
    cells = table.assign(cell=[cell(row, "fid") for row in table.to_dict("records")])
    cells["title"] = cells.name.where(cells.grid == "polynomial", cells.name + ", " + cells.grid + " grid")
    wide = cells.pivot_table(index="title", columns="nfe", values="cell", aggfunc="first", sort=False)
    wide = wide[sorted(wide.columns)].rename(columns="{} calls".format)
    return wide.fillna("–").rename_axis("solver")
