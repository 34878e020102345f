"""Values that settings are made of: strict numbers, names of steps, and the base class of all sections."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from nonnormal import steps
from nonnormal.files import own


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_of_yaml_1_2(cls, value: Any, info: ValidationInfo) -> Any:
        """Read texts such as 1e-3 as numbers in numeric fields; YAML 1.1 parses them as texts."""
        return _with_numbers(value) if info.field_name in _number_fields(cls) else value


@cache
def _number_fields(model: type[BaseModel]) -> set[str]:
    return {name for name, field in model.model_fields.items() if _mentions_float(field.annotation)}


def _mentions_float(hint: Any) -> bool:
    return hint is float or any(map(_mentions_float, get_args(hint)))


_EXPONENT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+")


def _with_numbers(value: Any) -> Any:
    """The value, or the list, with texts such as 1e-3 converted to numbers."""
    if isinstance(value, list):
        return [_with_numbers(part) for part in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


MOST_STEPS = 1_000_000  # of a diffusion: each step is a number in memory, and in sampling a network call
SINGLE = 170  # log-SNR beyond which sigma, or alpha = exp(log_snr / 2), leaves float32
MOST = 1_000_000_000  # upper limit of all other counts

# Strict number: strings and booleans are rejected.
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]


def named_or_own(names: Iterable[str]) -> dict[str, Any]:
    """JSON schema for one of these names, or for the user's own object, module:NAME."""
    return {"anyOf": [{"type": "string", "enum": list(names)}, {"type": "string", "pattern": own.PATTERN}]}


def _known_step(name: str) -> str:
    step = steps.get(name)
    return name if ":" in name else str(step)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))}: named more than once")
    return names


StepName = Annotated[
    str,
    AfterValidator(_known_step),
    WithJsonSchema({"type": "string", "examples": [*steps.families(), "student_t(df=5)", "my_module:MyStep"]}),
]

StepNames = Annotated[tuple[StepName, ...], Field(min_length=1), AfterValidator(_distinct)]
RunNames = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)]
