"""The scheduler: diffusers' own sample for the normal step, the step's law about the exact posterior for any other."""

import inspect
import json
import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import diffusers
import numpy as np
import problems
import pytest
import torch
from problems import STEPS, scipy_law, seeded
from scipy import stats

from nonnormal.denoisers.unet import initialised
from nonnormal.diffusers.keys import SchedulerKeys
from nonnormal.diffusers.scheduler import NonNormalScheduler
from nonnormal.steps import StepError, base, get, register

# After the scheduler, which sees to it that torchvision can be imported.
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel  # isort: skip

ALPHA = 1e-4
SHAPE = (2, 3, 8, 8)


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


@pytest.fixture(scope="module")
def unet():
    blocks = dict(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False)
    sizes = dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
    return initialised(lambda: UNet2DModel(**blocks, **sizes), 0).eval()


def sample(unet, scheduler, steps=5, *, generator=None, batch=2):
    """Images of a whole pipeline run, and the state at each network call, which no clipping at the end hides."""
    states = []
    hook = unet.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
    pipeline = DDPMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch, generator or seeded(), steps, output_type="pt").images
    hook.remove()
    return images, torch.stack(states)


def scheduler_of(law, steps=5, **config):
    scheduler = NonNormalScheduler(step_distribution=law, **config)
    scheduler.set_timesteps(steps)
    return scheduler


# ---- the normal step is diffusers' -----------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_sample", [True, False])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"])
def test_a_pipeline_with_the_normal_step_gives_the_same_bits(unet, variance_type, prediction_type, clip_sample):
    config = dict(variance_type=variance_type, prediction_type=prediction_type, clip_sample=clip_sample)
    for steps in (1, 3, 10):
        found, expected = (sample(unet, cls(**config), steps) for cls in (NonNormalScheduler, DDPMScheduler))
        assert expected[1].isfinite().all()
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize(
    "config",
    [
        dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        dict(beta_schedule="squaredcos_cap_v2"),
        dict(trained_betas=[0.001 * k for k in range(1, 101)], num_train_timesteps=100),
        dict(timestep_spacing="linspace"),
        dict(timestep_spacing="trailing", variance_type="fixed_large"),
        dict(thresholding=True, sample_max_value=1.5),
        dict(clip_sample_range=0.5),
        dict(variance_type="learned_range"),
        dict(variance_type="learned"),
    ],
    ids=lambda config: "-".join(map(str, config.values()))[:30],
)
def test_each_step_of_the_grid_gives_the_same_bits(config):
    channels = 6 if "learned" in config.get("variance_type", "") else 3
    ours, theirs = (cls(**config) for cls in (NonNormalScheduler, DDPMScheduler))
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(4)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    output, xt = normal(2, channels, 8, 8, seed=1).abs(), normal(*SHAPE, seed=2)
    for t in ours.timesteps:
        found, expected = (s.step(output, t, xt, seeded(3), return_dict=False) for s in (ours, theirs))
        assert expected[0].isfinite().all()
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_custom_timesteps_and_float64_give_the_same_bits():
    ours, theirs = NonNormalScheduler(), DDPMScheduler()
    output, xt = (normal(*SHAPE, seed=seed, dtype=torch.float64) for seed in (1, 2))
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(timesteps=[900, 500, 50])
    assert torch.equal(*(s.step(output, 500, xt, seeded()).prev_sample for s in (ours, theirs)))


def test_a_pipeline_with_a_generator_per_image_gives_the_same_bits(unet):
    found, expected = (
        sample(unet, cls(), generator=[seeded(4), seeded(5)]) for cls in (NonNormalScheduler, DDPMScheduler)
    )
    assert torch.equal(found[1], expected[1])


def test_noise_is_added_and_inputs_are_scaled_as_diffusers_does():
    ours, theirs = NonNormalScheduler(step_distribution="laplace"), DDPMScheduler()
    x0, noise, t = normal(*SHAPE, seed=1), normal(*SHAPE, seed=2), torch.tensor([3, 700])
    assert torch.equal(ours.add_noise(x0, noise, t), theirs.add_noise(x0, noise, t))
    assert torch.equal(ours.scale_model_input(x0, 3), x0)
    assert (ours.init_noise_sigma, ours.order, len(ours)) == (1, 1, 1000)


# ---- any other step --------------------------------------------------------------------------------------------------


