"""The README: short, written by hand, and its code runs as it stands."""

import re
import sys
from pathlib import Path

import pytest
import torch

from nonnormal.denoisers._torchvision import ensure_importable

ensure_importable()  # torchvision, which diffusers imports
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # isort: skip # noqa: E402

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```python(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


class Network(torch.nn.Module):
    """What the README leaves to the reader: a network of noisy images and their log-SNR."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, z, log_snr):
        level = (log_snr / 10).reshape(-1, 1, 1, 1).expand_as(z)
        return self.layer(torch.cat([z, level], dim=1))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working folder whose modules can be imported, with a pipeline in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    blocks = dict(down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False)
    channels = dict(in_channels=1, out_channels=1, block_out_channels=(4,), layers_per_block=1, norm_num_groups=2)
    DDPMPipeline(UNet2DModel(sample_size=8, **channels, **blocks), DDPMScheduler()).save_pretrained("path/to/network")
    yield tmp_path
    sys.modules.pop("my_steps", None)


def test_it_is_short_and_written_by_hand():
    assert len(README.splitlines()) <= 200
    assert "<!--" not in README


def test_its_code_runs_as_it_stands(elsewhere):
    batches = [torch.rand(8, 1, 8, 8) * 2 - 1 for _ in range(3)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scope = {"__name__": "readme", "network": Network(), "batches": batches}
        before = [value.clone() for value in scope["network"].parameters()]
        for file, code in BLOCK.findall(README):
            if file:
                (elsewhere / file).write_text(code, encoding="utf-8")
            else:
                exec(compile(code, "README.md", "exec"), scope)
    assert (elsewhere / "laplace.png").is_file()
    assert scope["images"].shape == (4, 1, 8, 8)
    assert all((old != new).any() for old, new in zip(before, scope["network"].parameters(), strict=True))


def test_its_own_step_is_one_and_trains(elsewhere):
    from nonnormal import ELBO, VP, Design, Loss, NetworkDenoiser, get_step

    [(file, code)] = [found for found in BLOCK.findall(README) if found[0]]
    (elsewhere / file).write_text(code, encoding="utf-8")
    step = get_step("my_steps:HyperbolicSecant")
    objective = ELBO(Design(VP(), Loss(step, step)), n_steps=10)
    loss = objective(NetworkDenoiser(Network()), torch.zeros(4, 1, 8, 8), torch.Generator().manual_seed(0))
    assert loss.isfinite().all()


def test_every_equation_is_where_it_says():
    table = README[README.index("Find an equation") : README.index("## Limits")]
    found = re.findall(r"((?:`\w+`(?:, )?)+) in \[[^]]+\]\(([^)]+)\)", table)
    assert len(found) >= 10
    for names, path in found:
        code = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^\s*(?:def|class) {name}\b", code, re.MULTILINE), (name, path)
