"""Images that are not square, of one channel or three: in every basis, network, feature and figure."""

import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from nonnormal import data
from nonnormal.bases import BasisStatistics
from nonnormal.data import ImageData, Split
from nonnormal.denoisers.unet import UNet
from nonnormal.metrics.features import train_classifier
from nonnormal.metrics.reference import read_reference, write_classifier_reference
from nonnormal.objectives.losses import ELBO, Design, Loss
from nonnormal.processes import VP, LinearLogSNR
from nonnormal.processes.schedules import column_labels, row_labels
from nonnormal.samplers import outpaint, sample_ancestral
from nonnormal.study.report.page.pictures import grid
from nonnormal.study.report.sample_grid import sample_rows
from nonnormal.training.checkpoints import build_denoiser, load_denoiser, save_weights
from nonnormal.training.throughput import flops_per_image

SHAPES = [(1, 8, 12), (3, 12, 8)]


def images(shape, n=40):
    """Grey levels of stripes with noise, and two labels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 40, (n, *shape), generator=generator)
    labels = torch.arange(n) % 2
    stripes = 100 * (torch.arange(shape[2]) % 4 < 2) * labels[:, None, None, None]
    return (noise + stripes).to(torch.uint8), labels


def oblong(shape):
    (train, labels), (test, others) = images(shape), images(shape, 10)
    return ImageData(Split(train, labels), Split(test, others), 256)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["pixel", "pca", "dct", "fourier", "haar"])
def test_a_network_of_each_basis_is_trained_stored_and_sampled(kind, shape, tmp_path):
    grey, _ = images(shape)
    parts = BasisStatistics.fit(kind, grey, floor=0.01, levels=2, scale=lambda x: data.scale(x, 256))
    channels, *size = shape
    network = dict(in_channels=channels, out_channels=channels, image_size=size, widths=[8, 16], groups=4)
    recipe = {"network": network | {"attention": [1]}, "denoiser": {"sigma_data": None}}
    recipe["basis"] = {"kind": kind, "levels": 2}
    denoiser = build_denoiser(recipe, 0, parts)
    save_weights(tmp_path / "w.safetensors", denoiser, recipe)
    process = VP(LinearLogSNR(6.0, -6.0))
    objective = ELBO(Design(process, Loss("laplace", "laplace"), parts.basis), 4)
    x0 = data.scale(grey[:4], 256)
    loss = objective.loss(denoiser, x0, *objective.draw(x0.shape, torch.Generator().manual_seed(0)))
    loss.sum().backward()
    assert loss.isfinite().all() and all(p.grad is not None for p in denoiser.network.parameters())
    assert flops_per_image(denoiser, shape) > 0
    loaded = load_denoiser(tmp_path / "w.safetensors")
    times = torch.linspace(0, 1, 4, dtype=torch.float64)
    options = dict(times=times, seeds=[0, 1], basis=parts.basis)
    assert sample_ancestral(loaded, process, "laplace", (2, *shape), **options).shape == (2, *shape)


def test_a_network_is_stored_with_one_number_if_images_are_square():
    assert [data.one_number(sides) for sides in ((8, 8), (8, 12))] == [8, [8, 12]]
    options = dict(in_channels=1, out_channels=1, widths=(8,), groups=4)
    x, level = torch.randn(1, 1, 8, 8), torch.zeros(1)
    torch.manual_seed(0)
    square = UNet(image_size=8, **options)(x, level)
    torch.manual_seed(0)
    assert square.equal(UNet(image_size=[8, 8], **options)(x, level))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_classifier_learns_and_is_stored(shape, tmp_path):
    found = oblong(shape)
    data.write(tmp_path / "data.safetensors", found, "oblong")
    network = train_classifier(found, epochs=8, batch_size=8, learning_rate=3e-3, seed=0)
    assert (network(found.test.images).argmax(1) == found.test.labels).all()
    path = tmp_path / "features.safetensors"
    write_classifier_reference(
        path, network, found.train.images, tmp_path / "data.safetensors", data_name="oblong", held_out_accuracy=1.0
    )
    reference = read_reference(path, tmp_path / "data.safetensors")
    assert reference.network(found.test.images).equal(network.features(found.test.images))


def test_orders_by_column_and_row_go_along_their_own_side():
    shape = (1, 8, 12)
    assert column_labels(shape).unique().tolist() == list(range(12))
    assert row_labels(shape).unique().tolist() == list(range(8))
    assert column_labels(shape).shape == row_labels(shape).shape == shape


def test_images_are_outpainted_by_columns():
    def denoiser(x, sigma):
        return torch.zeros_like(x)

    given = torch.zeros(2, 1, 8, 12)
    times = torch.linspace(0, 1, 3, dtype=torch.float64)
    process = VP(LinearLogSNR(6.0, -6.0))
    found = outpaint(denoiser, process, given, step="normal", times=times, seeds=[[0, 1]], kept=6)
    assert found.shape == (2, 1, 8, 18)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_samples_are_as_high_as_their_images(shape):
    """No row is cut off or surrounded by emptiness: each axis has about the proportions of its images."""
    grey, _ = images(shape)
    figure = sample_rows({"a": grey.numpy(), "b": grey.numpy()}, 256)
    figure.canvas.draw()
    _, height, width = shape
    for axis in figure.axes:
        box = axis.get_window_extent()
        assert math.isclose(box.width / box.height, 14 * (width + 1) / (height + 1), rel_tol=0.02)
    inches = figure.get_size_inches()
    used = sum(axis.get_window_extent().height for axis in figure.axes) / figure.dpi
    assert used > 0.7 * inches[1]
    assert axis.get_window_extent().width > 0.7 * inches[0] * figure.dpi
    plt.close(figure)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_pages_grid_has_pixels_of_each_image(shape):
    import io

    from PIL import Image

    grey, _ = images(shape)
    picture = Image.open(io.BytesIO(grid(grey.numpy(), 256)))
    _, height, width = shape
    factor = max(1, 32 // height)
    assert picture.size == (factor * (16 * (width + 1) - 1), factor * (2 * (height + 1) - 1))
    shown = np.asarray(picture.convert("RGB"))[: factor * height : factor, : factor * width : factor]
    first = grey[0].numpy().transpose(1, 2, 0)
    assert np.array_equal(shown, np.repeat(255 - first, 3, -1) if shape[0] == 1 else first)
