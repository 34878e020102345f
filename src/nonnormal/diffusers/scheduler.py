"""A diffusers scheduler: ancestral sampling with any step, for a network that exists already.

x_s = mean_q(x_t, x̂0) + std z with z ~ q, where diffusers' `DDPMScheduler` has z ~ N(0, 1): schedules, time grids,
variances and the configuration are its own, the prior stays normal, and with the normal step every sample is the same.

Symbols: s < t, consecutive times of the grid; alpha² = `alphas_cumprod`, sigma² = 1 − alpha²; z, the step. Knows
diffusers and steps; nothing of this project's processes, networks or studies.

Source: mean and variance: Ho et al. (2006.11239) eq. 7; any other step: li2024 §3.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from nonnormal.denoisers import _torchvision
from nonnormal.steps import Step, StepError, get

_torchvision.ensure_importable()
# DiffusionPipeline.from_pretrained looks for the base class SchedulerMixin in the module of a component.
from diffusers import DDPMScheduler, SchedulerMixin  # noqa: E402, F401
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput  # noqa: E402

_ALLOWED = {
    "prediction_type": ("epsilon", "sample", "v_prediction"),
    # Not fixed_large_log: diffusers takes the root of a logarithm there, which is no number.
    "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"),
}

Generators = torch.Generator | list[torch.Generator] | None


class NonNormalScheduler(DDPMScheduler):
    """x_s = mean_q(x_t, x̂0) + std z, z ~ `step_distribution`: diffusers' `DDPMScheduler` with any step.

    NonNormalScheduler.from_config(pipe.scheduler.config, step_distribution="laplace") takes the place of a scheduler.
    A pipeline saved with it is loaded from its folder where this module is imported before.

    Args:
        step_distribution: name of the step, as `nonnormal.steps.get` reads it: "laplace", "student_t(df=5)",
            "module:Class". It is kept in the configuration as it is written.
        *args, **kwargs: those of `DDPMScheduler`.

    Attributes:
        law: the `Step` of that name.

    Raises:
        ValueError: no such step, or a prediction or variance type that is not supported.
    """

    def __init__(self, *args, step_distribution: str = "normal", **kwargs):
        if not isinstance(step_distribution, str):
            raise StepError(f'step_distribution must be a name, such as "student_t(df=5)"; found {step_distribution!r}')
        self.law = get(step_distribution)
        super().__init__(*args, **kwargs)
        self.register_to_config(step_distribution=step_distribution)
        for key, allowed in _ALLOWED.items():
            if self.config[key] not in allowed:
                raise ValueError(f"{key} must be one of {', '.join(allowed)}; found {self.config[key]!r}")

    # diffusers reads the keys of a configuration off the signature: DDPMScheduler's of any version, and one more.
    _ddpm = inspect.signature(DDPMScheduler.__init__)
    _name = inspect.Parameter("step_distribution", inspect.Parameter.KEYWORD_ONLY, default="normal", annotation=str)
    __init__.__signature__ = _ddpm.replace(parameters=[*_ddpm.parameters.values(), _name])
    del _ddpm, _name

    @classmethod
    def from_config(cls, config=None, return_unused_kwargs=False, **kwargs):
        """The scheduler of a configuration with other values for some of its keys.

        Raises:
            TypeError: a keyword is no key; diffusers leaves it out without a word, and with it the step.
        """
        known = {*inspect.signature(cls.__init__).parameters, "dtype"}  # which diffusers adds for a pipeline
        if not return_unused_kwargs and (unknown := [key for key in kwargs if key not in known and key[0] != "_"]):
            raise TypeError(f"unknown keyword {unknown[0]}; known: {', '.join(sorted(known - {'self'}))}")
        return super().from_config(config, return_unused_kwargs, **kwargs)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> DDPMSchedulerOutput | tuple[Tensor, Tensor]:
        """x_s = coef_x0 x̂0 + coef_xt x_t + std z; no noise at timestep 0.

        Args:
            model_output: the network's answer (B, C, H, W), or (B, 2C, H, W) with a learned variance behind it.
            timestep: t, one of `timesteps`.
            sample: x_t (B, C, H, W).
            generator: source of z, or a list of one per image; torch's default generator where it is None.
            return_dict: an object with `prev_sample` and `pred_original_sample`, else the pair (x_s, x̂0).

        Raises:
            ValueError: a list of generators is neither of 1 nor of B, or a learned variance is missing.
        """
        predicted_variance = None
        if self.config.variance_type in ("learned", "learned_range"):
            if model_output.shape[1] != 2 * sample.shape[1]:
                channels = f"{model_output.shape[1]} channels for images of {sample.shape[1]}"
                raise ValueError(f"a learned variance doubles the network's channels; found {channels}")
            model_output, predicted_variance = model_output.split(sample.shape[1], dim=1)
        s = self.previous_timestep(timestep)
        alpha2_t, alpha2_s = self.alphas_cumprod[timestep], self.alphas_cumprod[s] if s >= 0 else self.one
        sigma2_t, sigma2_s, ratio = 1 - alpha2_t, 1 - alpha2_s, alpha2_t / alpha2_s
        x0_hat = self._x0_hat(model_output, sample, alpha2_t)
        # In diffusers' order of operations, so that not even the last bit differs.
        xs = alpha2_s**0.5 * (1 - ratio) / sigma2_t * x0_hat + ratio**0.5 * sigma2_s / sigma2_t * sample
        if timestep > 0:
            z = _draw(self.law, model_output.shape, generator, model_output.dtype, model_output.device)
            xs = xs + self._std(timestep, predicted_variance) * z
        return DDPMSchedulerOutput(prev_sample=xs, pred_original_sample=x0_hat) if return_dict else (xs, x0_hat)

    def _x0_hat(self, model_output: Tensor, xt: Tensor, alpha2: Tensor) -> Tensor:
        """The clean image that the network's answer stands for, clipped as the configuration says."""
        if self.config.prediction_type == "epsilon":
            x0_hat = (xt - (1 - alpha2) ** 0.5 * model_output) / alpha2**0.5
        elif self.config.prediction_type == "v_prediction":
            x0_hat = alpha2**0.5 * xt - (1 - alpha2) ** 0.5 * model_output
        else:
            x0_hat = model_output
        if self.config.thresholding:
            return self._threshold_sample(x0_hat)
        if self.config.clip_sample:
            return x0_hat.clamp(-self.config.clip_sample_range, self.config.clip_sample_range)
        return x0_hat

    def _std(self, t: int | Tensor, predicted_variance: Tensor | None) -> Tensor:
        """Standard deviation of x_s; what diffusers calls its variance is that, its square, or its logarithm."""
        variance = self._get_variance(t, predicted_variance=predicted_variance)
        if self.config.variance_type == "fixed_small_log":
            return variance
        return torch.exp(0.5 * variance) if self.config.variance_type == "learned_range" else variance**0.5


def _draw(
    law: Step, shape: tuple[int, ...], generator: Generators, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Z ~ law (B, C, H, W), by the rules of diffusers' `randn_tensor`.

    A list has one generator per image, or one for all; z is drawn where its generator lives, and moved.

    Deviates: z is drawn in float32 at least and then cast; half precision has too few digits for a tail.
    """
    if isinstance(generator, list) and len(generator) != 1:
        if len(generator) != shape[0]:
            raise ValueError(f"one generator per image: found {len(generator)} generators for {shape[0]} images")
        return torch.cat([_draw(law, (1, *shape[1:]), each, dtype, device) for each in generator])
    [generator] = generator if isinstance(generator, list) else [generator]
    where = device if generator is None else generator.device
    working = torch.promote_types(dtype, torch.float32)
    return law.sample(tuple(shape), generator=generator, dtype=working, device=where).to(device, dtype)
