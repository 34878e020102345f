"""Images in any number: of a run and of a pipeline, killed and resumed, and never over those of another command."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import elsewhere
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nonnormal.data import quantise, scale
from nonnormal.denoisers.unet import initialised
from nonnormal.diffusers.fitted import STEPS_FILE, fit_scheduler
from nonnormal.diffusers.pretrained import from_folder
from nonnormal.files import read_json, sha256_of, write_json
from nonnormal.seeds import derive
from nonnormal.study.cli import app
from nonnormal.study.config import load
from nonnormal.study.config.build import model_config
from nonnormal.study.results import generation
from nonnormal.study.results.artifacts import network
from nonnormal.study.results.drawing import ancestral
from nonnormal.study.results.paths import Layout
from nonnormal.training.checkpoints import build_denoiser, save_weights

from diffusers import DDPMPipeline  # isort: skip

RAW = {
    "name": "s",
    "data": "digits",
    "defaults": {"network": {"widths": [8, 16], "groups": 4}, "training": {"timesteps": 8}},
    "runs": {"a": {"p": "laplace"}, "columns": {"process": {"schedule": {"kind": "sequential", "labels": "column"}}}},
    "sampling": {"nfe": [2, 6], "n_images": 8},
}


def command(*words):
    app(list(map(str, words)), standalone_mode=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with a network, as it is before training, its pipeline and one of diffusers alone."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("s.yaml").write_text(yaml.safe_dump(RAW))
        study, layout = load(Path("s.yaml")), Layout("s", "digits")
        recipe = model_config(study.run("a"), study.dataset, 0.6)
        facts = {"study": "s", **study.training_facts("a", "0" * 64)}
        save_weights(layout.weights("a"), build_denoiser(recipe), recipe, **facts)
        command("export", "s.yaml", "pipeline", "--run", "a")
        write_published("published")
    return folder


def write_published(folder):
    from nonnormal.diffusers import NonNormalScheduler  # noqa: F401 (makes torchvision importable)

    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # isort: skip

    blocks = dict(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False)
    unet = initialised(lambda: UNet2DModel(8, 3, 3, block_out_channels=(8, 16), norm_num_groups=4, **blocks), 0)
    DDPMPipeline(unet, DDPMScheduler(20)).save_pretrained(folder)


@pytest.fixture
def project(folder, monkeypatch):
    monkeypatch.chdir(folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}


def test_images_of_a_run_are_those_of_its_sampler(project):
    before = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")}
    command("generate", "s.yaml", "run", "--run", "a", "--n", 3, "--nfe", 4, "--step", "rademacher", "--seed", 9)
    study = load(Path("s.yaml"))
    denoiser, seeds = network(study, Layout("s", "digits"), "a"), [derive(9, "generate", i) for i in range(3)]
    levels = ancestral(study, "a", denoiser, 4, seeds, "rademacher").numpy()
    for i in range(3):
        found = np.asarray(Image.open(f"run/{i:06d}.png"))
        assert (found == np.round(levels[i, 0] * 255.0 / 16)).all() and found.std() > 10
    assert {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")} == before


def test_an_image_depends_on_seed_and_number_alone_and_more_can_follow(project):
    base = ["generate", "s.yaml"]
    command(*base, "few", "--run", "a", "--n", 3, "--batch-size", 2)
    few = contents("few")
    command(*base, "few", "--run", "a", "--n", 7, "--batch-size", 3)
    command(*base, "many", "--run", "a", "--n", 7)
    assert few.items() <= contents("few").items() and contents("few") == contents("many") and len(few) == 3
    assert len(set(contents("many").values())) == 7
    command(*base, "other", "--run", "a", "--n", 7, "--seed", 1)
    assert not set(contents("other").values()) & set(contents("many").values())


@pytest.mark.parametrize("source", ["pipeline", "published"])
def test_a_pipeline_gives_png_files_or_one_npz(project, source):
    command("generate", source, f"{source}-png", "--n", 5, "--nfe", 4, "--batch-size", 2)
    command("generate", source, f"{source}.npz", "--n", 5, "--nfe", 4, "--batch-size", 2)
    with np.load(f"{source}.npz", allow_pickle=False) as found:
        images, record = found["arr_0"], json.loads(str(found["generate"]))
    shown = [np.asarray(Image.open(path)) for path in sorted(Path(f"{source}-png").glob("*.png"))]
    assert images.shape == (5, 8, 8, 1 if source == "pipeline" else 3) and images.dtype == np.uint8
    assert (images.squeeze() == np.stack(shown)).all() and images.std() > 10
    assert record["settings"]["step"] == ("laplace" if source == "pipeline" else "normal")
    assert record["settings"] == read_json(f"{source}-png/generate.json")["settings"]
    assert not Path(f".{source}.npz.parts").exists()
    state = Path(f"{source}.npz").stat()
    command("generate", source, f"{source}.npz", "--n", 5, "--nfe", 4)
    assert Path(f"{source}.npz").stat().st_ino == state.st_ino  # it is there: nothing is drawn
    with pytest.raises(ValueError, match="holds 5 images, asked for 6"):
        command("generate", source, f"{source}.npz", "--n", 6, "--nfe", 4)
    with pytest.raises(ValueError, match="holds images of other settings: nfe was 4, is 3"):
        command("generate", source, f"{source}.npz", "--n", 5, "--nfe", 3)


@pytest.mark.parametrize("out", ["killed", "killed.npz"])
def test_a_command_that_is_killed_and_run_again_ends_in_the_same_files(project, out):
    working, suffix = (out, "png") if out == "killed" else (f".{out}.parts", "npy")
    words = ["--run", "a", "--n", "60", "--nfe", "6", "--batch-size", "4", "--threads", "1", "--device", "cpu"]
    line = [sys.executable, "-m", "nonnormal.study.cli", "generate", "s.yaml", out, *words]
    process = subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while len(list(Path(working).glob(f"0*.{suffix}"))) < 6:
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = sorted(Path(working).glob(f"0*.{suffix}"))
    assert 6 <= len(there) < 60 and not Path("killed.npz").exists()
    there[1].unlink()  # of a batch whose other images are there
    subprocess.run(line, check=True, capture_output=True)
    command("generate", "s.yaml", f"whole-{out}", *words)
    if out == "killed":
        assert contents("killed") == contents("whole-killed") and len(contents("killed")) == 60
        assert not list(Path("killed").glob(".*"))
    else:
        with np.load(out) as found, np.load(f"whole-{out}") as whole:
            assert (found["arr_0"] == whole["arr_0"]).all() and len(found["arr_0"]) == 60


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_files_of_another_command_are_left_alone(project):
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("words")
    with pytest.raises(ValueError, match=r"mine: holds letter\.txt of another command; give an empty folder"):
        command("generate", "s.yaml", "mine", "--run", "a", "--n", 2)
    assert [path.name for path in Path("mine").iterdir()] == ["letter.txt"]
    command("generate", "s.yaml", "there", "--run", "a", "--n", 2)
    before = contents("there")
    for words, told in (
        (("s.yaml", "--run", "a", "--step", "normal"), 'step was "laplace", is "normal"'),
        (("s.yaml", "--run", "a", "--seed", 2), "seed was 0, is 2"),
        (("pipeline", "--nfe", 6), 'run was "a", is null'),
        (("s.yaml", "--run", "a", "--n", 1), r"holds 000001\.png beside the 1 images asked for"),
    ):
        source, *others = words
        with pytest.raises(ValueError, match=told):
            command("generate", source, "there", *others)
    assert contents("there") == before


def test_a_record_that_was_edited_is_refused(project):
    command("generate", "s.yaml", "edited", "--run", "a", "--n", 1)
    record = read_json("edited/generate.json")
    record["settings"]["seed"] = 5
    write_json("edited/generate.json", record)
    with pytest.raises(ValueError, match=r"edited: its record \(generate\.json\) is damaged, or was edited"):
        command("generate", "s.yaml", "edited", "--run", "a", "--n", 1, "--seed", 5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("s.yaml", "new"), "--run: missing; the networks of s.yaml are a, columns"),
        (("s.yaml", "new", "--run", "b"), "--run: found b; the networks of s.yaml are a, columns"),
        (("pipeline", "new", "--run", "a"), "--run: found a, but pipeline is a pipeline's folder"),
        (("pipeline", "new", "--nfe", 9), "--nfe: found 9; pipeline has 8 timesteps"),
        (("s.yaml", "new", "--run", "a", "--step", "nromal"), "nromal"),
        (("s.yaml", "results/s/new", "--run", "a"), "the pipeline keeps its results there"),
        (("s.yaml", "results/new.npz", "--run", "a"), "the pipeline keeps its results there"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(project, words, told):
    before = set(Path().rglob("*"))
    with pytest.raises(ValueError, match=told):
        command("generate", *words)
    assert set(Path().rglob("*")) == before


def edited(folder, keys):
    """A copy of the exported pipeline with other keys in its scheduler's configuration."""
    place = shutil.copytree("pipeline", folder) / "scheduler/scheduler_config.json"
    write_json(place, {**json.loads(place.read_text()), **keys})
    return folder


