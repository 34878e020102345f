"""Tables: the summary of a study, and the tables that people read, as CSV, Markdown and Typst.

The summary is tidy: one number a row, with a 95 % interval, unit, sample size, network calls and conditions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from nonnormal import steps
from nonnormal.conventions import CONVENTIONS
from nonnormal.divergence import constant
from nonnormal.files import atomic, write_text
from nonnormal.steps import Step

COLUMNS = (
    "study",
    "run",
    "q",
    "p",
    "train_seed",
    "metric",
    "value",
    "low",
    "high",
    "unit",
    "n",
    "nfe",
    "conditions",
)
_INTEGERS = {"train_seed": "Int64", "nfe": "Int64", "n": "Int64"}

_PAIR_COLUMNS = {
    "normal_bpd": "bits/dim, normal-limit bound",
    "prior": "– prior",
    "diffusion": "– diffusion",
    "reconstruction": "– reconstruction",
    "native_limit": "native bits/dim, limit marginals",
    "native_bridge": "native bits/dim, bridge walk",
    "continuous": "bits/dim, normal bound for T → ∞",
    "flow_uniform": "bits/dim, probability flow, uniform dequantisation",
    "flow_normal": "bits/dim, probability flow, normal dequantisation",
    "fid": "{fid}",
    "kid": "{kid} × 1000",
    "precision": "{precision}",
    "recall": "{recall}",
    "total_variation": "total variation",
    "high_frequency": "high-frequency share of power",
    "saturation": "saturation",
    "published_bpd": "bits/dim, CIFAR-10 (li2024)",
    "published_fid": "FID, CIFAR-10 (li2024)",
}
_DISTANCES = ("fid", "kid", "precision", "recall")
Naming = Callable[[str], str]
_OPTIONAL = {"native_limit", "native_bridge", "flow_uniform", "flow_normal", "saturation"}
_SHORT = {
    "normal_bpd": "normal-limit bits/dim",
    "native_bridge": "native",
    "continuous": "T → ∞",
    "flow_uniform": "flow",
    "fid": "{fid}",
    "kid": "{kid} × 1000",
    "total_variation": "total variation",
    "high_frequency": "high-frequency share",
}


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Writes rows of the summary, atomically, with all digits that a float64 has."""
    with atomic(path) as temporary:
        rows.to_csv(temporary, index=False)


def read_rows(paths: Path | Iterable[Path]) -> pd.DataFrame:
    """Rows of one or several files of `write_rows`, with `conditions` still as JSON text."""
    paths = [paths] if isinstance(paths, Path) else list(paths)
    frames = [pd.read_csv(path, dtype=_INTEGERS) for path in paths]
    return pd.concat(frames, ignore_index=True)


def select(rows: pd.DataFrame, metric: str, **conditions: object) -> pd.DataFrame:
    """The rows of a metric whose columns or conditions have the given values."""
    rows = rows[rows.metric == metric]
    keep = pd.Series(True, index=rows.index)
    for key, value in conditions.items():
        keep &= (rows[key] if key in rows else _condition(rows, key)) == value
    return rows[keep]


