"""Workflow: what the DAG of a large study costs before any job starts.

The study is digits' with more runs, each sampled at four numbers of steps: train, sample, bounds, fidelity, step swap.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nonnormal.study.config import load

PROJECT = Path(__file__).parents[1]


def large(n_runs: int) -> dict:
    """The digits study with so many runs: its four pairs, again and again, each training with another seed."""
    study = yaml.safe_load((PROJECT / "config/digits.yaml").read_text(encoding="utf-8"))
    pairs = list(study["runs"].values())
    runs = {f"run-{i:04}": {**pairs[i % len(pairs)], "training": {"seed": i}} for i in range(n_runs)}
    study |= {
        "name": "large",
        "headline": False,
        "runs": runs,
        "representations": None,
        "phase_space": None,
        "ablation": None,
    }
    study["geometry"] = {**study["geometry"], "run": "run-0000"}
    study["sampling"] = {**study["sampling"], "nfe": [10, 25, 50, 100]}
    return study


@pytest.mark.parametrize("n_runs", [4, 400, 2000])
def test_dry_run(n_runs, benchmark, tmp_path):
    for name in ("Snakefile", "workflow", "src", "paper"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "profiles").symlink_to("workflow/profiles")
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(large(n_runs), sort_keys=False), encoding="utf-8")
    snakemake = shutil.which("snakemake", path=Path(sys.executable).parent)
    command = (snakemake, "--dry-run", "--quiet", "rules", "--configfile", "large.yaml")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}

    def dry_run() -> tuple[float, float, float, int]:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        assert process.returncode == 0, said
        jobs = int(re.search(r"^total +(\d+)", said, re.MULTILINE)[1])
        return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, jobs

    seconds, processor, gib, jobs = benchmark.pedantic(dry_run, rounds=1)
    assert jobs > 8 * n_runs
    start = time.process_time()
    load(tmp_path / "large.yaml")
    benchmark.extra_info |= {
        "runs": n_runs,
        "jobs": jobs,
        "seconds": seconds,
        "processor_seconds": processor,
        "peak_gib": gib,
        "load_seconds": time.process_time() - start,
        "wanted": {"seconds": 60, "peak_gib": 2} if n_runs == 2000 else None,
    }
