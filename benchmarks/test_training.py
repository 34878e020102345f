"""Training and sampling: the default study's steps, network and all, against each other and against diffusers' own."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import mse_loss
from tqdm import tqdm

from nonnormal import data
from nonnormal.denoisers._torchvision import ensure_importable
from nonnormal.processes import uniform_times
from nonnormal.samplers import sample_ancestral
from nonnormal.study import config as study
from nonnormal.study.config.build import design, model_config, objective
from nonnormal.training import loop as training
from nonnormal.training.checkpoints import build_denoiser

ensure_importable()  # torchvision, which the modules below import
from diffusers import DDPMPipeline, DDPMScheduler  # isort: skip # noqa: E402
from diffusers.optimization import get_cosine_schedule_with_warmup  # isort: skip # noqa: E402
from diffusers.training_utils import EMAModel  # isort: skip # noqa: E402

STUDY = Path(__file__).parents[1] / "config" / "digits.yaml"
STEPS = 10
N_IMAGES = 64


@pytest.fixture(scope="module")
def digits():
    return study.load(STUDY)


@pytest.fixture(scope="module")
def x0(digits):
    images = data.load(digits.data)
    return data.scale(images.train.images, images.levels)


def recipe(digits, run):
    return model_config(run, digits.dataset, sigma_data=0.5)


def trained(digits, run, x0, folder, steps):
    """A training of the run from the start, as a call."""
    options = run.training.optimisation | {"steps": steps, "seed": 0}
    options |= {"checkpoint": folder / "none", "fingerprint": {}}
    return lambda: training.train(build_denoiser(recipe(digits, run)), objective(run, 0.5), x0, **options)


def plain(run):
    """The run with a network that takes the image alone and predicts the noise, as diffusers' examples do."""
    return run.model_copy(update={"network": run.network.model_copy(update={"fourier": (), "parametrisation": "eps"})})


def test_training_step(compare, digits, x0, tmp_path):
    compare(
        trained(digits, digits.run("laplace-laplace"), x0, tmp_path, STEPS),
        trained(digits, digits.run("normal-normal"), x0, tmp_path, STEPS),
        what=f"{STEPS} training steps of laplace/laplace, {digits.name}",
        to="the same of normal/normal",
        rounds=20,
        count=True,
        wanted=1.02,
    )


def test_training_against_diffusers(compare, digits, x0, tmp_path):
    run, steps = plain(digits.run("normal-normal")), 4 * STEPS
    settings = run.training

    def example():
        """The loop of diffusers' examples/unconditional_image_generation, without what serves several devices."""
        model, scheduler = build_denoiser(recipe(digits, run)).network.unet.train(), DDPMScheduler()
        ema = EMAModel(model.parameters(), decay=settings.ema_decay, use_ema_warmup=True)
        options = dict(lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay)
        optimiser = torch.optim.AdamW(model.parameters(), **options)
        rates = get_cosine_schedule_with_warmup(optimiser, settings.warmup, steps)
        bar = tqdm(total=steps)
        for _ in range(steps):
            clean = x0[torch.randint(len(x0), (settings.batch_size,))]
            noise = torch.randn(clean.shape)
            timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),)).long()
            loss = mse_loss(
                model(scheduler.add_noise(clean, noise, timesteps), timesteps).sample.float(), noise.float()
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimiser.step()
            rates.step()
            optimiser.zero_grad()
            ema.step(model.parameters())
            bar.update(1)
            bar.set_postfix(loss=loss.detach().item(), lr=rates.get_last_lr()[0], step=_, ema_decay=ema.cur_decay_value)
        bar.close()

    compare(
        trained(digits, run, x0, tmp_path, steps),
        example,
        what=f"{steps} training steps of normal/normal, {digits.name}",
        to="diffusers' example loop on the same network",
        rounds=10,
        count=True,
        wanted=1.0,
    )


def test_sampling_against_diffusers(compare, digits):
    run = plain(digits.run("normal-normal"))
    denoiser, point = build_denoiser(recipe(digits, run)).eval(), design(run)
    pipeline = DDPMPipeline(denoiser.network.unet, DDPMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    shape, seeds, times = (N_IMAGES, *digits.dataset.shape), range(N_IMAGES), uniform_times(STEPS)

    def seeded(seed):
        return torch.Generator().manual_seed(seed)

    compare(
        lambda: sample_ancestral(denoiser, point.process, point.p, shape, times=times, seeds=seeds),
        lambda: pipeline(N_IMAGES, list(map(seeded, seeds)), num_inference_steps=STEPS, output_type="pt"),
        what=f"{N_IMAGES} images by the ancestral sampler in {STEPS} steps, {digits.name}",
        to="diffusers' DDPMPipeline on the same network, also with a seed an image",
        rounds=10,
        count=True,
        wanted=1.0,
    )