def posterior(scheduler, t, s, x0, xt):
    """Mean and variance of x_s given x_t and x0, by adding precisions: x_s ~ N(a x0, v), x_t ~ N(r x_s, 1 − r²)."""
    alpha2_t, alpha2_s = scheduler.alphas_cumprod[[t, s]].double().tolist()
    r2 = alpha2_t / alpha2_s
    variance = 1 / (1 / (1 - alpha2_s) + r2 / (1 - r2))
    return variance * (math.sqrt(alpha2_s) * x0 / (1 - alpha2_s) + math.sqrt(r2) * xt / (1 - r2)), variance


def standardised(law, n=20_000):
    """Z of one step from t = 600 to 400 of n pixels, from what the exact posterior says of them."""
    scheduler = scheduler_of(law, prediction_type="sample")
    x0, xt = normal(1, 1, 1, n, seed=1, dtype=torch.float64).clamp(-1, 1), normal(1, 1, 1, n, seed=2).double()
    mean, variance = posterior(scheduler, 600, 400, x0, xt)
    return ((scheduler.step(x0, 600, xt, seeded(3)).prev_sample - mean) / math.sqrt(variance)).flatten().numpy()


@pytest.mark.parametrize("law", [name for name in STEPS if name != "rademacher"])
def test_standardised_noise_has_the_law_of_the_step(law):
    assert stats.kstest(standardised(law), scipy_law(law).cdf).pvalue > ALPHA


def test_standardised_noise_of_rademacher_is_two_points():
    z = standardised("rademacher")
    assert abs(abs(z) - 1).max() < 1e-4  # the coefficients are float32
    assert stats.binomtest((z > 0).sum().item(), len(z)).pvalue > ALPHA


def test_the_mean_is_that_of_the_normal_step(step):
    """What is left without std z."""
    output, xt = normal(*SHAPE, seed=1), normal(*SHAPE, seed=2)
    ours, reference = scheduler_of(str(step)), scheduler_of("normal")
    z = step.sample(SHAPE, generator=seeded(3)), torch.randn(SHAPE, generator=seeded(3))
    first, second = (s.step(output, 600, xt, seeded(3)).prev_sample for s in (ours, reference))
    std = reference._get_variance(600).sqrt()
    torch.testing.assert_close(first - std * z[0], second - std * z[1], rtol=0, atol=1e-5)


def test_the_last_step_is_the_predicted_image_without_noise(step):
    scheduler = scheduler_of(str(step), prediction_type="sample")
    x0 = normal(*SHAPE).clamp(-1, 1)
    before = seeded().get_state()
    generator = seeded()
    found = scheduler.step(x0, 0, normal(*SHAPE, seed=2), generator)
    torch.testing.assert_close(found.prev_sample, x0, rtol=0, atol=1e-6)
    assert torch.equal(found.pred_original_sample, x0)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("law", ["laplace", "uniform", "exponential"])
def test_samples_lose_the_character_of_the_step_as_steps_grow(law):
    """Data N(0, s²) and their exact denoiser make a linear chain, in which fourth cumulants add up."""
    spread, n, kurtosis = 0.5, 400_000, {}
    for steps in (3, 10, 30):
        scheduler = scheduler_of(law, steps, prediction_type="sample", clip_sample=False)
        x, variance, cumulant, generator = normal(1, 1, 1, n), 1.0, 0.0, seeded(1)
        for t, s in pairwise(scheduler.timesteps.tolist()):
            alpha2 = scheduler.alphas_cumprod[t].item()
            gain = math.sqrt(alpha2) * spread**2 / (alpha2 * spread**2 + 1 - alpha2)
            x = scheduler.step(gain * x, t, x, generator).prev_sample
            slope, step_variance = posterior(scheduler, t, s, gain, 1.0)
            variance = slope**2 * variance + step_variance
            cumulant = slope**4 * cumulant + step_variance**2 * get(law).excess_kurtosis
        found, kurtosis[steps] = stats.kurtosis(x.flatten().numpy()), cumulant / variance**2
        assert x.var().item() == pytest.approx(variance, rel=0.02)
        assert found == pytest.approx(
            kurtosis[steps], abs=0.02 + 0.15 * abs(kurtosis[steps])
        )  # 4 standard errors or more
    assert abs(kurtosis[3]) > 2 * abs(kurtosis[10]) > 4 * abs(kurtosis[30])


# ---- generators, precision, devices ----------------------------------------------------------------------------------


