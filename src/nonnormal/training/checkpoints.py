"""Checkpoints, from which a training resumes exactly, and files of finished weights.

A checkpoint is one safetensors file: network, EMA, optimiser, log so far, random states, and in its header the step and
the fingerprint: everything that the weights depend on. Weights are stored with the recipe of their denoiser, so that
they can be loaded without the study. No pickle anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nonnormal.bases import BasisStatistics
from nonnormal.denoisers import NetworkDenoiser
from nonnormal.denoisers.phase_space import PhaseSpaceNetwork
from nonnormal.denoisers.unet import UNet, initialised
from nonnormal.files import read_json, read_tensors, sha256_of, track_input, tracking, write_tensors
from nonnormal.processes import PSLD

_COMPONENTS = "components."  # before the names of their tensors, beside those of the network


@dataclass
class TrainingState:
    """The mutable state of a training; `save` and `restore` are inverses to the bit.

    Attributes:
        network: the network in training.
        ema: exponential moving average of its parameters, in the order of `network.parameters()`.
        optimiser: with per-parameter state tensors only (learning rates are functions of the step).
        generator: source of batches, times and noise.
        step: optimiser steps done.
        log: one row per logged interval.
        window: (loss, gradient norm) of the steps since the last row.
    """

    network: nn.Module
    ema: list[Tensor]
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    step: int
    log: list[tuple[float, ...]]
    window: list[tuple[float, ...]]

    def save(self, path: Path, fingerprint: Mapping[str, Any]) -> None:
        """Writes the state to `path`, atomically."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"ema.{i}": value for i, value in enumerate(self.ema)}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{key}": value for key, value in state.items()}
        tensors["log"] = torch.tensor(self.log, dtype=torch.float64)
        tensors["window"] = torch.tensor(self.window, dtype=torch.float64)
        tensors["random.generator"] = self.generator.get_state()
        tensors["random.torch"] = torch.get_rng_state()  # what dropout draws from
        if self.generator.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.generator.device)
        with tracking(None):  # no result: nothing depends on where a training was interrupted
            header = {"step": self.step, "fingerprint": fingerprint, "device": self.generator.device.type}
            write_tensors(path, tensors, header)

    def restore(self, path: Path, fingerprint: Mapping[str, Any]) -> bool:
        """Restores the state from `path`. Returns False, and changes nothing, if its fingerprint differs.

        Raises:
            ValueError: the file is damaged, or was written on another kind of device; nothing is changed.
        """
        with tracking(None):
            tensors, header = read_tensors(path)
        if header.get("fingerprint") != fingerprint:
            return False
        if (found := header.get("device", "cpu")) != (here := self.generator.device.type):
            raise ValueError(
                f"{path}: the training began on {found} and is to go on on {here}, whose random numbers are others; "
                f"give --device {found}, or delete the file to begin again"
            )
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "ema": {}, "optimiser": {}, "random": {}}
        self.log, self.window = ([tuple(row) for row in tensors.pop(name).tolist()] for name in ("log", "window"))
        for name, value in tensors.items():
            group, _, key = name.partition(".")
            groups[group][key] = value
        self.network.load_state_dict(groups["network"])
        for i, value in enumerate(self.ema):
            value.copy_(groups["ema"][str(i)])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimiser"].items():
            i, _, key = name.partition(".")
            like = self.ema[int(i)]
            # Moments lie in memory as their weights do, which fused optimisers insist on.
            state.setdefault(int(i), {})[key] = (
                torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            )
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})
        self.generator.set_state(groups["random"]["generator"])
        torch.set_rng_state(groups["random"]["torch"])
        if "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"], self.generator.device)
        self.step = header["step"]
        return True


def archive_checkpoint(path: Path, fingerprint: Mapping[str, Any]) -> tuple[Path, list[str]]:
    """Renames the checkpoint of another training, so that a new one does not overwrite it.

    Returns:
        (its new path, which has its step and digits of its SHA-256; differences to `fingerprint`, one line each).
    """
    with tracking(None):
        header = read_tensors(path)[1]
    kept = path.with_stem(f"{path.stem}-{header['step']}-{sha256_of(path)[:8]}")
    path.replace(kept)
    known = header.get("fingerprint", {})
    gone = {key: None for key, _ in _leaves(known)}
    return kept, changes(known, gone | dict(_leaves(fingerprint)))


