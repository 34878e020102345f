"""Pretrained networks with their noise schedules, from a folder or pinned on the Hub.

A network is diffusers' `UNet2DModel`, or the `NoisePredictor` of a pipeline that this project exported.

A network is loaded once and written to one file, with configuration, schedule and origin in the header; diffusers' own
pipeline samples from this file with `NonNormalScheduler`. Weights are read as safetensors only: a pickle can run code.
Depends on diffusers and the scheduler; independent of studies, data sets and this project's own networks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nonnormal.diffusers.files import NETWORK_FILES
from nonnormal.diffusers.fitted import FittedSteps
from nonnormal.diffusers.keys import NoisePredictorKeys, UNetKeys, refuse_unusable
from nonnormal.diffusers.predictor import NoisePredictor
from nonnormal.diffusers.scheduler import NonNormalScheduler
from nonnormal.files import read_tensors, sha256_of, track_input, write_tensors

# After the scheduler, which makes sure that torchvision can be imported.
from diffusers import DDPMPipeline, UNet2DModel  # isort: skip

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_KINDS = {"UNet2DModel": UNet2DModel, "NoisePredictor": NoisePredictor}
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained network.

    Attributes:
        unet: the network, in evaluation mode.
        schedule: configuration of its diffusers scheduler.
        origin: folder or Hub repository of the network, in words.
        sha256: SHA-256 of its file of weights.
        steps: fitted steps of its scheduler, if they were asked for.
    """

    unet: UNet2DModel | NoisePredictor
    schedule: Mapping[str, Any]
    origin: str
    sha256: str
    steps: FittedSteps | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        size = self.unet.config.sample_size
        return (self.unet.config.in_channels, *((size, size) if isinstance(size, int) else size))

    def scheduler(self, step: str | None) -> NonNormalScheduler:
        """Its scheduler with another step, or with its own, or its fitted ones, if None.

        Raises:
            StepError: its step is of the user's own module; a configuration imports nothing.
        """
        if step is not None:
            return NonNormalScheduler.from_config(dict(self.schedule), step_distribution=step, fitted_steps=None)
        own = NonNormalScheduler.from_config(dict(self.schedule), fitted_steps=None)
        return own if self.steps is None else own.with_steps(self.steps)

    def sample(self, step: str | None, n_steps: int, seeds: Sequence[int], *, batch_size: int) -> Tensor:
        """Images (N, C, H, W) in [−1, 1] by `DDPMPipeline` in n_steps network calls; image i from the i-th seed."""
        pipeline = DDPMPipeline(self.unet, self.scheduler(step))
        pipeline.set_progress_bar_config(disable=True)
        images = []
        for start in range(0, len(seeds), batch_size):
            part = seeds[start : start + batch_size]
            sources = [torch.Generator(self.unet.device).manual_seed(seed) for seed in part]
            images.append(pipeline(len(part), sources, n_steps, output_type="pt").images.cpu())
        return torch.cat(images) * 2 - 1


