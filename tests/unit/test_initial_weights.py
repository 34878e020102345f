"""A training that starts from weights: which file, which weights, and what becomes stale when the file changes."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from nonnormal.files import read_tensors, write_tensors
from nonnormal.seeds import generator
from nonnormal.study.cli import app
from nonnormal.study.config import load
from nonnormal.study.config.build import model_config
from nonnormal.study.results.artifacts import network, samples, write_samples
from nonnormal.study.results.paths import Layout
from nonnormal.study.stages import described
from nonnormal.training.checkpoints import TrainingState, build_denoiser, save_weights

LAYOUT = Layout("s", "digits")
STILL = {"learning_rate": 1e-30, "iterations": 2, "batch_size": 2}  # a step that moves no number of single precision


def command(*words):
    app(list(map(str, words)), standalone_mode=False)


def write_study(**runs):
    defaults = {"network": {"widths": [8], "groups": 4}, "training": {**STILL, "timesteps": 4}}
    sampling = {"nfe": [2], "n_images": 8}
    raw = {"name": "s", "data": "digits", "defaults": defaults, "runs": runs, "sampling": sampling}
    Path("s.yaml").write_text(yaml.safe_dump(raw))
    return load(Path("s.yaml"))


def started(file, **others):
    return {"training": {"init_from": str(file)}, **others}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("data", "digits")
    return folder / "data"


@pytest.fixture
def project(data, tmp_path, monkeypatch):
    """A project with a network in each kind of file; its weights by file."""
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(data)
    study = write_study(a=None)
    recipe = model_config(study.run("a"), study.dataset, 0.6)
    files = {}
    for seed, name in enumerate(("weights", "checkpoint", "exported")):
        denoiser = build_denoiser(recipe, 7 + seed)
        files[name] = {key: value.clone() for key, value in denoiser.network.state_dict().items()}
        if name != "checkpoint":
            save_weights(Path(f"{name}.safetensors"), denoiser, recipe, **study.training_facts("a", "0" * 64))
            continue
        averages = [value + 1 for value in denoiser.network.parameters()]
        optimiser = torch.optim.AdamW(denoiser.network.parameters())
        state = TrainingState(denoiser.network, averages, optimiser, generator(0), 3, [], [])
        state.save(Path("checkpoint.safetensors"), study.training_facts("a", "0" * 64))
        files[name] = {key: value + 1 for key, value in files[name].items()}
    LAYOUT.weights("a").parent.mkdir(parents=True)
    Path("exported.safetensors").rename(LAYOUT.weights("a"))
    command("export", "s.yaml", "pipeline", "--run", "a")
    return {
        "weights.safetensors": files["weights"],
        "checkpoint.safetensors": files["checkpoint"],
        "pipeline/unet/diffusion_pytorch_model.safetensors": files["exported"],
    }


def test_a_training_that_moves_nothing_ends_in_the_weights_of_the_file(project):
    for file, weights in project.items():
        write_study(b=started(file))
        command("check", "s.yaml")
        command("train", "s.yaml", "--run", "b", "--threads", 1)
        found, header = read_tensors(LAYOUT.weights("b"))
        assert header["init_from"] == {"sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
        assert header["training"]["init_from"] == file
        found = {name: value for name, value in found.items() if not name.startswith("components.")}
        assert found.keys() == weights.keys() and len(found) > 20
        for name, value in found.items():
            torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-25)  # moves what was 0 exactly


def test_weights_are_stale_when_their_start_changes_or_is_left_out(project):
    study = write_study(b=started("weights.safetensors"))
    command("train", "s.yaml", "--run", "b", "--threads", 1)
    write_samples(study, LAYOUT, "b", 2, torch.zeros(8, 1, 8, 8, dtype=torch.uint8))
    network(study, LAYOUT, "b"), samples(study, LAYOUT, "b", 2)
    without = write_study(b=None)
    for read in (lambda study: network(study, LAYOUT, "b"), lambda study: samples(study, LAYOUT, "b", 2)):
        with pytest.raises(ValueError, match=r'init_from\.sha256 was "\w+", is null'):
            read(without)
    content = Path("weights.safetensors").read_bytes()
    tensors, header = read_tensors("weights.safetensors")
    write_tensors("weights.safetensors", {**tensors, "unet.conv_out.bias": torch.ones(1)}, header)
    with pytest.raises(ValueError, match=r'init_from\.sha256 was "\w+", is "\w+"; train run b again'):
        network(study, LAYOUT, "b")
    Path("weights.safetensors").write_bytes(content)
    network(study, LAYOUT, "b")
    Path("weights.safetensors").unlink()  # the trained weights hold as long as nothing speaks against them
    network(study, LAYOUT, "b")


def test_all_trainings_of_a_run_start_from_the_same_weights_with_other_seeds(project):
    write_study(b=started("weights.safetensors"))
    raw = yaml.safe_load(Path("s.yaml").read_text())
    Path("s.yaml").write_text(yaml.safe_dump(raw | {"replicates": 2}))
    study = load(Path("s.yaml"))
    digest = hashlib.sha256(Path("weights.safetensors").read_bytes()).hexdigest()
    assert study.initial_weights("b") == study.initial_weights("b@1") == Path("weights.safetensors")
    assert study.training_facts("b@1")["init_from"] == {"sha256": digest}
    assert study.train_seed("b") != study.train_seed("b@1")
    for name in ("b", "b@1"):
        command("train", "s.yaml", "--run", name, "--device", "cpu")
        trained = dict(network(study, LAYOUT, name).network.state_dict())
        torch.testing.assert_close(trained, project["weights.safetensors"], rtol=1e-6, atol=1e-7)


def test_a_file_beside_weights_that_is_no_configuration_says_nothing_of_them(project):
    exported = Path("pipeline/unet/diffusion_pytorch_model.safetensors")
    study, found = write_study(b=started(exported)), exported.with_name("config.json")
    found.write_text('{"denoiser": 3}')
    command("check", "s.yaml")
    assert study.initial_weights("b") == exported


def test_without_a_start_the_facts_are_those_of_before(project):
    facts = write_study(b=None).training_facts("b")
    assert "init_from" not in facts and "init_from" not in facts["training"]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (started("absent.safetensors"), r"there is no file absent\.safetensors"),
        (
            started("weights.safetensors", network={"widths": [16]}),
            r"conv_in\.bias is of shape \(8,\), and in the run's network of shape \(16,\)",
        ),
        (
            started("weights.safetensors", network={"layers_per_block": 2}),
            "is missing, and in the run's network of shape",
        ),
        (started("checkpoint.safetensors", network={"layers_per_block": 2}), r"has \d+ tensors of a network"),
        (
            started("pipeline/unet/diffusion_pytorch_model.safetensors", network={"parametrisation": "v"}),
            "is of a network with parametrisation edm, and the run's has v",
        ),
        (started("checkpoint.safetensors", network={"parametrisation": "v"}), "with parametrisation edm"),
        (started("pickle.pt"), r"pickle\.pt: is not a complete safetensors file"),
        (started("broken.safetensors"), r"conv_in\.weight has no finite"),
        (started("results/s/b/weights.safetensors"), "is the output of this training"),
        (started("./absent/../results/s/b/weights.safetensors"), "is the output of this training"),
        (started("results/s/b/checkpoint.safetensors"), "is replaced and removed by a training of this study"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_by_its_key_when_the_study_is_checked(project, run, words):
    torch.save({"unet.conv_in.weight": torch.ones(1)}, "pickle.pt")
    broken = project["weights.safetensors"]
    broken["unet.conv_in.weight"][0, 0, 0, 0] = torch.nan
    save_file(broken, "broken.safetensors")
    write_study(b=run)
    with pytest.raises(ValueError, match=rf"(?s)s\.yaml: runs\.b\.training\.init_from: .*{words}"):
        command("check", "s.yaml")


def test_a_start_may_be_a_run_of_the_same_study_that_is_not_trained_yet(project):
    study = write_study(a=None, b=started(LAYOUT.weights("a")), c=started("weights.safetensors"))
    LAYOUT.weights("a").unlink()
    command("check", "s.yaml")
    deps = described(Path("s.yaml"))["stages"]["train"]["deps"]
    assert "weights.safetensors" in deps and str(LAYOUT.weights("a")) not in deps  # which the stage itself makes
    assert study.initial_weights("b") == LAYOUT.weights("a")
