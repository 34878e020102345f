"""Fitted steps of a diffusers scheduler: one for each timestep of a short grid, fitted after training, kept in a file.

A pipeline's grid of T timesteps is a chain of T intervals. In each, the residuals of the network are collected exactly
as the pipeline calls it, including clipping, and `objectives.fitting` finds the model's step. `NonNormalScheduler`
draws from it where diffusers draws N(0, 1).

Symbols as in `scheduler`: s < t, alpha² = `alphas_cumprod`; delta = √(SNR_s − SNR_t) (x̂0 − x0), whitened error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nonnormal.bases import PIXEL, Basis, rotation
from nonnormal.objectives.fitting import BASES, Residuals, fit_step, in_residual_pca, parsed
from nonnormal.objectives.losses import need_numbers
from nonnormal.objectives.step_files import load_steps, save_steps
from nonnormal.seeds import ImageNoise, derive, one_seed_an_image
from nonnormal.steps import FittedStep, Normal, ResidualStep, Step, get
from nonnormal.steps.fitted import shape_of

if TYPE_CHECKING:
    from nonnormal.diffusers.scheduler import NonNormalScheduler

STEPS_FILE = "fitted_steps.safetensors"
_VARIANCES = ("fixed_small", "fixed_small_log")  # of the true step; fitted steps are in its units


@dataclass(frozen=True, eq=False)
class FittedSteps:
    """Steps of one grid of timesteps.

    Attributes:
        steps: one for each timestep, from the prior to the data; the last is not drawn if no noise is added after it
            (`final_alpha_cumprod` = 1).
        timesteps: t, falling.
        levels: alphas_cumprod at these timesteps, to check that steps and scheduler belong together.
    """

    steps: tuple[Step | FittedStep | ResidualStep, ...]
    timesteps: tuple[int, ...]
    levels: tuple[float, ...]

    def noise(self, t: int, x0_hat: Tensor, draw: Callable[[Step, tuple[int, ...]], Tensor]) -> Tensor:
        """Z of the step from timestep t to the next, in units of the true step's standard deviation, (B, C, H, W).

        Args:
            t: one of the timesteps.
            x0_hat: prediction (B, C, H, W).
            draw: function that draws from a law, with a shape whose first number is B.

        Raises:
            ValueError: another timestep, or images of another shape.
        """
        if t not in self.timesteps:
            raise ValueError(f"steps were fitted for timesteps {list(self.timesteps)}; found {t}")
        step = self.steps[self.timesteps.index(t)]
        w = draw(shape_of(step), x0_hat.shape)
        if isinstance(step, ResidualStep):
            uniform = get("uniform")
            return step.noise(w, uniform.cdf(draw(uniform, (len(w),)).double()).clamp(max=1 - 1e-9).cpu())
        return step.noise(w, x0_hat) if isinstance(step, FittedStep) else w

    def refuse_other(self, scheduler: NonNormalScheduler) -> None:
        """Refuse a scheduler with other noise levels or variances.

        Raises:
            ValueError: with what was found.
        """
        if (found := scheduler.config.variance_type) not in _VARIANCES:
            raise ValueError(f"variance_type must be one of {', '.join(_VARIANCES)} with fitted steps; found {found!r}")
        n = len(scheduler.alphas_cumprod)
        if not all(0 <= t < n for t in self.timesteps) or list(self.timesteps) != sorted({*self.timesteps})[::-1]:
            raise ValueError(f"timesteps of fitted steps must fall within 0 to {n - 1}; found {list(self.timesteps)}")
        levels = scheduler.alphas_cumprod[list(self.timesteps)]
        if not torch.allclose(levels.double(), torch.tensor(self.levels, dtype=torch.float64), rtol=1e-5, atol=0):
            raise ValueError("the steps were fitted for other noise levels than the scheduler's; fit them again")

    def save(self, folder: Path | str) -> None:
        """Write the file of the steps into a scheduler's folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        facts = {"timesteps": list(self.timesteps), "levels": list(self.levels)}
        save_steps(Path(folder) / STEPS_FILE, self.steps[::-1], **facts)

    @classmethod
    def load(cls, folder: Path | str) -> FittedSteps:
        """Read the steps from a scheduler's folder; nothing that the file names is imported.

        Raises:
            ValueError: the file is missing, damaged, or contains no fitted steps of a scheduler.
        """
        path = Path(folder) / STEPS_FILE
        if not path.is_file():
            raise ValueError(
                f"{path}: there is no such file, but the configuration says that steps were fitted; get the whole "
                "folder, or load it with fitted_steps=None"
            )
        steps, facts = load_steps(path)
        timesteps, levels = facts.get("timesteps"), facts.get("levels")
        for name, values, kind in (("timesteps", timesteps, int), ("levels", levels, float)):
            if not (isinstance(values, list) and len(values) == len(steps) and all(type(v) is kind for v in values)):
                raise ValueError(f"{path} holds no fitted steps of a scheduler: {name} must be {len(steps)} numbers")
        return cls(steps[::-1], tuple(timesteps), tuple(levels))


