"""README: table, samples and conditions of a study between two markers; of the headline study its verdicts, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from nonnormal.files import atomic, read_json, write_text
from nonnormal.study.config import Study
from nonnormal.study.experiments.claims import tables
from nonnormal.study.report import text
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.provenance import revision_of

IMAGES = Path("docs/images")
_SHOWN = {
    "samples": "Samples of each pair, one row a pair, the images of a column share their seed",
    "designs": "Designs: what likelihood and samples of each network score",
}


def insert(target: Path, study: Study, layout: Layout) -> None:
    """Replaces what stands between the markers in `target`, and copies the pictures that it shows to docs/images/.

    Raises:
        ValueError: the file lacks the markers.
        FileNotFoundError: the study has no results yet.
    """
    old = target.read_text(encoding="utf-8")
    markers = [f"<!-- results of {study.name}: {end} -->" for end in ("start", "end")]
    head, start, rest = old.partition(markers[0])
    _, end, tail = rest.partition(markers[1])
    if not (start and end):
        raise ValueError(f"{target}: found no pair of markers {' … '.join(markers)}")
    parts = [_picture(layout, study.name, "samples"), _table(layout, "pairs")]
    if _shows_designs(study):
        parts += [_picture(layout, study.name, "designs"), _folded("Each design in numbers", _table(layout, "designs"))]
    parts.append(f"{_conditions(study, layout)}\n")
    if study.headline:
        parts.append(claims_block(text.read_numbers(layout.table("claims", "csv"))))
    write_text(target, "\n".join([f"{head}{start}", *parts]) + end + tail)


def _shows_designs(study: Study) -> bool:
    """The headline study's are in its paper."""
    return study.designs is not None and not study.headline


def _picture(layout: Layout, study: str, figure: str) -> str:
    """The figure, copied to where the README finds it."""
    image = IMAGES / f"{study}-{figure}.png"
    with atomic(image) as temporary:
        shutil.copyfile(layout.figure(figure, "png"), temporary)
    return f"![{_SHOWN[figure]}]({image})\n"


def _table(layout: Layout, name: str) -> str:
    return layout.table(name, "md").read_text(encoding="utf-8")


def claims_block(table: pd.DataFrame) -> str:
    """The claims of a table of `tables.claims` with verdicts, and the printed numbers folded away."""
    claims = tables.readable_claims(table)[["source", "measured", "threshold", "verdict"]]
    return (
        f"What the source texts claim ([`paper/claims.yaml`](paper/claims.yaml)), measured on this study: "
        f"{tables.counted(table)}. A claim holds if all of the 95 % interval satisfies the threshold, fails if "
        f"none of it does; exact statements are held by a test of the suite.\n\n{text.markdown(claims, prose=True)}\n"
        + _folded(
            "Their printed numbers, none of which is tested here",
            text.markdown(tables.readable_numbers(table), prose=True),
        )
    )


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n</details>\n"


def _conditions(study: Study, layout: Layout) -> str:
    """What the numbers depend on, in a paragraph."""
    made = read_json(layout.provenance)
    ours = study.features.kind == "classifier"
    network = "the pipeline's own classifier (not Inception)" if ours else "Inception"
    trained: dict[str, list[str]] = {}
    for name in (*study.runs, *(study.design_runs if _shows_designs(study) else ())):
        its = study.run(name).training
        training = f"{its.steps} optimiser steps of {its.batch_size} images, averaged weights (decay {its.ema_decay})"
        trained.setdefault(f"{training}, T = {its.n_steps}", []).append(name)
    several = len(trained) > 1
    trainings = "; ".join(
        training + f" ({len(names)} of the networks, {names[0]} the first)" * several
        for training, names in trained.items()
    )
    published = "Figures marked li2024 were published for other data and other networks. "
    return (
        f"{study.title}. Conditions: data set `{study.data}`; bounds on "
        f"{study.evaluation.n_images or 'all'} images of the held-out split, 95 % "
        f"intervals over images; `{study.metric('fid')}` and its relatives in the features of {network}, "
        f"{study.sampling.n_images} samples at {study.headline_steps} network calls against the training split; "
        f"one training a pair, study seed {study.seed}, so intervals do not cover retraining; {trainings}. "
        + published * ("li2024" in _table(layout, "pairs"))
        + f"Made at revision `{revision_of(made)}` on {made['hardware']}."
    )
