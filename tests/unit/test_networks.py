"""The U-Net: shapes, conditioning on log-SNR, and initial weights that depend on the seed alone."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from nonnormal.denoisers.unet import UNet, initialised

SMALL = dict(in_channels=3, out_channels=1, image_size=8, widths=(8, 16), groups=4)


@pytest.mark.parametrize("attention", [(), (1,), (0, 1)])
def test_prediction_has_the_shape_of_the_image(attention):
    network = UNet(**SMALL, attention=attention)
    assert network(torch.randn(2, 3, 8, 8), torch.zeros(2)).shape == (2, 1, 8, 8)


def test_one_level_is_a_constant_resolution_with_as_many_blocks_as_are_asked_for():
    """VDM's depth: n blocks down, two in the middle, n + 1 up."""
    network = UNet(in_channels=3, out_channels=1, image_size=8, widths=(8,), layers_per_block=5, groups=4)
    sizes = {}
    for name, module in network.named_modules():
        if type(module).__name__ == "ResnetBlock2D":
            module.register_forward_hook(lambda _, __, out, name=name: sizes.update({name: out.shape[-1]}))
    network(torch.randn(1, 3, 8, 8), torch.zeros(1))
    assert list(sizes.values()) == [8] * (5 + 2 + 6)


@pytest.mark.parametrize(("options", "count"), [({}, 0), ({"middle_attention": True}, 1), ({"attention": (1,)}, 4)])
def test_attention_is_where_it_is_asked_for(options, count):
    """One block a level down, two up, and the middle."""
    network = UNet(**SMALL, **options)
    assert sum(type(module).__name__ == "Attention" for module in network.modules()) == count


def test_prediction_depends_on_log_snr_image_by_image():
    network = initialised(lambda: UNet(**SMALL), 0).eval()
    z = torch.ones(3, 3, 8, 8)
    low, again, high = network(z, torch.tensor([-3.0, -3.0, 3.0]))
    torch.testing.assert_close(low, again)
    assert (low - high).abs().max() > 1e-4


def test_initial_weights_depend_on_the_seed_alone():
    first, second, other = (initialised(lambda: UNet(**SMALL), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_network_has_the_dtype_of_its_weights():
    network = UNet(**SMALL)
    assert network.unet.dtype == torch.float32
    assert network.double().unet.dtype == torch.float64


def test_initialisation_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    initialised(lambda: nn.Linear(2, 2), 0)
    assert torch.equal(torch.get_rng_state(), before)


# ---- what is imported, in a process of its own -----------------------------------------------------------------------


def imports(code, *modules):
    """Which of the modules a process has imported after the code."""
    said = subprocess.check_output([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], text=True)
    return set(modules) & set(said.split())


def test_a_network_is_built_without_what_its_library_imports_beside_it():
    """Each of these takes a second of processor time."""
    build = f"from nonnormal.denoisers.unet import UNet; UNet(**{SMALL})"
    assert imports("import nonnormal.training.loop", "diffusers", "pandas", "scipy", "torchvision") == set()
    assert imports(build, "diffusers", "scipy.stats", "sympy", "torchvision", "transformers") == {"diffusers"}


def test_a_network_is_diffusers_own_and_leaves_the_library_as_it_is():
    code = """
from nonnormal.denoisers.unet import UNet
network = UNet(in_channels=3, out_channels=1, image_size=8, widths=(8, 16), groups=4).unet
from nonnormal.denoisers._torchvision import ensure_importable
ensure_importable()
import torch._dynamo
from diffusers import Transformer2DModel, UNet2DConditionModel, UNet2DModel
assert isinstance(network, UNet2DModel)
assert UNet2DConditionModel.__module__ == "diffusers.models.unets.unet_2d_condition"
"""
    assert imports(code, "torch._dynamo", "scipy.stats") == {"torch._dynamo", "scipy.stats"}


def test_steps_and_distances_are_imported_without_what_few_of_them_need():
    modules = ("nonnormal.steps", "nonnormal.bases", "nonnormal.samplers", "nonnormal.metrics.fidelity")
    assert imports(f"import {', '.join(modules)}", "scipy", "torch_fidelity", "torchdiffeq", "torchvision") == set()
