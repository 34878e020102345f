"""A diffusers scheduler: ancestral sampling with any step, for a pretrained network.

x_s = mean_q(x_t, x̂0) + std z with z ~ q, where diffusers' `DDPMScheduler` has z ~ N(0, 1). Schedules, time grids,
variances and configuration are those of `DDPMScheduler`, the prior stays normal, and with the normal step all samples
are the same as those of `DDPMScheduler`.

Symbols: s < t, consecutive times of the grid; alpha² = `alphas_cumprod`, sigma² = 1 − alpha²; z, the step. Depends on
diffusers and steps; independent of this project's processes, networks and studies.

Source: mean and variance: Ho et al. (2006.11239) eq. 7; any other step: li2024 §3.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from torch import Tensor

from nonnormal.denoisers import _torchvision
from nonnormal.diffusers.fitted import STEPS_FILE, FittedSteps
from nonnormal.diffusers.keys import OtherSchedulerKeys, OwnSchedulerKeys, SchedulerKeys, refuse_unusable
from nonnormal.steps import Step, StepError, get, is_registered

_torchvision.ensure_importable()
# DiffusionPipeline.from_pretrained looks for the base class SchedulerMixin in the module of a component.
from diffusers import DDPMScheduler, SchedulerMixin  # noqa: E402, F401
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput  # noqa: E402

Generators = torch.Generator | list[torch.Generator] | None


class NonNormalScheduler(DDPMScheduler):
    """diffusers' `DDPMScheduler` with any step: x_s = mean_q(x_t, x̂0) + std z with z ~ `step_distribution`.

    NonNormalScheduler.from_config(pipe.scheduler.config, step_distribution="laplace") replaces a pipeline's scheduler.
    Import this module before loading a pipeline that was saved with it.

    Deviates: if rounding gives diffusers' trailing grid one timestep too many, at −1, that timestep is left out.

    Args:
        step_distribution: name of the step, as `nonnormal.steps.get` reads it: "laplace", "student_t(df=5)",
            "module:Class". The configuration keeps it as written. A configuration that names a class of your own is
            loaded only as `from_config` says.
        final_alpha_cumprod: alpha² at which the chain ends. With 1, as in diffusers, the image is the x̂0 of the last
            call. Below 1 the last step adds noise like every other step, and the state at this level is divided by
            alpha: this is the chain of this project's processes, which end with a little noise. Noise levels are then
            float64.
        fitted_steps: name of the file of fitted steps beside the configuration, which `with_steps` sets.
        *args, **kwargs: those of `DDPMScheduler`.

    Attributes:
        law: the `Step` of that name.
        steps: `FittedSteps` that replace it, or None.

    Raises:
        ValueError: an unknown step, a value that cannot be used, or noise levels that would give samples of NaN.

    Examples:
        >>> from nonnormal import NonNormalScheduler
        >>> scheduler = NonNormalScheduler(step_distribution="laplace")
        >>> NonNormalScheduler.from_config(scheduler.config, step_distribution="student_t(df=5)").law
        StudentT(df=5.0)
    """

    def __init__(
        self,
        *args,
        step_distribution: str = "normal",
        final_alpha_cumprod: float = 1.0,
        fitted_steps: str | None = None,
        **kwargs,
    ):
        if not isinstance(step_distribution, str):
            raise StepError(f'step_distribution must be a name, such as "student_t(df=5)"; found {step_distribution!r}')
        given = inspect.signature(DDPMScheduler.__init__).bind(self, *args, **kwargs)
        refuse_unusable(given.arguments, SchedulerKeys)  # before diffusers makes the noise levels
        refuse_unusable({"final_alpha_cumprod": final_alpha_cumprod}, OwnSchedulerKeys)
        if fitted_steps not in (None, STEPS_FILE):
            raise ValueError(f"fitted_steps must be None or {STEPS_FILE!r}; found {fitted_steps!r}")
        self.law = get(step_distribution)
        super().__init__(*args, **kwargs)
        self.register_to_config(
            step_distribution=step_distribution, final_alpha_cumprod=final_alpha_cumprod, fitted_steps=fitted_steps
        )
        self.steps: FittedSteps | None = None
        if final_alpha_cumprod < 1:
            betas = self.config.trained_betas
            self.betas = self.betas.double() if betas is None else torch.as_tensor(betas, dtype=torch.float64)
            self.alphas = 1 - self.betas
            self.alphas_cumprod = self.alphas.cumprod(0)
            self.one = torch.tensor(final_alpha_cumprod, dtype=torch.float64)  # alpha² before the first timestep
        self._refuse_unusable_levels()

    def _refuse_unusable_levels(self) -> None:
        """Refuse noise levels at which the mean or variance of a step would be NaN."""
        config, levels = self.config, self.alphas_cumprod
        if len(levels) != config.num_train_timesteps:
            raise ValueError(
                f"trained_betas must be {config.num_train_timesteps} numbers, one for each of num_train_timesteps; "
                f"found {len(levels)}"
            )
        if config.final_alpha_cumprod < 1 and config.final_alpha_cumprod <= levels[0]:
            raise ValueError(
                f"final_alpha_cumprod must be larger than alphas_cumprod at timestep 0, {levels[0]:.6g}; found "
                f"{config.final_alpha_cumprod}"
            )
        if not (levels[0] < 1 and (levels.diff() < 0).all()):
            k = 0 if levels[0] >= 1 else int((levels.diff() >= 0).nonzero()[0]) + 1
            named = "trained_betas" if config.trained_betas is not None else "beta_schedule, beta_start, beta_end"
            raise ValueError(
                f"{named} and num_train_timesteps must add noise at each timestep in single precision; they add none "
                f"at timestep {k}, where alphas_cumprod is {levels[k]:.6g}"
            )
        if levels[-1] <= 0 and config.prediction_type == "epsilon":
            raise ValueError(
                "prediction_type must be one of sample, v_prediction where the last timestep has no signal "
                "(rescale_betas_zero_snr, or betas that are too large); found 'epsilon'"
            )

    # diffusers reads the keys of a configuration off the signature: DDPMScheduler's of any version, and two more.
    _ddpm, _key = inspect.signature(DDPMScheduler.__init__), inspect.Parameter.KEYWORD_ONLY
    _step = inspect.Parameter("step_distribution", _key, default="normal", annotation=str)
    _final = inspect.Parameter("final_alpha_cumprod", _key, default=1.0, annotation=float)
    _fitted = inspect.Parameter("fitted_steps", _key, default=None, annotation=str)
    __init__.__signature__ = _ddpm.replace(parameters=[*_ddpm.parameters.values(), _step, _final, _fitted])
    del _ddpm, _key, _step, _final, _fitted

    def with_steps(self, steps: FittedSteps) -> NonNormalScheduler:
        """This scheduler with fitted steps, as `fitted.fit_scheduler` finds them, for exactly their timesteps.

        Raises:
            ValueError: the steps were fitted for other noise levels, or for a network with another variance_type.
        """
        steps.refuse_other(self)
        scheduler = type(self).from_config(self.config, fitted_steps=STEPS_FILE)
        scheduler.steps = steps
        return scheduler

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Write the configuration, and fitted steps in a file beside it, to a folder."""
        self._refuse_missing_steps()
        if self.steps is not None:
            self.steps.save(save_directory)
        return super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path=None, subfolder=None, return_unused_kwargs=False, **kwargs):
        """Load the scheduler from a folder or the Hub; fitted steps can be loaded from a folder only.

        Args:
            pretrained_model_name_or_path, subfolder, return_unused_kwargs: as in diffusers.
            **kwargs: as in diffusers and `from_config`; fitted_steps=None leaves the steps out.

        Raises:
            ValueError: the file of steps is missing, damaged, hostile, or for other noise levels; see `from_config`.
        """
        found = super().from_pretrained(pretrained_model_name_or_path, subfolder, return_unused_kwargs, **kwargs)
        scheduler = found[0] if return_unused_kwargs else found
        if scheduler.config.fitted_steps:
            steps = FittedSteps.load(Path(pretrained_model_name_or_path, subfolder or ""))
            steps.refuse_other(scheduler)
            scheduler.steps = steps
        return found

    def _refuse_missing_steps(self) -> None:
        if self.config.fitted_steps and self.steps is None:
            raise ValueError(
                "fitted_steps: the configuration names fitted steps, which it does not hold; load them by "
                "NonNormalScheduler.from_pretrained(folder), or give fitted_steps=None to go without"
            )

    @classmethod
    def from_config(cls, config=None, return_unused_kwargs=False, *, trust_steps=False, **kwargs):
        """Make a scheduler from a configuration, with other values for some of its keys.

        Args:
            config: of any scheduler of diffusers with betas.
            return_unused_kwargs: as in diffusers.
            trust_steps: whether a `step_distribution` "module:Class" *of the configuration* may be imported. This runs
                code, and a downloaded configuration can name any module. One given as a keyword is always imported.
            **kwargs: other values.

        Raises:
            TypeError: a keyword is not a key; diffusers would ignore it silently, and with it a misspelt step.
            StepError: the configuration names a step that is neither registered nor trusted.
            ValueError: the configuration has no betas, or a value that cannot be used.
        """
        known = {*inspect.signature(cls.__init__).parameters, "dtype"}  # which diffusers adds for a pipeline
        if not return_unused_kwargs and (unknown := [key for key in kwargs if key not in known and key[0] != "_"]):
            raise TypeError(f"unknown keyword {unknown[0]}; known: {', '.join(sorted(known - {'self'}))}")
        return super().from_config(config, return_unused_kwargs, trust_steps=trust_steps, **kwargs)

    @classmethod
    def extract_init_dict(cls, config_dict, trust_steps=False, **kwargs):
        """Keywords of the constructor in a configuration; diffusers calls it for every configuration."""
        refuse_unusable(config_dict, OtherSchedulerKeys)
        keys = {**config_dict, **kwargs}
        if keys.get("trained_betas") is None and not {"beta_start", "beta_end"} <= keys.keys():
            kind = config_dict.get("_class_name", "another scheduler")
            raise ValueError(
                "expected a schedule of betas (beta_start and beta_end, or trained_betas); found the configuration of "
                f"{kind}, which has none"
            )
        name = None if "step_distribution" in kwargs else config_dict.get("step_distribution")
        if isinstance(name, str) and not (trust_steps or is_registered(name)):
            raise StepError(
                f"step_distribution: found {name!r} in a configuration; importing it runs code. If you trust it, "
                "give trust_steps=True, or register the class with nonnormal.steps.register first"
            )
        # Values are kept: diffusers would replace another class's defaults, such as Heun's betas, with its own.
        config = {key: value for key, value in config_dict.items() if key != "_use_default_values"}
        if config.get("variance_type", "") is None:  # of a solver that adds no noise
            del config["variance_type"]
        return super().extract_init_dict(config, **kwargs)

    def register_to_config(self, **keys):
        """Add keys to the configuration.

        Raises:
            ValueError: a key of the constructor already has another value, from which step and noise levels were made.
        """
        fixed = inspect.signature(type(self).__init__).parameters.keys() & getattr(self, "_internal_dict", {}).keys()
        if changed := [key for key in keys if key in fixed]:
            raise ValueError(
                f"{changed[0]}: cannot be changed after construction; make another scheduler with "
                f"NonNormalScheduler.from_config(scheduler.config, {changed[0]}=...)"
            )
        super().register_to_config(**keys)

    def set_timesteps(self, *args, **kwargs) -> None:
        """Set the timesteps of sampling, as `DDPMScheduler` does.

        Raises:
            ValueError: a timestep does not exist in training, or steps were fitted for other timesteps.
        """
        self._refuse_missing_steps()
        super().set_timesteps(*args, **kwargs)
        if not self.custom_timesteps:  # rounding may leave a last one at −1, which would have the largest noise
            self.timesteps = self.timesteps[self.timesteps >= 0]
        low, high, n = int(self.timesteps.min()), int(self.timesteps.max()), self.config.num_train_timesteps
        if low < 0 or high >= n:
            name = "timesteps" if self.custom_timesteps else "steps_offset"
            raise ValueError(f"{name}: timesteps must be from 0 to {n - 1}; found {low if low < 0 else high}")
        if self.steps is not None and tuple(self.timesteps.tolist()) != self.steps.timesteps:
            raise ValueError(
                f"the steps were fitted for {len(self.steps.timesteps)} calls at timesteps "
                f"{list(self.steps.timesteps)}; found {self.timesteps.tolist()}"
            )

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> DDPMSchedulerOutput | tuple[Tensor, Tensor]:
        """x_s = coef_x0 x̂0 + coef_xt x_t + std z; no noise at timestep 0 unless `final_alpha_cumprod` is below 1.

        Args:
            model_output: the network's answer (B, C, H, W), or (B, 2C, H, W) with a learned variance behind it.
            timestep: t, one of `timesteps`.
            sample: x_t (B, C, H, W).
            generator: source of z, or a list with one per image; torch's default generator if None.
            return_dict: whether to return an object with `prev_sample` and `pred_original_sample`, else the pair
                (x_s, x̂0).

        Raises:
            ValueError: a list of generators has neither 1 nor B items, a learned variance is missing, or steps were
                fitted for other timesteps or images of another shape.
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
        if timestep > 0 or self.one < 1:
            z = self._noise(int(timestep), x0_hat, generator)
            xs = xs + self._std(timestep, predicted_variance) * z
        if s < 0 and self.one < 1:
            xs = xs / self.one**0.5
        return DDPMSchedulerOutput(prev_sample=xs, pred_original_sample=x0_hat) if return_dict else (xs, x0_hat)

    def _noise(self, t: int, x0_hat: Tensor, generator: Generators) -> Tensor:
        """Z in units of the true step's standard deviation, (B, C, H, W)."""

        def draw(law: Step, shape: tuple[int, ...]) -> Tensor:
            return _draw(law, shape, generator, x0_hat.dtype, x0_hat.device)

        return draw(self.law, x0_hat.shape) if self.steps is None else self.steps.noise(t, x0_hat, draw)

    def predict_x0(self, model_output: Tensor, timestep: int | Tensor, sample: Tensor) -> Tensor:
        """x̂0 as `step` uses it, for the network's answer at x_t (B, C, H, W)."""
        return self._x0_hat(model_output, sample, self.alphas_cumprod[timestep])

    def _x0_hat(self, model_output: Tensor, xt: Tensor, alpha2: Tensor) -> Tensor:
        """The predicted clean image for the network's answer, clipped according to the configuration."""
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
        """Standard deviation of x_s; diffusers' "variance" is this number, its square, or its logarithm."""
        variance = self._get_variance(t, predicted_variance=predicted_variance)
        if self.config.variance_type == "fixed_small_log":
            return variance
        return torch.exp(0.5 * variance) if self.config.variance_type == "learned_range" else variance**0.5


def _draw(
    law: Step, shape: tuple[int, ...], generator: Generators, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """z ~ law (B, C, H, W), by the rules of diffusers' `randn_tensor`.

    A list has one generator per image, or one for all; z is drawn on its generator's device, and moved.

    Deviates: z is drawn in at least float32 and then cast, since half precision has too few digits for tails.
    """
    if isinstance(generator, list) and len(generator) != 1:
        if len(generator) != shape[0]:
            raise ValueError(f"one generator per image: found {len(generator)} generators for {shape[0]} images")
        return torch.cat([_draw(law, (1, *shape[1:]), each, dtype, device) for each in generator])
    [generator] = generator if isinstance(generator, list) else [generator]
    where = device if generator is None else generator.device
    working = torch.promote_types(dtype, torch.float32)
    return law.sample(tuple(shape), generator=generator, dtype=working, device=where).to(device, dtype)
