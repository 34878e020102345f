"""Stages: a study as four coarse stages of DVC, each of which runs Snakemake's jobs.

Snakemake makes results; DVC stores which version of a result belongs to which commit. `nonnormal dvc` writes a dvc.yaml
from a study, its experiments and its layout; each stage calls `nonnormal stage`, which starts Snakemake once.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nonnormal.files import write_text
from nonnormal.study.config.reading import load, read
from nonnormal.study.config.settings import run_of
from nonnormal.study.config.study import Study
from nonnormal.study.registry import experiments_of, figures_of, jobs_of, tables_of
from nonnormal.study.report.page import needed
from nonnormal.study.results.paths import Layout, records_folder
from nonnormal.study.results.provenance import own_files
from nonnormal.study.results.records import relative

PIPELINE = Path("dvc.yaml")
PIPELINES = Path("pipelines")
PERSIST = {"persist": True}
IN_GIT = {"persist": True, "cache": False}  # of some studies Git keeps them, and DVC must not
LOSS = "loss_nats_per_dim"  # a column of training.csv
CODE = ("src/nonnormal", "workflow", "Snakefile")  # Snakemake knows which file is made anew after which edit

_HEAD = """\
# The study {study} as a few coarse stages. Written by `nonnormal dvc`; do not edit.
#   dvc repro{place}            dvc metrics show            dvc plots show
#   dvc exp run -S '{study}:seed=1'{place}
# Snakemake knows how a result is made, DVC which version of it belongs to which commit. Each stage starts Snakemake
# with the profile that the environment variable PROFILE names. Outputs stay in place between runs (persist), so that
# only what is missing or stale is made. Beside each output are its records, which say after a pull where it comes from.
"""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of the stage.
        rules: Snakemake's rules that it may run; earlier rules belong to other stages and are up to date.
        files: all files that it makes.
        inputs: files of other stages, and of the project, that it reads.
        params: keys of the study file that it depends on, including keys that the file leaves out.
        metrics: the file among `files` that `dvc metrics` shows.
    """

    name: str
    rules: tuple[str, ...]
    files: tuple[Path, ...]
    inputs: tuple[Path | str, ...]
    params: tuple[str, ...] = ()
    metrics: Path | None = None


def stages_of(study: Study, layout: Layout, study_file: str) -> dict[str, Stage]:
    """The stages of a study by name: data, train, evaluate, report; without stages that make no file."""
    experiments, jobs = experiments_of(study), [job for _, job in jobs_of(study).values()]
    figures, tables = figures_of(study), tables_of(study)
    weights = [layout.weights(run) for run in study.networks]
    starts = [path for run in study.networks if (path := study.initial_weights(run)) and path not in weights]
    measured = [
        path
        for job in jobs
        for run in (job.networks(study) if job.each else [job.network(study)])
        for path in job.inputs(study, layout, run)
    ]
    sampled = [layout.samples(run, n_steps) for run in study.trainings() for n_steps in study.sample_steps]
    captions = [layout.caption("figure", name) for name in figures] + [layout.caption("table", name) for name in tables]
    drawn = [path for _, figure in figures.values() for path in figure.files(study, layout)]
    read_by_tables = [path for _, table in tables.values() for path in table.inputs(layout)]
    typeset = (
        ["paper/paper.typ", "paper/sections", "paper/references", *layout.borrowed]
        if study.runs
        else ["paper/references"]
    )
    found = (
        Stage(
            "data",
            rules=("data", "features", "import_pretrained"),
            files=(layout.data, layout.features, *[layout.pretrained_network] * bool(study.pretrained)),
            inputs=(),
            params=("data", "source", "seed", "features", *["pretrained"] * bool(study.pretrained)),
        ),
        Stage(
            "train",
            rules=("train",),
            files=tuple(path for run in study.networks for path in (layout.weights(run), layout.log(run))),
            inputs=(layout.data, *starts),
            params=("seed", "defaults", *_trained(study)),
        ),
        Stage(
            "evaluate",
            rules=("sample", *(job.name.replace("-", "_") for job in jobs), "summary"),
            files=(
                *sampled,
                *(path for job in jobs for path in job.all_outputs(study, layout)),
                layout.summary,
                layout.means,
                layout.provenance,
                layout.metrics,
            ),
            inputs=(*weights, layout.data, layout.features, *measured, "paper/references/published.csv"),
            params=("seed", "sampling", *(section for job in jobs for section in job.settings)),
            metrics=layout.metrics,
        ),
        Stage(
            "report",
            rules=(*(f"show_{experiment.name}" for experiment in experiments), "paper", "page"),
            files=(
                *[layout.paper] * bool(study.runs),
                layout.page,
                *layout.figures(figures),
                *layout.tables(tables),
                *captions,
            ),
            inputs=(
                study_file,
                layout.summary,
                layout.means,
                *drawn,
                *read_by_tables,
                *needed(study, layout),
                *typeset,
            ),
        ),
    )
    return {stage.name: stage for stage in found if stage.files}


