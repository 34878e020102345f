"""Settings of a representation and of a process: basis, noise schedule, drift and diffusion."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from torch import Tensor

from nonnormal import bases, processes
from nonnormal.files import own
from nonnormal.processes import PSLD, VP, LinearProcess, schedules, vp_sde
from nonnormal.study.config.values import SINGLE, Flag, Number, Settings, named_or_own


def _basis(kind: str) -> str:
    if re.fullmatch(own.PATTERN, kind):
        bases.named(kind)
    elif kind not in bases.KINDS:
        raise ValueError(f"must be one of {', '.join(bases.KINDS)}, or module:NAME of your own")
    return kind


def _process(kind: str) -> str:
    if re.fullmatch(own.PATTERN, kind):
        processes.named(kind)
    elif kind not in _KEYS_OF:
        raise ValueError(f"must be one of {', '.join(_KEYS_OF)}, or module:NAME of your own")
    return kind


class Basis(Settings):
    """Representation in which the step's coordinates are independent."""

    kind: Annotated[str, AfterValidator(_basis), WithJsonSchema(named_or_own(bases.KINDS))] = "pixel"
    """module:NAME is a Basis of your own, fixed and orthonormal. pca is fitted to the training split, over all channels
    jointly: all directions, or of images of more than 4096 numbers the 512 leading ones by a randomised solver. The
    other kinds treat each channel by itself."""
    levels: int = Field(1, strict=True, ge=1, le=10)
    """Number of levels of haar: how often the averages are split."""
    whiten: Flag = False
    """Divide each component by its standard deviation over the training split."""

    @model_validator(mode="after")
    def _levels_of_haar(self):
        if self.levels != 1 and self.kind != "haar":
            raise ValueError(f"levels: belongs to haar, found {self.levels} with {self.kind}")
        return self

    def check(self, key: str, shape: tuple[int, int, int]) -> None:
        """Refuse a basis that does not fit images (C, H, W); the error names its key in the study."""
        if self.kind == "haar" and (odd := [side for side in shape[1:] if side % 2**self.levels]):
            raise ValueError(f"{key}.levels: found {self.levels}, but {odd[0]} pixels cannot be halved so often")
        if ":" in self.kind:
            try:
                bases.check(bases.named(self.kind), shape)
            except ValueError as error:
                raise ValueError(f"{key}.kind: found {self.kind}; {error}") from None

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
    """Standard deviation of rounding to grey levels in [−1, 1]: their spacing over √12."""
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
    """Order of components; larger labels are noised first and generated last. variance: small ones are last; frequency
    (dct, fourier, haar): high ones are last; column, row (pixel, dct, fourier); or numbers (C, H, W)."""
    softness: Number | None = Field(1.0, ge=1e-3)
    """For component_wise. Towards 0: autoregressive; 1 by variance: standard diffusion; null: one SNR for all."""
    delay: Number = Field(1.0, ge=0, le=1e3)
    """For sequential: delay between the starts of neighbouring labels, in windows."""
    low: Number | None = Field(None, ge=-700, le=700)
    """For component_wise: lower cap of the log-SNR; none if null."""
    high: Number | None = Field(None, ge=-700, le=700)
    """For component_wise: upper cap of the log-SNR; none if null."""

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
        """Whether each component has its own log-SNR."""
        return self.kind in ("component_wise", "sequential")

    def build(self, components: bases.BasisStatistics | None = None) -> schedules.Schedule:
        """The schedule object; a component-wise one if each component has its own log-SNR.

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
        """Refuse a schedule that does not fit images of a shape.

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

    kind: Annotated[str, AfterValidator(_process), WithJsonSchema(named_or_own(("vp", "vp_sde", "psld")))] = "vp"
    """module:NAME is a LinearProcess of your own, with its rates. vp: variance preserving. vp_sde: the same by its
    equation dx = -beta x/2 dt + sqrt(beta) dw. psld: phase space; with friction_x: 0 it is CLD."""
    schedule: Schedule = Schedule()
    """log-SNR over time, for vp; for the other kinds it follows from their rates."""
    beta: Number | tuple[Number, Number] | None = None
    """Rate beta of vp_sde and psld, a number or its values at t = 0 and t = 1; if null, 0.1 to 20 and 8."""
    mass_inv: Number | None = Field(None, gt=0)
    """Inverse mass of psld; 4 if null."""
    friction_x: Number | None = Field(None, ge=0)
    """Friction and noise on the position of psld; 0.01 if null."""
    friction_m: Number | None = Field(None, ge=0)
    """Friction and noise on the momentum of psld; if null, the critical one, friction_x + 2 sqrt(mass_inv)."""
    momentum_var: Number | None = Field(None, ge=0)
    """Variance of psld's momentum at t = 0 in units of the mass; 0.04 if null."""

    @model_validator(mode="after")
    def _is_one(self):
        if strange := [
            name for name in _PROCESS_KEYS - _KEYS_OF.get(self.kind, set()) if getattr(self, name) is not None
        ]:
            raise ValueError(f"{min(strange)}: does not fit the kind {self.kind}")
        if self.kind != "vp" and self.schedule != Schedule():
            raise ValueError(f"schedule: does not fit the kind {self.kind}, whose rates are its schedule")
        if self.kind != "vp":
            self.build()
        return self

    @property
    def variables(self) -> int:
        """Variables per component: 1, or 2 with a momentum."""
        return 1 if self.kind == "vp" else self.build().n

    def build(self, components: bases.BasisStatistics | None = None) -> LinearProcess:
        """The process object."""
        if self.kind == "vp":
            return VP(self.schedule.build(components))
        if self.kind not in _KEYS_OF:
            return processes.named(self.kind)
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
