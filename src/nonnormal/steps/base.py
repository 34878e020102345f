"""A step: the law of the standardised increment z of a diffusion step, and the registry of its families.

A structured random walk x_{k+1} = x_k + f(x_k, t_k) Δ + g(t_k) √Δ z_k moves by steps z whose coordinates are
independent with mean 0 and variance 1. As Δ → 0 the walk converges to one and the same diffusion whatever the law
of z (structured invariance principle), so the law is a free choice: a `Step`.

Symbols: z, standardised increment, dimensionless. This room knows one coordinate at a time; it must not know of
processes, networks, or of how two steps compare (see `divergence`).

Source: li2024 §3 (structured random walk); the standardisation is derived here, the paper's Laplace is not of unit
variance.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import cache, wraps
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nonnormal.steps.characteristic import Unresolved, characteristic_function
from nonnormal.steps.quadrature import expectation_nodes
from nonnormal.steps.validation import mistakes

_FAMILIES: dict[str, type[Step]] = {}
_CHECKED: set[Step] = set()
_OURS = f"{__name__.partition('.')[0]}."
WITHOUT_VARIANCE = (
    "it needs other marginals than the normal diffusion's, as DLPM (2407.18609) and t-EDM (2410.14171) have them"
)
_EXPRESSION = re.compile(r"(?P<family>[\w.:]+)\s*(?:\((?P<parameters>[^()]*)\))?\s*")


class StepError(ValueError):
    """What was asked for is no step: an unknown name, a wrong parameter, a law that is not what it says."""


@dataclass(frozen=True)
class Step(ABC):
    """A law of z with E z = 0 and Var z = 1; frozen and hashable, parameters are its fields.

    A family is a subclass with a `name`, the attributes below and the three methods; decorate it with `register`, or
    name it in a study as `module:Class`.

    Attributes:
        skewness: E z³.
        excess_kurtosis: E z⁴ − 3; infinite where there is no fourth moment, which the invariance principle asks for.
        fisher_information: of location, E (∂ log q(z) / ∂z)²; at least 1, and 1 only for the normal (Cramér–Rao).
            `math.inf` where the density jumps or falls to 0 too fast for a finite value.
        support: (low, high), the smallest closed interval that carries the law.
        breakpoints: points where the density is not smooth; quadrature and tables are cut there.
        has_density: False for a discrete law, which samples, but has no likelihood.
    """

    name: ClassVar[str]
    skewness: ClassVar[float]
    excess_kurtosis: ClassVar[float]
    fisher_information: ClassVar[float]
    support: ClassVar[tuple[float, float]]
    has_density: ClassVar[bool] = True

    def __init_subclass__(cls):
        super().__init_subclass__()
        if "sample" in cls.__dict__:
            cls.sample = _drawn_wide(cls.sample)

    @abstractmethod
    def sample(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """z ~ q, independent entries.

        Args:
            shape: shape of the result.
            generator: source of randomness, on `device`; torch's default generator where it is None.
            dtype: floating type of the result. One of 16 bits has too few digits for a tail: whatever the family, z is
                drawn in float32 and then cast.
            device: where the result lives.
        """

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z), nats, elementwise; −∞ outside the support."""

    @abstractmethod
    def cdf(self, z: Tensor) -> Tensor:
        """P(Z ≤ z), elementwise, in [0, 1]."""

    def sf(self, z: Tensor) -> Tensor:
        """P(Z > z) = 1 − cdf(z), elementwise; families compute it without the cancellation where they can."""
        return 1 - self.cdf(z)

    def characteristic(self, omega: Tensor) -> Tensor:
        """φ(ω) = E exp(iωz), complex128, for real omega of any shape, float64.

        Families know theirs in closed form; otherwise it is the transform of the density, off by less than 1e-11, and 1
        at ω = 0 (`transform`): a walk of T steps takes its T-th power.

        Raises:
            StepError: the density cannot be transformed so well, or its integral is off 1 by more than 1e-10.
        """
        return torch.as_tensor(_transform(self)(omega.numpy()))

    @property
    def entropy(self) -> float:
        """h(q) = −∫ q log q dz, nats; by quadrature unless a family knows better."""
        return _entropy(self)

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """By default the finite ends of the support."""
        return tuple(end for end in self.support if math.isfinite(end))

    def __str__(self) -> str:
        parameters = ", ".join(f"{field.name}={_digits(getattr(self, field.name))}" for field in fields(self))
        return f"{self.name}({parameters})" if parameters else self.name


class Symmetric(Step):
    """A step whose density is even: q(−z) = q(z)."""

    skewness = 0.0

    def sf(self, z):
        return self.cdf(-z)


