"""Writes results.json and results.md, ratios and the conditions they were measured in, from pytest-benchmark's JSON.

Adds what the commands of the last `make reproduce` took, from the records of its results, where there are some.

Usage: python benchmarks/report.py FILE …
"""

import json
import shlex
import sys
from collections import Counter
from pathlib import Path

from conftest import SIDE

HERE = Path(__file__).parent
RECORDS = (HERE.parent / "results/digits/records", HERE.parent / "paper/records")
HEAD = ["What", "Time", "Baseline", "Ratio", "Quartiles of the ratio", "Wanted", "Times the limit"]


def main(sources: list[Path]) -> None:
    runs = [json.loads(source.read_text(encoding="utf-8")) for source in sources]
    rows = [
        {key: _rounded(value) for key, value in entry["extra_info"].items()}
        | {"memory_kept": run["conditions"]["memory_kept"]}
        for run in runs
        for entry in run["benchmarks"]
    ]
    conditions = {key: value for key, value in runs[0]["conditions"].items() if key != "memory_kept"}
    reproduced = stages(*RECORDS)
    text = json.dumps(
        {"conditions": conditions, "results": rows, "reproduce": reproduced}, indent=1, ensure_ascii=False
    )
    (HERE / "results.json").write_text(text + "\n", encoding="utf-8")
    (HERE / "results.md").write_text(markdown(conditions, rows) + _reproduce(reproduced), encoding="utf-8")
    print((HERE / "results.md").read_text(encoding="utf-8"))


def markdown(conditions: dict, rows: list[dict]) -> str:
    state = conditions["revision"][:10] + " and uncommitted changes" * conditions["uncommitted_changes"]
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`. Each row times a candidate and its baseline by turns in one run; the ratio is that of",
        "their medians, the quartiles are of the ratios by round. Times are the processor's, on the machine below. The",
        "limit is the time in which a copy of that size, measured beside it, would move what the candidate cannot but",
        "read and write; of rows that say so, that in which its products and convolutions would be done at the rate of",
        f"a product of square matrices of side {SIDE:,}. `memory kept` is with an allocator that gives no memory back",
        "between calls; as a user has it, fresh pages cost the baseline more than the candidate.",
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
            _or_dash(row["wanted"]),
            _or_dash(row["of_memory_limit"] or row["of_product_limit"]) + " (products)" * bool(row["of_product_limit"]),
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


def stages(*folders: Path) -> dict | None:
    """Seconds by stage of the last command for each result, and the code and machine of most; None without records."""
    last = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*.json") if path.is_file()):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["command"] not in last or record["started"] > last[record["command"]]["started"]:
            last[record["command"]] = record
    if not last:
        return None
    seconds, jobs = Counter(), Counter()
    for command, record in last.items():
        words = shlex.split(command)[1:]
        stage = " ".join(words[: 2 if words[0] == "evaluate" else 1])
        seconds[stage] += record["seconds"]
        jobs[stage] += 1
    ((revision, hardware), n) = Counter(
        (record["revision"], record["hardware"]) for record in last.values()
    ).most_common(1)[0]
    rows = [
        {"stage": name, "commands": jobs[name], "seconds": round(total, 1)} for name, total in seconds.most_common()
    ]
    return {"revision": revision, "hardware": hardware, "others": len(last) - n, "stages": rows}


def _reproduce(found: dict | None) -> str:
    if found is None:
        return ""
    total = sum(row["seconds"] for row in found["stages"])
    others = f"; {found['others']} commands of other revisions" if found["others"] else ""
    lines = [
        "",
        "## `make reproduce` by stage",
        "",
        "Seconds on the clock within the commands that made the present results, by their records: jobs of one",
        f"thread, as many at once as there are cores. {found['hardware']}; code {found['revision'][:10]}{others}.",
        "",
        "| Stage | Commands | Seconds | Share |",
        "|---|---:|---:|---:|",
        *(
            f"| {row['stage']} | {row['commands']} | {row['seconds']:.1f} | {row['seconds'] / total:.0%} |"
            for row in found["stages"]
        ),
        f"| all | {sum(row['commands'] for row in found['stages'])} | {total:.0f} | 100% |",
    ]
    return "\n".join(lines) + "\n"


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