def test_the_seed_decides_the_images_and_the_step_does_too(unet):
    laplace, again, other = (sample(unet, scheduler_of("laplace"), generator=seeded(k))[1] for k in (1, 1, 2))
    assert torch.equal(laplace, again)
    assert not torch.equal(laplace, other)
    uniform = sample(unet, scheduler_of("uniform"), generator=seeded(1))[1]
    assert torch.equal(laplace[0], uniform[0])  # the prior is normal
    assert not torch.equal(laplace[1], uniform[1])


def test_with_a_generator_per_image_an_image_depends_on_nothing_else(unet, step):
    together = sample(unet, scheduler_of(str(step)), generator=[seeded(k) for k in range(3)], batch=3)[1]
    for k in range(3):
        alone = sample(unet, scheduler_of(str(step)), generator=[seeded(k)], batch=1)[1]
        torch.testing.assert_close(together[:, k : k + 1], alone, rtol=1e-4, atol=1e-4)


def test_a_generator_leaves_the_global_state_alone_and_none_uses_it(step):
    xt, scheduler = normal(*SHAPE), scheduler_of(str(step))
    before = torch.get_rng_state()
    expected = scheduler.step(xt, 600, xt, torch.Generator().manual_seed(6)).prev_sample
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        assert torch.equal(scheduler.step(xt, 600, xt).prev_sample, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_noise_of_single_precision(step, dtype):
    scheduler, xt = scheduler_of(str(step)), normal(*SHAPE).to(dtype)
    half, single = (scheduler.step(0 * x, 600, x, seeded(3)).prev_sample for x in (xt, xt.float()))
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), single, rtol=8 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("many", [False, True])
def test_a_generator_on_the_cpu_draws_there_for_a_sample_elsewhere(step, many):
    """The meta device stands for any other: it has no generator and no numbers, but a place."""
    xt = torch.zeros(SHAPE, device="meta")
    generators = [seeded(k) for k in range(2 if many else 1)]
    found = scheduler_of(str(step)).step(xt, 600, xt, generators if many else generators[0]).prev_sample
    assert (found.device.type, found.shape) == ("meta", SHAPE)
    for k, generator in enumerate(generators):
        expected = seeded(k)
        step.sample((1, *SHAPE[1:]) if many else SHAPE, generator=expected)
        assert torch.equal(generator.get_state(), expected.get_state())


def test_a_wrong_number_of_generators_is_refused():
    xt = normal(*SHAPE)
    with pytest.raises(ValueError, match="found 3 generators for 2 images"):
        scheduler_of("laplace").step(xt, 600, xt, [seeded(k) for k in range(3)])


# ---- configuration ---------------------------------------------------------------------------------------------------


def settings(scheduler):
    return {key: value for key, value in scheduler.config.items() if not key.startswith("_")}


@pytest.mark.parametrize("law", ["laplace", "student_t(df=5)", "rademacher", "problems:HyperbolicSecant"])
def test_a_configuration_keeps_the_step_as_it_is_written(law, tmp_path):
    scheduler = NonNormalScheduler(step_distribution=law, beta_end=0.01)
    scheduler.save_config(tmp_path)
    assert json.loads((tmp_path / "scheduler_config.json").read_text())["step_distribution"] == law
    for again in (
        NonNormalScheduler.from_pretrained(tmp_path, trust_steps=True),
        NonNormalScheduler.from_config(scheduler.config, trust_steps=True),
    ):
        assert again.law == scheduler.law == get(law)
        assert settings(again) == settings(scheduler)
        assert torch.equal(again.alphas_cumprod, scheduler.alphas_cumprod)
    assert NonNormalScheduler.from_pretrained(tmp_path, step_distribution="uniform").law == get("uniform")


@pytest.mark.parametrize("cls", [DDPMScheduler, DDIMScheduler])
def test_from_the_configuration_of_another_scheduler(cls):
    other = cls(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False, steps_offset=1)
    scheduler = NonNormalScheduler.from_config(other.config, step_distribution="laplace")
    assert scheduler.law == get("laplace")
    assert torch.equal(scheduler.alphas_cumprod, other.alphas_cumprod)
    assert (scheduler.config.prediction_type, scheduler.config.clip_sample) == ("v_prediction", False)
    assert scheduler.config.steps_offset == 1
    assert NonNormalScheduler.from_config(other.config).law == get("normal")


