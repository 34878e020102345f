"""Studies: what files are accepted, how each mistake is answered, and what identifies a run."""

import copy
import itertools
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from problems import small_denoiser

from nonnormal.files import tracking
from nonnormal.processes import PSLD
from nonnormal.steps import families, get
from nonnormal.steps.divergence import is_finite
from nonnormal.study import config as study
from nonnormal.study.cli.common import open_study
from nonnormal.study.config import StudyError, json_schema, load, validate
from nonnormal.study.config.build import components, design, model_config, objective
from nonnormal.study.config.process import Process
from nonnormal.study.config.reference import reference
from nonnormal.study.config.sections import NAME_RULE
from nonnormal.study.config.settings import Run
from nonnormal.study.registry import figures_of, tables_of
from nonnormal.study.results.records import Recorder

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))
BASE = {
    "name": "a-study",
    "data": "digits",
    "defaults": {
        "q": "laplace",
        "p": "laplace",
        "network": {"widths": [8, 16], "groups": 4},
        "process": {"schedule": {"log_snr_max": 9, "log_snr_min": -7}},
        "training": {"timesteps": 10, "iterations": 30},
    },
    "runs": {
        "plain": None,
        "other": {"q": "uniform", "training": {"iterations": 40}, "process": {"schedule": {"kind": "cosine"}}},
    },
}

# Those that may be left out, and have defaults for all they say.
SECTIONS = ("convergence", "step_swap", "geometry", "phase_space", "ablation")
LIMIT = "or train it with training.loss: limit"


def changed(path, value):
    """BASE with one value set, at a path like "runs.plain.q"."""
    raw = copy.deepcopy(BASE)
    *folders, last = path.split(".")
    place = raw
    for key in folders:
        if not isinstance(place.get(key), dict):
            place[key] = {}
        place = place[key]
    place[last] = value
    return raw


def mistake(raw):
    with pytest.raises(StudyError) as error:
        validate(raw, "study.yaml")
    return str(error.value)


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_studies_of_the_repository_load(name):
    found = load(ROOT / "config" / f"{name}.yaml")
    assert found.name == name
    for run in found.runs.values():
        design(run)
        objective(run, sigma_data=0.5)
        assert model_config(run, found.dataset, 0.5)["network"]["image_size"] == found.dataset.shape[1]


@pytest.mark.parametrize("name", ["digits", "smoke"])
def test_the_papers_four_pairs_are_trained(name):
    pairs = {(run.q, run.p) for run in load(ROOT / "config" / f"{name}.yaml").runs.values()}
    assert pairs == {("normal", "normal"), ("laplace", "laplace"), ("uniform", "normal"), ("uniform", "laplace")}


def test_every_family_is_trained_with_a_divergence_of_its_own_unless_it_has_none():
    runs = load(ROOT / "config" / "families.yaml").runs.values()
    assert {get(run.q).name for run in runs} == set(families()) - {"normal_mixture"}
    assert [run.q for run in runs if not run.has_native_bound] == ["rademacher"]
    for run in runs:
        dense = get(run.q).has_density
        assert run.p == (run.q if not dense or is_finite(run.q, run.q) else "normal")


@pytest.mark.parametrize("name", ["photos32", "cifar10", "imagenet32"])
def test_studies_of_real_data_have_four_pairs_by_two_recipes(name):
    found = load(ROOT / "config" / f"{name}.yaml")
    pairs = ["normal-normal", "laplace-laplace", "uniform-normal", "uniform-laplace"]
    assert list(found.runs) == [f"{recipe}-{pair}" for recipe in ("vdm", "edm") for pair in pairs]
    for run, settings in found.runs.items():
        assert run == f"{'vdm' if settings.training.weighting == 'elbo' else 'edm'}-{settings.q}-{settings.p}"


def test_the_list_of_keys_is_up_to_date_and_has_every_key():
    """`nonnormal schema` writes the file again."""
    said = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert said == reference()
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert all(f"| `{key}` |" in said for key in part["properties"])
    assert "| `temperature` |" not in said


def test_exported_schema_is_up_to_date():
    """`nonnormal schema` writes the file again."""
    assert json.loads((ROOT / "workflow" / "schemas" / "study.json").read_text(encoding="utf-8")) == json_schema()


@pytest.mark.parametrize("name", STUDIES)
def test_a_resolved_study_is_the_same_study(name, tmp_path):
    first = load(ROOT / "config" / f"{name}.yaml")
    (tmp_path / "study.json").write_text(json.dumps(first.resolved))
    again = load(tmp_path / "study.json")
    assert again.resolved == first.resolved
    assert facts(again) == facts(first)


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ["the file", "null", "a study is a mapping"]),
        ("- a\n- b\n", ["the file", '["a", "b"]', "a study is a mapping"]),
        ("just words", ["the file", "just words", "a study is a mapping"]),
        ("a: [1, 2", ["is not YAML"]),
        ("a: b: c", ["is not YAML"]),
        (b"\xff\xfe\x00", ["is not YAML"]),
    ],
    ids=["empty", "list", "text", "open bracket", "two colons", "not text"],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, content, fragments):
    path = tmp_path / "study.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StudyError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert all(fragment in str(error.value) for fragment in fragments)


@pytest.mark.parametrize(
    ("suffix", "content", "words"),
    [
        ("yaml", "name: a\ndata: digits\nname: b\n", "line 3: the key name is given twice, first in line 1"),
        ("yaml", "runs:\n  a: {q: normal, q: laplace}\n", "line 2: the key q is given twice, first in line 2"),
        ("yaml", "runs:\n  a:\n  b:\n  a:\n", "line 4: the key a is given twice, first in line 2"),
        ("json", '{"name": "a", "runs": {"a": null, "a": null}}', "the key a is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(tmp_path, suffix, content, words):
    (path := tmp_path / f"study.{suffix}").write_text(content)
    with pytest.raises(StudyError) as error:
        load(path)
    assert str(error.value) == f"{path}: {words}"


def test_a_key_that_is_laid_over_a_merged_one_is_given_once(tmp_path):
    (path := tmp_path / "study.yaml").write_text(
        "{name: a, data: digits, runs: {a: &a {q: laplace}, b: &b {<<: *a, q: normal}, c: {<<: *b, q: laplace}}}"
    )
    assert [run.q for run in load(path).runs.values()] == ["laplace", "normal", "laplace"]


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-3", ".1e-2", "1.e-3", "10e-4"])
def test_numbers_are_those_of_yaml_1_2(tmp_path, text):
    (path := tmp_path / "study.yaml").write_text(
        f"{{name: a, data: digits, runs: {{a: {{training: {{learning_rate: {text}}}}}}}}}"
    )
    assert load(path).run("a").training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("key", "value"), [("title", "1e5"), ("runs.plain.process", {"kind": "vp_sde", "beta": ["1e-1", "2e1"]})]
)
def test_a_text_like_a_number_is_one_where_a_number_is_asked_for_and_nowhere_else(key, value):
    found = validate(changed(key, value), "x")
    assert (found.title, found.run("plain").process.beta) in (("1e5", None), ("", (0.1, 20.0)))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.learning_rate", True, "found true; must be a number"),
        ("training.learning_rate", "fast", 'found "fast"; must be a number'),
        ("training.compile", "yes", 'found "yes"; must be true or false'),
        ("training.compile", 1, "found 1; must be true or false"),
        ("basis", 3, "found 3; must be a mapping with keys from kind, levels, whiten"),
        ("network.widths", 8, "found 8; must be a list, e.g. [8]"),
        ("network.widths", [], "found []; must be a list of at least 1 item"),
        ("network.widths", [100_000_000], "found 100000000; must be less than or equal to 8192"),
        ("training.timesteps", 10**21, f"found {10**21}; must be less than or equal to 1000000"),
        ("training.seed", 10**21, f"found {10**21}; must be less than {2**63}"),
        ("process", {"kind": "vp_sde", "beta": "x"}, 'beta: found "x"; must be a number or a list'),
        ("process", {"kind": "vp_sde", "beta": [0.1, "x"]}, 'beta.1: found "x"; must be a number'),
        (
            "process.schedule",
            {"kind": "component_wise", "labels": "colum"},
            'labels: found "colum"; must be one of variance, frequency, column, row or a list',
        ),
    ],
)
def test_a_mistake_is_said_once_in_the_words_of_yaml(path, value, words):
    message = mistake(changed(f"runs.plain.{path}", value))
    assert message.endswith(words)
    assert "\n" not in message


