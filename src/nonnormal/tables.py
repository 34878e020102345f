"""Tables: the summary of a study, and the tables that people read, as CSV, Markdown and Typst.

The summary is tidy: one number a row, with a 95 % interval, unit, sample size, network calls and conditions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nonnormal.files import atomic, write_text

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
    "fid": "fid_{data}",
    "kid": "kid_{data} × 1000",
    "precision": "precision_{data}",
    "recall": "recall_{data}",
    "published_bpd": "bits/dim, CIFAR-10 (li2024)",
    "published_fid": "FID, CIFAR-10 (li2024)",
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
    known = rows.conditions.map(json.loads)
    keep = pd.Series(True, index=rows.index)
    for key, value in conditions.items():
        found = rows[key] if key in rows else known.map(lambda c, key=key: c.get(key))
        keep &= found == value
    return rows[keep]


def pairs(summary: pd.DataFrame, published: pd.DataFrame, data: str, runs: dict[str, int], sample_steps: int):
    """One row a run: normal-limit bound in its terms, native bounds, FID and its relatives, published figures beside.

    Args:
        summary: rows of a study.
        published: `paper/references/published.csv`.
        data: name of the data set.
        runs: T of the headline bound by run.
        sample_steps: sampling steps of the headline FID.

    Returns:
        DataFrame with `run`, `q`, `p` and, for each number x, `x`, `x_low`, `x_high`.
    """
    normal, native = {"bound": "normal", "marginals": "limit"}, {"bound": "native"}
    table = []
    for run, n_steps in runs.items():
        queries = {
            "normal_bpd": ("bpd_total", n_steps, normal),
            "prior": ("bpd_prior", n_steps, normal),
            "diffusion": ("bpd_diffusion", n_steps, normal),
            "reconstruction": ("bpd_reconstruction", n_steps, normal),
            "native_limit": ("bpd_total", n_steps, native | {"marginals": "limit"}),
            "native_bridge": ("bpd_total", n_steps, native | {"marginals": "bridge"}),
            **{name: (f"{name}_{data}", sample_steps, {}) for name in ("fid", "kid", "precision", "recall")},
        }
        row: dict[str, object] = {}
        for column, (metric, nfe, conditions) in queries.items():
            [found] = select(summary, metric, run=run, nfe=nfe, **conditions).to_dict("records")
            row |= {"run": run, "q": found["q"], "p": found["p"]}
            row |= {column: found["value"], f"{column}_low": found["low"], f"{column}_high": found["high"]}
        for metric in ("bpd", "fid"):
            row[f"published_{metric}"] = _published(published, row["q"], row["p"], metric)
        table.append(row)
    return pd.DataFrame(table)


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
    return {row["run"]: {name: row[column] for column, name in names.items()} for row in table.to_dict("records")}


def write_table(path: Path, table: pd.DataFrame, data: str) -> None:
    """Writes the pairs' table in the format of the suffix: .csv with all digits, .md and .typ for reading.

    The readable formats have a column for each pair and a row for each number, so that they fit a page.
    """
    if path.suffix == ".csv":
        write_rows(path, table)
        return
    rows = table.to_dict("records")
    readable = pd.DataFrame(
        {f"{row['q']}/{row['p']}": [_cell(row, column) for column in _PAIR_COLUMNS] for row in rows},
        index=[title.format(data=data) for title in _PAIR_COLUMNS.values()],
    )
    write_text(path, _markdown(readable) if path.suffix == ".md" else _typst(readable))


def _cell(row: dict, column: str) -> str:
    """Value ± half the interval, to the first digit of the half that is not 0."""
    value, low, high = row[column], row.get(f"{column}_low"), row.get(f"{column}_high")
    if pd.isna(value):
        return "–"
    factor = 1000 if column == "kid" else 1
    if low is None:
        return f"{value * factor:.2f}"
    half = (high - low) / 2 * factor
    digits = min(max(-math.floor(math.log10(half)), 0), 6) if half > 0 else 6
    return f"{value * factor:.{digits}f} ± {half:.{digits}f}"


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(colalign=("left", *("right" for _ in table.columns))) + "\n"


def _typst(table: pd.DataFrame) -> str:
    head = ", ".join(f"[*{name}*]" for name in ["", *table.columns])
    body = "\n".join(
        "  " + ", ".join(f"[{cell.replace('_', chr(92) + '_')}]" for cell in (title, *cells)) + ","
        for title, cells in zip(table.index, table.to_numpy(), strict=True)
    )
    align = "left" + ", right" * len(table.columns)
    rules = "  table.hline(),\n  table.header({head}),\n  table.hline(stroke: 0.5pt),\n{body}\n  table.hline(),\n"
    return (
        f"#table(\n  columns: {len(table.columns) + 1},\n  align: ({align}),\n{rules.format(head=head, body=body)})\n"
    )
