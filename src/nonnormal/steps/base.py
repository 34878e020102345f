"""A step: the law of the standardised increment z of a diffusion step, and the registry of its families.

A structured random walk x_{k+1} = x_k + f(x_k, t_k) Δ + g(t_k) √Δ z_k moves by steps z whose coordinates are
independent with mean 0 and variance 1. As Δ → 0 the walk converges to the same diffusion for every law of z
(structured invariance principle). So the law is a free choice, and a `Step` is such a law.

Symbols: z, standardised increment, dimensionless. This module treats one coordinate. It does not depend on processes or
networks; `divergence` compares two steps.

Source: li2024 §3 (structured random walk); the standardisation is derived here, the paper's Laplace is not of unit
variance.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import cache, wraps
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nonnormal.files import own
from nonnormal.steps.characteristic import Unresolved, characteristic_function
from nonnormal.steps.quadrature import expectation_nodes
from nonnormal.steps.validation import mistakes

_FAMILIES: dict[str, type[Step]] = {}
_CHECKED: set[Step] = set()
WITHOUT_VARIANCE = (
    "it needs other marginals than the normal diffusion's, as DLPM (2407.18609) and t-EDM (2410.14171) have them"
)
_EXPRESSION = re.compile(r"(?P<family>[\w.:]+)\s*(?:\((?P<parameters>[^()]*)\))?\s*")


class StepError(ValueError):
    """Raised for an unknown step, a wrong parameter, or a step whose statements contradict its density."""


class _Frozen:
    """Refuses parameters that are no fields: steps that differ in them would be equal, and share one table of K."""

    def __setattr__(self, name: str, value: object):
        raise StepError(
            f"{type(self).__name__}.{name} is set, but is no field; parameters of a step are fields of a class that is "
            "decorated with @dataclass(frozen=True), what follows from them is a property or functools.cached_property"
        )


@dataclass(frozen=True)
class Step(_Frozen, ABC):
    """A step distribution: a law of z with E z = 0 and Var z = 1. Frozen and hashable; its parameters are its fields.

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

    Examples:
        >>> import torch
        >>> from nonnormal import get_step
        >>> step = get_step("laplace")
        >>> step.skewness, step.excess_kurtosis, step.fisher_information
        (0.0, 3.0, 2.0)
        >>> z = step.sample((4, 1, 8, 8), generator=torch.Generator().manual_seed(0))
        >>> step.log_prob(torch.tensor(0.0)).exp()  # 1/√2
        tensor(0.7071)
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
        """Independent draws z ~ q.

        Args:
            shape: shape of the result.
            generator: source of randomness, on `device`; torch's default generator if None.
            dtype: floating type of the result. A type of 16 bits has too few digits for a tail, so z is then drawn in
                float32 and cast.
            device: where the result lives.
        """

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density log q(z), nats, elementwise; −∞ outside the support."""

    @abstractmethod
    def cdf(self, z: Tensor) -> Tensor:
        """Distribution function P(Z ≤ z), elementwise, in [0, 1]."""

    def sf(self, z: Tensor) -> Tensor:
        """Survival function P(Z > z) = 1 − cdf(z), elementwise; families override it to avoid the cancellation."""
        return 1 - self.cdf(z)

    def characteristic(self, omega: Tensor) -> Tensor:
        """Characteristic function φ(ω) = E exp(iωz), complex128, for real omega of any shape, float64.

        Families override it with a closed form. The default transforms the density numerically (`transform`), with an
        error below 1e-11 and the value 1 at ω = 0, so that its T-th power for a walk of T steps is accurate.

        Raises:
            StepError: the density cannot be transformed to this accuracy, or its integral differs from 1 by over 1e-10.
        """
        return torch.as_tensor(_transform(self)(omega.numpy()))

    @property
    def entropy(self) -> float:
        """Entropy h(q) = −∫ q log q dz, nats; by quadrature, unless a family overrides it."""
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
    """A family's `sample`, with draws in float32 or wider."""

    @wraps(sample)
    def drawn(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        if not dtype.is_floating_point:
            raise StepError(f"draws of a step are numbers of a floating type, found {dtype}")
        working = torch.promote_types(dtype, torch.float32)
        return sample(self, shape, generator=generator, dtype=working, device=device).to(dtype)

    return drawn


def register(family: type[Step]) -> type[Step]:
    """Class decorator: registers a family, so that `get` finds it by its `name` in this Python process, and checks it.

    A study file imports no module for a name: write `module:Class` there for a family of your own.

    Raises:
        StepError: the name is taken by another class.

    Examples:
        >>> from dataclasses import dataclass
        >>> from nonnormal import get_step, register
        >>> from nonnormal.steps import Logistic
        >>> @register
        ... @dataclass(frozen=True)
        ... class Renamed(Logistic):
        ...     name = "renamed"
        ...
        >>> get_step("renamed").excess_kurtosis
        1.2
    """
    known = _FAMILIES.setdefault(family.name, family)
    if known is not family:
        raise StepError(f"step family {family.name!r} is already registered by {known.__module__}.{known.__name__}")
    return family


def families() -> tuple[str, ...]:
    """Names of all registered families, in the order of registration."""
    return tuple(_FAMILIES)


def is_registered(family: str) -> bool:
    """Whether `get` finds the family without an import: a registered name, or module:Class of a registered class."""
    name = family.partition("(")[0].strip()
    return ":" not in name or name in {f"{cls.__module__}:{cls.__name__}" for cls in _FAMILIES.values()}


def get(family: str | Step, **parameters: float) -> Step:
    """The step of a family: `get("laplace")`, `get("student_t", df=5)`, `get("student_t(df=5)")`.

    `get("module:Class")` imports a family of your own. A family of your own is checked when it is named first
    (`check`); a `Step` is returned unchanged, and `get(str(step)) == step` for registered families.

    Raises:
        StepError: neither a name nor a `Step`, an unknown family (the message lists the known ones), an unknown
            parameter or one that is out of range, or a family of your own that fails the check.

    Examples:
        >>> from nonnormal import get_step
        >>> str(get_step("student_t", df=5))
        'student_t(df=5)'
        >>> get_step("student_t(df=5)") == get_step("student_t", df=5)
        True
    """
    if isinstance(family, Step):
        return family
    if not isinstance(family, str):
        hint = f"; write {family.__name__}()" if isinstance(family, type) and issubclass(family, Step) else ""
        raise StepError(f"a step is a name or an object of a Step; found {family!r}{hint}")
    match = _EXPRESSION.fullmatch(family)
    if not match:
        raise StepError(f"{family!r} names no step; write a family, family(parameter=number) or module:Class")
    name = match["family"]
    parameters = {**_parameters(family, match["parameters"] or ""), **parameters}
    cls = _import(name) if ":" in name else _FAMILIES.get(name)
    if cls is None and name in ("stable", "cauchy", "levy"):
        raise StepError(f"{name} has no variance, and so is no step: {WITHOUT_VARIANCE}")
    if cls is None:
        raise StepError(
            f"unknown step family {name!r}; known families: {', '.join(_FAMILIES)}; one of your own is module:Class"
        )
    needed = {field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING}
    if needed and not parameters:
        example = ", ".join(f"{parameter}={'number' if ':' in name else 5}" for parameter in sorted(needed))
        raise StepError(f"{name} needs {', '.join(sorted(needed))}, as {name}({example})")
    try:
        step = cls(**parameters)
        hash(step)
    except StepError:
        raise
    except (Exception, SystemExit) as error:  # a wrong parameter, or whatever the user's code does
        allowed = ", ".join(field.name for field in fields(cls)) or "none"
        said = error if isinstance(error, Exception) else repr(error)
        raise StepError(f"step family {name!r}: {said}; its parameters: {allowed}") from None
    if not cls.__module__.startswith("nonnormal.steps.") and step not in _CHECKED:
        check(step)
        _CHECKED.add(step)
    return step


def source_files(family: str | Step) -> tuple[Path, ...]:
    """Source files of a step of the user's own and of its base classes, without those of this package."""
    return own.files_of(own.modules_of(type(get(family)), Step))


def code_of(family: str | Step) -> str:
    """SHA-256 of its `source_files`, in hex: what a result of it depends on beside its name."""
    return own.code_of(source_files(family))


def check(step: Step, tolerance: float = 1e-6) -> None:
    """Raises an error if density, cdf, draws and stated moments of a step are not those of one standardised law.

    Integrates the density (to `tolerance`), or the distribution function of a law without one, takes the slope of the
    log-density by autograd, and draws 20,000 numbers. Takes about 10 ms.

    Raises:
        StepError: naming the class, what is wrong, what was found and what it must be.
    """
    try:
        known = _FAMILIES.get(getattr(step, "name", None), type(step))
        taken = known is not type(step) and f"name: {step.name!r} is taken by {known.__module__}:{known.__name__}"
        with torch.inference_mode(False):
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
    """Shortest text of a number that keeps all digits; the code of any other value."""
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


def _import(path: str) -> type[Step]:
    """The class of "module:Class"."""
    try:
        cls = own.imported(path)
    except ImportError as error:
        raise StepError(f"step {path!r} cannot be loaded: {error}") from None
    if not (isinstance(cls, type) and issubclass(cls, Step)):
        raise StepError(f"{path!r} is not a subclass of nonnormal.steps.Step")
    return cls