def test_a_mistake_in_the_defaults_is_said_once_and_there():
    raw = changed("defaults.trainig", {}) | {
        "runs": {f"r{i}": None for i in range(20)},
        "representations": {"networks": {"d": None}},
    }
    assert mistake(raw).startswith("study.yaml: defaults.trainig: unknown key")
    assert "\n" not in mistake(raw)
    raw = changed("defaults.training.iterations", 0)
    raw["runs"] = {"its": {"training": {"iterations": 0}}, "other": None}
    assert [line.split()[1] for line in mistake(raw).splitlines()] == [
        "defaults.training.iterations:",
        "runs.its.training.iterations:",
    ]
    raw = changed("defaults.p", "uniform") | {"runs": {"a": None, "b": None}}
    assert [line.split()[1] for line in mistake(raw).splitlines()] == ["defaults.p:"]


@pytest.mark.parametrize(
    ("key", "value", "file"),
    [
        ("seed", -1, "first.yaml"),
        ("title", 3, "second.yaml"),
        ("data", "mnist", "--config"),
        ("resources", 3, "second.yaml"),
    ],
)
def test_a_mistake_is_named_with_the_file_that_has_it(key, value, file):
    files = {"first.yaml": dict(BASE), "second.yaml": {"title": "x", "resources": {}}, "--config": {"data": "digits"}}
    files[file] = files[file] | {key: value}
    merged = {key: value for content in files.values() for key, value in content.items()}
    with pytest.raises(StudyError) as error:
        validate(merged, files)
    assert str(error.value).startswith(f"{file}: {key}: found")


