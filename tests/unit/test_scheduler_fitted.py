"""Fitted steps in a pipeline of diffusers: fitted as it calls its network, kept, loaded elsewhere, refused."""

import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from nonnormal.denoisers.unet import initialised
from nonnormal.diffusers.fitted import STEPS_FILE, FittedSteps, fit_scheduler
from nonnormal.diffusers.scheduler import NonNormalScheduler
from nonnormal.files import write_tensors
from nonnormal.steps import FittedStep, Normal, ResidualStep, get

# After the scheduler, which sees to it that torchvision can be imported.
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # isort: skip

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def unet():
    blocks = dict(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False)
    sizes = dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
    return initialised(lambda: UNet2DModel(in_channels=1, out_channels=1, **blocks, **sizes), 0).eval()


def images(n=40, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def fitted(unet, choice="scale", n_steps=4, **other):
    return fit_scheduler(unet, NonNormalScheduler(), images(), n_steps, choice=choice, seeds=range(40), **other)


def drawn(unet, scheduler, n_steps=4):
    pipeline = DDPMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    sources = [torch.Generator().manual_seed(seed) for seed in range(3)]
    return torch.from_numpy(pipeline(3, sources, n_steps, output_type="np").images)


def test_unit_steps_draw_what_the_scheduler_draws_without(unet):
    assert torch.equal(drawn(unet, fitted(unet, "unit")), drawn(unet, DDPMScheduler()))


def test_the_scale_is_the_root_of_one_plus_the_mean_square_of_the_whitened_error(unet):
    scheduler = fitted(unet, n_draws=1)
    steps = scheduler.steps
    # Written out for the second timestep of the grid, by diffusers' own means and variances.
    published = DDPMScheduler()
    published.set_timesteps(4)
    t, s = (int(published.timesteps[k]) for k in (1, 2))
    x0 = images(4000, seed=1)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    xt = published.add_noise(x0, eps, torch.full((len(x0),), t))
    with torch.no_grad():
        answer = unet(xt, t).sample
    alphas = published.alphas_cumprod.double()
    x0_hat = ((xt - (1 - alphas[t]).sqrt() * answer) / alphas[t].sqrt()).clamp(-1, 1)
    gap = alphas[s].sqrt() * (1 - alphas[t] / alphas[s]) / (1 - alphas[t]) * (x0_hat - x0)
    delta = gap / published._get_variance(t).double().sqrt()
    assert steps.steps[1].scale.item() == pytest.approx((1 + delta.square().mean()).sqrt().item(), rel=0.03)
    assert steps.timesteps == tuple(published.timesteps.tolist()) and isinstance(steps.steps[-1], Normal)


def test_a_saved_pipeline_draws_the_same_images_in_another_process(unet, tmp_path):
    for choice in ("scale", "conditional+shape", "residuals"):
        scheduler = fitted(unet, choice)
        DDPMPipeline(unet, scheduler).save_pretrained(tmp_path / choice)
        expected = drawn(unet, scheduler)
        assert not torch.equal(expected, drawn(unet, DDPMScheduler()))
        write_tensors(tmp_path / choice / "expected.safetensors", {"images": expected}, {})
        assert load_file(tmp_path / choice / "scheduler" / STEPS_FILE)
    script = f"""
import torch
from pathlib import Path
from nonnormal.diffusers.scheduler import NonNormalScheduler
from diffusers import DDPMPipeline
from safetensors.torch import load_file
torch.set_num_threads(1)  # as here: sums depend on the number in their last bits
for folder in sorted(Path({str(tmp_path)!r}).iterdir()):
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    sources = [torch.Generator().manual_seed(seed) for seed in range(3)]
    images = torch.from_numpy(pipeline(3, sources, 4, output_type="np").images)
    assert torch.equal(images, load_file(folder / "expected.safetensors")["images"]), folder
    print(folder.name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["conditional+shape", "residuals", "scale"], done.stderr


@pytest.mark.parametrize("choice", ["diagonal", "residuals"])
def test_an_image_depends_on_its_own_generator_alone(unet, choice):
    scheduler = fitted(unet, choice)
    both = drawn(unet, scheduler)
    pipeline = DDPMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    alone = pipeline(1, [torch.Generator().manual_seed(1)], 4, output_type="np").images
    assert torch.allclose(torch.from_numpy(alone)[0], both[1], atol=1e-5)


@pytest.fixture
def folder(unet, tmp_path):
    """The folder of a saved scheduler with fitted steps."""
    fitted(unet).save_pretrained(tmp_path)
    return tmp_path


def test_a_damaged_file_is_refused(folder):
    content = bytearray((folder / STEPS_FILE).read_bytes())
    content[-3] ^= 1
    (folder / STEPS_FILE).write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        NonNormalScheduler.from_pretrained(folder)


def test_a_missing_file_is_refused_and_can_be_left_out(folder):
    (folder / STEPS_FILE).unlink()
    with pytest.raises(ValueError, match="there is no such file, but the configuration says that steps were fitted"):
        NonNormalScheduler.from_pretrained(folder)
    assert NonNormalScheduler.from_pretrained(folder, fitted_steps=None).steps is None


STEP = {"shape": {"family": "normal"}, "tensors": ["scale"]}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (dict(steps=[STEP | {"shape": {"family": "stranger:Step"}}]), "a shape must be one of"),
        (dict(facts={}), "timesteps must be 1 numbers"),
        (dict(facts={"timesteps": ["0"], "levels": [0.5]}), "timesteps must be 1 numbers"),
        (dict(facts={"timesteps": [True], "levels": [0.5]}), "timesteps must be 1 numbers"),
        (dict(facts={"timesteps": [5000], "levels": [0.5]}), "must fall within 0 to 999"),
        (dict(facts={"timesteps": [-1], "levels": [0.5]}), "must fall within 0 to 999"),
        (dict(facts={"timesteps": [500], "levels": [0.5]}), "other noise levels"),
        (dict(facts={"timesteps": [500], "levels": [math.nan]}), "other noise levels"),
    ],
    ids=str,
)
def test_a_hostile_file_is_refused_and_imports_nothing(changes, found, folder, monkeypatch):
    (folder / "stranger.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(folder)
    header = {"kind": "fitted steps", "bases": [], "steps": [STEP], "facts": {}} | changes
    write_tensors(folder / STEPS_FILE, {"0.scale": torch.ones(1, dtype=torch.float64)}, header)
    with pytest.raises(ValueError, match=found):
        NonNormalScheduler.from_pretrained(folder)
    assert "stranger" not in sys.modules


@pytest.mark.parametrize("name", ["other.safetensors", "../fitted_steps.safetensors", True, ["x"]])
def test_a_configuration_names_no_other_file(folder, name):
    path = folder / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fitted_steps": name}))
    with pytest.raises(ValueError, match=r"fitted_steps must be None or 'fitted_steps\.safetensors'"):
        NonNormalScheduler.from_pretrained(folder)


def test_steps_go_with_their_grid_levels_and_images_alone(unet, folder):
    scheduler = NonNormalScheduler.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"fitted for 4 calls at timesteps \[750, 500, 250, 0\]; found"):
        scheduler.set_timesteps(5)
    scheduler, x = NonNormalScheduler.from_pretrained(folder), torch.zeros(2, *SHAPE)
    with pytest.raises(ValueError, match=r"fitted for timesteps \[750, 500, 250, 0\]; found 740"):
        scheduler.step(x, 740, x)
    other = NonNormalScheduler(beta_end=0.03)
    with pytest.raises(ValueError, match="other noise levels"):
        other.with_steps(scheduler.steps)
    with pytest.raises(ValueError, match="variance_type must be one of fixed_small"):
        NonNormalScheduler(variance_type="fixed_large").with_steps(scheduler.steps)
    small = torch.ones(1, 4, 4, dtype=torch.float64)
    for step in (FittedStep(get("normal"), small), ResidualStep(Normal(), small.unsqueeze(0))):
        other = scheduler.with_steps(FittedSteps((step,), (500,), (scheduler.alphas_cumprod[500].item(),)))
        with pytest.raises(ValueError, match=r"fitted for images \(1, 4, 4\); found \(1, 8, 8\)"):
            other.step(x, 500, x)


def test_a_configuration_alone_holds_no_steps_and_says_so(folder):
    scheduler = NonNormalScheduler.from_pretrained(folder)
    bare = NonNormalScheduler.from_config(scheduler.config)
    for use in (lambda: bare.set_timesteps(4), lambda: bare.save_pretrained(folder)):
        with pytest.raises(ValueError, match="names fitted steps, which it does not hold"):
            use()
    NonNormalScheduler.from_config(scheduler.config, fitted_steps=None).set_timesteps(5)


def test_a_fit_that_makes_no_sense_is_refused_before_any_call():
    def never(*_):
        raise AssertionError("called")

    options = dict(choice="scale", seeds=range(4))
    with pytest.raises(ValueError, match="variance_type must be one of fixed_small"):
        fit_scheduler(never, NonNormalScheduler(variance_type="learned"), images(4), 4, **options)
    with pytest.raises(ValueError, match="one seed an image"):
        fit_scheduler(never, NonNormalScheduler(), images(5), 4, **options)
    with pytest.raises(ValueError, match="unknown choice 'ful'"):
        fit_scheduler(never, NonNormalScheduler(), images(4), 4, **options | dict(choice="ful"))
    with pytest.raises(ValueError, match="unknown basis"):
        fit_scheduler(never, NonNormalScheduler(), images(4), 4, **options, basis="fft")
    with pytest.raises(ValueError, match="a NonNormalScheduler is needed, found DDPMScheduler"):
        fit_scheduler(never, DDPMScheduler(), images(4), 4, **options)
    with pytest.raises(ValueError, match="images are numbers in"):
        fit_scheduler(never, NonNormalScheduler(), images(4).byte(), 4, **options)


def test_the_unit_choice_keeps_the_step_of_the_scheduler(unet):
    laplace = NonNormalScheduler(step_distribution="laplace")
    unit = fit_scheduler(unet, laplace, images(), 4, choice="unit", seeds=range(40))
    laplace.set_timesteps(4)
    assert torch.equal(drawn(unet, unit), drawn(unet, laplace))
    assert not torch.equal(drawn(unet, unit), drawn(unet, NonNormalScheduler()))


def test_a_chain_that_ends_with_noise_has_a_fitted_last_step(unet):
    chain = NonNormalScheduler(final_alpha_cumprod=0.99999)
    scheduler = fit_scheduler(unet, chain, images(), 4, choice="scale", seeds=range(40))
    assert all(isinstance(step, FittedStep) and step.scale > 1 for step in scheduler.steps.steps)
    assert not torch.equal(drawn(unet, scheduler), drawn(unet, chain))
