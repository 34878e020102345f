"""Tables for reading: numbers as text, in Markdown and Typst."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nonnormal.files import write_text
from nonnormal.study.results.summary import read_table

_TEXTS = ("run", "q", "p", "design", "metric", "quantity", "unit", "D", "Q", "H", "beta", "process", "bound", "step")
_TEXTS += ("constant", "sampler", "grid", "solver", "name", "measure", "axis", "basis", "against", "kind", "id")
_TEXTS += ("source", "where", "statement", "measurement", "threshold", "data", "verdict", "reason", "choice", "mixture")
_TEXTS += ("study", "null_case", "needs", "value_unit")


def read_numbers(path: Path) -> pd.DataFrame:
    """Read a table's CSV file; names and other texts stay texts, even if they look like numbers."""
    return read_table(path, dict.fromkeys(_TEXTS, "str"))


def write_readable(path: Path, *tables: pd.DataFrame, prose: bool = False) -> None:
    """Write tables of strings in the format of the suffix, .md or .typ; the index of each is its first column.

    Columns are aligned right, for numbers; columns of prose are aligned left, and in Typst as wide as their text needs.
    """
    one = markdown if path.suffix == ".md" else _typst
    write_text(path, "\n".join(one(table, prose) for table in tables))


def cell(row: dict, column: str, sign: str = "", digits: int = 2) -> str:
    """Value ± half of the interval, to the first nonzero digit of the half, and at most six decimals.

    A half of 100 or more is rounded to two digits, one that is 0 at six decimals is left out. A value without an
    interval has the given number of decimals.
    """
    before = "" if column == "value" else f"{column}_"  # a summary's own columns are value, low and high
    value, low, high = row[column], row.get(f"{before}low"), row.get(f"{before}high")
    if pd.isna(value):
        return "–"
    factor = 1000 if column == "kid" else 1
    if low is None:
        return f"{value * factor:{sign}.{digits}f}"
    half = (high - low) / 2 * factor
    if half < 5e-7:
        return f"{value * factor:{sign}.6f}"
    place = -math.floor(math.log10(half))
    digits = max(place, 0) if half < 100 else place + 1
    value, half = (round(number, digits) for number in (value * factor, half))
    return f"{value:{sign}z.{max(digits, 0)}f} ± {half:.{max(digits, 0)}f}"


def tenths(row: dict, sign: str = "") -> str:
    """A distance and half of its interval, to one place."""
    return f"{row['value']:{sign}z.1f} ± {(row['high'] - row['low']) / 2:.1f}"


def difference(row: dict) -> str:
    """A difference of distances, with * if its interval excludes 0."""
    return tenths(row, "+") + ("*" if row["low"] > 0 or row["high"] < 0 else "")


def markdown(table: pd.DataFrame, prose: bool = False) -> str:
    """A table of strings in Markdown."""
    align = ("left", *("left" if prose else "right" for _ in table.columns))
    table = table.rename(index=_bars).map(_bars)
    return table.to_markdown(colalign=align, disable_numparse=True) + "\n"


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


def _typst(table: pd.DataFrame, prose: bool = False) -> str:
    def row(cells: Iterable[str], mark: str = "") -> str:
        return ", ".join(f"[{mark}{_escaped(cell, prose)}{mark}]" for cell in cells)

    head = row([table.index.name or "", *table.columns], mark="*")
    lines = zip(table.index, table.to_numpy(), strict=True)
    body = "\n".join(f"  {row((title, *cells))}," for title, cells in lines)
    align = "left" + (", left" if prose else ", right") * len(table.columns)
    columns = f"({', '.join(_widths(table))})" if prose else len(table.columns) + 1
    rules = "  table.hline(),\n  table.header({head}),\n  table.hline(stroke: 0.5pt),\n{body}\n  table.hline(),\n"
    return f"#table(\n  columns: {columns},\n  align: ({align}),\n{rules.format(head=head, body=body)})\n"


# Comments, links, dashes, soft hyphens and ellipses, and what begins a list, a heading or a term.
_MORE_THAN_LETTERS = re.compile(r"//|/\*|\*/|--|-\?|\.\.\.|^\s*([-+=/]+|\d+\.)(\s|$)")


def _escaped(text: str, prose: bool) -> str:
    """Typst markup that shows the text letter by letter; long names of prose may be broken."""
    broken = re.sub(r"(?<=[_/])(?=\w)", "\u200b", text) if prose else text
    if _MORE_THAN_LETTERS.search(text):
        return '#"' + re.sub(r'([\\"])', r"\\\1", broken) + '"'
    return re.sub(r"([\\_*`$#@<>~\[\]])", r"\\\1", broken)


def _widths(table: pd.DataFrame) -> list[str]:
    """Widths of columns of prose: shares of the page for those that wrap, by the root of their texts' usual length."""
    lengths = [[*map(len, cells)] or [1] for cells in (table.index, *(table[name] for name in table))]
    # The quadratic mean, in which one long text among short ones counts without widening the column for all of them.
    usual = [math.sqrt(sum(n * n for n in found) / len(found)) for found in lengths]
    return [f"{math.sqrt(n):.1f}fr" if max(found) > 20 else "auto" for n, found in zip(usual, lengths, strict=True)]


def restructured(text: str) -> str:
    """Plain text escaped for reStructuredText."""
    return re.sub(r"([\\*`|_])", r"\\\1", text) + "\n"
