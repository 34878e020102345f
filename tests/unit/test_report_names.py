"""Names of codes: one for each in figures, tables, pages and the paper."""

import pandas as pd
import pytest

from nonnormal.study.report import names
from nonnormal.study.report.families import listed_steps


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        (names.step_name, "student_t(df=2.5)", "Student's t (df 2.5)"),
        (
            names.step_name,
            "normal_mixture(kurtosis=-1, separation=0.9)",
            "normal mixture (kurtosis −1, separation 0.9)",
        ),
        (names.step_name, "problems:Secant", "problems:Secant"),
        (names.process_name, "psld-0.01", "PSLD (friction 0.01)"),
        (names.process_name, "vp", "VP"),
        (names.process_name, "vp-partner", "vp-partner"),
        (names.choice_name, "conditional+shape", "conditional and shape"),
        (names.distance_name, "fid", "FID"),
        (names.distance_name, "kid_digits", "kernel distance"),
        (names.source_name, "li2024", "Li 2024"),
        (names.source_name, "ours", "ours"),
    ],
)
def test_a_code_has_its_words(name, code, words):
    assert name(code) == words


def test_every_family_has_a_name_without_code():
    assert [step for step in map(str, listed_steps()) if set("_=") & set(names.step_name(step))] == []


def test_the_names_of_rows_are_those_of_all_their_codes():
    rows = pd.DataFrame({"q": ["laplace", None], "step": ["ode", "gumbel"], "basis": ["dct", "dct"], "nfe": [1, 2]})
    found = names.names_of(rows)
    assert found["step"] == {"laplace": "Laplace", "ode": "none: the smooth path", "gumbel": "Gumbel"}
    assert found["basis"] == {"dct": "DCT"}
    assert found["process"] == {}


def test_a_measurement_of_a_claim_has_words_for_its_codes():
    code = "mean: phase_space_fid_digits_difference (process psld-0.01, against vp, em, step laplace, nfe max)"
    assert names.measurement_name(code) == (
        "mean: phase space Fréchet distance difference "
        "(process PSLD (friction 0.01), against VP, Euler–Maruyama, step Laplace, most calls)"
    )
