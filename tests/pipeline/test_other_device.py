"""Every command that takes a device, on one that refuses what a GPU refuses: it ends, with the CPU's numbers."""

import elsewhere
import numpy as np
import pandas as pd
import pytest
import tiny
import yaml

from nonnormal.files import read_tensors
from nonnormal.study import cli
from nonnormal.study.registry import jobs_of

PLACED = ("features", "train", "sample", *(name for name, (_, job) in jobs_of(tiny.STUDY).items() if job.gpu))
STAGES = [stage for stage in tiny.STAGES if stage.split()[0] in PLACED]


def broad() -> dict:
    """The tiny study with more samplers, bases and steps."""
    found = tiny.tiny()
    found["defaults"]["training"] |= {"accumulate": 2}
    found["step_swap"]["step_families"] += ["generalized_normal(shape=4)", "student_t(df=5)"]
    found["phase_space"] |= {"samplers": ["ancestral", "em", "sscs", "sscs_midpoint", "flow_euler", "flow_heun"]}
    found["few_steps"]["bases"] = ["pixel"]  # directions of few residuals change with the last digit
    found["ablation"]["bases"] = {"fourier": {"kind": "fourier"}, "pca": {"kind": "pca"}, "haar": {"kind": "haar"}}
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By device, the folder in which all commands were run."""
    folders = {device: tmp_path_factory.mktemp(device) for device in ("cpu", elsewhere.DEVICE)}
    for device, folder in folders.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for place in (cli.make, cli.evaluate):
                patch.setattr(place, "prepare_torch", lambda asked, threads, device=device: device)
            (folder / "config").mkdir()
            (folder / tiny.FILE).write_text(yaml.safe_dump(broad(), sort_keys=False))
            cli.app(tiny.STAGES["data"][0], standalone_mode=False)
            for stage in STAGES:
                _run(stage, device)
    return folders


def _run(stage: str, device: str) -> None:
    arguments = tiny.STAGES[stage][0]
    if device == "cpu":
        cli.app(arguments, standalone_mode=False)
        return
    with elsewhere.pretended():
        cli.app(arguments, standalone_mode=False)


@pytest.mark.parametrize("stage", STAGES)
def test_a_command_gives_the_same_numbers_on_another_device(results, stage):
    """But for rounding, which few images at grey levels and an adaptive solver make much of."""
    for output in tiny.STAGES[stage][1]:
        here, there = (folder / output for folder in results.values())
        if output.suffix == ".csv":
            pd.testing.assert_frame_equal(pd.read_csv(here), pd.read_csv(there), rtol=5e-2, atol=5e-3)
        else:
            (first, _), (second, _) = read_tensors(here), read_tensors(there)
            assert first.keys() == second.keys()
            for name, value in first.items():
                np.testing.assert_allclose(value.double(), second[name].double(), rtol=5e-2, atol=5e-3, err_msg=name)