def fetch(hub_id: str, revision: str) -> Path:
    """Folder of a commit of a repository on the Hugging Face Hub: configuration and safetensors, nothing else.

    Raises:
        ValueError: it cannot be fetched; the message says what to do.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=NETWORK_FILES))
    except (OSError, ValueError) as error:  # errors of the Hub's client when offline, refused, or not found
        raise ValueError(
            f"pretrained.hub_id: {hub_id} at revision {revision} cannot be fetched ({str(error).splitlines()[0]}); "
            f"download it elsewhere with `hf download {hub_id} --revision {revision} --local-dir FOLDER`, and set "
            "pretrained.path: FOLDER instead of hub_id and revision"
        ) from None


def from_folder(
    folder: Path, *, schedule: Mapping[str, Any] | None = None, origin: str | None = None, with_steps: bool = False
) -> Pretrained:
    """The network in a folder written by `save_pretrained`, of a pipeline or of its network alone.

    Args:
        folder: with config.json and diffusion_pytorch_model.safetensors, itself or in unet/; scheduler_config.json,
            itself or in scheduler/.
        schedule: configuration that replaces scheduler_config.json.
        origin: its name; the folder if None.
        with_steps: whether fitted steps named by its configuration are read, too.

    Raises:
        ValueError: a file is missing or damaged, weights are pickled, incomplete or no finite floating-point numbers, a
            key has a value that cannot be used, or the network does not give finite images.
    """
    if not folder.is_dir():
        raise ValueError(f"pretrained.path: there is no folder {folder.resolve()}")
    network = folder / "unet" if (folder / "unet").is_dir() else folder
    place = network / "config.json"
    config = _network_configuration(place)
    weights = _weights(network)
    found, schedule = ("the schedule", schedule) if schedule is not None else _schedule(folder)
    try:
        noise = NonNormalScheduler.from_config(dict(schedule), step_distribution="normal").config
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"{found}: {error}") from None
    learned = noise.variance_type in ("learned", "learned_range")
    channels = config.get("in_channels", 3) * (2 if learned else 1)
    if config.get("out_channels", 3) != channels:
        raise ValueError(
            f"{place}: out_channels must be {channels} for images of {config.get('in_channels', 3)} channels and "
            f"variance_type {noise.variance_type}; found {config.get('out_channels', 3)}"
        )
    if (
        config.get("time_embedding_type") == "learned"
        and config.get("num_train_timesteps") != noise.num_train_timesteps
    ):
        raise ValueError(
            f"{place}: num_train_timesteps must be that of the schedule, {noise.num_train_timesteps}; found "
            f"{config.get('num_train_timesteps')}"
        )
    if "log_snrs" in config and len(config["log_snrs"]) != noise.num_train_timesteps:
        raise ValueError(
            f"{place}: log_snrs must be one for each timestep of the schedule, {noise.num_train_timesteps}; found "
            f"{len(config['log_snrs'])}"
        )
    unet = _loaded(network, _KINDS[config["_class_name"]])
    _refuse_unusable_answers(unet, noise.num_train_timesteps, place)
    digest = sha256_of(track_input(weights))
    fitted = FittedSteps.load(found.parent) if with_steps and noise.fitted_steps else None
    return Pretrained(unet, schedule, origin or str(folder), digest, fitted)


def write(path: Path, network: Pretrained) -> None:
    """Write a network for `read`, atomically."""
    config = {key: value for key, value in network.unet.config.items() if not key.startswith("_")}
    facts = {"unet": config, "schedule": dict(network.schedule), "origin": network.origin, "sha256": network.sha256}
    if (kind := type(network.unet).__name__) != "UNet2DModel":
        facts["kind"] = kind
    write_tensors(path, network.unet.state_dict(), facts)


def read(path: Path, device: torch.device | str = "cpu") -> Pretrained:
    """Read a network written by `write`, onto the device.

    Raises:
        ValueError: the file is damaged.
    """
    tensors, header = read_tensors(path)
    unet = _KINDS[header.get("kind", "UNet2DModel")].from_config(header["unet"])
    unet.load_state_dict(tensors)
    unet = unet.to(device).eval().requires_grad_(False)
    return Pretrained(unet, header["schedule"], header["origin"], header["sha256"])


def _network_configuration(path: Path) -> dict[str, Any]:
    """The configuration of an unconditional network with a known image size."""
    config = _configuration(path)
    kind = config.get("_class_name")
    if kind not in _KINDS:
        raise ValueError(f"{path}: expected a UNet2DModel, found {kind!r}")
    if config.get("num_class_embeds") is not None or config.get("class_embed_type") is not None:
        raise ValueError(f"{path}: the network needs a class label; expected an unconditional one")
    if "_use_default_values" in config:  # diffusers uses it in memory only, and would ignore the keys in it
        raise ValueError(f"{path}: _use_default_values: unknown key, found {config['_use_default_values']!r}")
    try:
        if kind == "NoisePredictor":
            refuse_unusable(config, NoisePredictorKeys)
        else:
            refuse_unusable({"sample_size": None, **config}, UNetKeys)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return config


def _weights(network: Path) -> Path:
    """The file of weights, all of them floating-point numbers."""
    path = network / _WEIGHTS
    if not path.is_file() or (network / f"{_WEIGHTS}.index.json").exists():
        others = [file.name for file in network.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".safetensors")]
        pickled = ", a pickle, which can run code" if any(not name.endswith("safetensors") for name in others) else ""
        found = f"found {', '.join(sorted(others))}{pickled}; if you trust it, " if others else "found none; "
        raise ValueError(
            f"{network.resolve()}: expected weights in one file {_WEIGHTS}, {found}load it with diffusers and "
            'write it again with save_pretrained(folder, max_shard_size="100GB")'
        )
    try:
        with safe_open(track_input(path), framework="pt") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path.resolve()}: cannot be loaded ({error})") from None
    if wrong := [f"{name} of {kind}" for name, kind in kinds.items() if kind not in _FLOATS]:
        raise ValueError(f"{path.resolve()}: expected tensors of {', '.join(_FLOATS)}; found {wrong[0]}")
    return path


def _schedule(folder: Path) -> tuple[Path, dict[str, Any]]:
    """scheduler_config.json and what it holds."""
    places = [folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
    if not (found := next((place for place in places if place.is_file()), None)):
        raise ValueError(
            f"{folder.resolve()}: there is no scheduler_config.json; describe its training in pretrained.schedule"
        )
    return found, _configuration(found)


def _loaded(network: Path, kind: type[UNet2DModel | NoisePredictor]) -> UNet2DModel | NoisePredictor:
    """The network with exactly the weights of its file, in evaluation mode."""
    try:
        unet, report = kind.from_pretrained(
            network, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except Exception as error:  # whatever diffusers raises where keys or weights do not fit one another
        raise ValueError(f"{network.resolve()}: cannot be loaded ({error})") from None
    for kind in ("missing", "unexpected", "mismatched"):
        if names := report[f"{kind}_keys"]:
            raise ValueError(f"{(network / _WEIGHTS).resolve()}: {len(names)} {kind} tensors, such as {min(names)}")
    unet = unet.float()  # diffusers keeps other types if a file has several
    if wrong := [name for name, value in unet.state_dict().items() if not value.isfinite().all()]:
        raise ValueError(f"{(network / _WEIGHTS).resolve()}: {wrong[0]} has numbers that are not finite in float32")
    return unet.eval().requires_grad_(False)


def _refuse_unusable_answers(unet: UNet2DModel | NoisePredictor, n_levels: int, place: Path) -> None:
    """Call the network once; refuse one that cannot be called on its images, or whose answer is not finite."""
    shape = Pretrained(unet, {}, "", "").shape
    noise = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))
    try:
        answer = unet(noise, torch.tensor([0, n_levels - 1])).sample
    except Exception as error:  # whatever layers raise where keys do not fit one another
        raise ValueError(f"{place}: the network cannot be called on images {shape} ({error})") from None
    if answer.shape[2:] != noise.shape[2:] or not answer.isfinite().all():
        finite = "finite" if answer.isfinite().all() else "not finite"
        raise ValueError(f"{place}: for images {shape} the network gives {tuple(answer.shape[1:])}, {finite}")


def _configuration(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file."""
    try:
        found = json.loads(track_input(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.resolve()}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.resolve()}: is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.resolve()}: expected a mapping, found {type(found).__name__}")
    return found