def test_a_resolved_study_is_read_as_json(tmp_path):
    found, path = load(ROOT / "config/smoke.yaml"), tmp_path / "study.json"
    path.write_text(json.dumps(found.resolved))
    assert load(path) == found
    path.write_text("name: smoke")
    with pytest.raises(StudyError, match=r"study\.json: is not JSON \("):
        load(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(StudyError, match="cannot be read") as error:
            load(path)
        assert str(path) in str(error.value)


# ---- merging ---------------------------------------------------------------------------------------------------------


def test_runs_replace_defaults_key_by_key():
    found = validate(BASE, "x")
    plain, other = found.run("plain"), found.run("other")
    assert (plain.q, plain.p, plain.training.iterations, plain.training.timesteps) == ("laplace", "laplace", 30, 10)
    assert (other.q, other.p, other.training.iterations, other.training.timesteps) == ("uniform", "laplace", 40, 10)
    assert (plain.process.schedule.kind, other.process.schedule.kind) == ("linear_log_snr", "cosine")
    assert other.process.schedule.log_snr_max == 9
    assert other.network == plain.network
    assert plain.training.warmup == 100  # nobody says; the model's own default


def test_a_list_is_replaced_and_not_extended():
    found = validate(changed("runs.plain.network.widths", [4]), "x")
    assert found.run("plain").network.widths == (4,)


def test_merging_leaves_what_was_read_alone():
    raw = copy.deepcopy(BASE)
    validate(raw, "x")
    assert raw == BASE


@pytest.mark.parametrize("defaults", [{}, "left out"])
def test_defaults_may_be_left_out(defaults):
    raw = {key: value for key, value in BASE.items() if key != "defaults"} | {"runs": {"plain": None}}
    if defaults != "left out":
        raw["defaults"] = defaults
    assert validate(raw, "x").run("plain").q == "normal"


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "fragments"),
    [
        ("colour", "red", ["colour: unknown key", "allowed here: name, title, seed, data"]),
        (
            "runs.plain.training.epochs",
            3,
            ["runs.plain.training.epochs: unknown key", "weighting,", "timesteps, iterations, batch_size"],
        ),
        ("runs.plain.process.schedule.shape", 1, ["shape: unknown key", "kind, log_snr_max, log_snr_min"]),
        ("defaults.netwrk", {}, ["defaults.netwrk: unknown key", "q, p, basis, process, network, training"]),
        ("sampling.steps", 1, ["sampling.steps: unknown key", "n_images, nfe, batch_size, dtype"]),
        (
            "runs.plain.training.accumulate",
            1000,
            ["runs.plain.training.accumulate: found 1000", "must be at most the batch size"],
        ),
        ("runs.plain.training.timesteps", 0, ["runs.plain.training.timesteps: found 0", "greater than or equal to 1"]),
        ("sampling.nfe", [10, 0], ["sampling.nfe.1: found 0", "greater than or equal to 1"]),
        ("sampling.nfe", [], ["sampling.nfe: found []", "at least 1 item"]),
        ("sampling.dtype", "float16", ['sampling.dtype: found "float16"', "must be one of float32, float64"]),
        ("runs.plain.training.learning_rate", float("nan"), ["learning_rate: found NaN", "finite number"]),
        ("runs.plain.training.weighting", "vlb", ['weighting: found "vlb"', "one of elbo, perceptual, hsm, dsm"]),
        ("runs.plain.network.dropout", 1.0, ["network.dropout: found 1.0", "less than 1"]),
        (
            "runs.plain.p",
            "uniform",
            ["runs.plain.p: the divergence of the pair laplace/uniform is infinite", "normal, laplace", LIMIT],
        ),
        ("runs.plain.q", "cauchy", ['runs.plain.q: found "cauchy"', "has no variance", "DLPM"]),
        ("runs.plain.q", "student_t(df=2)", ['runs.plain.q: found "student_t(df=2)"', "df must be larger than 2"]),
        ("runs.plain.p", "student_t", ['runs.plain.p: found "student_t"', "student_t needs df, as student_t(df=5)"]),
        ("runs.plain.p", "student_t(5)", ["runs.plain.p: found", "parameters are written parameter=number"]),
        ("runs.plain.q", "rademacher", ["runs.plain.q: rademacher has no density, so rademacher/laplace has", LIMIT]),
        ("runs.plain.p", "rademacher", ["runs.plain.p: rademacher has no density, so laplace/rademacher has", LIMIT]),
        ("runs.plain.training.loss", "normal", ['training.loss: found "normal"', "must be one of native, limit"]),
        (
            "runs.plain.training",
            {"loss": "limit", "convention": "appendix"},
            ["runs.plain.training.convention: the limit loss is the normal pair's", "no other convention"],
        ),
        ("evaluation.n_evaluations", 0, ["evaluation.n_evaluations: found 0", "greater than or equal to 1"]),
        ("evaluation.flow_tolerance", 0, ["evaluation.flow_tolerance: found 0", "greater than 0"]),
        (
            "evaluation.flow_tolerance",
            3e-4,
            ["evaluation.flow_tolerance: found 0.0003", "less than or equal to 0.0001"],
        ),
        ("convergence.n_samples", 99, ["convergence.n_samples: found 99", "greater than or equal to 100"]),
        ("step_swap.n_images", 7, ["step_swap.n_images: found 7", "greater than or equal to 8"]),
        ("step_swap.n_images", [500, 8.5], ["step_swap.n_images.1: found 8.5", "must be a whole number"]),
        (
            "step_swap.n_images",
            [500, 8, 9],
            ["step_swap.n_images: found 3 numbers; needs one, or one for each of nfe, 1"],
        ),
        (
            "step_swap",
            {"nfe": [10, 10], "n_images": [8, 9]},
            ["step_swap.nfe: found [10, 10]; beside a list of n_images each stands once"],
        ),
        ("step_swap.nfe", [10, 0], ["step_swap.nfe.1: found 0", "greater than or equal to 1"]),
        (
            "step_swap.step_families",
            ["normal", "nromal"],
            ['step_swap.step_families.1: found "nromal"', "known families: normal"],
        ),
        ("step_swap.step_families", [], ["step_swap.step_families: found []", "at least 1 item"]),
        (
            "phase_space.comparisons",
            [{"process": "vp", "sampler": "em", "against": {"process": "cld"}}],
            ["phase_space.comparisons.0.process: found vp; the processes are"],
        ),
        (
            "phase_space.comparisons",
            [{"process": "cld", "sampler": "em", "against": {"sampler": "flow_euler"}}],
            ["phase_space.comparisons.0.against.sampler: found flow_euler; the samplers are ancestral, em"],
        ),
        (
            "phase_space.comparisons",
            [{"process": "cld", "sampler": "em", "against": {"process": "cld"}}],
            ["phase_space.comparisons.0.against: is the comparison itself"],
        ),
        (
            "phase_space.comparisons",
            [{"process": "cld", "sampler": "em", "against": {"sampler": "sscs"}, "other": 1}],
            ["phase_space.comparisons.0.other: unknown key; allowed here: process, sampler, against"],
        ),
        ("phase_space.runs", ["plain", "plain"], ["phase_space.runs: found", "plain: named more than once"]),
        ("step_swap.runs", ["plain", "plain"], ["step_swap.runs: found", "plain: named more than once"]),
        ("few_steps.runs", ["plain", "plain"], ["few_steps.runs: found", "plain: named more than once"]),
        ("geometry.run", "plane", ['geometry.run: found "plane"', "the runs are plain, other"]),
        ("geometry.n_paths", 501, ["geometry.n_paths: found 501", "more than the 500 images of n_images"]),
        ("geometry.n_images", 63, ["geometry.n_paths: found 64", "more than the 63 images of n_images"]),
        ("geometry.n_images", 7, ["geometry.n_images: found 7", "greater than or equal to 8"]),
        ("geometry.n_paths", 3, ["geometry.n_paths: found 3", "greater than or equal to 4"]),
        ("geometry.n_levels", 3, ["geometry.n_levels: found 3", "greater than or equal to 4"]),
        ("geometry.nfe", [5, 2], ["geometry.nfe.1: found 2", "greater than or equal to 3"]),
        ("geometry.nfe", [], ["geometry.nfe: found []", "at least 1 item"]),
        ("geometry.ancestral_nfe", [10, 1], ["geometry.ancestral_nfe.1: found 1", "greater than or equal to 2"]),
        (
            "geometry.step_families",
            ["normal", "nromal"],
            ['geometry.step_families.1: found "nromal"', "known families: normal"],
        ),
        (
            "geometry.step_families",
            ["laplace", "normal", "laplace"],
            ["geometry.step_families: found", "laplace: named more than once"],
        ),
        (
            "geometry.step_families",
            ["student_t(df=5)", "student_t( df = 5.0 )"],
            ["geometry.step_families: found", "student_t(df=5): named more than once"],
        ),
        ("runs.plain.q", "nowhere:Step", ['runs.plain.q: found "nowhere:Step"', "cannot be loaded"]),
        ("runs.plain.p", "nowhere:Step", ['runs.plain.p: found "nowhere:Step"', "cannot be loaded"]),
        ("runs.plain.q", "problems:WideSecant", ["runs.plain.q", "is not standardised: variance 2 (must be 1)"]),
        ("runs.plain.p", "problems:NotAStep", ["runs.plain.p", "is not a subclass of nonnormal.steps.Step"]),
        ("runs.plain.q", 3, ["runs.plain.q: found 3; must be a text"]),
        ("runs.plain.basis.kind", "sine", ['runs.plain.basis.kind: found "sine"', "pixel, pca, dct, fourier, haar"]),
        ("runs.plain.basis.levels", 2, ["runs.plain.basis.levels", "belongs to haar"]),
        ("runs.plain.basis", {"kind": "haar", "levels": 4}, ["runs.plain.basis.levels: found 4", "8 pixels"]),
        ("runs.plain.basis", {"whiten": True}, ["runs.plain.network.statistics", "use component"]),
        ("runs.plain.process.schedule.softness", 0.5, ["schedule.softness", "belongs to component_wise"]),
        (
            "runs.plain.process.schedule",
            {"kind": "component_wise", "labels": "frequency"},
            ["runs.plain.process.schedule.labels", "pixel have no frequency"],
        ),
        *(
            (
                "runs.plain",
                {"basis": {"kind": kind}, "process": {"schedule": {"kind": schedule, "labels": labels}}},
                [f"runs.plain.process.schedule.labels: the components of {kind} have no {labels}s; use variance"],
            )
            for kind, schedule, labels in (("pca", "sequential", "column"), ("haar", "component_wise", "row"))
        ),
        (
            "representations",
            {"networks": {"wave": {"basis": {"kind": "dct"}}}, "outpaint": "wave"},
            ["representations.networks.wave.basis.kind: found dct", "representations.outpaint keeps columns of pixels"],
        ),
        (
            "representations",
            {"networks": {"plain": None}},
            ["representations.networks: plain is the name of another network"],
        ),
        (
            "representations",
            {"networks": {"wave": None}, "outpaint": "plain"},
            ['representations.outpaint: found "plain"', "wave"],
        ),
        (
            "representations.networks.wave.basis.kind",
            "sine",
            ['representations.networks.wave.basis.kind: found "sine"'],
        ),
        ("representations.networks.wave.bases", "sine", ["representations.networks.wave.bases: unknown key", "basis"]),
        ("data", "cifar100", ['data: found "cifar100"', "known: digits"]),
        ("source.colour", 1, ["source.colour: unknown key", "allowed here: path, mirrors, sha256, size"]),
        ("source.size", 32, ["source.size: does not fit digits, which is built in and has none"]),
        ("source.mirrors", ["ftp://x"], ["source.mirrors: found", "allowed are http://"]),
        ("name", "a/b", ['name: found "a/b"', NAME_RULE]),
        ("name", "slurm", ['name: found "slurm"; results/slurm holds the logs of SLURM']),
        ("name", "../up", ['name: found "../up"']),
        ("runs.Big Name", None, ['runs.Big Name: found "Big Name"', NAME_RULE]),
        ("runs", {}, ["runs: found none; a study needs one or more, or the section pretrained"]),
        ("runs", ["plain"], ['runs: found ["plain"]', "must be a mapping"]),
        ("runs.plain", 3, ["runs.plain: found 3"]),
        ("defaults", [1], ["defaults: found [1]"]),
        ("runs.plain.network.groups", 3, ["network.groups: found 3", "must divide every width, which are [8, 16]"]),
        (
            "runs.plain.network.attention",
            [2],
            ["network.attention: found [2]", "levels of the network, which are 0 to 1"],
        ),
        ("runs.plain.network.attention", [0, -1], ["network.attention.1: found -1", "greater than or equal to 0"]),
        ("runs.plain.network.widths", [8, 8, 8, 8, 8], ["runs.plain.network.widths", "5 levels", "use fewer levels"]),
        (
            "runs.plain.process.schedule.log_snr_max",
            -8,
            ["runs.plain.process.schedule", "log_snr_max = -8.0 must be larger than log_snr_min = -7.0"],
        ),
    ],
)
def test_each_mistake_is_answered_with_key_value_and_what_is_allowed(path, value, fragments):
    message = mistake(changed(path, value))
    assert message.startswith("study.yaml: ")
    for fragment in fragments:
        assert fragment in message
    if not path.startswith("defaults"):  # a mistake in the defaults is one in every run
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize("path", ["runs.plain.training.iterations", "sampling.n_images", "resources.threads", "seed"])
@pytest.mark.parametrize("value", [30.0, 30.5, "30", True])
def test_integers_are_written_as_integers(path, value):
    message = mistake(changed(path, value))
    assert f"{path}: found {json.dumps(value)}; must be a whole number" in message