@torch.no_grad()
def fit_scheduler(
    unet: torch.nn.Module,
    scheduler: NonNormalScheduler,
    images: Tensor,
    num_inference_steps: int,
    *,
    choice: str,
    seeds: Sequence[int],
    basis: str | Basis = "pixel",
    n_draws: int = 3,
    batch_size: int = 64,
) -> NonNormalScheduler:
    """A scheduler with one step for each of its timesteps, fitted to a pretrained network on images.

    Args:
        unet: network of a pipeline: called with (x_t, t), it returns an object with `sample`.
        scheduler: of that pipeline, as `NonNormalScheduler.from_config` makes it; it is not changed.
        images: (N, C, H, W) in [−1, 1], preferably images that the network was not trained on.
        num_inference_steps: T, network calls of the samples.
        choice, basis, seeds, n_draws: as in `objectives.fitting.fit_steps`.
        batch_size: images per network call.

    Returns:
        NonNormalScheduler for exactly T calls. `save_pretrained` of it, or of a pipeline with it, keeps the steps.

    Raises:
        ValueError: the numbers of seeds and images differ, the choice or basis is unknown, or variance_type is neither
            fixed_small nor fixed_small_log.
    """
    if not hasattr(scheduler, "predict_x0"):
        raise ValueError(
            f"a NonNormalScheduler is needed, found {type(scheduler).__name__}; from_config makes one of it"
        )
    need_numbers(images)
    one_seed_an_image(seeds, images)
    parsed(choice)
    if isinstance(basis, str) and basis not in BASES:
        raise ValueError(f"unknown basis {basis!r}; known: {', '.join(BASES)}")
    fixed = None if basis in ("pixel", PIXEL, "residual_pca") else basis
    fixed = rotation(fixed, images) if isinstance(fixed, str) else fixed
    grid = type(scheduler).from_config(scheduler.config, fitted_steps=None)
    grid.set_timesteps(num_inference_steps)
    timesteps = tuple(grid.timesteps.tolist())
    levels = tuple(grid.alphas_cumprod[list(timesteps)].tolist())
    x0 = images.repeat(n_draws, 1, 1, 1)
    image = torch.arange(len(images)).repeat(n_draws)
    noise_seeds = [derive(seed, "residual", draw) for draw in range(n_draws) for seed in seeds]
    noise = ImageNoise(noise_seeds, x0.shape[1:], x0.dtype, x0.device)
    steps: list[Step | FittedStep | ResidualStep] = []
    FittedSteps((), timesteps, levels).refuse_other(grid)  # before any network call
    for t in timesteps:
        s = int(grid.previous_timestep(t))
        if s < 0 and grid.one == 1:  # no noise is added any more
            steps.append(Normal())
            continue
        xt = grid.add_noise(x0, noise.draw("normal"), torch.full((len(x0),), t, device=x0.device))
        parts = [grid.predict_x0(unet(part, t).sample, t, part) for part in xt.split(batch_size)]
        x0_hat = torch.cat(parts).double().cpu()
        alpha2_s = (grid.alphas_cumprod[s] if s >= 0 else grid.one).double()
        alpha2_t = grid.alphas_cumprod[t].double()
        gain = (alpha2_s / (1 - alpha2_s) - alpha2_t / (1 - alpha2_t)).sqrt()
        errors = Residuals(Normal(), gain * (x0_hat - x0.double().cpu()), x0_hat, image)
        own, components = in_residual_pca(errors) if basis == "residual_pca" else (errors, fixed)
        steps.append(scheduler.law if choice == "unit" else fit_step(own, choice, basis=components, seed=seeds[0]))
    return grid.with_steps(FittedSteps(tuple(steps), timesteps, levels))
