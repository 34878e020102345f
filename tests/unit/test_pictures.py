"""The pictures of README.md and docs/: what they show are the images and the rows of the summary."""

import importlib.util
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from nonnormal.steps import families, get

PATH = Path(__file__).parents[2] / "docs" / "pictures.py"
spec = importlib.util.spec_from_file_location("pictures", PATH)
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)


def test_images_are_tiled_row_by_row():
    images = torch.arange(6 * 4).reshape(6, 1, 2, 2)
    picture = pictures.tiled(images, 3)
    assert picture.shape == (5, 8)
    assert (picture[:2, :2] == images[0, 0].numpy()).all()
    assert (picture[:2, 6:] == images[2, 0].numpy()).all()
    assert (picture[3:, :2] == images[3, 0].numpy()).all()
    assert np.isnan(picture[2]).all()


def test_each_step_stands_at_its_kurtosis_with_its_interval():
    named = {"student_t": "student_t(df=5)", "generalized_normal": "generalized_normal(shape=4)"}
    steps = [named.get(name, name) for name in families() if name not in ("normal", "normal_mixture")]
    rows = pd.DataFrame(
        [(pictures.METRIC, 4, step, i, i - 1, i + 2) for i, step in enumerate(steps)]
        + [(pictures.METRIC, 16, "laplace", 99, 98, 100), ("another", 4, "laplace", 99, 98, 100)],
        columns=["metric", "nfe", "step", "value", "low", "high"],
    )
    figure, axis = plt.subplots()
    pictures.kurtosis_and_distance(axis, rows, 4)
    [(normal, _, _), *others] = [bar.lines for bar in axis.containers]
    assert normal.get_xydata().tolist() == [[0, 0]]
    assert len(others) == len(steps)
    for i, (step, (mark, _, [bar])) in enumerate(zip(steps, others, strict=True)):
        assert mark.get_xydata()[0] == pytest.approx([get(step).excess_kurtosis, i])
        assert bar.get_segments()[0][:, 1].tolist() == [i - 1, i + 2]
    plt.close(figure)
