"""Names: words for the codes of rows and study files, the same in figures, tables, pages and the paper.

A code without words here is its own name: that of a user's step, process or network, for example.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pandas as pd

SOLVER_NAMES = {"euler": "Euler", "heun": "Heun", "dpm_2": "DPM-2", "dpmpp_2m": "DPM++(2M)", "ipndm": "iPNDM"}
"""Names of the solvers of `samplers.SOLVERS`."""
HELD_OUT = "held-out images"
"""Name of the floor of a distance."""
STYLE_NAMES = {
    "total_variation": "total variation",
    "high_frequency": "high-frequency share",
    "saturation": "saturation",
}
_DISTANCES = {
    "fid": ("FID", "Fréchet distance"),  # in the features of Inception; in others
    "kid": ("KID", "kernel distance"),
    "precision": ("precision", "precision"),
    "recall": ("recall", "recall"),
}
_STEPS = {
    "laplace": "Laplace",
    "gumbel": "Gumbel",
    "rademacher": "Rademacher",
    "student_t": "Student's t",
    "generalized_normal": "generalised normal",
    "normal_mixture": "normal mixture",
    "stable": "stable",
    "ode": "none: the smooth path",
}
_PARAMETERS = {"alpha": "α"}
_SAMPLERS = {
    "ancestral": "ancestral chain",
    "em": "Euler–Maruyama",
    "sscs": "SSCS",
    "sscs_midpoint": "SSCS, score of the middle",
    "flow_euler": "Euler on the flow",
    "flow_heun": "Heun on the flow",
    "flow_adaptive": "adaptive solver on the flow",
} | SOLVER_NAMES
_BASES = {
    "pixel": "pixels",
    "dct": "DCT",
    "fourier": "Fourier",
    "haar": "Haar",
    "pca": "PCA",
    "residual_pca": "PCA of residuals",
}
_GRIDS = {"uniform": "equal times", "quadratic": "quadratic", "polynomial": "polynomial", "searched": "searched times"}


def step_name(code: str) -> str:
    """Name of a step: "Student's t (df 5)" for student_t(df=5)."""
    family, _, parameters = code.partition("(")
    if family not in _STEPS or not parameters:
        return _STEPS.get(code, code)
    found = re.findall(r"(\w+)=([^,)]+)", parameters)
    words = ", ".join(f"{_PARAMETERS.get(name, name)} {value}" for name, value in found)
    return f"{_STEPS[family]} ({words})".replace("-", "−")


def process_name(code: str) -> str:
    """Name of a process: "PSLD (friction 0.01)" for psld-0.01."""
    found = re.fullmatch(r"(vp|cld|psld)(?:-([\d.]+))?", code)
    if not found:
        return code
    return found[1].upper() + (f" (friction {found[2]})" if found[2] else "")


def sampler_name(code: str) -> str:
    """Name of a sampler or solver."""
    return _SAMPLERS.get(code, code)


def basis_name(code: str) -> str:
    """Name of a basis."""
    return _BASES.get(code, code)


def grid_name(code: str) -> str:
    """Name of a grid of times."""
    return _GRIDS.get(code, code)


def choice_name(code: str) -> str:
    """Name of a choice of the step at few calls: "scale and shape" for scale+shape."""
    return code.replace("+", " and ")


def distance_name(metric: str) -> str:
    """Name of a distance or of its relatives: FID in Inception's features, else Fréchet distance, for example."""
    kind, _, of_data = metric.partition("_")
    return _DISTANCES[kind][bool(of_data)]


def source_name(key: str) -> str:
    """Name of a source: "Li 2024" for li2024."""
    found = re.fullmatch(r"([a-z]+)(\d{4})", key)
    return f"{found[1].capitalize()} {found[2]}" if found else key


_MEASURED = (  # by pattern, in the order in which they are replaced
    (r"tests/\w+/(test_\w+)\.py(::\w+)?", r"\1"),
    (r"\w+\([\w=., +-]*=[^)]*\)", lambda found: step_name(found[0])),
    (r"\bpsld-[\d.]+", lambda found: process_name(found[0])),
    (r"\bstep\.str\.startswith\((\w+)\)", r"step \1"),
    (r"\b(fid|kid|precision|recall)(_\w+?)?(?=_difference|_order|\b)", lambda found: distance_name(found[0])),
    (r"(?<=_)(fid|kid|precision|recall)(_[a-z0-9]+?)?(?=_difference|_order|\b)", lambda found: distance_name(found[0])),
    (r"bpd_total", "bits/dim"),
    (r"bpd_difference", "difference in bits/dim"),
    (r"\bnfe max\b", "most calls"),
    (r"\bnfe min\b", "fewest calls"),
    (r"\b(budget|T|sigma) max\b", r"greatest \1"),
    (r"\b(budget|T|sigma) min\b", r"least \1"),
    (r"\bfor each nfe\b", "for each number of calls"),
    (r"\bnfe\b", "calls"),
    (r"\bbudget\b", "calls"),
    (r"\bsigma\b", "σ"),
    (r"\b(vp|cld|psld)\b", lambda found: process_name(found[0])),
    (r"\b(em|sscs|euler)\b", lambda found: sampler_name(found[0])),
    (r"\b(pixel|pca|dct|haar)\b", lambda found: basis_name(found[0])),
    (r"\b(laplace|gumbel|rademacher)\b", lambda found: step_name(found[0])),
    (r"_null\b", " of the null"),
    (r"_difference\b", " difference"),
    (r"_", " "),
)


def measurement_name(text: str) -> str:
    """A measurement of a claim with the words of figures and tables in the place of codes."""
    for pattern, words in _MEASURED:
        text = re.sub(pattern, words, text)
    return text


_KINDS: Mapping[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "step": (step_name, ("q", "p", "step")),
    "process": (process_name, ("process",)),
    "sampler": (sampler_name, ("sampler", "solver")),
    "basis": (basis_name, ("basis",)),
    "grid": (grid_name, ("grid",)),
    "choice": (choice_name, ("choice",)),
}


def names_of(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Names by kind and code, of all codes that these rows have."""
    return {
        kind: {code: name(code) for column in columns if column in rows for code in rows[column].dropna().unique()}
        for kind, (name, columns) in _KINDS.items()
    }
