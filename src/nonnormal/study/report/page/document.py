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
from nonnormal.study.experiment import Experiment, Figure
from nonnormal.study.experiments.claims.stated import FILE
from nonnormal.study.registry import experiment_named, experiments_of, parts, tables_of
from nonnormal.study.report import theme
from nonnormal.study.report.names import source_name
from nonnormal.study.report.page import glossary, needed, views
from nonnormal.study.report.page.curves import curve
from nonnormal.study.report.page.findings import claims_of, counts_of, findings_of
from nonnormal.study.report.page.lineage import Known, lineage
from nonnormal.study.report.page.numbers import laid_out, packed
from nonnormal.study.report.page.pictures import embedded, grid
from nonnormal.study.report.text import cell
from nonnormal.study.results.paths import Layout, remade
from nonnormal.study.results.summary import read_rows, read_table
from nonnormal.study.results.trainings import over_trainings

COLOURFUL = 4096  # colours of a figure from which it shows photographs
STRIP = 12  # samples of a run on the first screen
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
    environment.filters |= {"breakable": _breakable, "marked": glossary.marked, "meaning": glossary.meaning}
    environment.filters["source_name"] = source_name
    scripts = {name: Markup(_own(name)) for name in ("theme.js", "page.js")}
    known: Known = {}
    runs = [*_networks(study, layout, numbers, known)]
    runs += [_pretrained(study, layout, known)] if study.pretrained else []
    rows = read_rows(layout.summary)
    all_numbers, common = _numbers(rows), {"data": study.images_name, "seed": study.seed}
    parts = views.metrics_of(study, layout)
    chosen = views.presets(study, all_numbers, parts)
    rows_told, places = packed(all_numbers, common)
    claims = []
    if "claims" in numbers:
        by_claim = views.of_claims(study, all_numbers) if FILE.is_file() else {}
        claims = claims_of(numbers["claims"], by_claim, all_numbers.metric.map(parts).dropna().to_dict())
        chosen |= {f"claim {name}": places for name, places in by_claim.items()}
    return environment.get_template("page.html.jinja").render(
        study=study,
        facts=_facts(study),
        provenance=provenance,
        runs=runs,
        tables=_tables(study, readable),
        figures=_figures(study, layout),
        claims=claims,
        findings=findings_of(claims),
        counts=counts_of(claims),
        printed=[laid_out(part) for part in readable.get("claims", ())[1:]] if claims else [],
        glossary={glossary.identifier(term): (term, meaning) for term, meaning in glossary.TERMS.items()},
        bibliography=_bibliography(study, provenance),
        numbers=rows_told,
        views={title: sorted({places[i] for i in its}) for title, its in chosen.items()},
        compared=views.compared(study, rows, all_numbers, common),
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


def _facts(study: Study) -> dict[str, str]:
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
    return facts


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
            "strip": embedded(grid(images[:STRIP], study.dataset.levels)) if len(drawn) else None,
            "grey": study.dataset.shape[0] == 1,
            "figures": _drawn(study, layout, experiment),
            "curve": curve(name, run.q, run.p, log),
            "last": f"{log.loss_nats_per_dim.tail(5).mean():.4g}",
            "settings": yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False, default_flow_style=None),
            "seed": study.train_seed(name),
            "trainings": len(trainings),
            "lineage": lineage(made, known, without=[layout.checkpoint(each) for each in trainings]),
        }


def _numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """All numbers of a study, one for all trainings of a run, whose number is told where there are several."""
    means = over_trainings(rows.drop_duplicates())
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
        "strip": None,
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
    """Title, caption and parts of each table but the claims, that of the pairs first.

    The pairs have a row a run, so that they sort, and a column a run, for a narrow screen.
    """
    tables, captions = [], {name: table.caption for name, (_, table) in tables_of(study).items()}
    for name in sorted(readable.keys() - {"claims"}, key=lambda name: (name != "pairs", [*captions].index(name))):
        parts = [("", part) for part in readable[name]]
        if name == "pairs" and set(study.labels.values()) <= set(readable[name][0].columns):
            [(_, part)] = parts
            parts = [("wide", part.T.rename_axis("q/p")), ("narrow", part)]
        laid = [(kind, laid_out(part)) for kind, part in parts]
        tables.append({"name": name, "title": _title(name), "caption": captions[name], "parts": laid})
    return tables


def _drawn(study: Study, layout: Layout, experiment: Experiment) -> list[str]:
    """Which of the experiment's figures are there."""
    names = [figure.name for figure in experiment.figures_of(study)]
    return [name for name in names if layout.figure(name, "png").is_file()]


def _figures(study: Study, layout: Layout) -> dict[str, dict[str, Any]]:
    """Experiments by name, with title, caption, picture and PDF of their figures that are there."""
    found = {}
    for experiment in experiments_of(study):
        if members := [_figure(study, layout, each) for each in experiment.figures_of(study)]:
            found[experiment.name] = {"title": experiment.title, "members": [each for each in members if each]}
    return found


def _figure(study: Study, layout: Layout, figure: Figure) -> dict[str, Any] | None:
    """A figure, None where it is not drawn; one that shows no colour photographs is inverted on a dark page."""
    if not layout.figure(figure.name, "png").is_file():
        return None
    png, pdf = (layout.figure(figure.name, extension) for extension in ("png", "pdf"))
    picture = embedded(track_input(png).read_bytes())
    return {
        "name": figure.name,
        "title": _title(figure.name),
        "caption": figure.caption,
        "picture": picture,
        "inverted": picture.colours < COLOURFUL or study.dataset.shape[0] == 1,
        "pdf": base64.b64encode(track_input(pdf).read_bytes()).decode() if pdf.is_file() else None,
    }


def _bibliography(study: Study, provenance: Mapping[str, Any]) -> str:
    """BibTeX for this page, and for the text that it replicates."""
    revision = provenance["revision"] or "unknown"
    title = importlib.metadata.metadata("nonnormal")["Summary"]
    return (
        f"@software{{nonnormal,\n  title = {{nonnormal: {title}}},\n  author = {{{{The nonnormal authors}}}},\n"
        f"  version = {{{importlib.metadata.version('nonnormal')}}},\n"
        f"  note = {{study {study.name}, revision {revision}}}\n}}\n"
        "@article{li2024,\n  title = {Non-Normal Diffusion Models},\n  author = {Li, Henry},\n  year = {2024},\n"
        "  journal = {arXiv:2412.07935}\n}\n"
    )


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
