"""Document: what the page says of a study, put into its template."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup, escape
from matplotlib.colors import to_hex

from nonnormal.files import read_json, read_tensors, track_input
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.experiment import Experiment
from nonnormal.study.registry import experiment_named, experiments_of, parts, tables_of
from nonnormal.study.report import theme
from nonnormal.study.report.page import needed
from nonnormal.study.report.page.curves import curve
from nonnormal.study.report.page.lineage import Known, lineage
from nonnormal.study.report.page.numbers import laid_out, packed
from nonnormal.study.report.page.pictures import embedded, grid
from nonnormal.study.report.text import cell
from nonnormal.study.results.paths import Layout, remade
from nonnormal.study.results.provenance import revision_of
from nonnormal.study.results.summary import read_rows, read_table
from nonnormal.study.results.trainings import over_trainings

PRETRAINED = "pretrained"  # what the page calls the pretrained network; no run may have that name


def render(
    study: Study,
    layout: Layout,
    numbers: Mapping[str, pd.DataFrame],
    readable: Mapping[str, tuple[pd.DataFrame, ...]],
) -> str:
    """The page as HTML.

    Args:
        study: with its results.
        layout: where they are; figures are those of the study that are there.
        numbers: the tables of the study by name, as numbers.
        readable: the same as text, each in one or more parts.

    Raises:
        FileNotFoundError: the study has no results, or not all of them.
    """
    if missing := [path for path in needed(study, layout) if not path.is_file()]:
        more = f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise FileNotFoundError(f"results page: {missing[0]}{more} missing; make the study {study.name} first")
    provenance = read_json(layout.provenance, remade(layout.provenance))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([files(__package__)]),
        autoescape=lambda name: name == "page.html.jinja",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    environment.filters["breakable"] = _breakable
    scripts = {name: Markup(_own(name)) for name in ("theme.js", "page.js")}
    known: Known = {}
    runs = [*_networks(study, layout, numbers, known)]
    runs += [_pretrained(study, layout, known)] if study.pretrained else []
    return environment.get_template("page.html.jinja").render(
        study=study,
        facts=_facts(study, provenance),
        provenance=provenance,
        runs=runs,
        tables=_tables(study, readable),
        figures=_figures(study, layout),
        numbers=packed(_numbers(layout), {"data": study.images_name, "seed": study.seed}),
        summary=layout.summary,
        styles=[Markup(_bundle("dt_bundle.css").replace("</", r"<\/")), Markup(_own("page.css"))],
        datatables=Markup(json.dumps(_bundle("dt_bundle.js"), ensure_ascii=False).replace("<", r"\u003c")),
        itables=importlib.metadata.version("itables"),
        scripts=scripts,
        hashes=[_hash(text) for text in scripts.values()],
    )


# ---- what it is made of ----------------------------------------------------------------------------------------------


def _own(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _bundle(name: str) -> str:
    """A file of DataTables."""
    return (files("itables") / "html" / name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """The text, with places where a long name may be broken."""
    return Markup(re.sub("([_/])(?=.)", r"\1<wbr>", str(escape(text))))


def _hash(script: str) -> str:
    """What a Content-Security-Policy calls a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _facts(study: Study, provenance: Mapping[str, Any]) -> dict[str, str]:
    """What the numbers depend on, by name."""
    ours = study.features.kind == "classifier"
    facts = {
        "Data set": f"{study.images_name}, {' × '.join(map(str, study.dataset.shape))}",
        "Networks": f"{len(study.networks)} trained" if study.networks else "a pretrained one",
        "Distances": f"{study.metric('fid')}, in features of {'a classifier of this study' if ours else 'Inception'}",
        "Intervals": _intervals(study),
        "Seed of the study": str(study.seed),
    }
    if study.runs:
        training = next(iter(study.runs.values())).training
        facts["Training of pairs"] = (
            f"{training.iterations} steps of {training.batch_size} images, EMA {training.ema_decay}"
        )
        steps = ", ".join(map(str, study.sample_steps))
        facts["Samples"] = f"{study.sampling.n_images} a pair, in {steps} steps"
        facts["Bounds of pairs"] = f"{study.evaluation.n_images or 'all'} held-out images, T = {training.timesteps}"
    return facts | {"Code revision": revision_of(provenance), "Hardware": provenance["hardware"]}


def _intervals(study: Study) -> str:
    """What the intervals are over."""
    often = [name for name in dict.fromkeys(map(run_of, study.networks)) if len(study.trainings([name])) > 1]
    if not often:
        return "95 %, over images; they do not cover retraining"
    return f"95 %, over trainings of {', '.join(often)}, else over images; these do not cover retraining"


