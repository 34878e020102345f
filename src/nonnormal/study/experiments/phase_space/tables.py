"""The complete recipe: definition of each process, its FID by sampler and calls, and its bounds."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from torch import Tensor

from nonnormal.processes import PSLD, LinearProcess, LinearSDE
from nonnormal.study.report.names import grid_name, process_name, sampler_name, step_name
from nonnormal.study.report.text import cell
from nonnormal.study.results.context import Context

_SWEEP = "friction sweep "


def processes(named: Mapping[str, LinearProcess]) -> pd.DataFrame:
    """D, Q and H of each process, dz = −β (D + Q) H z dt + √(2βD) dw, and the level of y = x_0 + σ eps at its ends."""
    table = []
    for name, process in named.items():
        recipe = process.recipe if isinstance(process, PSLD) else process
        fixed = isinstance(recipe, LinearSDE)
        matrices = {key: _matrix(getattr(recipe, key)) for key in "DQH"} if fixed else {"D": "1/2", "Q": "0", "H": "1"}
        low, high = (process.observation(t)[1].mean().item() for t in (process.t_min, 1.0))
        rate = _rate(recipe.beta) if fixed else "by its log-SNR"
        table.append({"process": name, **matrices, "beta": rate, "t_min": process.t_min, "first": low, "last": high})
    return pd.DataFrame(table)


def readable_processes(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `processes` for reading."""
    columns = {key: table[key].astype(str).tolist() for key in ("D", "Q", "H", "beta")}
    columns |= {
        f"σ at {at}": [f"{value:.3g}" for value in table[key]] for at, key in (("first", "first"), ("t = 1", "last"))
    }
    return pd.DataFrame(columns, index=pd.Index([*map(process_name, table.process)], name="process"))


def phase_space(
    summary: pd.DataFrame, published: pd.DataFrame, fid: str, frictions: Mapping[str, float | None]
) -> pd.DataFrame:
    """FID of the normal step: one row a network, process, sampler, grid and budget of calls, beside CIFAR-10's.

    Args:
        summary: rows of a study with the metrics of `measure`.
        published: `paper/references/published.csv`.
        fid: name of the distance.
        frictions: friction on the position by process; None for one without momentum.
    """
    rows = summary[(summary.metric == f"phase_space_{fid}") & (summary.step == "normal")]
    kept = rows[["run", "process", "sampler", "grid", "budget", "tolerance", "nfe", "value", "low", "high", "n"]]
    figures = [cifar10(published, frictions.get(row.process), row.sampler, row.grid) for row in kept.itertuples()]
    return kept.assign(published=figures).reset_index(drop=True)


def cifar10(published: pd.DataFrame, friction: float | None, sampler: str, grid: str | None) -> float | None:
    """PSLD's FID on CIFAR-10 by Euler–Maruyama with 1000 calls, of its sweep of frictions; else None."""
    sweeps = published[published.model.str.startswith(_SWEEP) & published.model.str.endswith(f"EM {grid}")]
    if friction is None or sampler != "em" or sweeps.empty:
        return None
    [found] = sweeps.itertuples()
    names = found.model.removeprefix(_SWEEP).split(",")[0].split("/")
    values = dict(zip(map(float, names), map(float, found.value.split("/")), strict=True))
    return values.get(friction)


def readable_phase_space(table: pd.DataFrame) -> pd.DataFrame:
    """FID of the table of `phase_space`: rows are process, sampler and grid; columns are budgets of calls."""
    fixed = table[table.tolerance.isna()]
    cells = [cell(row, "value") for row in fixed.to_dict("records")]
    several = len(set(fixed.grid)) > 1
    titles = [
        ", ".join(
            [
                process_name(row.process),
                sampler_name(row.sampler),
                *([grid_name(row.grid)] if several else []),
                *_beside_the_first(fixed, row.run),
            ]
        )
        for row in fixed.itertuples()
    ]
    long = fixed.assign(cell=cells, title=titles)
    wide = long.pivot_table(index="title", columns="budget", values="cell", aggfunc="first", sort=False)
    wide = wide[sorted(wide.columns)].rename(columns=lambda budget: f"{budget:.0f} calls")
    figures = long.groupby("title", sort=False).published.first()
    wide["CIFAR-10, 1000 calls"] = [cell({"value": value}, "value") for value in figures[wide.index]]
    return wide.fillna("–").rename_axis("process, sampler")


def bounds(summary: pd.DataFrame) -> pd.DataFrame:
    """Bits/dim: one row a network, process and bound (a step's in T steps, or the flow's)."""
    rows = summary[summary.metric == "phase_space_bpd_total"]
    return rows[["run", "process", "bound", "step", "value", "low", "high", "n", "nfe"]].reset_index(drop=True)


def readable_bounds(table: pd.DataFrame) -> pd.DataFrame:
    """Bits/dim of the table of `bounds`: rows are processes, columns are bounds."""
    cells = [cell(row, "value") for row in table.to_dict("records")]
    named = {"flow": "flow", "continuous": "normal, T → ∞"}
    columns = [named.get(row.bound) or f"{step_name(row.step)}, {row.bound}" for row in table.itertuples()]
    titles = [", ".join([process_name(row.process), *_beside_the_first(table, row.run)]) for row in table.itertuples()]
    long = table.assign(cell=cells, column=columns, title=titles)
    wide = long.pivot_table(index="title", columns="column", values="cell", aggfunc="first", sort=False)
    return wide[list(dict.fromkeys(columns))].fillna("–").rename_axis(index="process", columns=None)


def _beside_the_first(table: pd.DataFrame, run: str) -> list[str]:
    """Name of a network that is not the first of the table."""
    return [] if run == table.run.iloc[0] else [f"network {process_name(run)}"]


def _matrix(matrix: Tensor) -> str:
    """Rows between semicolons; one number as it is, a diagonal by its entries."""
    if len(matrix) == 1:
        return f"{matrix.item():g}"
    if (matrix - matrix.diagonal().diag()).abs().max() == 0:
        return "diag(" + ", ".join(f"{value:g}" for value in matrix.diagonal().tolist()) + ")"
    return "; ".join(", ".join(f"{value:g}" for value in row) for row in matrix.tolist())


def _rate(beta: float | tuple[float, float]) -> str:
    """Β, or its ends."""
    return f"{beta[0]:g} to {beta[1]:g}" if isinstance(beta, tuple | list) else f"{beta:g}"


def processes_of(context: Context) -> pd.DataFrame:
    """The study's processes."""
    return processes({name: chosen.build() for name, chosen in context.study.phase_space.processes.items()})


def phase_space_of(context: Context) -> pd.DataFrame:
    """Distances in the study's processes."""
    built = {name: chosen.build() for name, chosen in context.study.phase_space.processes.items()}
    frictions = {name: getattr(process, "friction_x", None) for name, process in built.items()}
    return phase_space(context.summary, context.published, context.fid, frictions)