NAMED = {
    "runs": None,
    "representations.networks": None,
    "phase_space.networks": None,
    "phase_space.processes": {"kind": "vp_sde"},
    "ablation.bases": {"kind": "dct"},
    "ablation.processes": {"kind": "vp_sde"},
}
NUMBERS = ("1", "007", "1e3", "1.5", "0x1f", "1_000", 1, 7, 1.5, True, None)  # some as YAML reads them
FILES = ("summary.csv", "study.json", "geometry.csv")
VALUES = ("nan", "true", "null", "inf", "na", "off")


@pytest.mark.parametrize("place", NAMED)
@pytest.mark.parametrize("name", [*NUMBERS, *FILES, *VALUES])
def test_one_rule_for_all_names_refuses_what_is_read_as_a_value_or_file(place, name):
    message = mistake(changed(place, {name: NAMED[place]}))
    assert message.startswith(f"study.yaml: {place}.")
    assert message.endswith("use another name" if name in VALUES else NAME_RULE)


@pytest.mark.parametrize("name", [*NUMBERS[:6], *FILES, *VALUES])
def test_the_name_of_a_study_has_the_same_rule(name):
    assert mistake(changed("name", name)).startswith(f"study.yaml: name: found {json.dumps(name)}; ")


@pytest.mark.parametrize("place", NAMED)
@pytest.mark.parametrize("name", ["psld-0.01", "a", "pca_2"])
def test_a_name_may_have_a_number_in_it(place, name):
    validate(changed(place, {name: NAMED[place]}), "x")


@pytest.mark.parametrize("place", ["runs", "representations.networks", "phase_space.networks"])
@pytest.mark.parametrize("name", ["benchmarks", "law", "logs", "paper", "pretrained", "records", "table"])
def test_a_network_may_not_be_called_like_a_file_or_folder_of_the_study(place, name):
    message = mistake(changed(f"{place}.{name}", None))
    assert message.startswith(f'study.yaml: {place}.{name}: found "{name}"; benchmarks, logs, ')
    assert message.endswith("are reserved for files and folders of the study; use another name")


def test_a_mistake_in_widths_is_not_answered_with_attention():
    raw = changed("runs.plain.network", {"widths": [], "groups": 4, "attention": [0]})
    assert "attention" not in mistake(raw)


@pytest.mark.parametrize("section", ["features", "sampling", "evaluation", "resources", *SECTIONS])
def test_an_unknown_key_in_any_section_is_answered_with_its_keys(section):
    assert f"{section}.colour: unknown key; allowed here: " in mistake(changed(f"{section}.colour", 1))


def test_a_missing_key_is_named():
    raw = copy.deepcopy(BASE)
    del raw["data"]
    assert mistake(raw) == "study.yaml: data: missing"


def test_all_mistakes_are_answered_at_once():
    raw = changed("runs.plain.training.timesteps", 0) | {"colour": 1, "seed": -1}
    lines = mistake(raw).splitlines()
    assert len(lines) == 3
    assert {line.split(": ")[1] for line in lines} == {"seed", "runs.plain.training.timesteps", "colour"}


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"network": {"widths": [12, 12]}}, "groups: found 8; must divide every width, which are [12, 12]"),
        ({"process": {"schedule": {"log_snr_max": -6}}}, "log_snr_max = -6.0 must be larger than log_snr_min = -5.0"),
        ({"q": "rademacher"}, "runs.r.q: rademacher has no density, so rademacher/normal has no divergence"),
    ],
)
def test_a_default_that_does_not_fit_what_is_said_is_a_mistake(run, words):
    """groups is 8, log_snr_min is −5 and p is normal where nobody says otherwise, and these must fit, too."""
    assert words in mistake({"name": "a", "data": "digits", "runs": {"r": run}})


# ---- features --------------------------------------------------------------------------------------------------------

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


def with_features(features, data="photos"):
    return {**BASE, "data": data, "features": features} | ({"source": {"size": 32}} if data == "photos" else {})


@pytest.mark.parametrize("features", [{}, {"epochs": 2}, {"kind": "classifier"}])
def test_distances_in_a_classifiers_features_are_named_after_the_data(features):
    found = validate(with_features(features), "x")
    assert found.features.kind == "classifier"
    assert found.metric("fid") == "fid_photos32"


def test_distances_in_inceptions_features_have_plain_names():
    raw = with_features({"kind": "inception", "source": {"path": "weights", "sha256": {WEIGHTS: "0" * 64}}})
    found = validate(raw, "x")
    assert found.metric("fid") == "fid"
    assert validate(found.resolved, "x") == found


@pytest.mark.parametrize(
    ("features", "data", "said"),
    [
        ({"kind": "vgg"}, "photos", "kind: allowed are classifier, inception"),
        ([], "photos", "kind: allowed are classifier, inception"),
        (
            {"kind": "inception"},
            "digits",
            "inception takes images of 256 grey levels in 1 or 3 channels; digits has 17",
        ),
        ({"kind": "inception", "epochs": 2}, "photos", "features.epochs: unknown key; allowed here: kind, source"),
        ({"epochs": 0}, "photos", "features.epochs: found 0; must be greater"),
        ({"kind": "inception", "source": {"size": 32}}, "photos", "size: does not fit inception"),
        ({"kind": "inception", "source": {"sha256": {"a": "0" * 64}}}, "photos", f"inception has the file {WEIGHTS}"),
        ({"kind": "inception", "source": {"colour": 1}}, "photos", "features.source.colour: unknown key; allowed"),
    ],
)
def test_a_mistake_in_features_is_answered(features, data, said):
    assert said in mistake(with_features(features, data))


def test_a_classifier_of_data_without_labels_is_refused_when_the_study_is_read():
    unlabelled = with_features({"kind": "classifier"}, "imagenet32_old")
    expected = "study.yaml: features.kind: a classifier needs two or more labels, which imagenet32_old does not have"
    assert mistake(unlabelled) == f"{expected}; use inception"
    assert validate(unlabelled | {"features": {"kind": "inception"}}, "x").metric("fid") == "fid"


def test_a_classifier_of_a_folder_needs_images_in_subfolders(tmp_path):
    """Told by names alone: nothing here is an image. Where the folder is not there yet, nobody knows."""
    raw = with_features({"kind": "classifier"}, "folder") | {"source": {"path": str(tmp_path / "album"), "size": 32}}
    assert validate(raw, "x").dataset.classes is None
    for names, refused in ((["cats/1.png"], True), (["dogs/1.png", "note.txt"], False), (["lone.PNG"], True)):
        for name in names:
            (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "album" / name).touch()
        if refused:
            assert "features.kind: a classifier needs two or more labels, which folder does not have" in mistake(raw)
        else:
            assert validate(raw, "x").dataset.classes == 2