def _drawn_wide(sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A family's `sample`, asked for float32 at least."""

    @wraps(sample)
    def drawn(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        working = torch.promote_types(dtype, torch.float32)
        return sample(self, shape, generator=generator, dtype=working, device=device).to(dtype)

    return drawn


def register(family: type[Step]) -> type[Step]:
    """Makes a family known by its `name` to `get`, where the module that calls it has been imported.

    A study file imports no module for a name: there a family from elsewhere is `module:Class`.

    Raises:
        StepError: the name is taken by another class.
    """
    known = _FAMILIES.setdefault(family.name, family)
    if known is not family:
        raise StepError(f"step family {family.name!r} is already registered by {known.__module__}.{known.__name__}")
    return family


def families() -> tuple[str, ...]:
    """Names of all registered families, in the order of registration."""
    return tuple(_FAMILIES)


def is_registered(family: str) -> bool:
    """Whether `get` finds the family without importing a module: by its name, or a registered class as module:Class."""
    name = family.partition("(")[0].strip()
    return ":" not in name or name in {f"{cls.__module__}:{cls.__name__}" for cls in _FAMILIES.values()}


def get(family: str | Step, **parameters: float) -> Step:
    """The step of a family: `get("laplace")`, `get("student_t", df=5)`, `get("student_t(df=5)")`.

    `get("module:Class")` imports a family from elsewhere and checks what it says of itself (`check`). A `Step` is
    returned as it is, and `get(str(step)) == step` for registered families.

    Raises:
        StepError: an unknown family (the message lists the known ones), a parameter that it does not have or that is
            out of range, or a family from elsewhere that is not what it says.
    """
    if isinstance(family, Step):
        return family
    match = _EXPRESSION.fullmatch(family)
    if not match:
        raise StepError(f"{family!r} names no step; write a family, family(parameter=number) or module:Class")
    name = match["family"]
    parameters = {**_parameters(family, match["parameters"] or ""), **parameters}
    cls = _import(name) if ":" in name else _FAMILIES.get(name)
    if cls is None and name in ("stable", "cauchy", "levy"):
        raise StepError(f"{name} has no variance, and so is no step: {WITHOUT_VARIANCE}")
    if cls is None:
        raise StepError(f"unknown step family {name!r}; known families: {', '.join(_FAMILIES)}")
    needed = {field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING}
    if needed and not parameters:
        example = ", ".join(f"{parameter}={'number' if ':' in name else 5}" for parameter in sorted(needed))
        raise StepError(f"{name} needs {', '.join(sorted(needed))}, as {name}({example})")
    try:
        step = cls(**parameters)
        hash(step)
    except StepError:
        raise
    except (Exception, SystemExit) as error:  # a wrong parameter, or whatever a class from elsewhere does
        allowed = ", ".join(field.name for field in fields(cls)) or "none"
        said = error if isinstance(error, Exception) else repr(error)
        raise StepError(f"step family {name!r}: {said}; its parameters: {allowed}") from None
    if ":" in name and step not in _CHECKED:
        check(step)
        _CHECKED.add(step)
    return step


def source_files(family: str | Step) -> tuple[Path, ...]:
    """Files that a step from elsewhere is written in, its own and those of its bases; none of ours."""
    modules = {cls.__module__ for cls in type(get(family)).__mro__ if issubclass(cls, Step)}
    found = [getattr(sys.modules[module], "__file__", None) for module in modules if not module.startswith(_OURS)]
    return tuple(sorted(Path(path) for path in found if path))


def code_of(family: str | Step) -> str:
    """SHA-256 of its `source_files`, in hex: what a result of it depends on beside its name."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in source_files(family))).hexdigest()


def check(step: Step, tolerance: float = 1e-6) -> None:
    """Refuses a step whose density, cdf and draws are not one law of mean 0 and variance 1, or not with its moments.

    The density is integrated (to `tolerance`), and 20,000 numbers are drawn; it takes about 10 ms.

    Raises:
        StepError: naming the class, what is wrong, what was found and what it must be.
    """
    try:
        known = _FAMILIES.get(getattr(step, "name", None), type(step))
        taken = known is not type(step) and f"name: {step.name!r} is taken by {known.__module__}:{known.__name__}"
        wrong = [taken] if taken else list(mistakes(step, tolerance))
    except (Exception, SystemExit) as error:  # of a statement that is no number, say
        wrong = [f"cannot be checked: {type(error).__name__}: {error}"]
    if wrong:
        raise StepError(f"step {type(step).__module__}:{step!r} {'; '.join(wrong)}")


@cache
def _entropy(step: Step) -> float:
    z, w = (nodes[0] for nodes in expectation_nodes(step, torch.zeros(1, 0)))
    return -torch.where(w > 0, w * step.log_prob(z), 0.0).sum().item()


@cache
def _transform(step: Step) -> Callable[[np.ndarray], np.ndarray]:
    try:
        return characteristic_function(step)
    except Unresolved as error:
        raise StepError(
            f"the density of step {step} cannot be transformed: {error}; give its class a method `characteristic`"
        ) from None


def _digits(value: object) -> str:
    """As short as possible, with all digits; what is no number, as it is written in code."""
    if not isinstance(value, int | float):
        return repr(value)
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _parameters(family: str, text: str) -> dict[str, float]:
    """{"df": 5.0} of "df=5"."""
    parameters = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = map(str.strip, part.partition("="))
        if key in parameters:
            raise StepError(f"{family!r}: {key} is given twice")
        try:
            parameters[key] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise StepError(f"{family!r}: parameters are written parameter=number, found {part!r}")
    return parameters


def imported(path: str) -> Any:
    """What "module:NAME" names, looked for in the working folder and on the Python path.

    Raises:
        ImportError: whatever the module does when it is run.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        raise ImportError(str(error) or type(error).__name__) from None
    finally:
        sys.path.remove(here)


def _import(path: str) -> type[Step]:
    """The class of "module:Class"."""
    try:
        cls = imported(path)
    except ImportError as error:
        raise StepError(f"step {path!r} cannot be loaded: {error}") from None
    if not (isinstance(cls, type) and issubclass(cls, Step)):
        raise StepError(f"{path!r} is not a subclass of nonnormal.steps.Step")
    return cls
