"""Results page: `docs/results/<study>.md`, the results of a finished study in Markdown, for GitHub and the docs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nonnormal.files import atomic, read_json, write_text
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.experiment import OVER
from nonnormal.study.experiments.claims import tables
from nonnormal.study.experiments.claims.ledger import ledger, read_kept
from nonnormal.study.experiments.claims.stated import load
from nonnormal.study.registry import figures_of, tables_of
from nonnormal.study.report import text
from nonnormal.study.report.names import source_name
from nonnormal.study.report.page.findings import claims_of, findings_of
from nonnormal.study.results.paths import LEDGER, Layout, remade
from nonnormal.study.results.provenance import revision_of
from nonnormal.study.results.summary import write_table

_RULE = (
    "A claim holds if the whole 95 % interval satisfies the threshold, fails if no part of the interval does, and is "
    "undecided otherwise, with what would decide it. A claim that compares trained networks is judged over trainings. "
    "Theorems and arithmetic could not be otherwise, and are not counted."
)
PAGES = Path("docs/results")
IMAGES = Path("docs/images")
_SECTIONS = {  # title and picture of each table that is shown
    "pairs": ("Scores of each run", None),
    "few_steps": ("Few network calls: fitted steps", "few_steps_bounds"),
    "representations": ("Representations and schedules", "representations"),
}


def write(study: Study, layout: Layout) -> Path:
    """Write the page of a finished study, and copy the pictures that it shows to `docs/images/`.

    Returns:
        Path of the page: findings, conditions, samples, pairs, fitted steps, representations and claims, as far as the
        study has them.

    Raises:
        FileNotFoundError: the study has no results yet.
    """
    conditions = _conditions(study, layout)
    parts = [f"# {study.title}\n", "<!-- Written by `nonnormal results`; do not edit. -->\n"]
    claims = text.read_numbers(layout.table("claims", "csv")) if "claims" in tables_of(study) else None
    if claims is not None and (found := findings_of(claims_of(claims, {}, {}))):
        lines = [
            f"- **{each['verdict']}**: {each['statement']} {each['measured']} ({each['source']})" for each in found
        ]
        parts.append("\n".join(["## Findings\n", *lines]) + "\n")
    parts.append(f"{conditions}\n")
    if "samples" in figures_of(study):
        parts.append(f"## Samples\n\n{_picture(study, layout, 'samples')}")
    for name, (title, picture) in _SECTIONS.items():
        if name in tables_of(study):
            shown = [_picture(study, layout, picture)] if picture in figures_of(study) else []
            parts.append("\n".join([f"## {title}\n", *shown, _table(layout, name)]))
    if claims is not None:
        parts.append(claims_section(claims))
    page = PAGES / f"{study.name}.md"
    write_text(page, "\n".join(parts))
    return page


def claims_section(table: pd.DataFrame) -> str:
    """Sections with the verdicts of a table of `tables.claims`, and with the printed numbers of the sources."""
    return (
        f"## Claims of the source texts\n\n"
        f"Each claim of `paper/claims.yaml`, measured on this study. {_verdicts(table)}\n"
        f"## Numbers printed in the sources\n\n"
        f"This study measures none of these numbers.\n\n{text.markdown(tables.readable_numbers(table), prose=True)}"
    )


def write_ledger(folders: Iterable[Path]) -> tuple[Path, Path]:
    """Write the ledger of the studies in these folders, `results/claims.csv`, and its page, `docs/results/claims.md`.

    Returns:
        Both paths.

    Raises:
        FileNotFoundError: a folder has no summary.csv or study.json.
    """
    found = ledger(load(), [read_kept(folder) for folder in folders])
    write_table(LEDGER, found)
    page = PAGES / "claims.md"
    write_text(page, ledger_page(found))
    return LEDGER, page


def ledger_page(found: pd.DataFrame) -> str:
    """The page of a ledger, as Markdown."""
    found = found.rename(columns={"low": "value_low", "high": "value_high"})
    found = found.assign(measurement="", reason="", null_case="", data="")
    return (
        f"# Claims of the source texts\n\n<!-- Written by `nonnormal ledger`; do not edit. -->\n\n"
        f"Each claim of `paper/claims.yaml`, judged by the kept study that tests it best: the one with the "
        "narrowest interval, for a claim that compares trained networks among those with the most trainings. "
        "`results/claims.csv` has the same rows. "
        f"{_verdicts(found)}"
    )


def _verdicts(table: pd.DataFrame) -> str:
    """How many empirical claims have which verdict, the rule, and the table of all claims, as Markdown."""
    claims = tables.readable_claims(table)[["source", "kind", "measured", "threshold", "verdict"]]
    return f"Empirical claims: {tables.counted(table)}. {_RULE}\n\n{text.markdown(claims, prose=True)}"


def _picture(study: Study, layout: Layout, figure: str) -> str:
    """Link to a figure, copied to where the page finds it, with the caption that it has everywhere."""
    image = IMAGES / f"{study.name}-{figure}.png"
    with atomic(image) as temporary:
        shutil.copyfile(layout.figure(figure, "png"), temporary)
    return f"![{figures_of(study)[figure][1].caption}](../{image.relative_to(PAGES.parent).as_posix()})\n"


def _table(layout: Layout, name: str) -> str:
    return layout.table(name, "md").read_text(encoding="utf-8")


def _conditions(study: Study, layout: Layout) -> str:
    """One paragraph: data, images, intervals, features, calls, trainings, revision and machine behind the numbers."""
    made = read_json(layout.provenance, remade(layout.provenance))
    network = "the pipeline's own classifier (not Inception)" if study.features.kind == "classifier" else "Inception"
    trained: dict[str, list[str]] = {}
    for name in dict.fromkeys(map(run_of, study.networks)):
        its = study.run(name).training
        training = (
            f"{its.iterations} optimiser steps of {its.batch_size} images, averaged weights (decay {its.ema_decay})"
        )
        trained.setdefault(f"{training}, T = {its.timesteps}", []).append(name)
    several = len(trained) > 1
    trainings = "; ".join(
        training + f" ({len(names)} of the networks, {names[0]} the first)" * several
        for training, names in trained.items()
    )
    printed = source_name("li2024")
    published = f"Rows marked {printed} were published for other data and other networks. "
    return (
        f"Conditions: data set `{study.images_name}`; bounds on {study.evaluation.n_images or 'all'} images of the "
        f"held-out split, 95 % intervals {OVER}; distances (in rows, `{study.metric('fid')}` and its relatives) in the "
        f"features of "
        f"{network}, {study.sampling.n_images} samples at {study.headline_steps} network calls against the "
        f"training split; {study.replicates} training{'s' * (study.replicates > 1)} a pair, study seed {study.seed}; "
        f"intervals over images do not cover retraining; {trainings}. "
        + published * ("pairs" in tables_of(study) and printed in _table(layout, "pairs"))
        + f"Made at revision `{revision_of(made)}` on {made['hardware']}."
    )
