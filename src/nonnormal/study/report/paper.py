"""Inputs of the paper: what its Typst source reads of a study."""

from __future__ import annotations

import json

from nonnormal.study.report.names import names_of
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.summary import read_rows


def inputs(layout: Layout) -> dict[str, str]:
    """Typst's `sys_inputs`: paths from the project's folder, and the names of all codes in the study's rows as JSON."""
    found = {"study": f"/{layout.study}", "folder": f"/{layout.paper_folder}", "results": f"/{layout.root}"}
    found |= {name: f"/{folder}" for name, folder in layout.kept.items()}
    return found | {"names": json.dumps(names_of(read_rows(layout.means)))}
