"""Settings of a run: what a study file may say of one network, and the objects that its words stand for.

These models are the source of what is allowed for a run; `study` puts runs together. Strings become objects here.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from torch import Tensor

from nonnormal import bases, steps
from nonnormal.bases import PIXEL
from nonnormal.processes import PSLD, VP, LinearProcess, schedules, vp_sde
from nonnormal.steps import divergence
from nonnormal.steps.conventions import PRINTED_PAIRS, is_printed


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_of_yaml_1_2(cls, value: Any, info: ValidationInfo) -> Any:
        """Reads 1e-3 as a number, which YAML 1.1 takes for a text, where a number is asked for."""
        return _with_numbers(value) if info.field_name in _number_fields(cls) else value


@cache
def _number_fields(model: type[BaseModel]) -> set[str]:
    return {name for name, field in model.model_fields.items() if _mentions_float(field.annotation)}


def _mentions_float(hint: Any) -> bool:
    return hint is float or any(map(_mentions_float, get_args(hint)))


_EXPONENT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+")


def _with_numbers(value: Any) -> Any:
    """The value, or the list, with numbers in place of texts as 1e-3."""
    if isinstance(value, list):
        return [_with_numbers(part) for part in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


MOST_STEPS = 1_000_000  # of a diffusion: each is a number in memory, and of samples a call of the network
SINGLE = 170  # log-SNR beyond which sigma, or alpha = exp(log_snr / 2), leaves float32
MOST = 1_000_000_000  # of anything else that is counted

# Not what Python would make of a text or of true.
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]


def _known_step(name: str) -> str:
    step = steps.get(name)
    return name if ":" in name else str(step)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))}: named more than once")
    return names


_LIMIT_LOSS = "or train it with training.loss: limit"
_WIDE = ("normal", "laplace", "logistic", "student_t(df=5)", "generalized_normal(shape=1)")  # that most q fit into

StepName = Annotated[
    str,
    AfterValidator(_known_step),
    WithJsonSchema({"type": "string", "examples": [*steps.families(), "student_t(df=5)", "my_module:MyStep"]}),
]

StepNames = Annotated[tuple[StepName, ...], Field(min_length=1), AfterValidator(_distinct)]


class Basis(Settings):
    """Representation in which the step's coordinates are independent."""

    kind: Literal["pixel", "pca", "dct", "fourier", "haar"] = "pixel"
    """pca is fitted to the training split, over all channels jointly: all directions, or of images of more than 4096
    numbers the 512 leading ones by a randomised solver. The others treat each channel by itself."""
    levels: int = Field(1, strict=True, ge=1, le=10)
    """How often haar splits the averages."""
    whiten: Flag = False
    """Divide each component by its deviation over the training split."""

    @model_validator(mode="after")
    def _levels_of_haar(self):
        if self.levels != 1 and self.kind != "haar":
            raise ValueError(f"levels: belongs to haar, found {self.levels} with {self.kind}")
        return self

    def check(self, key: str, shape: tuple[int, int, int]) -> None:
        """Refuses a basis that fits no images (C, H, W), naming its key in the study."""
        if self.kind == "haar" and shape[-1] % 2**self.levels:
            raise ValueError(f"{key}.levels: found {self.levels}, but {shape[-1]} pixels are not halved so often")

    def __str__(self) -> str:
        return {"pca": "PCA", "dct": "DCT", "haar": "Haar"}.get(self.kind, self.kind) + " whitened" * self.whiten

    def fit(self, images: Tensor, floor: float, scale: bases.Scale | None = None) -> bases.BasisStatistics:
        """The basis with the statistics of the images (N, C, H, W); args as in `bases.BasisStatistics.fit`."""
        options = dict(floor=floor, levels=self.levels, whiten=self.whiten, scale=scale)
        return bases.BasisStatistics.fit(self.kind, images, **options)

    def rotation(self, images: Tensor, scale: bases.Scale | None = None) -> bases.Basis:
        """The orthonormal basis, before whitening, without statistics of the images (N, C, H, W)."""
        return bases.rotation(self.kind, images, levels=self.levels, scale=scale)


def resolution(levels: int) -> float:
    """Standard deviation of rounding to grey levels of [−1, 1]: their distance over √12."""
    return 2 / (levels - 1) / math.sqrt(12)


_Label = Annotated[Number, Field(ge=-1e6, le=1e6)]
Labels = Literal["variance", "frequency", "column", "row"] | tuple[tuple[tuple[_Label, ...], ...], ...]


