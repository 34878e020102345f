"""Networks that exist already: diffusers' UNet2DModel with its noise schedule, from a folder or pinned on the Hub.

A network is taken over once into a file of its own, with configuration, schedule and origin in the header, and sampled
from there by diffusers' own pipeline with `NonNormalScheduler` in it. Weights are read as safetensors only: a pickle
can run code. Knows diffusers and the scheduler; nothing of studies, data sets or this project's own networks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonnormal.diffusers.scheduler import NonNormalScheduler
from nonnormal.files import read_tensors, reading, write_tensors
from nonnormal.study.results.paths import NETWORK_FILES

# After the scheduler, which sees to it that torchvision can be imported.
from diffusers import DDPMPipeline, UNet2DModel  # isort: skip


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A network that exists already.

    Attributes:
        unet: in evaluation mode.
        schedule: configuration of its diffusers scheduler.
        origin: where it is from, in words.
        sha256: of its files of weights.
    """

    unet: UNet2DModel
    schedule: Mapping[str, Any]
    origin: str
    sha256: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        size = self.unet.config.sample_size
        return (self.unet.config.in_channels, *((size, size) if isinstance(size, int) else size))

    def scheduler(self, step: str) -> NonNormalScheduler:
        """Its scheduler with another step."""
        return NonNormalScheduler.from_config(dict(self.schedule), step_distribution=step)

    def sample(self, step: str, n_steps: int, seeds: Sequence[int], *, batch_size: int) -> Tensor:
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
        ValueError: it cannot be had; the message says what to do.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=NETWORK_FILES))
    except (OSError, ValueError) as error:  # what the Hub's client raises when offline, refused, or not found
        raise ValueError(
            f"pretrained.hub_id: {hub_id} at revision {revision} cannot be had ({str(error).splitlines()[0]}); with "
            f"`hf download {hub_id} --revision {revision} --local-dir FOLDER` get it elsewhere, and say "
            "pretrained.path: FOLDER in place of hub_id and revision"
        ) from None


def from_folder(folder: Path, *, schedule: Mapping[str, Any] | None = None, origin: str | None = None) -> Pretrained:
    """The network of a folder that `save_pretrained` wrote: of a UNet2DModel, or of a pipeline with one.

    Args:
        folder: with config.json and *.safetensors, itself or in unet/; scheduler_config.json, itself or in scheduler/.
        schedule: configuration in place of scheduler_config.json.
        origin: what to call it; the folder where it is None.

    Raises:
        ValueError: a file is missing or damaged, weights are pickled, or network or schedule are of another kind.
    """
    if not folder.is_dir():
        raise ValueError(f"pretrained.path: there is no folder {folder.resolve()}")
    network = folder / "unet" if (folder / "unet").is_dir() else folder
    config = _configuration(network / "config.json")
    if config.get("_class_name") != "UNet2DModel":
        raise ValueError(f"{network / 'config.json'}: expected a UNet2DModel, found {config.get('_class_name')!r}")
    if config.get("num_class_embeds") or config.get("class_embed_type"):
        raise ValueError(f"{network / 'config.json'}: the network asks for a class; expected an unconditional one")
    weights = sorted(network.glob("*.safetensors"))
    if not weights:
        pickled = ", ".join(sorted(path.name for path in network.iterdir() if path.suffix in (".bin", ".pt", ".pth")))
        found = f"found {pickled}, a pickle, which can run code; where you trust it, " if pickled else "found none; "
        raise ValueError(
            f"{network.resolve()}: expected weights in *.safetensors, {found}load it by diffusers and "
            "write it again by save_pretrained(folder)"
        )
    if schedule is None:
        places = [folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
        if not (found := next((place for place in places if place.is_file()), None)):
            raise ValueError(
                f"{folder.resolve()}: there is no scheduler_config.json; say in pretrained.schedule how it was trained"
            )
        schedule = _configuration(found)
        if not {"beta_start", "trained_betas"} & schedule.keys():
            kind = schedule.get("_class_name")
            raise ValueError(f"{found}: expected a schedule of betas, found that of {kind}, which has none")
    try:
        unet = UNet2DModel.from_pretrained(network, use_safetensors=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{network.resolve()}: cannot be loaded ({error})") from None
    digest = hashlib.sha256()
    for path in weights:
        digest.update(reading(path).read_bytes())
    made = Pretrained(unet.eval().requires_grad_(False), schedule, origin or str(folder), digest.hexdigest())
    try:
        made.scheduler("normal")
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"the schedule of {folder}: {error}") from None
    return made


def write(path: Path, network: Pretrained) -> None:
    """Writes a network with all that `read` needs, atomically."""
    config = {key: value for key, value in network.unet.config.items() if not key.startswith("_")}
    facts = {"unet": config, "schedule": dict(network.schedule), "origin": network.origin, "sha256": network.sha256}
    write_tensors(path, network.unet.state_dict(), facts)


def read(path: Path, device: torch.device | str = "cpu") -> Pretrained:
    """The network of `write`, on the device.

    Raises:
        ValueError: the file is damaged.
    """
    tensors, header = read_tensors(path)
    unet = UNet2DModel.from_config(header["unet"])
    unet.load_state_dict(tensors)
    unet = unet.to(device).eval().requires_grad_(False)
    return Pretrained(unet, header["schedule"], header["origin"], header["sha256"])


def _configuration(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file."""
    try:
        found = json.loads(reading(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.resolve()}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path.resolve()}: is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.resolve()}: expected a mapping, found {type(found).__name__}")
    return found
