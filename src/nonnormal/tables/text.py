"""Tables as people read them: numbers as text, in Markdown and Typst."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nonnormal.files import write_text


def write_readable(path: Path, table: pd.DataFrame) -> None:
    """Writes a table of strings in the format of the suffix, .md or .typ; its index is the first column."""
    write_text(path, _markdown(table) if path.suffix == ".md" else _typst(table))


def cell(row: dict, column: str, sign: str = "", digits: int = 2) -> str:
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