def _networks(
    study: Study, layout: Layout, numbers: Mapping[str, pd.DataFrame], known: Known
) -> Iterator[dict[str, Any]]:
    """What is known of each network that the study trains."""
    scored = [numbers[name] for name in ("pairs", "representations") if name in numbers]
    scores = {row["run"]: row for table in scored for row in table.to_dict("records")}
    measured = parts(study, layout)
    for name in dict.fromkeys(map(run_of, study.networks)):
        run, trainings = study.run(name), study.trainings([name])
        samples, drawn = {}, study.sample_steps if name in study.runs else ()
        for n_steps in drawn:
            images = read_tensors(layout.samples(name, n_steps))[0]["images"].numpy()
            samples[f"{n_steps} steps"] = embedded(grid(images, study.dataset.levels))
        experiment = _experiment(study, name)
        log = read_table(layout.log(name))
        made = [path for each in trainings for path in (layout.weights(each), layout.log(each))]
        made += [layout.samples(each, n_steps) for each in trainings for n_steps in drawn]
        folders = set(map(layout.run, trainings))
        made += [path for path in measured if path.parent in folders and path.is_file()]
        row = scores.get(name, {})
        yield {
            "name": name,
            "part": experiment.name,
            "title": experiment.title,
            "pair": f"{run.q}/{run.p}",
            "mark": _mark(run.q, run.p),
            "basis": str(run.basis),
            "schedule": f"{run.process.kind}, {run.process.schedule}",
            "loss": f"{run.training.loss}, {run.training.weighting}",
            "steps": run.training.iterations,
            "bits": cell(row, "normal_bpd") if row else "–",
            "fid": cell(row, "fid") if row else "–",
            "samples": samples,
            "grey": study.dataset.shape[0] == 1,
            "figures": _drawn(study, layout, experiment),
            "curve": curve(name, run.q, run.p, log),
            "last": f"{log.loss_nats_per_dim.tail(5).mean():.4g}",
            "settings": yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False, default_flow_style=None),
            "seed": study.train_seed(name),
            "trainings": len(trainings),
            "lineage": lineage(made, known, without=[layout.checkpoint(each) for each in trainings]),
        }


def _numbers(layout: Layout) -> pd.DataFrame:
    """All numbers of the study, one for all trainings of a run, whose number is told where there are several."""
    means = over_trainings(read_rows(layout.summary))
    return means.assign(trainings=means.trainings.mask(means.trainings == 1))


def _experiment(study: Study, name: str) -> Experiment:
    """The experiment that the network is trained for."""
    return study.owner(name) or experiment_named(study, "pairs")


def _mark(q: str, p: str) -> dict[str, str]:
    """Colour of the pair in the figures, hollow where its marker is."""
    style = theme.line_style(q, p)
    colour = to_hex(style["color"])
    return {"line": colour, "fill": colour if p == "normal" else "transparent"}


def _pretrained(study: Study, layout: Layout, known: Known) -> dict[str, Any]:
    """What is known of a pretrained network."""
    images, settings = read_tensors(layout.arrays("pretrained"))[0], study.pretrained
    experiment = experiment_named(study, "pretrained")
    made = [layout.arrays("pretrained"), layout.rows("pretrained")]
    return {
        "name": PRETRAINED,
        "part": experiment.name,
        "title": experiment.title,
        "pair": "–",
        "mark": None,
        "basis": "–",
        "schedule": "–",
        "loss": "–",
        "steps": "–",
        "bits": "–",
        "fid": "–",
        "samples": {
            f"{step}, {n} calls": embedded(grid(images[f"{n}/{step}"].numpy(), study.dataset.levels))
            for n in sorted(set(settings.nfe))
            for step in settings.step_families
        },
        "grey": study.dataset.shape[0] == 1,
        "figures": _drawn(study, layout, experiment),
        "curve": None,
        "last": None,
        "settings": yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, default_flow_style=None),
        "seed": None,
        "trainings": 0,
        "lineage": lineage([path for path in made if path.is_file()], known),
    }


def _tables(study: Study, readable: Mapping[str, tuple[pd.DataFrame, ...]]) -> list[dict[str, Any]]:
    """Title, caption and parts of each table, that of the pairs first and with a row a run, so that it sorts."""
    tables, captions = [], {name: table.caption for name, (_, table) in tables_of(study).items()}
    for name in sorted(readable, key=lambda name: name != "pairs"):
        parts = readable[name]
        if name == "pairs" and set(study.labels.values()) <= set(parts[0].columns):
            parts = (parts[0].T.rename_axis("q/p"),)
        laid = [laid_out(part) for part in parts]
        tables.append({"name": name, "title": _title(name), "caption": captions[name], "parts": laid})
    return tables


def _drawn(study: Study, layout: Layout, experiment: Experiment) -> list[str]:
    """Which of the experiment's figures are there."""
    names = [figure.name for figure in experiment.figures_of(study)]
    return [name for name in names if layout.figure(name, "png").is_file()]


def _figures(study: Study, layout: Layout) -> dict[str, list[dict[str, str]]]:
    """Title, caption and picture of the figures that are there, by experiment."""
    return {
        experiment.title: [
            {
                "name": figure.name,
                "title": _title(figure.name),
                "caption": figure.caption,
                "picture": embedded(track_input(layout.figure(figure.name, "png")).read_bytes()),
            }
            for figure in experiment.figures_of(study)
            if layout.figure(figure.name, "png").is_file()
        ]
        for experiment in experiments_of(study)
        if experiment.figures_of(study)
    }


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