@pytest.mark.parametrize(
    "name", ["HeunDiscreteScheduler", "LCMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler"]
)
def test_noise_levels_are_those_of_the_other_scheduler_in_memory_and_on_disk(name, tmp_path):
    other = getattr(diffusers, name)()
    other.save_config(tmp_path)
    for scheduler in (NonNormalScheduler.from_config(other.config), NonNormalScheduler.from_pretrained(tmp_path)):
        assert torch.equal(scheduler.alphas_cumprod, other.alphas_cumprod)
        assert scheduler.config.timestep_spacing == other.config.timestep_spacing
        assert scheduler.config.variance_type == "fixed_small"


@pytest.mark.parametrize("n_levels", [50, 1000])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_each_number_of_steps_has_as_many_falling_timesteps(spacing, n_levels):
    scheduler = NonNormalScheduler(num_train_timesteps=n_levels, timestep_spacing=spacing)
    for n_steps in range(1, n_levels + 1):
        scheduler.set_timesteps(n_steps)
        assert len(scheduler.timesteps) == n_steps
        assert scheduler.timesteps[-1] >= 0
        assert (scheduler.timesteps.diff() < 0).all()


def test_a_saved_pipeline_comes_back_with_its_step(unet, tmp_path):
    scheduler = NonNormalScheduler(step_distribution="student_t(df=5)", variance_type="fixed_large")
    expected = sample(unet, scheduler)
    DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    pipeline = DDPMPipeline.from_pretrained(tmp_path)
    assert type(pipeline.scheduler) is NonNormalScheduler
    for again in (pipeline.scheduler, NonNormalScheduler.from_pretrained(tmp_path, subfolder="scheduler")):
        assert again.config.variance_type == "fixed_large"
        assert torch.equal(sample(pipeline.unet, again)[1], expected[1])