def with_condition(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """The rows with one entry of their conditions as a column."""
    return rows.assign(**{key: _condition(rows, key)})


EXAMPLES = ("student_t(df=5)", "generalized_normal(shape=4)")  # families with a parameter, for listings


def listed_steps() -> list[Step]:
    """One step of every registered family, those of `EXAMPLES` at the parameters given there."""
    examples = {name.partition("(")[0]: name for name in EXAMPLES}
    return [steps.get(examples.get(name, name)) for name in steps.families()]


def step_families() -> pd.DataFrame:
    """Moments, Fisher information and support by step."""
    rows = {
        str(step): {
            "skewness": step.skewness,
            "excess kurtosis": step.excess_kurtosis,
            "Fisher information": step.fisher_information,
            "support": "[{:.4g}, {:.4g}]".format(*step.support),
        }
        for step in listed_steps()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def step_constants() -> pd.DataFrame:
    """K_{q,p}(0), nats, by q (rows) and p (columns), over the steps that have a density."""
    dense = [step for step in listed_steps() if step.has_density]
    return pd.DataFrame({str(p): {str(q): constant(q, p) for q in dense} for p in dense})


def pairs(summary: pd.DataFrame, published: pd.DataFrame, name: Naming, runs: dict[str, int], sample_steps: int):
    """One row a run: bounds in several readings, FID and its relatives, style, published figures beside.

    Args:
        summary: rows of a study.
        published: `paper/references/published.csv`.
        name: what a distance is called in the study, `Study.metric`.
        runs: T of the headline bound by run.
        sample_steps: sampling steps of the headline FID.

    Returns:
        DataFrame with `run`, `q`, `p` and, for each number x, `x`, `x_low`, `x_high`; None where a run has no such
        number: no native bound, no flow, no colours.

    Raises:
        ValueError: any other number is missing, or is there twice.
    """
    normal, native, flow = ({"bound": kind} for kind in ("normal", "native", "flow"))
    limit, bridge, sampled = {"marginals": "limit"}, {"marginals": "bridge"}, {"nfe": sample_steps}
    table = []
    for run, n_steps in runs.items():
        at = {"T": n_steps}
        queries = {
            "normal_bpd": ("bpd_total", at | normal),
            "prior": ("bpd_prior", at | normal),
            "diffusion": ("bpd_diffusion", at | normal),
            "reconstruction": ("bpd_reconstruction", at | normal),
            "native_limit": ("bpd_total", at | native | limit),
            "native_bridge": ("bpd_total", at | native | bridge),
            "continuous": ("bpd_total", {"bound": "continuous"}),
            **{f"flow_{kind}": ("bpd_total", flow | {"dequantisation": kind}) for kind in ("uniform", "normal")},
            **{metric: (name(metric), sampled) for metric in _DISTANCES},
            **{look: (f"style_{look}", sampled) for look in ("total_variation", "high_frequency", "saturation")},
        }
        row: dict[str, object] = {"run": run}
        for column, (metric, conditions) in queries.items():
            found = select(summary, metric, run=run, **conditions).to_dict("records")
            if len(found) != 1 and not (not found and column in _OPTIONAL):
                raise ValueError(f"run {run!r}: found {len(found)} rows of {metric} with {conditions}, expected one")
            first = found[0] if found else {"value": None, "low": None, "high": None}
            row |= {key: first[key] for key in ("q", "p") if found}
            row |= {column: first["value"], f"{column}_low": first["low"], f"{column}_high": first["high"]}
        for metric in ("bpd", "fid"):
            row[f"published_{metric}"] = _published(published, row["q"], row["p"], metric)
        table.append(row)
    return pd.DataFrame(table)


def costs(summary: pd.DataFrame) -> pd.DataFrame:
    """What each pair costs with many steps: one row a run that has a bound of its own.

    Returns:
        DataFrame with `run`, `q`, `p`, T of the ratio, `ratio` of the native diffusion term without its constant to
        the normal one and its `curvature` K″(0), `growth` of the native bound a step in bits/dim and the `owed`
        K(0)/ln 2; intervals in `_low` and `_high`.
    """
    table = []
    for run, rows in select(summary, "diffusion_ratio").groupby("run", sort=False):
        last = rows.loc[_condition(rows, "T").idxmax()]
        row = {"run": run, "q": last.q, "p": last.p, "T": json.loads(last.conditions)["T"]}
        row |= {"curvature": json.loads(last.conditions)["limit"]}
        row |= {"ratio": last.value, "ratio_low": last.low, "ratio_high": last.high}
        for growth in select(summary, "bpd_growth", run=run).itertuples():
            row |= {"owed": json.loads(growth.conditions)["limit"]}
            row |= {"growth": growth.value, "growth_low": growth.low, "growth_high": growth.high}
        table.append(row)
    columns = ["run", "q", "p", "T", "curvature", "owed"]
    columns += [f"{name}{suffix}" for name in ("ratio", "growth") for suffix in ("", "_low", "_high")]
    return pd.DataFrame(table, columns=columns)


def readable_costs(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `costs` for reading: a row a pair."""
    rows = table.to_dict("records")
    columns = {
        "T": [f"{row['T']}" for row in rows],
        "K″(0)": [_cell(row, "curvature", digits=3) for row in rows],
        "measured ratio": [_cell(row, "ratio") for row in rows],
        "K(0)/ln 2": [_cell(row, "owed", digits=4) for row in rows],
        "measured bits/dim a step": [_cell(row, "growth") for row in rows],
    }
    return pd.DataFrame(columns, index=pd.Index([f"{row['q']}/{row['p']}" for row in rows], name="pair q/p"))


def _published(published: pd.DataFrame, q: object, p: object, metric: str) -> float | None:
    """li2024's CIFAR-10 figure for a pair, None where it prints none."""
    names = {"normal": "Gaussian", "laplace": "Laplace", "uniform": "Uniform"}
    model = f"{names.get(str(q))}/{names.get(str(p))}"
    found = published[(published.key == "li2024") & (published.model == model) & (published.metric == metric)]
    return float(found.value.iloc[0]) if len(found) else None


def headline(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The headline numbers by run, for `dvc metrics show`."""
    names = {"normal_bpd": "bpd_normal", "native_bridge": "bpd_native", "fid": "fid", "kid": "kid"}
    names |= {"precision": "precision", "recall": "recall"}
    found = table.astype(object).where(table.notna(), None)
    return {row["run"]: {name: row[column] for column, name in names.items()} for row in found.to_dict("records")}


def readable_pairs(table: pd.DataFrame, name: Naming, labels: dict[str, str]) -> pd.DataFrame:
    """The table of `pairs` for reading: a column a run and a row a number, so that it fits a page.

    With more than five runs a row a run and a column a number, of which only those that tell runs apart.
    """
    rows, names = table.to_dict("records"), {metric: name(metric) for metric in _DISTANCES}
    if len(rows) > 5:
        columns = {_SHORT[column].format(**names): [_cell(row, column) for row in rows] for column in _SHORT}
        return pd.DataFrame(columns, index=pd.Index([labels[row["run"]] for row in rows], name="q/p"))
    titles = {column: title.format(**names) for column, title in _PAIR_COLUMNS.items() if table[column].notna().any()}
    return pd.DataFrame(
        {labels[row["run"]]: [_cell(row, column) for column in titles] for row in rows}, index=[*titles.values()]
    )


def differences(summary: pd.DataFrame, published: pd.DataFrame, runs: dict[str, int]) -> pd.DataFrame:
    """Native bits/dim of each printed pair minus that of its normal/normal, by convention and by how K(0) is counted.

    From limit marginals at the T of training. The intervals add those of both bounds in quadrature; the bounds share
    images and noise, so the true ones are narrower.

    Args:
        summary: rows of a study.
        published: `paper/references/published.csv`.
        runs: T of the bound by run.

    Returns:
        DataFrame with `run`, `q`, `p`, `constant`, `printed` and, for each convention c, `c`, `c_low`, `c_high`; no
        rows where the study has no normal/normal run.
    """
    rows = select(summary, "bpd_total", bound="convention", marginals="limit")
    rows = rows[_condition(rows, "T") == rows.run.map(runs)]
    rows = rows.assign(**{key: _condition(rows, key) for key in ("weighting", "convention", "constant")})
    normal = rows[(rows.q == "normal") & (rows.p == "normal")]
    # Networks of one weighting are compared with one another, the first normal pair of each stands for it.
    normal = normal.drop_duplicates(keys := ["weighting", "convention", "constant"]).set_index(keys)
    table, rows = [], rows[rows.weighting.isin(normal.index.get_level_values(0))]
    others = rows[(rows.q != "normal") | (rows.p != "normal")]
    for (run, counted), group in others.groupby(["run", "constant"], sort=False):
        row: dict[str, object] = {"run": run, "q": group.q.iloc[0], "p": group.p.iloc[0], "constant": counted}
        figures = [_published(published, q, p, "bpd") for q, p in (("normal", "normal"), (row["q"], row["p"]))]
        row["printed"] = figures[1] - figures[0]
        for found in group.to_dict("records"):
            base = normal.loc[(found["weighting"], found["convention"], counted)]
            gap, half = found["value"] - base.value, math.hypot(found["high"] - found["value"], base.high - base.value)
            name = found["convention"]
            row |= {name: gap, f"{name}_low": gap - half, f"{name}_high": gap + half}
        table.append(row)
    columns = ["run", "q", "p", "constant", "printed"]
    columns += [f"{name}{suffix}" for name in CONVENTIONS for suffix in ("", "_low", "_high")]
    # Where no convention has a constant, one row says it all.
    return pd.DataFrame(table, columns=columns).drop_duplicates(["run", *CONVENTIONS], ignore_index=True)


def readable_differences(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `differences` for reading: a row a pair and way of counting."""
    rows = table.to_dict("records")
    index = pd.Index([f"{row['q']}/{row['p']}, {row['constant']}" for row in rows], name="pair q/p, K(0) counted")
    columns = {"printed": [f"{row['printed']:+.2f}" for row in rows]}
    columns |= {name: [_cell(row, name, sign="+") for row in rows] for name in CONVENTIONS}
    return pd.DataFrame(columns, index=index)


_GEOMETRY = {
    "largest distance of a state from the chord, in chord lengths": ("path_largest_chord_distance", {}),
    "the same of a denoised state": ("path_largest_denoised_chord_distance", {}),
    "arc over chord": ("path_arc_chord_ratio", {}),
    "share of variance on the chord": ("path_explained_variance", {"components": 0}),
    "share of variance on the chord and two components": ("path_explained_variance", {"components": 2}),
    "share of trajectories that near their end at every step": ("path_monotone_share", {}),
    "distance of a sample to the nearest training image": ("nearest_train_distance", {"of": "samples"}),
    "the same of a held-out image": ("nearest_train_distance", {"of": "held-out"}),
    "share of samples nearer than one in a hundred held-out images": ("copied_share", {}),
}
_PUBLISHED_GEOMETRY = {
    "path_largest_chord_distance": "max deviation / chord length",
    "path_explained_variance 2": "chord + 2 PCs share of variance",
}


def geometry(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Numbers of the shape of trajectories: one row a quantity, with its interval and what was published of another.

    Args:
        summary: rows of a study with the metrics of `evaluation.geometry`.
        published: `paper/references/published.csv`.
    """
    table = []
    for quantity, (metric, conditions) in _GEOMETRY.items():
        rows = select(summary, metric, **conditions).to_dict("records")
        if len(rows) != 1:
            raise ValueError(f"found {len(rows)} rows of {metric} with {conditions}, expected one")
        [row] = rows
        model = _PUBLISHED_GEOMETRY.get(" ".join([metric, *(str(v) for v in conditions.values())]))
        found = published[published.model == model]
        row = {key: row[key] for key in ("metric", "value", "low", "high", "n")}
        table.append({"quantity": quantity, **row, "published": float(found.value.iloc[0]) if len(found) else None})
    return pd.DataFrame(table)


def readable_geometry(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `geometry` for reading."""
    rows = [row | {"value_low": row["low"], "value_high": row["high"]} for row in table.to_dict("records")]
    columns = {
        "measured": [_cell(row, "value") for row in rows],
        "ImageNet-64 (chen2024)": [_cell(row, "published", digits=4) for row in rows],
    }
    return pd.DataFrame(columns, index=pd.Index([row["quantity"] for row in rows], name="quantity"))


def solvers(summary: pd.DataFrame, fid: str) -> pd.DataFrame:
    """FID and distance to the adaptive solution of each solver and grid: one row a solver, grid and NFE."""
    keys = ["solver", "grid", "nfe"]
    parts = []
    for metric, name in ((f"solver_{fid}", "fid"), ("solver_distance", "distance")):
        rows = with_condition(with_condition(select(summary, metric), "solver"), "grid")
        names = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
        parts.append(rows.rename(columns=names)[[*keys, *names.values()]])
    return parts[0].merge(parts[1], on=keys)


def readable_solvers(table: pd.DataFrame) -> pd.DataFrame:
    """FID of the table of `solvers`, a row a solver and grid, a column an NFE."""
    cells = table.assign(cell=[_cell(row, "fid") for row in table.to_dict("records")])
    cells["title"] = cells.solver.where(cells.grid == "polynomial", cells.solver + ", " + cells.grid + " grid")
    wide = cells.pivot_table(index="title", columns="nfe", values="cell", aggfunc="first", sort=False)
    wide = wide[sorted(wide.columns)].rename(columns="{} calls".format)
    return wide.fillna("–").rename_axis("solver")


def _condition(rows: pd.DataFrame, key: str) -> pd.Series:
    """One entry of the rows' conditions, None where a row has none."""
    return rows.conditions.map(lambda text: json.loads(text).get(key))


def write_readable(path: Path, table: pd.DataFrame) -> None:
    """Writes a table of strings in the format of the suffix, .md or .typ; its index is the first column."""
    write_text(path, _markdown(table) if path.suffix == ".md" else _typst(table))


def _cell(row: dict, column: str, sign: str = "", digits: int = 2) -> str:
    """Value ± half the interval, to the first digit of the half that is not 0, and no further than the sixth.

    A value without an interval has as many digits as asked for.
    """
    value, low, high = row[column], row.get(f"{column}_low"), row.get(f"{column}_high")
    if pd.isna(value):
        return "–"
    factor = 1000 if column == "kid" else 1
    if low is None:
        return f"{value * factor:{sign}.{digits}f}"
    half = (high - low) / 2 * factor
    if half < 5e-7:
        return f"{value * factor:{sign}.6f} ± < 1e-6"
    digits = max(-math.floor(math.log10(half)), 0)
    return f"{value * factor:{sign}.{digits}f} ± {half:.{digits}f}"


def _markdown(table: pd.DataFrame) -> str:
    align = ("left", *("right" for _ in table.columns))
    return table.to_markdown(colalign=align, disable_numparse=True) + "\n"


def _typst(table: pd.DataFrame) -> str:
    def row(cells: Iterable[str], mark: str = "") -> str:
        return ", ".join(f"[{mark}{cell.replace('_', chr(92) + '_')}{mark}]" for cell in cells)

    head = row([table.index.name or "", *table.columns], mark="*")
    lines = zip(table.index, table.to_numpy(), strict=True)
    body = "\n".join(f"  {row((title, *cells))}," for title, cells in lines)
    align = "left" + ", right" * len(table.columns)
    rules = "  table.hline(),\n  table.header({head}),\n  table.hline(stroke: 0.5pt),\n{body}\n  table.hline(),\n"
    return (
        f"#table(\n  columns: {len(table.columns) + 1},\n  align: ({align}),\n{rules.format(head=head, body=body)})\n"
    )