def changes(known: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> list[str]:
    """Differences to the expected fingerprint, one line each; keys that the expected one lacks are ignored."""
    before, now = dict(_leaves(known)), dict(_leaves(fingerprint))
    keys = [key for key in now if before.get(key) != now[key]]
    return [f"{key} was {json.dumps(before.get(key))}, is {json.dumps(now[key])}" for key in keys]


def _leaves(fingerprint: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of each leaf of nested mappings."""
    for key, value in fingerprint.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


# ---- finished weights ------------------------------------------------------------------------------------------------


def build_denoiser(
    recipe: dict[str, Any], seed: int = 0, components: BasisStatistics | None = None
) -> NetworkDenoiser | PhaseSpaceNetwork:
    """A `NetworkDenoiser` around a `UNet`, from the keyword arguments of both; of states where there is a process.

    Args:
        recipe: {"network": arguments of UNet, "denoiser": arguments of NetworkDenoiser}, or {"network": …, "process":
            arguments of PSLD, "denoiser": other arguments of PhaseSpaceNetwork}.
        seed: of the initial weights.
        components: basis and statistics, where the denoiser has them.
    """
    network = initialised(lambda: UNet(**recipe["network"]), seed)
    if "process" in recipe:
        return PhaseSpaceNetwork(network, PSLD(**recipe["process"]), **recipe["denoiser"])
    return NetworkDenoiser(network, **recipe["denoiser"], components=components)


def save_weights(path: Path, denoiser: NetworkDenoiser, recipe: dict[str, Any], **facts: Any) -> None:
    """Writes a denoiser's weights with the recipe that rebuilds it, its components, and further facts about it.

    The recipe of a denoiser with components has their "basis", as `BasisStatistics.from_tensors` takes it.
    """
    tensors = dict(denoiser.network.state_dict())
    if denoiser.components is not None:
        tensors |= {f"{_COMPONENTS}{name}": value for name, value in denoiser.components.tensors().items()}
    write_tensors(path, tensors, {"recipe": recipe, **facts})


def load_denoiser(
    path: Path,
    device: torch.device | str = "cpu",
    check: Callable[[Mapping[str, Any]], None] = lambda header: None,
    trusted_basis: str | None = None,
) -> NetworkDenoiser:
    """The denoiser that `save_weights` stored, in evaluation mode.

    Args:
        path: of the file.
        device: where its network goes.
        check: refuses a header by an error, before the network is built.
        trusted_basis: the basis "module:NAME" that may be imported, which runs its code; a file of another is refused.

    Raises:
        ValueError: the file is damaged or holds no recipe, or its basis is the user's own and not trusted.
    """
    tensors, header = read_tensors(path)
    check(header)
    if "recipe" not in header:
        raise ValueError(f"{path} holds no denoiser: its header has no recipe")
    recipe, fitted = header["recipe"], {}
    for name in [name for name in tensors if name.startswith(_COMPONENTS)]:
        fitted[name.removeprefix(_COMPONENTS)] = tensors.pop(name)
    basis = {**recipe.get("basis", {}), "trusted": trusted_basis}
    components = BasisStatistics.from_tensors(tensors=fitted, **basis) if fitted else None
    denoiser = build_denoiser(recipe, components=components)
    denoiser.network.load_state_dict(tensors)
    return denoiser.eval().requires_grad_(False).to(device)


# ---- weights to start from -------------------------------------------------------------------------------------------

_EXPORTED = "model.network."  # before the names of the network's tensors in a `NoisePredictor` of diffusers
_MEANING = ("parametrisation", "target", "fourier")  # what a network of the same shapes may predict or see otherwise


def initial_weights(path: Path, recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights for the network of a recipe: its `state_dict` by name, from the file of a network of the same shapes.

    Args:
        path: safetensors of `save_weights`, of an unfinished training, whose averaged weights count, or of an exported
            pipeline.
        recipe: as in `build_denoiser`.

    Raises:
        ValueError: the file is damaged or no safetensors, or its network has other tensors or another meaning.
        FileNotFoundError: there is no such file.
    """
    tensors, denoiser = _tensors_with_denoiser(path)
    asked = json.loads(json.dumps(recipe["denoiser"]))
    differing = [key for key in _MEANING if key in asked and key in denoiser and asked[key] != denoiser[key]]
    if differing:
        key = differing[0]
        raise ValueError(f"{path}: is of a network with {key} {denoiser[key]}, and the run's has {asked[key]}")
    with torch.device("meta"):
        network = UNet(**recipe["network"])
    if "ema.0" in tensors:
        names = [name for name, _ in network.named_parameters()]
        averages = sorted((name for name in tensors if name.startswith("ema.")), key=lambda name: int(name[4:]))
        if len(averages) != len(names):
            raise ValueError(f"{path}: has {len(averages)} tensors of a network, and the run's has {len(names)}")
        found = {name: tensors[average] for name, average in zip(names, averages, strict=True)}
    else:
        prefix = _EXPORTED if any(name.startswith(_EXPORTED) for name in tensors) else ""
        found = {n.removeprefix(prefix): value for n, value in tensors.items() if not n.startswith(_COMPONENTS)}
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name in sorted(shapes.keys() | found.keys()):
        shape = tuple(found[name].shape) if name in found else None
        if shape != shapes.get(name):
            there, needed = (f"of shape {each}" if each else "missing" for each in (shape, shapes.get(name)))
            raise ValueError(
                f"{path}: {name} is {there}, and in the run's network {needed}; give weights of such a one"
            )
        if not found[name].is_floating_point() or not found[name].isfinite().all():
            raise ValueError(f"{path}: {name} has no finite floating-point numbers")
    return found


def _tensors_with_denoiser(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """(tensors, what is known of the denoiser) of a file of weights of any kind."""
    try:
        with safe_open(track_input(path), framework="pt") as file:
            ours = "header" in (file.metadata() or {})
            tensors = {} if ours else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path}: is not a complete safetensors file ({error})") from None
    if ours:
        tensors, header = read_tensors(path)
        return tensors, header.get("recipe", {}).get("denoiser") or header.get("fingerprint", {}).get("network", {})
    config = path.with_name("config.json")
    known = read_json(config).get("denoiser") if config.is_file() else None
    return tensors, known if isinstance(known, Mapping) else {}