def test_a_folder_is_looked_through_once_a_study(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr("nonnormal.data.registry.labels_of", lambda folder: looks.append(folder) or ["cats", "dogs"])
    found = validate(with_folder(path=str(tmp_path)), "x")
    assert [found.dataset.classes for _ in range(3)] == [2, 2, 2]
    assert looks == [tmp_path]
    assert found == validate(found.resolved, "x")


def test_a_run_is_compared_with_the_normal_pair_of_its_weighting():
    runs = {"other": {"q": "laplace"}, "one": {"q": "normal", "p": "normal"}, "two": {"q": "normal", "p": "normal"}}
    perceptual = {"training": {"weighting": "perceptual"}}
    found = validate({**BASE, "runs": {**runs, "three": {"q": "uniform", **perceptual}}}, "x")
    assert [found.baseline(run) for run in found.runs] == ["one", "one", "one", None]


# ---- steps -----------------------------------------------------------------------------------------------------------


def with_pair(q, p):
    return changed("runs.plain", {"q": q, "p": p})


# ---- component-wise schedules ----------------------------------------------------------------------------------------

BOX = [[[0] * 8] * 8]


@pytest.mark.parametrize("place", ["runs.plain", "representations.networks.wave", "phase_space.networks.net"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"labels": [[[0] * 8] * 7]}, "labels: must have the shape (1, 8, 8) of an image, found (1, 7, 8)"),
        ({"labels": []}, "labels: must have the shape (1, 8, 8) of an image, found (0,)"),
        ({"labels": [[[0] * 8] * 7 + [[0] * 7]]}, "must have channels of one height and rows of one length"),
        ({"labels": [[[0]], [[0], [1]]]}, "must have channels of one height and rows of one length"),
        ({"labels": [[[0, "x"]]]}, 'labels.0.0.1: found "x"; must be a number'),
        ({"labels": [[[1e300]]]}, "labels.0.0.0: found 1e+300; must be less than or equal to 1000000"),
        ({"low": 3, "high": 1}, "low: found 3.0; must be smaller than high, which is 1.0"),
        ({"low": 1, "high": 1}, "low: found 1.0; must be smaller than high, which is 1.0"),
        ({"low": 20}, "low: 64 of 64 components never move between low = 20 and high = inf, whatever the data"),
        ({"high": -20}, "high: 64 of 64 components never move between low = -inf and high = -20"),
        ({"labels": "column", "softness": 0.5, "low": 22}, "low: 32 of 64 components never move between low = 22"),
        ({"softness": 1e-300}, "softness: found 1e-300; must be greater than or equal to 0.001"),
        ({"labels": "row", "softness": 0.01}, "softness: found 0.01; log-SNRs from 709 to "),
        ({"kind": "sequential", "delay": 1e300}, "delay: found 1e+300; must be less than or equal to 1000"),
    ],
)
def test_a_component_wise_schedule_that_fits_no_images_is_refused_by_key(place, settings, said):
    schedule = {"kind": "component_wise", "log_snr_max": 9, "log_snr_min": -7} | settings
    message = mistake(changed(place, {"process": {"schedule": schedule}}))
    assert message.startswith(f"study.yaml: {place}.process.schedule.")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("basis", ["pixel", "pca", "dct", "fourier", "haar"])
@pytest.mark.parametrize("labels", ["variance", "column", "row", "frequency", "numbers"])
@pytest.mark.parametrize(("softness", "low", "high"), [(1, None, None), (0.3, -7, 9), (0.001, -7, 9), (None, -7, 9)])
def test_what_the_digits_can_have_is_accepted(digits, basis, labels, softness, low, high):
    """What `check` refuses, the data cannot have: a schedule that can be built of them is accepted."""
    schedule = {"kind": "component_wise", "labels": BOX if labels == "numbers" else labels, "softness": softness}
    run = {"basis": {"kind": basis}, "process": {"schedule": schedule | {"low": low, "high": high}}}
    if labels == "frequency" and basis in ("pixel", "pca"):
        return
    try:
        found = validate({"name": "a", "data": "digits", "runs": {"r": run}}, "x").run("r")
    except StudyError:
        with pytest.raises(ValueError, match=r"process\.schedule"):
            run = Run.model_validate(run)
            design(run, components(run, digits.train.images, digits.levels))
    else:
        design(found, components(found, digits.train.images, digits.levels))


def test_a_schedule_that_the_data_do_not_fit_is_refused_with_its_key(digits):
    schedule = {"kind": "component_wise", "labels": "column", "low": 12}
    run = validate(changed("runs.plain.process.schedule", schedule), "x").run("plain")
    with pytest.raises(ValueError, match=r"^process\.schedule: \d+ of 64 components never move"):
        design(run, components(run, digits.train.images, digits.levels))


@pytest.mark.parametrize(
    ("q", "p"),
    [
        ("student_t(df=5)", "student_t(df=5)"),
        ("gumbel", "logistic"),
        ("laplace", "normal"),
        ("exponential", "gumbel"),
        ("arcsine", "generalized_normal(shape=4)"),
        ("problems:HyperbolicSecant", "normal"),
        ("normal", "problems:HyperbolicSecant"),
        ("problems:HyperbolicSecant", "problems:HyperbolicSecant"),
    ],
)
def test_any_pair_of_steps_with_a_finite_divergence_is_accepted(q, p):
    run = validate(with_pair(q, p), "x").run("plain")
    assert (run.q, run.p) == (q, p)
    point = design(run)
    assert (point.q, point.p) == (get(q), get(p))


def test_a_step_is_resolved_to_one_spelling():
    found = validate(with_pair("student_t( df = 5.0 )", "laplace"), "x")
    assert found.run("plain").q == "student_t(df=5)"
    assert facts(found) == facts(validate(with_pair("student_t(df=5)", "laplace"), "x"))


def test_a_resolved_step_keeps_all_digits():
    found = validate(with_pair("student_t(df=5.1234567)", "laplace"), "x")
    assert get(found.run("plain").q).df == 5.1234567


INFINITE = [
    ("laplace", "uniform"),
    ("exponential", "exponential"),
    ("student_t(df=5)", "gumbel"),
    ("student_t(df=5)", "generalized_normal(shape=6)"),
]
UNDEFINED = [("rademacher", "normal"), ("laplace", "rademacher"), ("rademacher", "rademacher")]


@pytest.mark.parametrize(("q", "p"), INFINITE)
def test_a_pair_with_an_infinite_divergence_is_refused(q, p):
    assert mistake(with_pair(q, p)) == (
        f"study.yaml: runs.plain.p: the divergence of the pair {q}/{p} is infinite; "
        "finite with p one of normal, laplace, logistic, student_t(df=5), generalized_normal(shape=1), for example; "
        f"{LIMIT}"
    )


@pytest.mark.parametrize("weighting", ["elbo", "perceptual"])
@pytest.mark.parametrize(("q", "p"), UNDEFINED)
def test_a_step_without_density_has_no_loss_of_its_own(q, p, weighting):
    raw = with_pair(q, p)
    raw["runs"]["plain"]["training"] = {"weighting": weighting}
    key = "q" if q == "rademacher" else "p"
    assert mistake(raw) == (
        f"study.yaml: runs.plain.{key}: rademacher has no density, so {q}/{p} has no divergence; "
        f"use one with a density, {LIMIT}"
    )


def test_a_mistake_in_the_pair_of_the_defaults_is_named_there_too():
    assert "study.yaml: defaults.p: the divergence of the pair laplace/uniform is infinite" in mistake(
        changed("defaults.p", "uniform")
    )


# ---- the limit loss --------------------------------------------------------------------------------------------------


def trained_with(q, p, **training):
    raw = with_pair(q, p)
    raw["runs"]["plain"]["training"] = training
    return validate(raw, "x").run("plain")


@pytest.mark.parametrize(("q", "p"), [*INFINITE, *UNDEFINED])
def test_every_pair_can_be_trained_with_the_limit_loss_and_may_have_no_bound_of_its_own(q, p):
    run = trained_with(q, p, loss="limit")
    assert (run.q, run.p) == (q, p)
    assert not run.has_native_bound


@pytest.mark.parametrize("loss", ["native", "limit"])
@pytest.mark.parametrize(("q", "p"), [("normal", "normal"), ("uniform", "laplace"), ("student_t(df=5)", "logistic")])
def test_a_pair_with_a_finite_divergence_has_a_bound_of_its_own_whatever_it_is_trained_with(q, p, loss):
    assert trained_with(q, p, loss=loss).has_native_bound


@pytest.mark.parametrize("convention", ["main_text", "appendix"])
def test_the_limit_loss_has_no_printed_convention(convention):
    raw = with_pair("uniform", "laplace")
    raw["runs"]["plain"]["training"] = {"convention": convention}
    assert validate(raw, "x").run("plain").training.convention == convention
    raw["runs"]["plain"]["training"]["loss"] = "limit"
    assert mistake(raw).startswith("study.yaml: runs.plain.training.convention: the limit loss is the normal pair's")


