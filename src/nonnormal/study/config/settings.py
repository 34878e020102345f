"""Settings of a run: network, training, step pair, basis and process. They define which keys a run may have."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from nonnormal import bases, processes, steps
from nonnormal.bases import PIXEL
from nonnormal.data.source import LocalPath
from nonnormal.files import own
from nonnormal.steps import divergence
from nonnormal.steps.conventions import PRINTED_PAIRS, is_printed
from nonnormal.study.config.process import Basis, Process, resolution
from nonnormal.study.config.values import MOST, MOST_STEPS, Flag, Number, Settings, StepName

_LIMIT_LOSS = "or train it with training.loss: limit"
_WIDE = ("normal", "laplace", "logistic", "student_t(df=5)", "generalized_normal(shape=1)")  # that most q fit into


class Network(Settings):
    """The U-Net and what it predicts."""

    parametrisation: Literal["edm", "eps", "v", "x0"] = "edm"
    """What the network predicts."""
    statistics: Literal["pooled", "component"] = "pooled"
    """Statistics of the data for edm: one standard deviation of all pixels, or mean and deviation per component."""
    widths: tuple[Annotated[int, Field(strict=True, ge=1, le=8192)], ...] = Field((16, 32), min_length=1)
    """Channels at each resolution; each level after the first halves height and width, so one level halves nothing."""
    layers_per_block: int = Field(1, strict=True, ge=1, le=100)
    """Residual blocks per level."""
    attention: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = ()
    """Levels with self-attention; 0 is the full resolution. If there are any, the middle block has it, too."""
    middle_attention: Flag = False
    """Self-attention in the middle block even if no level has it."""
    dropout: Number = Field(0.0, ge=0, lt=1)
    """Dropout probability."""
    groups: int = Field(8, strict=True, ge=1)
    """Groups of the group normalisation; must divide every width."""
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


_NOT_OF_THE_LOOP = {"weighting", "loss", "convention", "timesteps", "init_from", "seed"}


class Training(Settings):
    """Objective and optimisation."""

    weighting: Literal["elbo", "perceptual", "hsm", "dsm"] = "elbo"
    """elbo: the T-step bound. perceptual: K of EDM's weighted error. hsm, dsm: K of the error in the noise of position
    and momentum, with the initial momentum integrated out (hsm) or drawn (dsm); the network has twice the channels."""
    loss: Literal["native", "limit"] = "native"
    """native: the divergence of the pair. limit: that of the normal pair, which exists for every pair."""
    convention: Literal["exact", "main_text", "appendix"] = "exact"
    """exact: the divergence of unit-variance steps. Others: as printed in the paper, for the pairs that it prints."""
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
    init_from: LocalPath | None = None
    """File of weights that the training starts from, for longer training or fine-tuning: weights or checkpoint of a
    run, or a pipeline's safetensors. Random weights if null."""
    seed: int = Field(0, strict=True, ge=0, lt=2**63)
    """Seed of this training; another seed trains another network."""
    checkpoint_every: int = Field(500, strict=True, ge=1, le=MOST)
    """Optimiser steps between two checkpoints."""
    log_every: int = Field(20, strict=True, ge=1, le=MOST)
    """Optimiser steps between two rows of the log."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's matrix products; weights and loss are always float32."""
    channels_last: Flag = False
    """Weights in the memory format that a GPU's tensor cores read faster."""
    compile: Flag = False
    """Compile the network for the GPU; if that fails, train without, with the reason in the log."""
    accumulate: int = Field(1, strict=True, ge=1, le=MOST)
    """Number of passes into which each process splits its part of a batch to save memory; the batch is the same."""

    @model_validator(mode="after")
    def _enough_images(self):
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate: found {self.accumulate}; must be at most the batch size, {self.batch_size}")
        return self

    @property
    def optimisation(self) -> dict[str, Any]:
        """Arguments of `training.train`, without those of the objective and the initial weights, and the seed."""
        return self.model_dump(exclude={*_NOT_OF_THE_LOOP, "iterations"}) | {"steps": self.iterations}


def training_name(run: str, number: int) -> str:
    """Name of a run's training: the run's own for the first, then run@1, run@2, …"""
    return f"{run}@{number}" if number else run


def run_of(training: str) -> str:
    """Name of the run that a training belongs to."""
    return training.partition("@")[0]


class Run(Settings):
    """One network: a step pair in a process and basis, trained in one way."""

    q: StepName = "normal"
    """Step of the true process."""
    p: StepName = "normal"
    """Step of the model; it does not follow q, and is normal if left out."""
    basis: Basis = Basis()
    """Representation in which the step's coordinates are independent."""
    process: Process = Process()
    """Drift, diffusion and schedule."""
    network: Network = Network()
    """The U-Net and what it predicts."""
    training: Training = Training()
    """Objective and optimisation."""

    def again(self, number: int) -> Run:
        """The run with `number` added to the seed of its training."""
        if not number:
            return self
        training = self.training.model_copy(update={"seed": self.training.seed + number})
        return self.model_copy(update={"training": training})

    @property
    def of_weights(self) -> dict[str, Any]:
        """Settings that the weights depend on, as JSON values: all except the intervals of checkpoints and log rows.

        The name of a step, basis or process of the user's own has the SHA-256 of its code beside it.
        """
        said = self.model_dump(mode="json", exclude={"training": {"checkpoint_every", "log_every"}})
        if said["training"]["init_from"] is None:
            del said["training"]["init_from"]
        files = {name: steps.source_files(name) for name in (self.q, self.p)}
        files[self.basis.kind] = bases.source_files(self.basis.kind)
        files[self.process.kind] = processes.source_files(self.process.kind)
        code = {name: own.code_of(found) for name, found in files.items() if ":" in name}
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
        if self.training.convention != "exact" and (n := self.process.variables) > 1:
            raise ValueError(
                f"training.convention: the printed losses are of one variable, process {self.process.kind} has {n}"
            )
        if self.training.convention != "exact" and not is_printed(steps.get(self.q), steps.get(self.p)):
            pairs = ", ".join("/".join(pair) for pair in PRINTED_PAIRS)
            raise ValueError(f"training.convention: the paper prints no loss for {self.q}/{self.p}; it prints {pairs}")
        return self

    @model_validator(mode="after")
    def _one_level_an_image(self):
        if self.training.weighting == "perceptual" and self.process.schedule.by_component:
            raise ValueError("training.weighting: perceptual draws one noise level an image; use elbo")
        if self.basis.whiten and self.network.statistics == "pooled":
            raise ValueError("network.statistics: whitened components have no common standard deviation; use component")
        if self.process.schedule.labels == "frequency" and self.basis.kind in ("pixel", "pca"):
            raise ValueError(f"process.schedule.labels: the components of {self.basis.kind} have no frequency")
        pixels_in_order = ("pixel", "dct", "fourier")
        if self.process.schedule.labels in ("column", "row") and self.basis.kind not in pixels_in_order:
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
        """Refuse a component-wise schedule that does not fit images (C, H, W) with these grey levels; names the key."""
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