def test_the_readmes_lines_run_as_they_stand(unet, tmp_path):
    """In a fresh interpreter, beside a network that diffusers saved."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n([^`]*NonNormalScheduler[^`]*)```", readme)
    [folder] = re.findall(r'from_pretrained\("([^"]*)"\)', block)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / folder)
    check = 'pipe.save_pretrained("again")\nprint(DDPMPipeline.from_pretrained("again").scheduler.law)'
    run = subprocess.run([sys.executable, "-c", block + check], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["laplace"]
    assert (tmp_path / "laplace.png").is_file()


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "words"),
    [
        ("bell", "unknown step family 'bell'; known families: normal"),
        ("cauchy", "cauchy has no variance"),
        ("student_t", "student_t needs df"),
        ("student_t(df=2)", "df must be larger than 2"),
        ("no_such_module:Step", "cannot be loaded"),
        ("problems:WideSecant", "not standardised: variance 2"),
    ],
)
def test_a_wrong_step_is_refused_when_the_scheduler_is_built(law, words):
    with pytest.raises(StepError, match=words):
        NonNormalScheduler.from_config(DDPMScheduler().config, step_distribution=law)


def test_a_misspelt_keyword_is_refused(unet, tmp_path):
    DDPMPipeline(unet, NonNormalScheduler()).save_pretrained(tmp_path)
    for build in (
        NonNormalScheduler,
        lambda **keys: NonNormalScheduler.from_config(DDPMScheduler().config, **keys),
        lambda **keys: NonNormalScheduler.from_pretrained(tmp_path, subfolder="scheduler", **keys),
    ):
        with pytest.raises(TypeError, match="step_distributon"):
            build(step_distributon="laplace")
    config = {**DDPMScheduler().config, "of_another_scheduler": 3}  # as those of other schedulers have
    assert NonNormalScheduler.from_config(config, clip_sample=False).config.clip_sample is False


@pytest.mark.parametrize("law", [None, 5, ["laplace"], get("laplace")], ids=str)
def test_a_step_that_is_no_name_is_refused_with_an_example(law):
    with pytest.raises(StepError, match=r'must be a name, such as "student_t\(df=5\)"; found .'):
        NonNormalScheduler(step_distribution=law)


@pytest.mark.parametrize(
    ("key", "value"), [("prediction_type", "noise"), ("variance_type", "fixed_large_log"), ("variance_type", "small")]
)
def test_types_that_are_not_supported_are_refused_with_those_that_are(key, value):
    with pytest.raises(ValueError, match=rf"{key} must be one of .*(epsilon|fixed_small).*; found '{value}'"):
        NonNormalScheduler.from_config(DDPMScheduler().config, **{key: value})


def test_a_network_without_a_learned_variance_is_refused():
    xt = normal(*SHAPE)
    with pytest.raises(ValueError, match="found 3 channels for images of 3"):
        scheduler_of("laplace", variance_type="learned_range").step(xt, 600, xt, seeded())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (dict(num_train_timesteps=10**12), "num_train_timesteps must be less than or equal to 1000000; found 10000000"),
        (dict(num_train_timesteps=0), "num_train_timesteps must be greater than or equal to 1; found 0"),
        (dict(num_train_timesteps=1e3), "num_train_timesteps must be a valid integer; found 1000.0"),
        (dict(beta_start=math.nan), "beta_start must be .*; found nan"),
        (dict(beta_start=-1e-4), "beta_start must be greater than 0; found -0.0001"),
        (dict(beta_start="0.1"), "beta_start must be a valid number; found '0.1'"),
        (dict(beta_end=1.5), "beta_end must be less than 1; found 1.5"),
        (dict(beta_schedule="odd"), "beta_schedule must be one of linear, scaled_linear, .*; found 'odd'"),
        (dict(timestep_spacing="foo"), "timestep_spacing must be one of linspace, leading, trailing; found 'foo'"),
        (dict(clip_sample="false"), "clip_sample must be a valid boolean; found 'false'"),
        (dict(clip_sample_range=math.inf), "clip_sample_range must be a finite number; found inf"),
        (dict(thresholding=True, sample_max_value=0.5), "sample_max_value must be greater than or equal to 1"),
        (
            dict(thresholding=True, dynamic_thresholding_ratio=2),
            "dynamic_thresholding_ratio must be less than or equal",
        ),
        (dict(steps_offset=-1), "steps_offset must be greater than or equal to 0; found -1"),
        (dict(rescale_betas_zero_snr=1), "rescale_betas_zero_snr must be a valid boolean; found 1"),
        (dict(trained_betas=[0.1] * 7), "trained_betas must be 1000 numbers, .*; found 7"),
        (dict(trained_betas=np.full(7, 0.1)), "trained_betas must be 1000 numbers, .*; found 7"),
        (dict(trained_betas=[0.1, -0.1], num_train_timesteps=2), "trained_betas must be greater than 0 at item 1"),
        (dict(trained_betas=[0.1, math.nan], num_train_timesteps=2), "trained_betas must be .* at item 1"),
        (dict(trained_betas=[1.0, 0.1], num_train_timesteps=2), "trained_betas and num_train_timesteps .* timestep 1"),
        (dict(beta_start=1e-9), "beta_start, beta_end and num_train_timesteps must add noise .* timestep 0"),
        (dict(num_train_timesteps=100_000), "must add noise at each timestep in single precision"),
        (dict(rescale_betas_zero_snr=True), "prediction_type must be one of sample, v_prediction .*; found 'epsilon'"),
    ],
    ids=lambda value: "-".join(map(str, value))[:40] if isinstance(value, dict) else "",
)
def test_a_value_that_cannot_be_used_is_refused_by_its_key(config, words, tmp_path):
    (tmp_path / "scheduler_config.json").write_text(
        json.dumps({"beta_start": 1e-4, "beta_end": 0.02, **config}, default=np.ndarray.tolist)
    )
    for build in (
        lambda: NonNormalScheduler(**config),
        lambda: NonNormalScheduler.from_config(DDPMScheduler().config, **config),
        lambda: NonNormalScheduler.from_pretrained(tmp_path),
    ):
        with pytest.raises(ValueError, match=words):
            build()


def test_every_key_of_diffusers_has_its_allowed_values():
    parameters = inspect.signature(DDPMScheduler.__init__).parameters
    assert SchedulerKeys.__annotations__.keys() == parameters.keys() - {"self"}


def test_without_signal_at_the_end_samples_of_the_other_predictions_are_finite(unet):
    for prediction_type in ("v_prediction", "sample"):
        scheduler = NonNormalScheduler(
            rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type=prediction_type
        )
        assert scheduler.alphas_cumprod[-1] == 0
        assert sample(unet, scheduler)[1].isfinite().all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("FlowMatchEulerDiscreteScheduler", "expected a schedule of betas"),
        ("EDMEulerScheduler", "expected a schedule of betas"),
        ("UnCLIPScheduler", "expected a schedule of betas"),
        ("CogVideoXDDIMScheduler", "snr_shift_scale must be one of 1; found 3.0"),
    ],
)
def test_the_configuration_of_another_kind_of_diffusion_is_refused(name, words, tmp_path):
    other = getattr(diffusers, name)
    other().save_config(tmp_path)
    for build in (
        lambda: NonNormalScheduler.from_config(other().config, step_distribution="laplace"),
        lambda: NonNormalScheduler.from_pretrained(tmp_path),
    ):
        with pytest.raises(ValueError, match=words):
            build()


@pytest.mark.parametrize(
    "config", [{"use_flow_sigmas": True}, {"timestep_type": "continuous"}, {"predict_epsilon": False}], ids=str
)
def test_a_key_of_another_scheduler_that_changes_what_the_network_means_is_refused(config):
    [key] = config
    with pytest.raises(ValueError, match=f"{key} must be one of"):
        NonNormalScheduler.from_config({**DDPMScheduler().config, **config})


def test_a_timestep_that_is_none_of_the_trainings_is_refused():
    scheduler = NonNormalScheduler(steps_offset=1)
    scheduler.set_timesteps(10)
    for call, words in (
        (dict(num_inference_steps=1000), "steps_offset: timesteps must be from 0 to 999; found 1000"),
        (dict(timesteps=[900, 5, -1]), "timesteps: timesteps must be from 0 to 999; found -1"),
    ):
        with pytest.raises(ValueError, match=words):
            scheduler.set_timesteps(**call)


@pytest.mark.parametrize(
    "keys", [{"step_distribution": "uniform"}, {"beta_end": 0.5}, {"num_train_timesteps": 10}], ids=str
)
def test_a_scheduler_that_is_built_keeps_its_configuration(keys, tmp_path):
    scheduler = NonNormalScheduler(step_distribution="laplace")
    [key] = keys
    with pytest.raises(ValueError, match=rf"{key}: cannot be changed .*from_config\(scheduler\.config, {key}="):
        scheduler.register_to_config(**keys)
    scheduler.save_config(tmp_path)
    assert settings(NonNormalScheduler.from_pretrained(tmp_path)) == settings(scheduler)
    scheduler.register_to_config(note="further keys may be added")
    assert scheduler.config.note


# ---- steps that a configuration names --------------------------------------------------------------------------------


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A working folder with a module that a configuration names, which leaves a file behind when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stranger.py").write_text("open('was_imported', 'w').close()\nfrom problems import HyperbolicSecant\n")
    yield "stranger:HyperbolicSecant"
    sys.modules.pop("stranger", None)


def test_a_configuration_imports_no_module(stranger, unet, tmp_path):
    DDPMPipeline(unet, NonNormalScheduler()).save_pretrained("pipeline")
    path = tmp_path / "pipeline/scheduler/scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step_distribution": stranger}))
    loaded = DDPMScheduler.from_pretrained("pipeline", subfolder="scheduler")  # keeps keys that it does not know

    def deprecated():
        with pytest.warns(FutureWarning, match="deprecated"):
            NonNormalScheduler.from_config("pipeline/scheduler")

    for load in (
        lambda: DDPMPipeline.from_pretrained("pipeline"),
        lambda: NonNormalScheduler.from_pretrained("pipeline", subfolder="scheduler"),
        lambda: NonNormalScheduler.from_pretrained("pipeline", subfolder="scheduler", return_unused_kwargs=True),
        deprecated,
        lambda: NonNormalScheduler.from_config(loaded.config),
    ):
        with pytest.raises(StepError, match=rf"found '{stranger}' in a configuration.* give trust_steps=True"):
            load()
    assert NonNormalScheduler.from_config(loaded.config, step_distribution="laplace").law == get("laplace")
    assert not (tmp_path / "was_imported").exists()
    trusted = NonNormalScheduler.from_pretrained("pipeline", subfolder="scheduler", trust_steps=True)
    assert type(trusted.law).__name__ == "HyperbolicSecant"
    assert type(DDPMPipeline.from_pretrained("pipeline", scheduler=trusted).scheduler.law) is type(trusted.law)
    assert (tmp_path / "was_imported").exists()


def test_a_configuration_may_name_a_registered_class(tmp_path, monkeypatch):
    law = "problems:HyperbolicSecant"
    NonNormalScheduler(step_distribution=law).save_config(tmp_path)
    with pytest.raises(StepError, match=r"register the class with nonnormal\.steps\.register"):
        NonNormalScheduler.from_pretrained(tmp_path)
    monkeypatch.setattr(base, "_FAMILIES", dict(base._FAMILIES))
    register(problems.HyperbolicSecant)
    assert NonNormalScheduler.from_pretrained(tmp_path).law == problems.HyperbolicSecant()
