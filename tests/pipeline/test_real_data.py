"""CIFAR-10's study in miniature, from its archive and Inception's weights to the paper; both come from a mirror."""

import dataclasses
import shutil

import pandas as pd
import pytest
import yaml
from mirrors import cifar_records, pictures, sha256, tar
from problems import random_inception

from nonnormal.data.cifar10 import CIFAR10, TEST, TRAIN
from nonnormal.metrics.weights import INCEPTION
from nonnormal.study.config import validate
from nonnormal.study.results.paths import data_path

RUNS = ["vdm-normal-normal", "vdm-laplace-laplace", "edm-uniform-laplace"]


@pytest.fixture(scope="module")
def miniature(new_workspace, forks):
    """A copy of the project, with three runs of the study cut down and a folder that stands for the web."""
    space = dataclasses.replace(new_workspace(), commands=forks)
    mirror = space.folder / "mirror"
    mirror.mkdir()
    members = {name: cifar_records(*pictures(4, seed)) for seed, name in enumerate((*TRAIN, *TEST))}
    (mirror / CIFAR10.name).write_bytes(tar(members, "w:gz"))
    random_inception(mirror / INCEPTION.name)
    hashes = {path.name: sha256(path.read_bytes()) for path in mirror.iterdir()}
    source = {
        name: {"mirrors": [str(mirror)], "sha256": {name: hashes[name]}} for name in (CIFAR10.name, INCEPTION.name)
    }

    study = yaml.safe_load((space.folder / "config/cifar10.yaml").read_text())
    study["source"], study["features"]["source"] = source[CIFAR10.name], source[INCEPTION.name]
    study["resources"] |= {"threads": 1, "gpus": 0}
    study["runs"] = {name: study["runs"][name] for name in RUNS}
    study["defaults"]["network"] |= {"widths": [8], "layers_per_block": 1, "groups": 4}
    study["defaults"]["training"] |= {"timesteps": 3, "iterations": 20, "batch_size": 4, "warmup": 2, "log_every": 5}
    for run in RUNS[2:]:
        study["runs"][run]["network"] |= {"widths": [8, 8], "layers_per_block": 1}
        study["runs"][run]["training"] |= {"timesteps": 3, "iterations": 20, "batch_size": 4, "warmup": 2}
    study["sampling"] = {"n_images": 8, "nfe": [2]}
    study["evaluation"] = {"timesteps": [2], "n_evaluations": 2, "flow_tolerance": None, "bootstrap": 10}
    (space.folder / "config/cifar10.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return space


@pytest.fixture(scope="module")
def made(miniature):
    miniature("snakemake", "--cores", "2", "--configfile", "config/cifar10.yaml")
    return miniature


def test_study_is_made_up_to_its_paper(made):
    assert (made.folder / "results/cifar10/paper/paper.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(made.folder / "results/cifar10/paper/tables/pairs.csv")
    table = table[table.run.notna()]  # the last row is that of held-out images
    assert table.run.tolist() == RUNS
    assert table.published_fid.tolist() == [1.98, 2.44, 2.39]
    assert "Nothing to be done" in made("snakemake", "--cores", "1", "--configfile", "config/cifar10.yaml").stdout


def test_another_mirror_makes_no_data_again(miniature):
    study = yaml.safe_load((miniature.folder / "config/cifar10.yaml").read_text())
    target = str(data_path(validate(study, "x").data_name))
    miniature("snakemake", "--cores", "1", "--configfile", "config/cifar10.yaml", "--", target)
    study["source"]["mirrors"].insert(0, "nowhere")
    (miniature.folder / "mirrored.yaml").write_text(yaml.safe_dump(study))
    planned = miniature("snakemake", "--dry-run", "--configfile", "mirrored.yaml", "--", target).stdout
    assert "Nothing to be done" in planned


def test_distances_in_inceptions_features_have_plain_names_and_their_conditions(made):
    summary = pd.read_csv(made.folder / "results/cifar10/summary.csv")
    digest = sha256((made.folder / "data/downloads" / INCEPTION.name).read_bytes())
    assert "feature_accuracy" not in set(summary.metric)
    for run in RUNS:
        rows = summary[(summary.run == run) & summary.metric.isin(["fid", "kid", "precision", "recall"])]
        assert len(rows) == 4
        for row in rows.to_dict("records"):
            assert (row["n"], row["nfe"], row["train_seed"]) == (8, 2, 0)
            assert (row["features"], row["weights_sha256"]) == ("inception-v3-compat", digest)
            assert row["tool"].startswith("torch-fidelity ")
            assert row["interval_tool"] == "nonnormal"
            assert row["n_reference"] == 20
            assert row["ema"] == {"vdm": 0.9999, "edm": 0.99929}[run[:3]]


def test_pairs_are_compared_within_their_recipe(made):
    summary = pd.read_csv(made.folder / "results/cifar10/summary.csv")
    rows = summary[summary.metric == "style_saturation_difference"]
    against = dict(zip(rows.run, rows.against, strict=True))
    assert against == {"vdm-laplace-laplace": "vdm-normal-normal"}
    table = pd.read_csv(made.folder / "results/cifar10/paper/tables/conventions.csv")
    assert set(table.run) == {"vdm-laplace-laplace"}


def test_without_weights_it_is_said_which_file_to_put_where(made, tmp_path):
    """As offline: the mirror is empty."""
    space = dataclasses.replace(made, folder=tmp_path)
    (tmp_path / "data").mkdir()
    name = next(path.name for path in (made.folder / "data").glob("cifar10*.safetensors"))
    shutil.copy(made.folder / "data" / name, tmp_path / "data" / name)
    study = yaml.safe_load((made.folder / "config/cifar10.yaml").read_text())
    study["features"] = {"kind": "inception", "source": {"mirrors": [str(tmp_path)]}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    done = space("nonnormal", "features", "study.yaml", check=False)
    assert done.returncode == 2
    target = tmp_path / "data/downloads" / INCEPTION.name
    assert f"Place {INCEPTION.name} (SHA-256 6726825d…) by hand at {target}" in done.stdout
    assert "features.source: {path: FOLDER}" in done.stdout
    target.write_bytes(b"another file")
    done = space("nonnormal", "features", "study.yaml", check=False)
    assert "expected SHA-256 6726825d…, found" in done.stdout
    assert "features.source: {sha256: {" in done.stdout


@pytest.mark.parametrize("name", ["cifar10", "imagenet32"])
def test_short_studies_are_laid_over_the_long_ones(name, workspace, forks):
    files = (f"config/{name}.yaml", f"config/short/{name}.yaml")
    space = dataclasses.replace(workspace, commands=forks)
    plan = space("snakemake", "--dry-run", "--configfile", *files).stdout
    assert f"results/{name}-short/vdm-normal-normal/samples/35.safetensors" in plan
    assert f"results/{name}-short/edm-uniform-laplace/samples/35.safetensors" in plan
    assert f"results/{name}-short/vdm-normal-normal/fidelity.csv" in plan