def test_a_pipeline_imports_nothing_that_its_configuration_names(project, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign.py").write_text("raise SystemExit('imported')")
    folder = edited(tmp_path / "hostile", {"step_distribution": "foreign:Step"})
    with pytest.raises(ValueError, match=r"hostile: step_distribution: found 'foreign:Step' in a config.* give --step"):
        command("generate", folder, tmp_path / "out", "--n", 1)
    assert "foreign" not in sys.modules and not (tmp_path / "out").exists()
    command("generate", folder, tmp_path / "out", "--n", 1, "--nfe", 2, "--step", "laplace")
    assert read_json(tmp_path / "out/generate.json")["settings"]["step"] == "laplace"


def test_fitted_steps_of_a_pipeline_draw_its_images(project, digits, tmp_path):
    exported = from_folder(Path("pipeline"))
    images = scale(digits.train.images[:16], digits.levels)
    fitted = fit_scheduler(exported.unet, exported.scheduler(None), images, 3, choice="diagonal", seeds=range(16))
    assert fitted.config.final_alpha_cumprod < 1  # so that the last of the three steps is fitted, too
    folder = tmp_path / "fitted"
    DDPMPipeline(exported.unet, fitted).save_pretrained(folder)
    command("generate", folder, tmp_path / "own", "--n", 2)
    command("generate", folder, tmp_path / "other", "--n", 2, "--step", "laplace", "--nfe", 3)
    own, other = contents(tmp_path / "own"), contents(tmp_path / "other")
    pipe, noise = DDPMPipeline(exported.unet, fitted), [derive(0, "generate", i) for i in range(2)]
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(2, [torch.Generator().manual_seed(seed) for seed in noise], 3, output_type="pt").images
    for i, image in enumerate(quantise(2 * drawn - 1, 256)[:, 0].numpy()):
        assert (np.asarray(Image.open(io.BytesIO(own[f"{i:06d}.png"]))) == image).all()
    assert own != other
    facts = read_json(tmp_path / "own/generate.json")["settings"]
    assert facts["nfe"] == 3 and facts["fitted_steps_sha256"] == sha256_of(folder / "scheduler" / STEPS_FILE)
    with pytest.raises(ValueError, match="--nfe: found 2; the steps were fitted for 3 calls"):
        command("generate", folder, tmp_path / "new", "--nfe", 2)


def test_images_drawn_on_a_gpu_are_written(tmp_path):
    levels = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    with elsewhere.pretended():
        generation.generate(tmp_path, 2, 2, {"seed": 0}, lambda seeds: levels.to(elsewhere.DEVICE), 3)
    assert (np.asarray(Image.open(tmp_path / "000001.png")) == levels[1].permute(1, 2, 0).numpy()).all()


def test_a_step_of_the_users_own_whose_code_changed_adds_no_images(project, tmp_path):
    code = "from nonnormal.steps import Laplace\n\n\nclass Mine(Laplace):\n    name = 'mine'\n"
    Path("own_step.py").write_text(code)
    base = ["generate", "s.yaml", tmp_path, "--run", "a", "--nfe", 2, "--step", "own_step:Mine"]
    command(*base, "--n", 1)
    Path("own_step.py").write_text(code + "# another law\n")
    with pytest.raises(ValueError, match="holds images of other settings: step_code was"):
        command(*base, "--n", 2)


def test_two_commands_do_not_fill_one_folder_at_once(project, tmp_path):
    with generation._alone(tmp_path), pytest.raises(ValueError, match="another command is filling it at this moment"):
        command("generate", "s.yaml", tmp_path, "--run", "a", "--n", 1)
    assert not list(tmp_path.iterdir())