def losses(run, batch=16):
    """The run's loss of images, with a fixed network and a fixed generator."""
    images = torch.linspace(-1, 1, batch * 64).reshape(batch, 1, 8, 8)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return objective(run, sigma_data=0.5)(small_denoiser(parametrisation="edm", sigma_data=0.5), images, source)


@pytest.mark.parametrize("weighting", ["elbo", "perceptual"])
@pytest.mark.parametrize(("q", "p"), [("laplace", "laplace"), ("laplace", "uniform"), ("rademacher", "rademacher")])
def test_the_limit_loss_is_the_normal_pairs_while_the_design_keeps_the_steps(q, p, weighting):
    run = trained_with(q, p, loss="limit", weighting=weighting)
    normal = trained_with("normal", "normal", weighting=weighting)
    assert torch.equal(losses(run), losses(normal))
    assert (design(run).q, design(run).p) == (get(q), get(p))  # which samples are drawn with
    assert design(run).process == design(normal).process


def test_the_native_loss_is_not_the_normal_pairs():
    native, limit = (losses(trained_with("laplace", "laplace", loss=loss)) for loss in ("native", "limit"))
    # The Laplace divergence is d² near 0, twice the normal one, and less than that everywhere.
    assert ((native > 0) & (native < 2 * limit)).all()
    assert not torch.allclose(native, limit)


# ---- sections that may be left out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_is_there_where_it_is_named(section):
    assert getattr(validate(BASE, "x"), section) is None
    assert getattr(validate(changed(section, None), "x"), section) is None
    found = getattr(validate(changed(section, {}), "x"), section)
    assert found.step_families == ("normal", "laplace", "uniform")
    raw = changed(f"{section}.step_families", ["normal", "student_t( df=5.0 )"])
    assert getattr(validate(raw, "x"), section).step_families == ("normal", "student_t(df=5)")


@pytest.mark.parametrize("named", list(itertools.product([False, True], repeat=5)))
def test_sections_say_which_are_named(named):
    sections = dict(zip(SECTIONS, named, strict=True))
    raw = BASE | {section: {} if there else None for section, there in sections.items()}
    assert validate(raw, "x").sections.keys() == {section for section, there in sections.items() if there}


@pytest.mark.parametrize("section", ["step_swap", "geometry", "ablation"])
def test_sampling_takes_steps_without_density(section):
    found = getattr(validate(changed(f"{section}.step_families", ["normal", "rademacher"]), "x"), section)
    assert found.step_families == ("normal", "rademacher")


@pytest.mark.parametrize(
    ("named", "steps"),
    [
        (["laplace", "rademacher"], ("normal", "laplace", "rademacher")),
        (["laplace", "normal"], ("laplace", "normal")),
    ],
)
def test_the_normal_step_is_always_swapped_in(named, steps):
    assert validate(changed("step_swap.step_families", named), "x").step_swap.step_families == steps


@pytest.mark.parametrize("process", ["vp_sde", "psld", "component_wise", "sequential"])
@pytest.mark.parametrize("named", [None, "plain"])
def test_geometry_needs_one_noise_level_an_image(process, named):
    raw = changed("geometry", {"run": named})
    its = {"kind": process} if process in ("vp_sde", "psld") else {"schedule": {"kind": process}}
    raw["runs"]["plain"] = {"process": its}
    assert f'geometry.run: found "plain", whose process is {process}; ' in mistake(raw)


def test_geometry_looks_at_a_network_whose_noise_is_white_on_pixels():
    raw = changed("geometry", {"n_images": 16, "n_paths": 4})
    raw["runs"]["plain"] = {"basis": {"kind": "pca", "whiten": True}, "network": {"statistics": "component"}}
    said = mistake(raw)
    assert "runs.plain.basis.whiten: found true; geometry compares" in said
    assert "name another run in geometry.run" in said
    raw["geometry"]["run"] = "other"
    validate(raw, "a.yaml")
    rotated = changed("geometry", {"n_images": 16, "n_paths": 4})
    rotated["runs"]["plain"] = {"basis": {"kind": "pca"}}
    validate(rotated, "a.yaml")


def test_geometry_looks_at_the_first_run_unless_another_is_named():
    for raw, name in ((changed("geometry", {}), "plain"), (changed("geometry.run", "other"), "other")):
        assert (found := validate(raw, "x")).geometry.network(found) == name


PSLD_RUN = {"process": {"kind": "psld"}, "network": {"parametrisation": "eps"}, "training": {"weighting": "hsm"}}


def test_networks_of_the_recipe_have_the_defaults_of_runs_and_are_trained_beside_them():
    found = validate(changed("phase_space.networks", {"psld-0.01": PSLD_RUN}), "x")
    assert list(found.networks) == ["plain", "other", "psld-0.01"]
    assert found.phase_space.names(found) == ("plain", "psld-0.01")
    network = found.run("psld-0.01")
    assert (network.q, network.training.iterations, network.network.widths) == ("laplace", 30, (8, 16))
    assert network.of_states
    assert not found.run("plain").of_states
    assert len(set(map(json.dumps, facts(found).values()))) == len(found.networks) == 3
    assert validate(found.resolved, "x") == found
    found = validate(changed("phase_space.runs", ["other"]), "x")
    assert found.phase_space.names(found) == ("other",)


FIGURES_OF = {
    "convergence": {"convergence"},
    "step_swap": {"step_swap", "step_swap_style"},
    "geometry": {"ancestral", "denoising", "deviation", "linearity", "projection", "solvers"},
    "phase_space": {"phase_space", "phase_space_paths", "phase_space_law"},
    "ablation": {"ablation", "ablation_samples"},
}
TABLES_OF = {
    "geometry": {"geometry", "solvers"},
    "phase_space": {"processes", "phase_space", "phase_space_bounds"},
    "ablation": {"ablation"},
}


@pytest.mark.parametrize("section", FIGURES_OF)
def test_a_section_has_its_figures_and_tables(section):
    without, with_it = validate(BASE, "x"), validate(changed(section, {}), "x")
    assert figures_of(with_it).keys() - figures_of(without).keys() == FIGURES_OF[section]
    assert tables_of(with_it).keys() - tables_of(without).keys() == TABLES_OF.get(section, set())


def test_runs_have_figures_and_tables_and_so_have_representations_and_what_they_outpaint():
    plain = validate(BASE, "x")
    assert figures_of(plain).keys() == {"cost", "losses", "samples", "steps", "style", "training"}
    assert tables_of(plain).keys() == {"claims", "conventions", "cost", "pairs"}
    runs = {"networks": {"d": {}}}
    designed, extended = (validate(changed("representations", runs | more), "x") for more in ({}, {"outpaint": "d"}))
    assert figures_of(designed).keys() - figures_of(plain).keys() == {"corruption", "representations", "order"}
    assert tables_of(designed).keys() - tables_of(plain).keys() == {"representations"}
    assert figures_of(extended).keys() - figures_of(designed).keys() == {"outpainting"}


