"""The workflow as jobs of a real SLURM cluster of one node: `make slurm-test`."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import miniature
from slurm import Cluster, missing

from nonnormal.study.registry import packaged

pytestmark = pytest.mark.slurm

RUN = "laplace-laplace"
OUTPUTS = ("weights.safetensors", "training.csv")
# Without accounting; and asking often, since the jobs are short.
SLURM = ("snakemake", "--workflow-profile", "slurm", "--configfile", "config/smoke.yaml", "--latency-wait", "5")
SLURM += ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1")
SLURM += ("--seconds-between-status-checks", "1", "--local-cores", "2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := missing():
        pytest.skip(f"no SLURM here: {reason}")
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def edit(space, **changes):
    """Changes the smoke study."""
    path = space.folder / "config/smoke.yaml"
    study = yaml.safe_load(path.read_text())
    study["defaults"]["training"] |= changes.pop("training", {})
    path.write_text(yaml.safe_dump(study | changes))


def outputs(space):
    return [(space.folder / "results/smoke" / RUN / name).read_bytes() for name in OUTPUTS]


def test_smoke_study_is_made_of_jobs(cluster, workspace, new_workspace):
    inside = cluster.at(workspace.folder)
    workspace(*inside, *SLURM)
    assert (workspace.folder / "results/smoke/paper/paper.pdf").read_bytes().startswith(b"%PDF")
    assert "Nothing to be done" in workspace(*inside, *SLURM).stdout
    names = {job["Comment"] for job in cluster.jobs()}
    assert {f"rule_train_wildcards_{RUN}", f"rule_sample_wildcards_{RUN}_10", "rule_data"} <= names

    alone = new_workspace()
    alone("nonnormal", "data", "digits")
    alone("nonnormal", "train", "config/smoke.yaml", "--run", RUN, "--threads", "1")
    assert outputs(workspace) == outputs(alone)


class Slowed(threading.Thread):
    """Makes trainings in a folder too slow for their time: each is stopped at work until it is told to end."""

    def __init__(self, folder: Path, log: Path, times: int):
        super().__init__(daemon=True)
        self.folder, self.log, self.left, self.ended = folder, log, times, threading.Event()

    def run(self):
        while self.left and not self.ended.wait(0.05):
            for process in filter(self.at_work, psutil.process_iter(["cmdline"])):
                process.suspend()
                self.left -= 1
                with contextlib.suppress(psutil.Error, OSError):  # SLURM lets it go on itself, and it ends
                    while not told_to_end(process.pid):
                        time.sleep(0.1)
                    process.resume()
                    process.wait()

    def at_work(self, process: psutil.Process) -> bool:
        """Whether it is a training in the folder that has made some steps."""
        with contextlib.suppress(psutil.Error, OSError):
            words = process.info["cmdline"] or []
            mine = "train" in words and "snakemake" not in words and Path(process.cwd()) == self.folder
            return self.left > 0 and mine and "images_per_s" in self.log.read_text()
        return False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()


def told_to_end(pid: int) -> bool:
    """Whether SIGTERM waits for a process that is stopped."""
    pending = re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return any(int(mask, 16) >> signal.SIGTERM - 1 & 1 for mask in pending)


def test_training_that_hits_its_time_limit_is_resubmitted_until_done(cluster, workspace, new_workspace):
    """Twice at a limit of two minutes: the signal comes after 30 to 60 s, as SLURM looks at limits each half minute."""
    alone, log = new_workspace(), workspace.folder / f"results/smoke/logs/train-{RUN}.log"
    for space in (alone, workspace):
        edit(space, training={"iterations": 2000, "checkpoint_every": 10_000, "log_every": 100})
    edit(workspace, resources={"retries": 5})
    weights = f"results/smoke/{RUN}/weights.safetensors"
    limits = ("train:slurm_extra='--signal=TERM@60'", "train:runtime=2 if attempt < 3 else 30")
    with Slowed(workspace.folder, log, times=2) as slowed:
        workspace(*cluster.at(workspace.folder), *SLURM, "--set-resources", *limits, "--", weights)
    assert slowed.left == 0

    attempts = [
        job for job in cluster.jobs() if job["WorkDir"] == str(workspace.folder) and "_train_" in job["Comment"]
    ]
    said = [(job["JobState"], job["TimeLimit"]) for job in attempts]
    assert said == [("FAILED", "00:02:00"), ("FAILED", "00:02:00"), ("COMPLETED", "00:30:00")]
    assert "going on from step" in log.read_text()
    alone("nonnormal", "data", "digits")
    alone("nonnormal", "train", "config/smoke.yaml", "--run", RUN, "--threads", "1")
    assert outputs(workspace) == outputs(alone)


def test_jobs_ask_for_gpus_and_after_a_failure_for_more(cluster, workspace):
    """Every job is killed, as one that takes more memory than it asked for."""
    edit(workspace, resources={"gpus": 2, "mem_mb": 3000, "runtime": 10, "retries": 1})
    partitions = {"cpu": {"max_runtime": 1440}, "gpu": {"max_runtime": 1440, "max_gpu": 2}}
    (workspace.folder / "partitions.yaml").write_text(yaml.safe_dump({"partitions": partitions}))
    (workspace.folder / "data").mkdir()
    (workspace.folder / "data/digits.safetensors").write_bytes(b"none")
    killed = workspace.folder / "killed"
    killed.mkdir()
    for name in ("nonnormal", "torchrun"):
        (killed / name).write_text("#!/bin/sh\nkill -KILL $$\n")
        (killed / name).chmod(0o755)
    path = os.pathsep.join([str(killed), workspace.environment()["PATH"]])
    targets = ("results/smoke/features.safetensors", f"results/smoke/{RUN}/weights.safetensors")
    more = ("--slurm-partition-config", "partitions.yaml", "--retries", "1", "--keep-going")
    done = workspace(*cluster.at(workspace.folder), *SLURM, *more, "--", *targets, check=False, PATH=path)
    assert done.returncode == 1

    jobs = [job for job in cluster.jobs() if job["WorkDir"] == str(workspace.folder)]
    asked = {}
    for job in jobs:
        assert job["JobName"].startswith("nonnormal_")
        gpus = 2 if job["Comment"].startswith("rule_train") else 1
        assert (job["Partition"], job["TresPerJob"], job["NumNodes"]) == ("gpu", f"gres:gpu:{gpus}", "1")
        asked.setdefault(job["Comment"], []).append((job["MinMemoryNode"], job["TimeLimit"]))
    assert asked == {
        "rule_features": [("3000M", "00:10:00"), ("6000M", "00:20:00")],
        f"rule_train_wildcards_{RUN}": [("3000M", "00:10:00"), ("6000M", "00:10:00")],
    }
    logs = list((workspace.folder / "results/slurm").rglob("*.log"))
    assert sorted(log.parent.name for log in logs) == [RUN, RUN, "rule_features", "rule_features"]
    assert not any("Trying to restart" in log.read_text() for log in logs), "a job retries within itself"


def test_dvc_queues_trainings_on_the_cluster(cluster, workspace):
    """The training of one run in miniature, then the same with fewer steps as a queued experiment."""
    study = miniature(workspace.study())
    workspace.write_study(
        {key: value for key, value in study.items() if key not in {each.section for each in packaged()}}
        | {"runs": {RUN: study["runs"][RUN]}}
    )
    workspace("nonnormal", "dvc", "config/digits.yaml")
    site = workspace.folder / "site"
    site.mkdir()
    waits = {"slurm-init-seconds-before-status-checks": 1, "seconds-between-status-checks": 1, "latency-wait": 5}
    (site / "config.yaml").write_text(yaml.safe_dump({"slurm-status-command": "squeue", **waits}))
    chosen = {"PROFILE": "slurm", "SNAKEMAKE_PROFILE": str(site)}
    inside = cluster.at(workspace.folder)
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    stage = "train"

    workspace("git", "init", "--quiet")
    workspace("git", "add", "--all")
    workspace("git", *identity, "commit", "--quiet", "--message", "start")
    workspace(*inside, "dvc", "repro", stage, **chosen)
    workspace("git", "add", "--all")
    workspace("git", *identity, "commit", "--quiet", "--message", "trained")

    changed = "config/digits.yaml:defaults.training.iterations=4"
    workspace("dvc", "exp", "run", "--queue", "--name", "short", "--set-param", changed, stage)
    workspace(*inside, "dvc", "queue", "start", **chosen)
    deadline = time.monotonic() + 600
    while not any(word in (said := workspace("dvc", "queue", "status").stdout) for word in ("Success", "Failed")):
        assert time.monotonic() < deadline, said
        time.sleep(2)
    assert "Success" in said, workspace("dvc", "queue", "logs", "short", check=False).stdout

    comments = [job["Comment"] for job in cluster.jobs() if job["WorkDir"].startswith(str(workspace.folder))]
    assert comments.count(f"rule_train_wildcards_{RUN}") == 2
    shown = workspace("dvc", "exp", "show", "--csv").stdout.splitlines()
    assert any("short" in line for line in shown)
    difference = json.loads(workspace("dvc", "params", "diff", "HEAD", "short", "--json").stdout)
    assert difference["config/digits.yaml"]["defaults.training.iterations"] == {"old": 6, "new": 4, "diff": -2}
    workspace("dvc", "plots", "diff", "HEAD", "short", "--out", "plots")
    assert (workspace.folder / "plots/index.html").exists()


def test_cluster_leaves_no_process(tmp_path):
    if reason := missing():
        pytest.skip(f"no SLURM here: {reason}")
    with Cluster(tmp_path) as cluster:
        cluster("sbatch", "--output=/dev/null", "--wrap", "sleep 600")
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listed
