"""Writes results.json and results.md, ratios and the conditions they were measured in, from pytest-benchmark's JSON.

Usage: python benchmarks/report.py FILE …
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEAD = ["What", "Time", "Baseline", "Ratio", "Quartiles of the ratio", "Wanted", "Times the memory's limit"]


def main(sources: list[Path]) -> None:
    runs = [json.loads(source.read_text(encoding="utf-8")) for source in sources]
    rows = [
        {key: _rounded(value) for key, value in entry["extra_info"].items()}
        | {"memory_kept": run["conditions"]["memory_kept"]}
        for run in runs
        for entry in run["benchmarks"]
    ]
    conditions = {key: value for key, value in runs[0]["conditions"].items() if key != "memory_kept"}
    text = json.dumps({"conditions": conditions, "results": rows}, indent=1, ensure_ascii=False)
    (HERE / "results.json").write_text(text + "\n", encoding="utf-8")
    (HERE / "results.md").write_text(markdown(conditions, rows), encoding="utf-8")
    print((HERE / "results.md").read_text(encoding="utf-8"))


def markdown(conditions: dict, rows: list[dict]) -> str:
    state = conditions["revision"][:10] + " and uncommitted changes" * conditions["uncommitted_changes"]
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`. Each row times a candidate and its baseline by turns in one run; the ratio is that of",
        "their medians, the quartiles are of the ratios by round. Times are the processor's, on the machine below. The",
        "memory's limit is the time in which a copy of that size, measured beside it, would move what the candidate",
        "cannot but read and write. `memory kept` is with an allocator that gives no memory back between calls; as a",
        "user has it, fresh pages cost the baseline more than the candidate.",
        "",
        f"{conditions['hardware']}; {conditions['threads']} thread; Python {conditions['python']}; "
        f"torch {conditions['packages']['torch']}; code {state}.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|---{'|---:' * (len(HEAD) - 1)}|",
    ]
    for row in rows:
        if "jobs" in row:
            continue
        kept = ", memory kept" * row["memory_kept"]
        cells = [f"{row['group']}: {row['what']}{kept}", _time(row["seconds"]), row["baseline"], f"{row['ratio']:.3g}"]
        cells += [
            "{:.3g} to {:.3g}".format(*row["quartiles"]),
            *(_or_dash(row[k]) for k in ("wanted", "of_memory_limit")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *_dry_runs([row for row in rows if "jobs" in row])]) + "\n"


def _dry_runs(rows: list[dict]) -> list[str]:
    """What `snakemake --dry-run` costs by number of runs; per run beyond the cost of the smallest study."""
    if not rows:
        return []
    least = min(rows, key=lambda row: row["runs"])
    lines = [
        "",
        "## Workflow",
        "",
        "A dry run of digits with more runs, each sampled at four numbers of steps. Wanted of 2,000 runs: less than",
        "60 s and 2 GiB. Processor seconds a run are those beyond the smallest study's; the last column is what",
        "reading the study file alone takes.",
        "",
        "| Runs | Jobs | Time | Processor | Processor a run | Peak memory | Study file |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        more = row["runs"] - least["runs"]
        each = f"{(row['processor_seconds'] - least['processor_seconds']) / more * 1e3:.1f} ms" if more else "–"
        lines.append(
            f"| {row['runs']:,} | {row['jobs']:,} | {row['seconds']:.3g} s | {row['processor_seconds']:.3g} s | "
            f"{each} | {row['peak_gib']:.2f} GiB | {row['load_seconds']:.2g} s |"
        )
    return lines


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