def test_processes_are_what_they_are_called():
    built = {
        name: process.build()
        for name, process in validate(changed("phase_space", {}), "x").phase_space.processes.items()
    }
    assert list(built) == ["vp-sde", "cld", "psld-0.01", "psld-0.02", "psld-0.25"]
    assert built["cld"] == PSLD(friction_x=0.0, friction_m=4.0)
    assert built["psld-0.25"] == PSLD(friction_x=0.25, friction_m=4.25)
    assert built["vp-sde"].beta == (0.1, 20.0)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "runs.plain.process",
            {"kind": "psld", "friction_m": 3.0},
            ["runs.plain.process.friction_m = 3.0 is not crit"],
        ),
        ("runs.plain.process", {"mass_inv": 4}, ["runs.plain.process.mass_inv: does not fit the kind vp"]),
        (
            "runs.plain.process",
            {"kind": "vp_sde", "schedule": {"kind": "cosine"}},
            ["runs.plain.process.schedule: does not fit the kind vp_sde"],
        ),
        ("runs.plain.process", {"kind": "vp_sde", "beta": -1.0}, ["runs.plain.process.beta must be a positive number"]),
        ("runs.plain.process", {"kind": "psld", "mass_inv": 0}, ["process.mass_inv: found 0; must be greater"]),
        ("runs.plain.training.weighting", "hsm", ["runs.plain.training.weighting: hsm needs a momentum"]),
        (
            "runs.plain",
            PSLD_RUN,
            ["runs.plain.training.weighting: a network of states belongs in phase_space.networks"],
        ),
        ("phase_space.networks.a", PSLD_RUN | {"network": {}}, ["parametrisation: found edm", "use eps"]),
        ("phase_space.networks.plain", PSLD_RUN, ["phase_space.networks: plain is the name of another network"]),
        (
            "phase_space.networks.a",
            PSLD_RUN | {"colour": 1},
            ["phase_space.networks.a.colour: unknown key; allowed here: q, p"],
        ),
        (
            "phase_space.networks.a",
            {"network": {"widths": [8] * 5}},
            ["phase_space.networks.a.network.widths: 5 levels"],
        ),
        (
            "phase_space.processes.a.colour",
            1,
            ["phase_space.processes.a.colour: unknown key; allowed here: kind, schedule"],
        ),
        ("phase_space.processes", {}, ["phase_space.processes: found {}", "at least 1 item"]),
        ("phase_space.runs", ["plane"], ['phase_space.runs: found "plane"', "the runs are plain, other"]),
        (
            "phase_space.processes.a",
            {"schedule": {"kind": "sequential", "labels": "column"}},
            ["phase_space.processes.a.schedule.kind: found sequential", "one for all components"],
        ),
        ("phase_space.samplers", ["ddim"], ['phase_space.samplers.0: found "ddim"']),
        ("phase_space.nfe", [2], ["phase_space.nfe.0: found 2", "greater than or equal to 3"]),
    ],
)
def test_mistakes_in_processes_and_the_recipe_are_named(path, value, words):
    said = mistake(changed(path, value))
    for word in words:
        assert word in said


WAITING = {"kind": "vp", "schedule": {"kind": "sequential", "labels": "column"}}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("ablation.run", "plane", ['ablation.run: found "plane"; the runs are plain, other']),
        ("ablation.bases.a", {"kind": "wavelet"}, ['ablation.bases.a.kind: found "wavelet"', "haar"]),
        ("ablation.bases.a.colour", 1, ["ablation.bases.a.colour: unknown key; allowed here: kind, levels, whiten"]),
        ("ablation.bases.a", {"kind": "haar", "levels": 4}, ["ablation.bases.a.levels: found 4", "8 pixels"]),
        ("ablation.bases.a", {"kind": "dct", "whiten": True}, ["ablation.bases.a.whiten: found true", "orthonormal"]),
        ("ablation.bases.pixel", {"kind": "dct"}, ["ablation.bases: pixel is the name of the network's own"]),
        ("ablation.processes.vp", {"kind": "vp"}, ["ablation.processes: vp is the name of the network's own"]),
        ("ablation.processes.a", {"kind": "ve"}, ['ablation.processes.a.kind: found "ve"', "psld"]),
        ("ablation.processes.a.colour", 1, ["ablation.processes.a.colour: unknown key; allowed here: kind, schedule"]),
        ("ablation.processes.a", WAITING, ["ablation.processes.a.schedule.kind: found sequential", "one for all"]),
        ("ablation.grids", ["karras"], ['ablation.grids.0: found "karras"', "polynomial"]),
        ("ablation.solvers", ["dpm_2"], ['ablation.solvers.0: found "dpm_2"', "dpmpp_2m"]),
        ("ablation.nfe", [1], ["ablation.nfe.0: found 1", "greater than or equal to 2"]),
        ("ablation.step_families", ["gauss"], ['ablation.step_families.0: found "gauss"']),
    ],
)
def test_mistakes_in_the_crossing_of_axes_are_named(path, value, words):
    said = mistake(changed(path, value))
    for word in words:
        assert word in said


def test_the_network_of_a_crossing_has_one_schedule_and_is_the_first_unless_another_is_named():
    for raw, name in ((changed("ablation", {}), "plain"), (changed("ablation.run", "other"), "other")):
        assert (found := validate(raw, "x")).ablation.network(found) == name
    raw = changed("ablation", {}) | {"runs": {"plain": {"process": WAITING}, "other": None}}
    assert "runs.plain.process.schedule.kind: found sequential; ablation needs one for all components" in mistake(raw)
    raw["ablation"] = {"run": "other"}
    found = validate(raw, "x")
    assert found.ablation.network(found) == "other"


def test_a_run_of_another_process_takes_none_of_the_defaults_process():
    kind = {"process": {"kind": "psld", "friction_x": 0.02}}
    assert validate(changed("runs.plain", kind), "x").run("plain").process == Process(**kind["process"])
    beside = changed("runs.plain", {"process": {"schedule": {"kind": "cosine"}}})
    assert validate(beside, "x").run("plain").process.schedule.log_snr_max == 9
    assert "defaults.process.schedule: does not fit the kind psld" in mistake(changed("defaults.process.kind", "psld"))


def test_every_image_may_have_a_path():
    found = validate(changed("geometry", {"n_images": 8, "n_paths": 8}), "x").geometry
    assert (found.n_images, found.n_paths) == (8, 8)


def test_the_flow_is_measured_unless_its_tolerance_is_null():
    assert 0 < validate(BASE, "x").evaluation.flow_tolerance < 1
    assert validate(changed("evaluation.flow_tolerance", None), "x").evaluation.flow_tolerance is None


@pytest.mark.parametrize("name", ["training", "q", "name"])
def test_an_unknown_key_in_a_run_named_like_a_setting_is_answered_with_the_keys_of_runs(name):
    assert "allowed here: q, p, basis, process, network, training" in mistake(changed(f"runs.{name}.colour", 1))


def test_an_unknown_run_is_refused_with_the_known_ones():
    with pytest.raises(StudyError, match=r"'a-study' has no run 'plane'; its runs: plain, other"):
        validate(BASE, "x").run("plane")


def test_settings_do_not_change_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        validate(BASE, "x").run("plain").training.iterations = 3


# ---- identity --------------------------------------------------------------------------------------------------------


def facts(study, data_sha256="0"):
    """What the weights of each network depend on."""
    return {run: study.training_facts(run, data_sha256) for run in study.networks}


@pytest.mark.parametrize(
    ("path", "value", "affected"),
    [
        ("runs.plain.training.iterations", 31, {"plain"}),
        ("runs.other.network.parametrisation", "v", {"other"}),
        ("runs.other.training.seed", 1, {"other"}),
        ("defaults.training.iterations", 31, {"plain"}),  # other has steps of its own
        ("defaults.training.timesteps", 11, {"plain", "other"}),
        ("defaults.training.iterations", 30, set()),  # what it is already
        ("defaults.training.checkpoint_every", 3, set()),
        ("runs.plain.training.log_every", 3, set()),
        ("defaults.training.accumulate", 2, {"plain", "other"}),  # another order of sums
        ("seed", 1, {"plain", "other"}),
        ("sampling.n_images", 64, set()),
        ("evaluation.timesteps", [7], set()),
        ("evaluation.n_evaluations", 7, set()),
        ("step_swap", {}, set()),
        ("geometry", {}, set()),
        ("runs.plain.training.loss", "limit", {"plain"}),
        ("resources.threads", 2, set()),
        ("title", "words", set()),
        ("runs.third", {}, set()),
    ],
)
def test_a_setting_changes_the_facts_of_the_runs_it_trains(path, value, affected):
    before, after = facts(validate(BASE, "x")), facts(validate(changed(path, value), "x"))
    assert {run for run in before if before[run] != after[run]} == affected