class Schedule(Settings):
    """log-SNR over time, one for all components or one for each."""

    kind: Literal["linear_log_snr", "cosine", "polynomial", "component_wise", "sequential"] = "linear_log_snr"
    """Shape between the two ends; polynomial is EDM's, with rho = 7. component_wise: parallel lines in the order of the
    labels. sequential: one label after the other, each in a window of its own."""
    log_snr_max: Number = Field(13.3, ge=-30, le=30)
    """log-SNR at t = 0, the data."""
    log_snr_min: Number = Field(-5.0, ge=-30, le=30)
    """log-SNR at t = 1, the prior."""
    labels: Labels = "variance"
    """Order of components, larger first to be noised and last to be generated: variance (small is last), frequency
    (high is last; of dct, fourier, haar), column, row (of pixel, dct, fourier), or numbers (C, H, W)."""
    softness: Number | None = Field(1.0, ge=1e-3)
    """Of component_wise: towards 0 autoregressive, 1 standard diffusion if by variance, null one SNR for all."""
    delay: Number = Field(1.0, ge=0, le=1e3)
    """Of sequential: windows between the starts of neighbouring labels."""
    low: Number | None = Field(None, ge=-700, le=700)
    """Of component_wise: log-SNR below which components rest; nowhere where it is null."""
    high: Number | None = Field(None, ge=-700, le=700)
    """Of component_wise: log-SNR above which components rest; nowhere where it is null."""

    @field_validator("labels")
    @classmethod
    def _rectangular(cls, labels: Any) -> Any:
        rows = [] if isinstance(labels, str) else [row for channel in labels for row in channel]
        if len({len(channel) for channel in labels if rows}) > 1 or len({len(row) for row in rows}) > 1:
            raise ValueError("must have channels of one height and rows of one length, as an image (C, H, W)")
        return labels

    @model_validator(mode="after")
    def _of_its_kind(self):
        belongs = {
            "labels": ("component_wise", "sequential"),
            "softness": ("component_wise",),
            "delay": ("sequential",),
            "low": ("component_wise",),
            "high": ("component_wise",),
        }
        for name, kinds in belongs.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: belongs to {' and '.join(kinds)}, found with {self.kind}")
        if not self.log_snr_min < self.log_snr_max:
            raise ValueError(
                f"log_snr_max = {self.log_snr_max} must be larger than log_snr_min = {self.log_snr_min}: "
                "time 0 is data, time 1 is the prior"
            )
        if None not in (self.low, self.high) and self.low >= self.high:
            raise ValueError(f"low: found {self.low}; must be smaller than high, which is {self.high}")
        return self

    def __str__(self) -> str:
        if not self.by_component:
            return "one schedule"
        order = self.labels if isinstance(self.labels, str) else "custom labels"
        if self.kind == "sequential":
            return f"by {order}, delay {self.delay:g}"
        return "one SNR" if self.softness is None else f"softness {self.softness:g} by {order}"

    @property
    def by_component(self) -> bool:
        """Whether each component has a log-SNR of its own."""
        return self.kind in ("component_wise", "sequential")

    def build(self, components: bases.BasisStatistics | None = None) -> schedules.Schedule:
        """The schedule object; of components where each has its own.

        Raises:
            ValueError: labels do not fit the components, or a log-SNR leaves what float64 holds.
        """
        ends = self.log_snr_max, self.log_snr_min
        if not self.by_component:
            kinds = {"linear_log_snr": schedules.LinearLogSNR, "cosine": schedules.Cosine}
            return (kinds | {"polynomial": schedules.Polynomial})[self.kind](*ends)
        labels = self._labels(tuple(components.std.shape), components.basis, components.variance)
        if self.kind == "sequential":
            return schedules.sequential(labels, self.delay, *ends)
        softness = math.inf if self.softness is None else self.softness
        return schedules.ComponentWise(labels, softness, components.variance, *ends, *self._clip)

    @property
    def _clip(self) -> tuple[float, float]:
        """Low and high, infinite where they are null."""
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    def _labels(self, shape: tuple[int, ...], basis: bases.Basis, variance: Tensor) -> Tensor:
        if not isinstance(self.labels, str):
            labels = torch.tensor(self.labels, dtype=torch.float64)
            if tuple(labels.shape) != shape:
                raise ValueError(f"labels: must have the shape {shape} of an image, found {tuple(labels.shape)}")
            return labels
        if self.labels == "variance":
            return schedules.variance_labels(variance)
        if self.labels == "frequency":
            return basis.frequency(shape)
        return {"column": schedules.column_labels, "row": schedules.row_labels}[self.labels](shape)

    def check(self, shape: tuple[int, ...], basis: bases.Basis, least: float, most: float) -> None:
        """Refuses what fits no images of a shape.

        Args:
            shape: of an image, (C, H, W).
            basis: fixed, or of any kind where the labels are not frequencies.
            least, most: variances between which those of all components are.

        Raises:
            ValueError: key, what was found, what is allowed.
        """
        if not self.by_component:
            return
        labels = self._labels(shape, basis, torch.ones(shape))
        if self.kind == "sequential":  # whatever the data, each component falls from one end to the other
            return
        (low, high), rate = self._clip, 0.0 if self.softness is None else 1 / self.softness
        # Each component starts at log_snr_max + ahead − log Σ and ends at log_snr_min − behind − log Σ.
        ahead, behind = (labels.max() - labels) * rate, (labels - labels.min()) * rate
        nearest, farthest = -math.log(most), -math.log(least)
        highest, lowest = farthest, nearest
        if self.labels == "variance":  # ahead and behind are differences of log Σ, at most by its whole range
            highest = max(farthest, nearest + (farthest - nearest) * rate)
            lowest = min(nearest, farthest - (farthest - nearest) * rate)
        still = (self.log_snr_max + ahead + highest <= low) | (self.log_snr_min - behind + lowest >= high)
        if still.any():
            key = "high" if math.isinf(low) else "low"
            raise ValueError(
                f"{key}: {still.sum()} of {still.numel()} components never move between low = {low:g} and high = "
                f"{high:g}, whatever the data: begin with log_snr_max above low, and end with log_snr_min below high"
            )
        first = (self.log_snr_max + ahead + nearest).clamp(max=high).max().item()
        last = (self.log_snr_min - behind + farthest).clamp(min=low).min().item()
        if first > SINGLE or last < -SINGLE:
            raise ValueError(
                f"softness: found {self.softness:g}; log-SNRs from {first:.4g} to {last:.4g} leave single precision "
                f"(±{SINGLE}): cap them by low and high, or soften the order"
            )


