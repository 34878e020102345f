"""Page: the results of a study as one HTML file, which needs no network and no server.

Tables are sorted and filtered by DataTables, whose code itables carries; the file holds it, and every picture. Equal
inputs give equal bytes: of the records, the page tells files, SHA-256, commands and revisions, and no time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.results.paths import Layout

TEMPLATES = ("page.css", "page.html.jinja", "page.js", "theme.js")


def needed(study: Study, layout: Layout) -> Iterator[Path]:
    """The files that the page is made of, apart from figures and tables."""
    yield from (layout.summary, layout.provenance)
    yield from map(layout.log, dict.fromkeys(map(run_of, study.networks)))
    yield from (layout.samples(run, n_steps) for run in study.runs for n_steps in study.sample_steps)
    if study.pretrained:
        yield layout.arrays("pretrained")


def templates() -> list[str]:
    """Files of this package that are not Python's, relative to the working folder as those of `sources`."""
    return [os.path.relpath(Path(__file__).with_name(name)) for name in TEMPLATES]
