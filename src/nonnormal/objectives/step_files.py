"""Files of fitted steps, which are stored beside the weights of the network that they were fitted for.

Like a file of weights it is a safetensors file with a checksum (`files`): scales, bins and fitted bases are tensors,
shapes are in its header. Reading imports nothing that the file names: a shape must be a scale mixture or a registered
family, a basis one of this package, and every number is checked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonnormal.bases import DCT, PCA, PIXEL, Basis, Fourier, Haar
from nonnormal.files import read_tensors, write_tensors
from nonnormal.steps import FittedStep, ResidualStep, ScaleMixture, Step, StepError, families, get

_KIND = "fitted steps"
_FIXED = {"dct": DCT, "fourier": Fourier, "haar": Haar}
_TENSORS = ("scale", "edges", "factors")
_DELTA = "delta"  # of a step that draws whole residuals
_ORTHONORMAL = 1e-8  # largest entry of V Vᵀ − 1


def save_steps(path: Path | str, steps: Sequence[Step | FittedStep | ResidualStep], **facts: Any) -> None:
    """Writes one step for each interval, from the data to the prior, and further facts, such as their times.

    Raises:
        StepError: a step is neither of a registered family nor fitted, or the basis of one cannot be stored.
    """
    tensors: dict[str, Tensor] = {}
    bases: list[Basis] = []
    rows = []
    for k, step in enumerate(steps):
        if isinstance(step, ResidualStep):
            rows.append({"shape": _described(step.shape), "tensors": [_DELTA]})
            tensors[f"{k}.{_DELTA}"] = step.delta.double()
            continue
        if not isinstance(step, FittedStep):
            rows.append({"shape": _described(step)})
            continue
        row = {"shape": _described(step.shape), "tensors": []}
        for name in _TENSORS:
            if (value := getattr(step, name)) is not None:
                row["tensors"].append(name)
                tensors[f"{k}.{name}"] = value.double()
        if step.basis not in (None, PIXEL):
            known = [i for i, basis in enumerate(bases) if basis is step.basis]
            row["basis"] = known[0] if known else len(bases)
            bases += [] if known else [step.basis]
        rows.append(row)
    described = []
    for i, basis in enumerate(bases):
        described.append(_described_basis(basis))
        tensors |= {f"basis.{i}.{name}": value for name, value in basis.tensors().items()}
    # A file without tensors is none.
    tensors["count"] = torch.tensor(len(rows))
    write_tensors(path, tensors, {"kind": _KIND, "steps": rows, "bases": described, "facts": facts})


def load_steps(path: Path | str) -> tuple[tuple[Step | FittedStep | ResidualStep, ...], dict[str, Any]]:
    """(steps, facts) of a file of `save_steps`.

    Raises:
        ValueError: the file is damaged, or it holds anything but fitted steps whose numbers are in order.
        FileNotFoundError: there is no such file.
    """
    try:
        tensors, header = read_tensors(path)
        if header.get("kind") != _KIND:
            raise ValueError(f"its header names {header.get('kind')!r}")
        bases = [_basis(row, tensors, f"basis.{i}.") for i, row in enumerate(header["bases"])]
        steps = tuple(_step(k, row, tensors, bases) for k, row in enumerate(header["steps"]))
        if not steps or not isinstance(header["facts"], dict):
            raise ValueError("there are no steps, or no facts")
        shapes = {tuple(step.scale.shape) for step in steps if isinstance(step, FittedStep) and step.scale.dim()}
        shapes |= {tuple(step.delta.shape[1:]) for step in steps if isinstance(step, ResidualStep)}
        if len(shapes) > 1:
            raise ValueError(f"scales have different shapes: {sorted(shapes)}")
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        found = f"missing {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} holds no fitted steps: {found}") from None
    return steps, header["facts"]


def _described(shape: Step) -> dict[str, Any]:
    if isinstance(shape, ScaleMixture):
        return {"weights": list(shape.weights), "variances": list(shape.variances)}
    if shape.name not in families() or get(str(shape)) != shape:
        raise StepError(f"{shape} is of no registered family and cannot be stored")
    return {"family": str(shape)}


def _shape(row: dict[str, Any]) -> Step:
    if set(row) == {"weights", "variances"}:
        parts = [row[name] for name in ("weights", "variances")]
        if not all(isinstance(x, float) for part in parts for x in part):
            raise ValueError("weights and variances of a shape must be numbers")
        return ScaleMixture(*map(tuple, parts))
    family = row["family"]
    if not isinstance(family, str) or family.partition("(")[0].strip() not in families():
        raise ValueError(f"a shape must be one of {', '.join(families())}, found {json.dumps(family)}")
    return get(family)


def _step(
    k: int, row: dict[str, Any], tensors: dict[str, Tensor], bases: list[Basis]
) -> Step | FittedStep | ResidualStep:
    shape = _shape(row["shape"])
    if "tensors" not in row:
        return shape
    if row["tensors"] != [_DELTA] and not set(row["tensors"]) <= set(_TENSORS):
        raise ValueError(f"a step has {', '.join(_TENSORS)}, found {row['tensors']}")
    parts = {name: tensors[f"{k}.{name}"] for name in row["tensors"]}
    if any(part.dtype != torch.float64 for part in parts.values()):
        raise ValueError(f"numbers of step {k} must be float64")
    if _DELTA in parts:
        return ResidualStep(shape, parts[_DELTA])
    return FittedStep(shape, **parts, basis=bases[row["basis"]] if "basis" in row else None)


def _described_basis(basis: Basis) -> dict[str, Any]:
    if isinstance(basis, PCA):
        return {"kind": "pca"}
    for kind, cls in _FIXED.items():
        if type(basis) is cls:
            return {"kind": kind, **vars(basis)}
    raise StepError(
        f"the basis {type(basis).__name__} of a fitted step cannot be stored; known: pca, {', '.join(_FIXED)}"
    )


def _basis(row: dict[str, Any], tensors: dict[str, Tensor], prefix: str) -> Basis:
    kind, settings = row["kind"], {name: value for name, value in row.items() if name != "kind"}
    if kind != "pca":
        if kind not in _FIXED or not all(type(value) is int for value in settings.values()):
            raise ValueError(f"unknown basis {json.dumps(row)}")
        return _FIXED[kind](**settings)
    basis = PCA.from_tensors({name: tensors[f"{prefix}{name}"] for name in ("directions", "variance")})
    directions = basis.directions.flatten(1)
    if directions.dtype != torch.float64 or directions.shape[0] != directions.shape[1]:
        raise ValueError(f"directions of a PCA must be a square of float64, found {tuple(basis.directions.shape)}")
    if not (directions @ directions.T - torch.eye(len(directions), dtype=torch.float64)).abs().max() < _ORTHONORMAL:
        raise ValueError("directions of a PCA must be orthonormal")
    return basis