class Process(Settings):
    """Drift, diffusion and schedule."""

    kind: Literal["vp", "vp_sde", "psld"] = "vp"
    """vp: variance preserving. vp_sde: the same by its equation dx = -beta x/2 dt + sqrt(beta) dw. psld: phase space,
    which without friction_x is CLD."""
    schedule: Schedule = Schedule()
    """log-SNR over time, of vp; the other kinds have theirs by their rates."""
    beta: Number | tuple[Number, Number] | None = None
    """Rate of time of vp_sde and psld, a number or its two ends; 0.1 to 20 and 8 where it is null."""
    mass_inv: Number | None = Field(None, gt=0)
    """Inverse mass of psld; 4 where it is null."""
    friction_x: Number | None = Field(None, ge=0)
    """Friction and noise on the position of psld; 0.01 where it is null."""
    friction_m: Number | None = Field(None, ge=0)
    """Friction and noise on the momentum of psld, critical: friction_x + 2 sqrt(mass_inv), which it is where null."""
    momentum_var: Number | None = Field(None, ge=0)
    """Variance of psld's momentum at t = 0 in units of the mass; 0.04 where it is null."""

    @model_validator(mode="after")
    def _is_one(self):
        if strange := [name for name in _PROCESS_KEYS - _KEYS_OF[self.kind] if getattr(self, name) is not None]:
            raise ValueError(f"{min(strange)}: does not fit the kind {self.kind}")
        if self.kind != "vp" and self.schedule != Schedule():
            raise ValueError(f"schedule: does not fit the kind {self.kind}, whose rates are its schedule")
        if self.kind != "vp":
            self.build()
        return self

    def build(self, components: bases.BasisStatistics | None = None) -> LinearProcess:
        """The process object."""
        if self.kind == "vp":
            return VP(self.schedule.build(components))
        named = {name: value for name in _KEYS_OF[self.kind] if (value := getattr(self, name)) is not None}
        if self.kind == "vp_sde":
            return vp_sde(**named)
        if "friction_m" not in named:
            mass_inv, friction_x = (named.get(name, getattr(PSLD, name)) for name in ("mass_inv", "friction_x"))
            named["friction_m"] = friction_x + 2 * math.sqrt(mass_inv)
        return PSLD(**named)


_KEYS_OF = {
    "vp": set(),
    "vp_sde": {"beta"},
    "psld": {"beta", "mass_inv", "friction_x", "friction_m", "momentum_var"},
}
_PROCESS_KEYS = _KEYS_OF["psld"]


