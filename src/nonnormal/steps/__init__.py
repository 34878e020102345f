"""Step distributions: families of laws with mean 0 and variance 1, by name.

get("laplace"), get("student_t", df=5), get("student_t(df=5)"), get("my_module:MyStep")
"""

from nonnormal.steps.base import (
    Step,
    StepError,
    Symmetric,
    code_of,
    families,
    get,
    is_registered,
    register,
    source_files,
)
from nonnormal.steps.coupling import coupled
from nonnormal.steps.distributions import (
    Arcsine,
    Exponential,
    GeneralizedNormal,
    Gumbel,
    Laplace,
    Logistic,
    Normal,
    Rademacher,
    StudentT,
    Triangular,
    Uniform,
)
from nonnormal.steps.divergence import shift_kl
from nonnormal.steps.fitted import FittedStep, ResidualStep
from nonnormal.steps.mixtures import NormalMixture, ScaleMixture

get_step = get
"""The same as `get`, under a name that is clear after `import nonnormal`."""

__all__ = [
    "Arcsine",
    "Exponential",
    "FittedStep",
    "GeneralizedNormal",
    "Gumbel",
    "Laplace",
    "Logistic",
    "Normal",
    "NormalMixture",
    "Rademacher",
    "ResidualStep",
    "ScaleMixture",
    "Step",
    "StepError",
    "StudentT",
    "Symmetric",
    "Triangular",
    "Uniform",
    "code_of",
    "coupled",
    "families",
    "get",
    "get_step",
    "is_registered",
    "register",
    "shift_kl",
    "source_files",
]