def described(study_file: Path, pipeline: Path = PIPELINE) -> dict[str, Any]:
    """Content of `pipeline`, the dvc.yaml of the study, as YAML values.

    Its stages run at the top of the project, wherever the file lies. Files that another dvc.yaml makes already, such as
    the data set, are left out: DVC refuses two stages with the same output.
    """
    file, study = relative(study_file), load(study_file)
    layout = Layout(study.name, study.data_name, study.headline)
    top, content = os.path.relpath(Path.cwd(), pipeline.absolute().parent), read(study_file)
    elsewhere = top != "."
    others = [each for each in (PIPELINE, *sorted(PIPELINES.glob(f"*/{PIPELINE}"))) if each.is_file()]
    taken = set().union(*(_made_by(each) for each in others if each.absolute() != pipeline.absolute()))
    folders = {layout.samples(run, 0).parent for run in study.trainings()}
    folders |= {
        path.parent for path in (layout.figure("x", "png"), layout.table("x", "csv"), layout.caption("table", "x"))
    }
    small = {str(path) for path in (layout.summary, layout.provenance)}
    own_code = {relative(path) for files in study.own_files.values() for path in files}
    own_code = sorted(own_code.union(*(own_files(each) for each in study.asked)))
    stages = {}
    for stage in stages_of(study, layout, file).values():
        made = _carried(stage.files, folders)
        made += [str(records_folder(path)) for path in made]
        params = [key for key in dict.fromkeys(stage.params) if _holds(content, key)]
        stages[stage.name] = {
            "cmd": f"nonnormal stage {stage.name} {file}" + f" --pipeline {relative(pipeline)}" * elsewhere,
            "wdir": top,
            "deps": [*CODE, *own_code, *(path for path in _carried(stage.inputs, folders) if path not in made)],
            "params": [{file: params}],
            "outs": [
                {path: IN_GIT if path in small else PERSIST}
                for path in made
                if path not in {*taken, str(stage.metrics)}
            ],
            "metrics": [{str(stage.metrics): IN_GIT}] * (stage.metrics is not None),
        }
        for key, default in (("wdir", "."), ("params", [{file: []}]), ("metrics", [])):
            if stages[stage.name][key] == default:
                del stages[stage.name][key]
    losses = {str(Path(top, layout.log(run))): LOSS for run in study.trainings()}
    curves = {"training loss": {"title": "Loss without its constant, nats per dimension", "x": "step", "y": losses}}
    pictures = [str(Path(top, layout.figure(name, "png"))) for name in figures_of(study)]
    return {"stages": stages, "plots": [*[curves] * bool(losses), *pictures]}


def place_of(study_file: Path) -> Path:
    """Path of a study's dvc.yaml: at the top for the headline study, otherwise in its own folder."""
    study = load(study_file)
    return PIPELINE if study.headline else PIPELINES / study.name / PIPELINE


def write(study_file: Path, pipeline: Path = PIPELINE) -> None:
    """Writes the dvc.yaml of a study."""
    write_text(pipeline, text_of(study_file, pipeline))


def text_of(study_file: Path, pipeline: Path = PIPELINE) -> str:
    """The dvc.yaml of a study as text."""
    told = yaml.dump(described(study_file, pipeline), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    place = relative(pipeline)
    return _HEAD.format(study=relative(study_file), place="" if place == str(PIPELINE) else f" {place}") + told


def run(name: str, study_file: Path, pipeline: Path = PIPELINE) -> None:
    """Replace this process with Snakemake, which makes the files of a stage.

    DVC leaves earlier files in place (persist). Snakemake's records show which of them are up to date. A file without a
    record came from DVC's cache, in a fresh clone or a queued experiment; its time proves nothing, so it is made again.

    Raises:
        ValueError: the study has no such stage, or `pipeline` has another one, e.g. because a network was added.
    """
    found, said = described(study_file, pipeline)["stages"], read(pipeline)
    if name not in found:
        raise ValueError(f"found {name!r}; the stages of {study_file} are {', '.join(found)}")
    if not isinstance(said, Mapping) or (said.get("stages") or {}).get(name) != found[name]:
        again = f"nonnormal dvc {study_file}" + f" --out {pipeline}" * (pipeline != PIPELINE)
        raise ValueError(f"{pipeline}: its stage {name} does not match {study_file}; write it again: {again}")
    study = load(study_file)
    layout = Layout(study.name, study.data_name, study.headline)
    stage = stages_of(study, layout, relative(study_file))[name]
    for path in stage.files:
        if path.exists() and not _recorded(path):
            path.unlink()
    profile = f"profiles/{os.environ.get('PROFILE') or 'default'}"
    command = ["snakemake", "--workflow-profile", profile, "--configfile", str(study_file), "--quiet", "rules"]
    os.execvp(command[0], [*command, "--allowed-rules", *stage.rules, "--", *map(str, stage.files)])


def _trained(study: Study) -> Iterator[str]:
    """Keys of the study that define which networks are trained, and how often."""
    for run in study.networks:
        above = study.path(run).removesuffix(f".{run_of(run)}")
        yield from (above, f"{above.removesuffix('runs').removesuffix('networks')}replicates")


def _recorded(path: Path) -> bool:
    """Whether Snakemake has a record of the file, found by the record's name."""
    name = urlsafe_b64encode(str(path).encode()).decode()
    *folders, last = [name[start : start + 254] for start in range(0, len(name), 254)]
    return Path(".snakemake/metadata", *(f"@{folder}" for folder in folders), last).is_file()


def _carried(paths: Iterable[Path | str], folders: set[Path]) -> list[str]:
    """DVC's outputs for files: the files themselves, or one of `folders` for all files in it."""
    return list(dict.fromkeys(str(path.parent if path.parent in folders else path) for path in map(Path, paths)))


def _made_by(pipeline: Path) -> set[str]:
    """Outputs of all stages of a dvc.yaml."""
    stages = (read(pipeline) or {}).get("stages", {}).values()
    return {str(path) for stage in stages for entry in stage.get("outs", []) for path in entry}


def _holds(content: Any, key: str) -> bool:
    """Whether a study file has the key, "section.key": DVC refuses a parameter that its file lacks."""
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True


class _Dumper(yaml.SafeDumper):
    """YAML in blocks, with the innermost ones on one line, without references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag, mapping, flow_style=None):
        return super().represent_mapping(tag, mapping, flow_style=mapping == PERSIST)

    def represent_sequence(self, tag, sequence, flow_style=None):
        return super().represent_sequence(tag, sequence, flow_style=False)
