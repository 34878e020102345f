"""Tables of the step families, for the command line."""

from __future__ import annotations

import pandas as pd

from nonnormal import steps
from nonnormal.steps import Step
from nonnormal.steps.divergence import constant

# Families with parameters, for listings.
EXAMPLES = ("student_t(df=5)", "generalized_normal(shape=4)", "normal_mixture(kurtosis=-1, separation=0.85)")


def listed_steps() -> list[Step]:
    """One step of every registered family, those of `EXAMPLES` at the parameters given there."""
    examples = {name.partition("(")[0]: name for name in EXAMPLES}
    return [steps.get(examples.get(name, name)) for name in steps.families()]


def step_families() -> pd.DataFrame:
    """Moments, Fisher information and support by step."""
    rows = {
        str(step): {
            "skewness": step.skewness,
            "excess kurtosis": step.excess_kurtosis,
            "Fisher information": step.fisher_information,
            "support": "[{:.4g}, {:.4g}]".format(*step.support),
        }
        for step in listed_steps()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def step_constants() -> pd.DataFrame:
    """K_{q,p}(0), nats, by q (rows) and p (columns), over the steps that have a density."""
    dense = [step for step in listed_steps() if step.has_density]
    return pd.DataFrame({str(p): {str(q): constant(q, p) for q in dense} for p in dense})
