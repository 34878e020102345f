"""Killed trainings: SIGKILL at three moments and going on ends in the bits of a training that was left alone."""

import json
import signal
import time

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


def test_killed_training_ends_in_the_same_bits(workspace):
    study = yaml.safe_load((workspace.folder / "config/smoke.yaml").read_text())
    study["defaults"]["training"] |= {"steps": 260, "checkpoint_every": 20, "log_every": 7}
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    workspace("nonnormal", "data", "digits")
    folder = workspace.folder / "results/smoke" / RUN
    checkpoint, outputs = folder / "checkpoint.safetensors", ("weights.safetensors", "training.csv")

    workspace(*TRAIN)
    undisturbed = [(folder / name).read_bytes() for name in outputs]
    for name in outputs:
        (folder / name).unlink()

    for moment in (20, 80, 140):
        process = workspace.start(*TRAIN)
        deadline = time.monotonic() + 120
        while steps_saved(checkpoint) < moment and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.05)  # past the checkpoint, into the next interval
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the training ended before it could be killed"
        assert not (folder / "weights.safetensors").exists()

    workspace(*TRAIN)
    assert [(folder / name).read_bytes() for name in outputs] == undisturbed
    assert not checkpoint.exists()


def test_checkpoint_of_other_settings_is_not_used(workspace):
    workspace("nonnormal", "data", "digits")
    study = yaml.safe_load((workspace.folder / "config/smoke.yaml").read_text())
    study["defaults"]["training"] |= {"steps": 10}
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    folder = workspace.folder / "results/smoke" / RUN
    workspace(*TRAIN)
    expected = (folder / "weights.safetensors").read_bytes()

    study["defaults"]["training"] |= {"steps": 4000, "learning_rate": 1e-5}
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    process = workspace.start(*TRAIN)
    while steps_saved(folder / "checkpoint.safetensors") == 0 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()

    study["defaults"]["training"] |= {"steps": 10}
    del study["defaults"]["training"]["learning_rate"]
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    done = workspace(*TRAIN)
    assert "other settings" in done.stdout
    assert (folder / "weights.safetensors").read_bytes() == expected
