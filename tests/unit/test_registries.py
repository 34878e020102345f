"""What a study may say is what the library knows, by the same names."""

import pytest

from nonnormal import bases
from nonnormal.denoisers.preconditioning import PARAMETRISATIONS
from nonnormal.processes import TIMES
from nonnormal.samplers import GRIDS, SOLVERS
from nonnormal.steps import conventions
from nonnormal.study.config import settings
from nonnormal.study.experiments.ablation.settings import Ablation
from nonnormal.study.experiments.phase_space.measure import FLOWS, WALKS
from nonnormal.study.experiments.phase_space.settings import PhaseSpace


@pytest.mark.parametrize(
    ("model", "key", "known"),
    [
        (settings.Basis, "kind", bases.KINDS),
        (settings.Network, "parametrisation", PARAMETRISATIONS),
        (settings.Training, "convention", conventions.CONVENTIONS),
        (PhaseSpace, "samplers", WALKS | FLOWS),
        (PhaseSpace, "step_samplers", WALKS),
        (PhaseSpace, "grids", TIMES),
    ],
)
def test_a_study_may_say_all_that_the_library_knows(model, key, known):
    assert set(allowed(model, key)) == set(known)


@pytest.mark.parametrize(("key", "known"), [("grids", {*TIMES, *GRIDS}), ("solvers", SOLVERS)])
def test_a_crossing_may_say_nothing_else(key, known):
    assert set(allowed(Ablation, key)) < set(known)


def allowed(model, key):
    """The words that a key takes."""
    schema = model.model_json_schema()["properties"][key]
    schema = schema.get("anyOf", [schema])[0]  # the other is module:NAME
    return schema.get("enum") or schema["items"]["enum"]
