"""What was made before: networks and samples of other settings are refused, by what differs."""

import pytest
import torch

from nonnormal.files import write_tensors
from nonnormal.study.config import validate
from nonnormal.study.config.build import model_config
from nonnormal.study.results.artifacts import network, samples, write_samples
from nonnormal.study.results.paths import Layout
from nonnormal.training.checkpoints import build_denoiser, save_weights

NETWORK = {"widths": [8], "groups": 4}
IMAGES = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)


def study(run=None, n_images=8, **more):
    sampling = {"n_images": n_images, "nfe": [2]}
    defaults = {"network": NETWORK}
    return validate(
        {"name": "s", "data": "digits", "defaults": defaults, "runs": {"b": run}, "sampling": sampling} | more, "x"
    )


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """Of a study whose run `b` was trained and sampled as `study()` says."""
    monkeypatch.chdir(tmp_path)
    trained, layout = study(), Layout("s", "digits")
    recipe = model_config(trained.run("b"), trained.dataset, 0.5)
    save_weights(layout.weights("b"), build_denoiser(recipe), recipe, **trained.training_facts("b", "0" * 64))
    write_samples(trained, layout, "b", 2, IMAGES)
    return layout


def test_a_network_is_used_with_the_settings_that_it_was_trained_with(layout):
    for same in (study(), study(n_images=9), study({"training": {"checkpoint_every": 3}}), study(title="words")):
        assert not network(same, layout, "b").training


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (study({"q": "laplace", "p": "laplace"}), 'q was "normal", is "laplace"; p was "normal", is "laplace"'),
        (study({"training": {"iterations": 7}}), "training.iterations was 1000, is 7"),
        (study(seed=3), "seed was 0, is 3"),
    ],
)
def test_a_network_of_other_settings_is_refused(layout, now, words):
    with pytest.raises(
        ValueError, match=rf"b/weights.safetensors was made with other settings.*{words}; train run b again"
    ):
        network(now, layout, "b")
    with pytest.raises(ValueError, match=r"b/samples/2.safetensors was made with other settings.*; sample run b again"):
        samples(now, layout, "b", 2)


def test_samples_of_another_number_are_refused(layout):
    assert torch.equal(samples(study(), layout, "b", 2), IMAGES)
    with pytest.raises(ValueError, match=r"sampling.n_images was 8, is 64; sample run b again"):
        samples(study(n_images=64), layout, "b", 2)
    write_tensors(layout.samples("b", 2), {"images": IMAGES}, {"study": "s"})  # as before headers had more
    assert torch.equal(samples(study(), layout, "b", 2), IMAGES)
    with pytest.raises(ValueError, match=r"sampling.n_images was 8, is 64"):
        samples(study(n_images=64), layout, "b", 2)