class Network(Settings):
    """The U-Net and what it predicts."""

    parametrisation: Literal["edm", "eps", "v", "x0"] = "edm"
    """What the network predicts."""
    statistics: Literal["pooled", "component"] = "pooled"
    """Of the data, by which edm scales: one deviation of all pixels, or mean and deviation of each component."""
    widths: tuple[Annotated[int, Field(strict=True, ge=1, le=8192)], ...] = Field((16, 32), min_length=1)
    """Channels at each resolution; each level after the first halves height and width, so one level halves nothing."""
    layers_per_block: int = Field(1, strict=True, ge=1, le=100)
    """Residual blocks per level."""
    attention: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = ()
    """Levels with self-attention, 0 is the full resolution; where there are any, the middle has it, too."""
    middle_attention: Flag = False
    """Self-attention in the middle, also where no level has it."""
    dropout: Number = Field(0.0, ge=0, lt=1)
    """Dropout probability."""
    groups: int = Field(8, strict=True, ge=1)
    """Groups of the group normalisation; divides every width."""
    fourier: tuple[Annotated[int, Field(strict=True, ge=0, le=12)], ...] = ()
    """Exponents n of the input features sin, cos(2^n pi x)."""

    @field_validator("attention")
    @classmethod
    def _levels(cls, attention: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        levels = len(info.data.get("widths", ()))
        if levels and any(level >= levels for level in attention):
            raise ValueError(f"names levels of the network, which are 0 to {levels - 1}")
        return attention

    @field_validator("groups")
    @classmethod
    def _divides(cls, groups: int, info: ValidationInfo) -> int:
        widths = info.data.get("widths", ())
        if any(width % groups for width in widths):
            raise ValueError(f"must divide every width, which are {list(widths)}")
        return groups


class Training(Settings):
    """Objective and optimisation."""

    weighting: Literal["elbo", "perceptual", "hsm", "dsm"] = "elbo"
    """elbo: the T-step bound. perceptual: K of EDM's weighted error. hsm, dsm: K of the error in the noise of position
    and momentum, the first momentum integrated out or drawn; by a network of states, with twice the channels."""
    loss: Literal["native", "limit"] = "native"
    """native: the divergence of the pair. limit: the normal pair's, which is there for every pair."""
    convention: Literal["exact", "main_text", "appendix"] = "exact"
    """exact: the divergence of steps of unit variance. The others: as the paper prints it, for the pairs it prints."""
    timesteps: int = Field(100, strict=True, ge=1, le=MOST_STEPS)
    """T, steps of the diffusion in the elbo weighting and in the headline bound."""
    iterations: int = Field(1000, strict=True, ge=1, le=MOST)
    """Optimiser steps."""
    batch_size: int = Field(64, strict=True, ge=1, le=MOST)
    """Images per optimiser step."""
    learning_rate: Number = Field(2e-3, gt=0)
    """Maximum of the learning rate."""
    warmup: int = Field(100, strict=True, ge=0, le=MOST)
    """Steps over which the learning rate rises."""
    decay: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up."""
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (0.9, 0.99)
    """AdamW's decay rates."""
    weight_decay: Number = Field(0.01, ge=0)
    """AdamW's weight decay."""
    clip_norm: Number = Field(1.0, gt=0)
    """Largest gradient norm."""
    ema_decay: Number = Field(0.995, ge=0, lt=1)
    """Decay of the averaged weights, reached after a warm-up."""
    seed: int = Field(0, strict=True, ge=0, lt=2**63)
    """Which training of this run: another seed, another network."""
    checkpoint_every: int = Field(500, strict=True, ge=1, le=MOST)
    """Optimiser steps between two checkpoints."""
    log_every: int = Field(20, strict=True, ge=1, le=MOST)
    """Optimiser steps between two rows of the log."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's matrix products; weights and loss are float32 in any case."""
    channels_last: Flag = False
    """Weights in the memory format that a GPU's tensor cores read faster."""
    compile: Flag = False
    """Compile the network for the GPU; left off, with the reason in the log, where that does not work."""
    accumulate: int = Field(1, strict=True, ge=1, le=MOST)
    """Passes into which each process splits its part of a batch, to save memory; the batch stays the same."""

    @model_validator(mode="after")
    def _enough_images(self):
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate: found {self.accumulate}; a batch of {self.batch_size} has no more pieces")
        return self

    @property
    def optimisation(self) -> dict[str, Any]:
        """What `training.train` is told: everything but what makes the objective, and the seed."""
        return self.model_dump(exclude={"weighting", "loss", "convention", "timesteps", "iterations", "seed"}) | {
            "steps": self.iterations
        }


class Run(Settings):
    """One network: a step pair in a process and basis, trained in one way."""

    q: StepName = "normal"
    """Step of the true process."""
    p: StepName = "normal"
    """Step of the model."""
    basis: Basis = Basis()
    """Representation in which the step's coordinates are independent."""
    process: Process = Process()
    """Drift, diffusion and schedule."""
    network: Network = Network()
    """The U-Net and what it predicts."""
    training: Training = Training()
    """Objective and optimisation."""

    @property
    def of_weights(self) -> dict[str, Any]:
        """What the weights depend on, as JSON values: all but how often a training saves itself and writes its log.

        The code of a step from elsewhere is beside its name.
        """
        said = self.model_dump(mode="json", exclude={"training": {"checkpoint_every", "log_every"}})
        code = {name: steps.code_of(name) for name in (self.q, self.p) if ":" in name}
        return said | ({"code": code} if code else {})

    @model_validator(mode="after")
    def _trainable(self):
        if self.has_native_bound or self.training.loss == "limit":
            return self
        for key, name in (("q", self.q), ("p", self.p)):
            if not steps.get(name).has_density:
                pair = f"{self.q}/{self.p}"
                raise ValueError(
                    f"{key}: {name} has no density, so {pair} has no divergence; use one with a density, {_LIMIT_LOSS}"
                )
        allowed = [name for name in _WIDE if divergence.is_finite(self.q, name)]
        raise ValueError(
            f"p: the divergence of the pair {self.q}/{self.p} is infinite; "
            f"finite with p one of {', '.join(allowed)}, for example; {_LIMIT_LOSS}"
        )

    @model_validator(mode="after")
    def _printed(self):
        if self.training.convention != "exact" and self.training.loss == "limit":
            raise ValueError("training.convention: the limit loss is the normal pair's and has no other convention")
        if self.training.convention != "exact" and self.process.kind == "psld":
            raise ValueError("training.convention: the printed losses are of one variable, process psld has two")
        if self.training.convention != "exact" and not is_printed(steps.get(self.q), steps.get(self.p)):
            pairs = ", ".join("/".join(pair) for pair in PRINTED_PAIRS)
            raise ValueError(f"training.convention: the paper prints no loss for {self.q}/{self.p}; it prints {pairs}")
        return self

    @model_validator(mode="after")
    def _one_level_an_image(self):
        if self.training.weighting == "perceptual" and self.process.schedule.by_component:
            raise ValueError("training.weighting: perceptual draws one noise level an image; use elbo")
        if self.basis.whiten and self.network.statistics == "pooled":
            raise ValueError("network.statistics: whitened components have no deviation in common; use component")
        if self.process.schedule.labels == "frequency" and self.basis.kind in ("pixel", "pca"):
            raise ValueError(f"process.schedule.labels: the components of {self.basis.kind} have no frequency")
        if self.process.schedule.labels in ("column", "row") and self.basis.kind in ("pca", "haar"):
            raise ValueError(
                f"process.schedule.labels: the components of {self.basis.kind} have no "
                f"{self.process.schedule.labels}s; use variance, or pixels"
            )
        return self

    @model_validator(mode="after")
    def _of_states(self):
        weighting = self.training.weighting
        if self.of_states and self.process.kind != "psld":
            raise ValueError(f"training.weighting: {weighting} needs a momentum; use process.kind: psld")
        if self.of_states and self.network.parametrisation != "eps":
            raise ValueError(
                f"network.parametrisation: found {self.network.parametrisation}; with {weighting} the network predicts "
                "the noise of the state; use eps"
            )
        return self

    def check_schedule(self, shape: tuple[int, int, int], levels: int) -> None:
        """Refuses a component-wise schedule that fits no images (C, H, W) of so many grey levels, naming the key."""
        if not self.process.schedule.by_component:
            return
        fixed = PIXEL if self.basis.kind == "pca" else self.basis.rotation(torch.zeros(1, *shape))
        most = 1.0 if self.basis.whiten or self.basis.kind == "pixel" else float(math.prod(shape))
        least = 1.0 if self.basis.whiten else resolution(levels) ** 2
        self.process.schedule.check(shape, fixed, least, most)

    @property
    def of_states(self) -> bool:
        """Whether the network predicts the noise of whole states, not images."""
        return self.training.weighting in ("hsm", "dsm")

    @property
    def has_native_bound(self) -> bool:
        """Whether the pair's divergence is defined and finite, so that it has a bound of its own."""
        pair = steps.get(self.q), steps.get(self.p)
        return all(step.has_density for step in pair) and divergence.is_finite(*pair)
