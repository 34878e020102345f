"""The benchmark of a GPU, in miniature on the CPU: what it reports, and that it times the steps it says."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from nonnormal.study import config as study

SPEC = importlib.util.spec_from_file_location("test_gpu", Path(__file__).parents[2] / "benchmarks" / "test_gpu.py")
gpu = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(gpu)


@pytest.fixture(scope="module")
def tiny():
    raw = {"name": "a", "data": "digits", "runs": {"r": {"training": {"batch_size": 4}}}}
    raw["runs"]["r"]["network"] = {"widths": [4, 4], "groups": 2}
    found = study.validate(raw, "")
    images = torch.randint(17, (10, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return found.run("r"), found.dataset, images


def test_both_ways_are_measured(tiny):
    first, result = gpu.compared(*tiny, rounds=2, warm=1, steps=2)
    assert (first["rounds"], result["rounds"]) == (1, 2)
    for name in ("plain", "fast"):
        found = result[name]
        assert found["images_per_s"] > 0
        assert found["flops_per_s"] / found["images_per_s"] > 1000
        assert found["share_of_peak"] is None
        assert found["peak_gib"] is None
    assert result["quartiles"][0] <= result["ratio"] <= result["quartiles"][1]


def test_speed_is_that_of_the_counted_steps(tiny, monkeypatch):
    """A clock that ticks once a step and stands still for 100 s in the warm-up: 4 images a tick."""
    ticks = iter([0, 100, 101, 102, 103, 104])
    monkeypatch.setattr(gpu.Clock, "__call__", lambda self: bool(self.times.append(next(ticks))))
    found = gpu.measured(*tiny, warm=1, steps=3, **gpu.PLAIN)
    assert math.isclose(found["images_per_s"], 4.0)
