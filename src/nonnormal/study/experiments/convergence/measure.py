"""Convergence in law with any step, without training: distances to the limit's law, and their orders in T."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from nonnormal.analysis.boundary import boundary_distances
from nonnormal.analysis.convergence import (
    PLANE,
    PROCESS,
    Grid,
    each_sampler_distances,
    order,
    path_maximum_distance,
    plane_sampler,
    plane_walk,
    sliced_distances,
    walk_distances,
)
from nonnormal.metrics.intervals import Z95, Estimate
from nonnormal.seeds import derive, generator
from nonnormal.steps import Step, get
from nonnormal.study.config.study import Study
from nonnormal.study.results.context import Context
from nonnormal.study.results.rows import frame, row

_FLOOR_DRAWS = 20
_LINE, _PLANE = "three normals on the line", "three normals in the plane"  # names of `MIXTURE` and `PLANE`


def line_rows(study: Study) -> pd.DataFrame:
    """On the line: distances of walks and samplers with each step to the limit's law, and their orders.

    Densities are carried forward on a grid; the interval of a distance is twice its difference to a grid of half as
    many points. The path's maximum is sampled; its interval is the 95 % Dvoretzky–Kiefer–Wolfowitz band.
    """
    settings = study.convergence
    counts = sorted(set(settings.timesteps))
    fine, coarse = Grid(settings.points), Grid(settings.points // 2)
    band = math.sqrt(math.log(2 / 0.05) / (2 * settings.n_paths))
    rows = []
    steps = {name: get(name) for name in settings.step_families}
    of_samplers = {
        (n_steps, grid): dict(zip(steps, each_sampler_distances([*steps.values()], n_steps, grid), strict=True))
        for n_steps in counts
        for grid in (fine, coarse)
    }
    for name, step in steps.items():
        for walker in ("walk", "sampler"):
            found: dict[str, list[float]] = {f"w1_{walker}": [], f"ks_{walker}": []}
            for n_steps in counts:
                values, rough = (
                    walk_distances(step, n_steps, grid) if walker == "walk" else of_samplers[n_steps, grid][name]
                    for grid in (fine, coarse)
                )
                for (metric, series), value, other in zip(found.items(), values, rough, strict=True):
                    series.append(value)
                    estimate = _not_negative(value, 2 * abs(value - other), fine.points)
                    rows.append(_row(study, name, metric, estimate, "distance", n_steps, _LINE, "grid points"))
            late = [i for i, n_steps in enumerate(counts) if n_steps >= 64]
            if len(late) >= 3 and not (step.name == "normal" and walker == "walk"):
                for metric, series in found.items():
                    fit = Estimate(*order([counts[i] for i in late], [series[i] for i in late]), len(late))
                    rows.append(_row(study, name, f"order_{metric}", fit, "1", None, _LINE, "numbers of steps"))
        for n_steps in counts:
            seed = derive(study.seed, "path maximum", name, n_steps)
            value = path_maximum_distance(step, n_steps, settings.n_paths, seed)
            estimate = _not_negative(value, band, settings.n_paths)
            rows.append(_row(study, name, "ks_path_maximum", estimate, "distance", n_steps, None, "paths"))
    return frame(rows)


def plane_rows(study: Study) -> pd.DataFrame:
    """In the plane, by sampling: sliced distances of walks and samplers with each step to the limit's law.

    `…_floor` is the distance of the same number of samples of the limit itself, with the interval of single draws. By
    the triangle inequality, the distance of a chain's law is that of its samples within about the floor, which is the
    interval given.
    """
    settings = study.convergence
    n, rows, floors = settings.n_samples, [], {}
    for walker, t in (("walk", 1.0), ("sampler", 0.0)):
        source = generator(study.seed, "plane", walker, "floor")
        draws = np.array([sliced_distances(PLANE.sample(PROCESS, t, n, source), t) for _ in range(_FLOOR_DRAWS)])
        floors[walker] = draws.mean(0)
        for kind, mean, spread in zip(("w1", "ks"), draws.mean(0), Z95 * draws.std(0, ddof=1), strict=True):
            floor, metric = Estimate(mean, mean - spread, mean + spread, n), f"sliced_{kind}_{walker}_floor"
            rows.append(_row(study, None, metric, floor, "distance", None, _PLANE, "samples"))
    for name in settings.step_families:
        for n_steps in sorted(set(settings.timesteps)):
            for walker, chain, t in (("walk", plane_walk, 1.0), ("sampler", plane_sampler, 0.0)):
                samples = chain(get(name), n_steps, n, generator(study.seed, "plane", walker, name, n_steps))
                for kind, value, floor in zip(("w1", "ks"), sliced_distances(samples, t), floors[walker], strict=True):
                    estimate, metric = _not_negative(value, floor, n), f"sliced_{kind}_{walker}"
                    rows.append(_row(study, name, metric, estimate, "distance", n_steps, _PLANE, "samples"))
    return frame(rows)


def boundary_rows(study: Study) -> pd.DataFrame:
    """Where invariance ends, on a line and without sampling: rows of steps without a fourth moment, or a variance.

    - `boundary_ks`: distance of the walk's end to that of its `limit`, normal or stable.
    - `boundary_order`: order of that distance in T, fitted where T ≥ 64.
    """
    settings = study.convergence
    counts = sorted(set(settings.timesteps))
    steps: dict[str, Step | float] = {f"student_t(df={df:g})": get("student_t", df=df) for df in settings.heavy_df}
    steps |= {f"stable(alpha={alpha:g})": float(alpha) for alpha in settings.stable_alpha}
    rows = []
    for name, step in steps.items():
        found = [boundary_distances(step, n_steps) for n_steps in counts]
        late = [i for i, n_steps in enumerate(counts) if n_steps >= 64]
        for limit in found[0]:
            conditions = {"data": None, "step": name, "limit_law": limit}
            for n_steps, each in zip(counts, found, strict=True):
                exact = Estimate(each[limit], each[limit], each[limit], 1)
                rows.append(row(study, None, "boundary_ks", exact, "distance", n_steps, conditions))
            if len(late) >= 3:
                fit = order([counts[i] for i in late], [found[i][limit] for i in late])
                rows.append(row(study, None, "boundary_order", Estimate(*fit, len(late)), "1", None, conditions))
    return frame(rows)


def _not_negative(value: float, half: float, n: int) -> Estimate:
    """Value ± half, cut at 0."""
    return Estimate(value, max(value - half, 0.0), value + half, n)


def _row(
    study: Study,
    step: str | None,
    metric: str,
    estimate: Estimate,
    unit: str,
    n_steps: int | None,
    mixture: str | None,
    counted: str,
) -> dict[str, Any]:
    """A row of a step instead of a run; `counted` names what n counts."""
    conditions: dict[str, Any] = {"data": None, "counted": counted}
    if mixture:
        schedule = PROCESS.schedule
        conditions |= {"mixture": mixture, "log_snr_max": schedule.log_snr_max, "log_snr_min": schedule.log_snr_min}
    return row(study, None, metric, estimate, unit, n_steps, conditions) | {"q": step, "p": step}


def measure(context: Context) -> pd.DataFrame:
    """Rows of the summary: on the line, in the plane, and where invariance ends."""
    parts = [rows(context.study) for rows in (line_rows, plane_rows, boundary_rows)]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
