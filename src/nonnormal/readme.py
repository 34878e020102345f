"""README: table, samples and conditions of a study between two markers; of the headline study its verdicts, too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

from nonnormal import tables
from nonnormal.files import atomic, write_text
from nonnormal.layout import Layout
from nonnormal.provenance import revision_of
from nonnormal.study import Study

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
    text = target.read_text(encoding="utf-8")
    markers = [f"<!-- results of {study.name}: {end} -->" for end in ("start", "end")]
    head, start, rest = text.partition(markers[0])
    _, end, tail = rest.partition(markers[1])
    if not (start and end):
        raise ValueError(f"{target}: found no pair of markers {' … '.join(markers)}")
    parts = [_picture(layout, study.name, "samples"), _table(layout, "pairs")]
    if study.designs and not study.headline:  # the headline study's are in its paper
        parts += [_picture(layout, study.name, "designs"), _table(layout, "designs")]
    parts.append(f"{_conditions(study, layout)}\n")
    if study.headline:
        parts.append(claims_block(pd.read_csv(layout.table("claims", "csv"))))
    write_text(target, "\n".join([f"{head}{start}", *parts]) + end + tail)


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
        f"none of it does; exact statements are held by a test of the suite.\n\n{tables.markdown(claims, prose=True)}\n"
        f"<details><summary>Their printed numbers, none of which is tested here</summary>\n\n"
        f"{tables.markdown(tables.readable_numbers(table), prose=True)}\n</details>\n"
    )


def _conditions(study: Study, layout: Layout) -> str:
    """What the numbers depend on, in a paragraph."""
    made = json.loads(layout.provenance.read_text(encoding="utf-8"))
    training = next(iter(study.runs.values())).training
    ours = study.features.kind == "classifier"
    network = "the pipeline's own classifier (not Inception)" if ours else "Inception"
    return (
        f"{study.title}. Conditions: data set `{study.data}`; bounds on "
        f"{study.evaluation.n_images or 'all'} images of the held-out split with T = {training.n_steps}, 95 % "
        f"intervals over images; `{study.metric('fid')}` and its relatives in the features of {network}, "
        f"{study.sampling.n_images} samples at {study.headline_steps} network calls against the training split; "
        f"averaged weights (decay {training.ema_decay}); one training a pair, study seed "
        f"{study.seed}, so intervals do not cover retraining; {training.steps} optimiser steps of "
        f"{training.batch_size} images. Figures marked li2024 were published for other data "
        f"and other networks. Made at revision `{revision_of(made)}` on {made['hardware']}."
    )