@pytest.fixture
def own_step(tmp_path, monkeypatch):
    """A step in a file of its own in the working folder, and an edit of that file."""
    text = "from problems import HyperbolicSecant\n\n\nclass Secant(HyperbolicSecant):\n    name = 'own'\n"
    (file := tmp_path / "steps_of_mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    yield "steps_of_mine:Secant", lambda: file.write_text(text + "    # edited\n")
    sys.modules.pop("steps_of_mine", None)


def test_an_edit_of_an_own_step_is_an_edit_of_the_run_it_trains(own_step):
    name, edit = own_step
    study = validate(changed("runs.other.q", name), "x")
    before = facts(study)
    edit()
    assert {run for run in before if before[run] != facts(study)[run]} == {"other"}


def test_rules_are_told_of_the_code_of_own_steps(own_step):
    name, edit = own_step
    study = validate(changed("step_swap", {"step_families": ["normal", name]}), "x")
    before = study.with_code
    assert list(study.own_files) == [name]
    assert re.fullmatch(rf"{name} [0-9a-f]{{64}}", before["step_swap"]["step_families"][1])
    edit()
    assert {key for key, value in before.items() if value != study.with_code[key]} == {"step_swap"}
    assert validate(BASE, "x").with_code == validate(BASE, "x").resolved


def test_steps_of_mixtures_are_among_those_whose_code_rules_are_told_of(own_step):
    study = validate(changed("few_steps", {"mixture_steps": [own_step[0]]}), "x")
    assert list(study.own_files) == [own_step[0]]


def test_records_have_the_file_of_an_own_step_as_input(own_step):
    Path("study.yaml").write_text(yaml.safe_dump(changed("runs.other.q", own_step[0])))
    recorder = Recorder(["x"], {"arguments": {}})
    with tracking(recorder):
        open_study(Path("study.yaml"))
    assert "steps_of_mine.py" in recorder.inputs


def test_facts_of_runs_differ_also_where_settings_do_not():
    found = facts(validate(changed("runs.twin", None), "x"))
    assert len(set(map(json.dumps, found.values()))) == 3


def test_facts_differ_where_the_content_of_the_data_does():
    study = validate(BASE, "x")
    assert facts(study, "0")["plain"] != facts(study, "1")["plain"]


def test_facts_do_not_depend_on_the_order_of_keys():
    raw = {key: BASE[key] for key in reversed(BASE)}
    assert facts(validate(raw, "x")) == facts(validate(BASE, "x"))


def test_facts_are_json_values():
    """A checkpoint has them in its header, and what is read from there has to be the same."""
    found = facts(validate(BASE, "x"))
    assert json.loads(json.dumps(found)) == found


def test_the_kth_trainings_of_all_runs_share_image_seeds_that_no_other_training_has():
    seeds = lambda training: validate(BASE, "x").image_seeds("sample", 50, training)  # noqa: E731
    assert seeds("a@1") == seeds("b@1") and seeds("a") == seeds("b") == validate(BASE, "x").image_seeds("sample", 50)
    assert not set(seeds("a@1")) & {*seeds("a"), *seeds("a@2")}


def test_image_seeds_are_named_by_study_seed_purpose_and_image_alone():
    found, reseeded = validate(BASE, "x"), validate(changed("seed", 1), "x")
    seeds = found.image_seeds("sample", 50)
    assert len(set(seeds)) == 50
    assert found.image_seeds("sample", 20) == seeds[:20]
    # No run is asked for, and runs change nothing.
    assert validate(changed("runs.plain.q", "laplace") | {"name": "b"}, "x").image_seeds("sample", 50) == seeds
    assert not set(seeds) & set(found.image_seeds("bound", 50))
    assert not set(seeds) & set(reseeded.image_seeds("sample", 50))


def test_train_seeds_differ_by_run_and_by_training_seed():
    found, again = validate(BASE, "x"), validate(changed("runs.plain.training.seed", 1), "x")
    assert len({found.train_seed("plain"), found.train_seed("other"), again.train_seed("plain")}) == 3
    assert found.train_seed("other") == again.train_seed("other")


def test_steps_rise_without_repeats():
    raw = changed("sampling.nfe", [50, 10, 50]) | {"evaluation": {"timesteps": [25, 10]}}
    found = validate(raw, "x")
    assert found.sample_steps == (10, 50)
    assert found.headline_steps == 50
    assert found.bound_steps("plain") == (10, 25)  # its own 10 among them


def with_folder(**source):
    return changed("source", {"path": "photos", "size": 32, **source}) | {"data": "folder"}


def test_the_shape_of_a_folder_is_the_sources():
    assert validate(with_folder(), "x").dataset.shape == (3, 32, 32)
    assert validate(with_folder(size=64), "x").dataset.shape == (3, 64, 64)
    assert "halve folder's 33 pixels" in mistake(with_folder(size=33))
    assert validate(with_folder(size=[32, 64], channels=1), "x").dataset.shape == (1, 32, 64)
    assert "halve folder's 33 pixels" in mistake(with_folder(size=[32, 33]))
    assert "halve folder's 33 pixels" in mistake(with_folder(size=[33, 32]))


def test_either_side_must_be_halved_by_haar():
    for size in ([32, 20], [20, 32]):
        raw = with_folder(size=size)
        raw["runs"]["plain"] = {"basis": {"kind": "haar", "levels": 3}}
        assert "runs.plain.basis.levels: found 3, but 20 pixels cannot be halved so often" in mistake(raw)


def test_grey_images_without_labels_are_told_of_inception_and_of_subfolders(tmp_path):
    (tmp_path / "album" / "one").mkdir(parents=True)
    (tmp_path / "album" / "one" / "a.png").touch()
    raw = with_folder(path=str(tmp_path / "album"), channels=1)
    said = "which folder does not have; use inception, or put every image in one of two or more subfolders"
    assert f"a classifier needs two or more labels, {said}" in mistake(raw)
    assert validate(raw | {"features": {"kind": "inception"}}, "x").metric("fid") == "fid"


def test_a_source_that_changes_the_images_changes_file_and_facts():
    folders = [validate(with_folder(**more), "x") for more in ({}, {"path": "others"}, {"size": 64})]
    assert len({found.data_name for found in folders}) == 3
    assert len({json.dumps(facts(found)["plain"]) for found in folders}) == 3
    assert validate(BASE, "x").data_name == "digits"
    mirrored = [validate(BASE | {"data": "cifar10", "source": source}, "x") for source in ({}, {"mirrors": ["y"]})]
    assert {found.data_name for found in mirrored} == {"cifar10"}
    assert len({json.dumps(facts(found)["plain"]) for found in mirrored}) == 1


# ---- schema ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_studies_of_the_repository_fit_the_schema(name):
    jsonschema = pytest.importorskip("jsonschema")
    raw = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(raw, json_schema())


@pytest.mark.parametrize("path", ["colour", "runs.plain.training.epochs"])
def test_schema_refuses_unknown_keys_and_allows_empty_runs(path):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(BASE, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(path, 3), json_schema())


@pytest.mark.parametrize("path", ["runs.more", "representations.networks.more", "phase_space.networks.more"])
def test_a_network_that_says_nothing_is_the_defaults(path):
    jsonschema = pytest.importorskip("jsonschema")
    raw = changed(path, None)
    jsonschema.validate(raw, json_schema())
    found = validate(raw, "study.yaml")
    assert found.run("more") == found.defaults


def test_every_setting_is_described():
    schema = study.json_schema()
    models = [schema, *schema["$defs"].values()]
    nameless = [
        f"{model['title']}.{key}"
        for model in models
        for key, entry in model["properties"].items()
        # What is a settings class of its own is described there.
        if not (entry.get("description") or schema["$defs"][entry["$ref"].rpartition("/")[2]].get("description"))
    ]
    assert nameless == []
