"""Killed and preempted trainings: going on ends in the bits of a training that was left alone."""

import dataclasses
import json
import signal
import time

import psutil
import pytest
import yaml
from safetensors import safe_open

RUN = "laplace-laplace"
TRAIN = ("nonnormal", "train", "config/smoke.yaml", "--run", RUN, "--threads", "1")


def steps_saved(checkpoint) -> int:
    """Step of a checkpoint, 0 where there is none."""
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, framework="pt") as file:
        return json.loads(file.metadata()["header"])["step"]


OUTPUTS = ("weights.safetensors", "training.csv")


def lengthen(workspace, **resources):
    """Gives the training enough steps to be disturbed, and the data that it needs."""
    study = yaml.safe_load((workspace.folder / "config/smoke.yaml").read_text())
    study["defaults"]["training"] |= {"iterations": 260, "checkpoint_every": 20, "log_every": 7}
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study | {"resources": resources}))
    workspace("nonnormal", "data", "digits")


@pytest.fixture
def workspace(workspace, forks):
    """A fresh copy, with commands that start at once where they are not `start`ed."""
    return dataclasses.replace(workspace, commands=forks)


@pytest.fixture(scope="module")
def undisturbed(new_workspace, forks):
    """Bytes of the outputs of a training that was left alone."""
    space = dataclasses.replace(new_workspace(), commands=forks)
    lengthen(space)
    space(*TRAIN)
    return [(space.folder / "results/smoke" / RUN / name).read_bytes() for name in OUTPUTS]


def wait_for(process, condition):
    """Returns when the condition holds, or the process has ended, or two minutes are over."""
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def test_killed_training_ends_in_the_same_bits(workspace, undisturbed):
    lengthen(workspace)
    folder = workspace.folder / "results/smoke" / RUN
    checkpoint = folder / "checkpoint.safetensors"
    for moment in (20, 80, 140):
        process = workspace.start(*TRAIN)
        wait_for(process, lambda moment=moment: steps_saved(checkpoint) >= moment)
        time.sleep(0.05)  # past the checkpoint, into the next interval
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the training ended before it could be killed"
        assert not (folder / "weights.safetensors").exists()

    workspace(*TRAIN)
    assert [(folder / name).read_bytes() for name in OUTPUTS] == undisturbed
    assert not checkpoint.exists()


def test_preempted_training_saves_at_once_and_ends_in_the_same_bits(workspace, undisturbed):
    lengthen(workspace)
    folder = workspace.folder / "results/smoke" / RUN
    checkpoint = folder / "checkpoint.safetensors"
    for moment, number in ((20, signal.SIGTERM), (120, signal.SIGINT)):
        process = workspace.start(*TRAIN)
        wait_for(process, lambda moment=moment: steps_saved(checkpoint) >= moment)
        time.sleep(0.05)
        process.send_signal(number)
        assert process.wait() == 75
        assert not (folder / "weights.safetensors").exists()
        assert moment < steps_saved(checkpoint) < 260

    workspace(*TRAIN)
    assert [(folder / name).read_bytes() for name in OUTPUTS] == undisturbed


def test_the_workflow_starts_a_preempted_training_again(workspace, undisturbed):
    lengthen(workspace, retries=1)
    folder = workspace.folder / "results/smoke" / RUN
    weights = f"results/smoke/{RUN}/weights.safetensors"

    process = workspace.start("snakemake", "--cores", "1", "--configfile", "config/smoke.yaml", "--", weights)
    wait_for(process, lambda: steps_saved(folder / "checkpoint.safetensors") >= 20)
    [training] = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.name() != "bash" and {"train", RUN} <= set(child.cmdline())
    ]
    assert training.ppid() == process.pid, "a shell between them would end first where all processes get the signal"
    training.terminate()
    assert process.wait() == 0
    assert [(folder / name).read_bytes() for name in OUTPUTS] == undisturbed
    log = (workspace.folder / f"results/smoke/logs/train-{RUN}.log").read_text()
    assert "going on from step" in log


def test_the_workflow_starts_a_training_that_diverged_only_once(workspace):
    lengthen(workspace, retries=3)
    path = workspace.folder / "config/smoke.yaml"
    study = yaml.safe_load(path.read_text())
    study["defaults"]["training"] |= {"learning_rate": 1e30, "warmup": 0}
    path.write_text(yaml.safe_dump(study))
    weights = f"results/smoke/{RUN}/weights.safetensors"
    command = ("snakemake", "--cores", "1", "--configfile", "config/smoke.yaml", "--", weights)
    done = workspace(*command, check=False)
    assert done.returncode == 1
    assert "Trying to restart" not in done.stdout
    log = (workspace.folder / f"results/smoke/logs/train-{RUN}.log").read_text()
    assert "error: training diverged at step" in log


def test_two_processes_train_as_the_workflow_starts_them(workspace):
    lengthen(workspace, gpus=2)
    planned = workspace(
        *("snakemake", "--dry-run", "--printshellcmds", "--configfile", "config/smoke.yaml", "--"),
        f"results/smoke/{RUN}/weights.safetensors",
    ).stdout
    [command] = [line.strip() for line in planned.splitlines() if "torchrun" in line]
    launcher, _, arguments = command.removeprefix("Shell command: exec ").partition(" train ")
    assert launcher == "torchrun --standalone --nproc-per-node=2 --shutdown-timeout=110 --module -- nonnormal.study.cli"
    done = workspace(*launcher.split(), "train", "config/smoke.yaml", *arguments.split(" > ")[0].split()[1:])
    assert done.stdout.count("images/s") >= 1
    assert (workspace.folder / "results/smoke" / RUN / "weights.safetensors").exists()


def test_checkpoint_of_other_settings_is_not_used_and_not_lost(workspace):
    workspace("nonnormal", "data", "digits")
    study = yaml.safe_load((workspace.folder / "config/smoke.yaml").read_text())
    study["defaults"]["training"] |= {"iterations": 10}
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    folder = workspace.folder / "results/smoke" / RUN
    workspace(*TRAIN)
    expected = (folder / "weights.safetensors").read_bytes()

    study["defaults"]["training"] |= {"iterations": 4000, "learning_rate": 1e-5}
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    process = workspace.start(*TRAIN)
    while steps_saved(folder / "checkpoint.safetensors") == 0 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()

    study["defaults"]["training"] |= {"iterations": 10}
    del study["defaults"]["training"]["learning_rate"]
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    done = workspace(*TRAIN)
    assert "training.learning_rate was 1e-05, is 0.002" in done.stdout
    assert "training.iterations was 4000, is 10" in done.stdout
    assert len(list(folder.glob("checkpoint-*.safetensors"))) == 1
    assert (folder / "weights.safetensors").read_bytes() == expected
