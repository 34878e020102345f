"""A run as a pipeline of diffusers: the images of our ancestral sampler, in a process that knows no study."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open

from nonnormal import seeds
from nonnormal.data import DataSet
from nonnormal.data.digits import load_digits
from nonnormal.denoisers.unet import initialised
from nonnormal.diffusers import NoisePredictor, NonNormalScheduler, pretrained
from nonnormal.files import read_tensors
from nonnormal.processes import uniform_times
from nonnormal.samplers import sample_ancestral
from nonnormal.study.cli import app
from nonnormal.study.config import load
from nonnormal.study.config.build import components, design, model_config
from nonnormal.study.results.artifacts import network
from nonnormal.study.results.paths import Layout
from nonnormal.training.checkpoints import build_denoiser, save_weights

from diffusers import DDPMPipeline  # isort: skip
from diffusers.utils import hub_utils  # isort: skip

T, SEEDS = 12, [5, 6, 7]
RAW = {
    "name": "s",
    "data": "digits",
    "defaults": {
        "network": {"widths": [8, 16], "groups": 4},
        "training": {"timesteps": T},
        "process": {"schedule": {"log_snr_max": 9, "log_snr_min": -7}},
    },
    "runs": {
        "laplace": {"q": "laplace", "p": "laplace", "network": {"fourier": [0, 2]}},
        "normal": {"network": {"parametrisation": "v"}, "process": {"schedule": {"kind": "cosine"}}},
        "fine": {"process": {"schedule": {"log_snr_max": 13.3}}, "network": {"statistics": "component"}},
        "rates": {"process": {"kind": "vp_sde"}, "network": {"parametrisation": "eps"}},
        "dct": {"basis": {"kind": "dct"}},
        "whitened": {"basis": {"whiten": True}, "network": {"statistics": "component"}},
        "columns": {"process": {"schedule": {"kind": "sequential", "labels": "column"}}},
        "momentum": {"process": {"kind": "psld"}},
        "own": {"q": "problems:HyperbolicSecant", "p": "problems:HyperbolicSecant"},
    },
}
EXPORTED = ("laplace", "normal", "fine", "rates")


def command(*words):
    app(list(map(str, words)), standalone_mode=False)


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """A project with networks, as they are before training, and their pipelines."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("s.yaml").write_text(yaml.safe_dump(RAW))
        study, layout = load(Path("s.yaml")), Layout("s", "digits")
        for seed, name in enumerate((*EXPORTED, "own")):
            run = study.run(name)
            parts = components(run, digits.train.images, digits.levels)
            recipe = model_config(run, study.dataset, 0.6)
            facts = {"study": "s", **study.training_facts(name, "0" * 64)}
            save_weights(layout.weights(name), build_denoiser(recipe, seed, parts), recipe, **facts)
        for name in EXPORTED:
            command("export", "s.yaml", f"pipelines/{name}", "--run", name)
    return folder


@pytest.fixture
def project(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return load(Path("s.yaml"))


def expected(study, name, times, monkeypatch):
    """Images of our sampler, whose noise is drawn step by step, as a pipeline draws it."""
    monkeypatch.setattr(seeds, "_AHEAD", 1)
    denoiser = network(study, Layout("s", "digits"), name)
    point = design(study.run(name), denoiser.components)
    return sample_ancestral(denoiser, point.process, point.p, (len(SEEDS), 1, 8, 8), times=times, seeds=SEEDS)


def images(pipeline, calls):
    pipeline.set_progress_bar_config(disable=True)
    sources = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    return 2 * pipeline(len(SEEDS), sources, calls, output_type="pt").images - 1


_ELSEWHERE = """
import sys, torch
import nonnormal.diffusers
from diffusers import DDPMPipeline

for name in {names}:
    pipe = DDPMPipeline.from_pretrained(name)
    for calls in {calls}:
        sources = [torch.Generator().manual_seed(seed) for seed in {seeds}]
        images = pipe(len(sources), sources, calls, output_type="pt").images
        torch.save(2 * images - 1, f"{{name}}-{{calls}}.pt")
assert not [name for name in sys.modules if name.startswith(("nonnormal.study", "nonnormal.training", "pandas"))]
{card}
assert pipe.scheduler.config.step_distribution == "normal" and len(images) == 4
"""


def test_a_process_without_a_study_draws_the_images_of_the_ancestral_sampler(project, monkeypatch):
    card = re.findall("```python\n(.*?)```", Path("pipelines/laplace/README.md").read_text(), re.DOTALL)
    code = _ELSEWHERE.format(names=EXPORTED, calls=[T, 4], seeds=SEEDS, card="\n".join(card))
    subprocess.run([sys.executable, "-c", code], cwd="pipelines", check=True, capture_output=True, text=True)
    for name in EXPORTED:
        for calls in (T, 4):
            t_min = design(project.run(name)).process.t_min
            ours = expected(project, name, uniform_times(calls, t_min), monkeypatch)
            theirs = torch.load(f"pipelines/{name}-{calls}.pt", weights_only=True)
            assert ours.abs().max() > 0.9  # so that there is something to compare
            assert (theirs - ours.clamp(-1, 1)).abs().max() < 3e-5, (name, calls)


def test_calls_that_do_not_divide_the_timesteps_use_the_nearest_times(project, monkeypatch):
    pipe = DDPMPipeline.from_pretrained("pipelines/laplace", low_cpu_mem_usage=False)
    theirs = images(pipe, 5)
    steps = pipe.scheduler.timesteps
    assert len(steps) == 5 and steps[0] == T - 1
    times = torch.cat([(steps.double() + 1) / T, torch.zeros(1).double()])
    assert (times - uniform_times(5).flip(0)).abs().max() <= 0.5 / T + 1e-6
    ours = expected(project, "laplace", times, monkeypatch)
    assert (theirs - ours.clamp(-1, 1)).abs().max() < 3e-5


def test_the_predictor_knows_the_log_snr_of_every_timestep(project):
    found = NoisePredictor.from_pretrained("pipelines/normal", subfolder="unet", low_cpu_mem_usage=False)
    schedule = design(project.run("normal")).process.schedule
    k = torch.arange(T)
    torch.testing.assert_close(found.log_snr(k), schedule.log_snr((k.double() + 1) / T), rtol=1e-12, atol=1e-12)
    assert found.log_snr(2) > found.log_snr(2.5) > found.log_snr(3)
    assert found.half().log_snr(7) == found.log_snr(k)[7]  # which half precision does not round
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    together = found.float()(x, torch.tensor([0, 3, 11])).sample
    for i, timestep in enumerate((0, 3, 11)):
        torch.testing.assert_close(together[i : i + 1], found(x[i : i + 1], timestep, return_dict=False)[0])


def test_levels_are_those_of_the_process_in_double_precision(project):
    scheduler = NonNormalScheduler.from_pretrained("pipelines/fine", subfolder="scheduler")
    schedule = design(project.run("fine")).process.schedule
    times = torch.arange(1, T + 1).double() / T
    torch.testing.assert_close(scheduler.alphas_cumprod, torch.sigmoid(schedule.log_snr(times)), rtol=1e-13, atol=0)
    ends = torch.sigmoid(schedule.log_snr(0.0)).item()
    assert scheduler.config.final_alpha_cumprod == pytest.approx(ends, rel=1e-14)


def test_all_is_safetensors_and_json_and_the_card_has_the_conditions(project):
    files = {path.relative_to("pipelines/laplace").as_posix() for path in Path("pipelines/laplace").rglob("*.*")}
    assert files == {
        "README.md",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    with safe_open("pipelines/laplace/unet/diffusion_pytorch_model.safetensors", "pt") as file:
        weights = read_tensors("results/s/laplace/weights.safetensors")[0]
        for name in (name for name in weights if not name.startswith("components.")):
            assert torch.equal(file.get_tensor(f"model.network.{name}"), weights[name])
    card = Path("pipelines/laplace/README.md").read_text()
    for told in ("`digits`", "laplace (true process)", "elbo, native; T = 12", "1000 iterations", "revision", "0" * 64):
        assert told in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "diffusers"
    settings = json.loads(re.search("```json\n(.*?)```", card, re.DOTALL)[1])
    assert settings["training"] == project.run("laplace").of_weights["training"]


def test_a_pipeline_can_be_pushed_to_the_hub(project, monkeypatch):
    """The methods that push are diffusers' own; here they push to a list."""
    pushed = []
    card = SimpleNamespace(save=lambda path: None)
    monkeypatch.setattr(hub_utils, "create_repo", lambda name, **_: SimpleNamespace(repo_id=name))
    monkeypatch.setattr(
        hub_utils,
        "upload_folder",
        lambda folder_path, **_: pushed.extend(path.name for path in Path(folder_path).rglob("*.*")),
    )
    for module in [sys.modules[each.__module__] for each in hub_utils.PushToHubMixin.__subclasses__()] + [hub_utils]:
        for name in ("load_or_create_model_card", "populate_model_card"):
            monkeypatch.setattr(module, name, lambda *_, **__: card, raising=False)
    pipe = DDPMPipeline.from_pretrained("pipelines/laplace", low_cpu_mem_usage=False)
    for part in (pipe, pipe.unet, pipe.scheduler):
        part.push_to_hub("someone/network")
    assert pushed.count("diffusion_pytorch_model.safetensors") == 2 and pushed.count("scheduler_config.json") == 2


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            "dct",
            r"runs\.dct\.basis\.kind: found dct, which cannot be exported: a DDPM scheduler adds independent noise",
        ),
        ("whitened", r"runs\.whitened\.basis\.whiten: found true, which cannot be exported"),
        ("columns", r"runs\.columns\.process\.schedule\.kind: found sequential, .* one noise level for all pixels"),
        ("momentum", r"runs\.momentum\.process\.kind: found psld, .* has a momentum"),
        ("own", r"runs\.own\.p: found problems:HyperbolicSecant, .* give --step"),
        ("none", "has no run 'none'"),
    ],
)
def test_what_is_no_pipeline_is_refused_with_the_key_and_why(project, run, words):
    with pytest.raises(ValueError, match=words):
        command("export", "s.yaml", "refused", "--run", run)
    assert not Path("refused").exists()


def test_a_run_with_a_step_of_ones_own_is_exported_with_another(project):
    command("export", "s.yaml", "pipelines/own", "--run", "own", "--step", "logistic", "--timesteps", 30)
    pipe = DDPMPipeline.from_pretrained("pipelines/own", low_cpu_mem_usage=False)
    assert str(pipe.scheduler.law) == "logistic" and pipe.scheduler.config.num_train_timesteps == 30


def test_a_folder_with_files_is_left_alone(project):
    before = Path("pipelines/laplace/README.md").read_bytes()
    with pytest.raises(ValueError, match="pipelines/laplace: exists and is not an empty folder"):
        command("export", "s.yaml", "pipelines/laplace", "--run", "normal")
    assert Path("pipelines/laplace/README.md").read_bytes() == before


def test_a_study_of_a_pretrained_network_takes_an_exported_one(project, tmp_path):
    taken = pretrained.from_folder(Path("pipelines/fine"))
    pretrained.write(tmp_path / "network.safetensors", taken)
    again = pretrained.read(tmp_path / "network.safetensors")
    pipe = DDPMPipeline.from_pretrained("pipelines/fine", low_cpu_mem_usage=False)
    assert taken.shape == again.shape == (1, 8, 8)
    for network_ in (taken, again):
        found = network_.sample("normal", 4, SEEDS, batch_size=3)
        torch.testing.assert_close(found, images(pipe, 4), rtol=0, atol=1e-6)


def test_a_pipeline_whose_parts_do_not_fit_is_refused(project, tmp_path):
    for keys, words in (
        ({"log_snrs": [3.0, 1.0]}, "log_snrs must be one for each timestep of the schedule, 12; found 2"),
        ({"log_snrs": [1.0, float("inf")]}, "log_snrs must be"),
        ({"extra": 1}, "extra: unknown key, found 1"),
        ({"network": {"widths": [10**9]}}, r"network\.widths must be less than or equal to 8192 at item 0; found 10"),
        ({"network": {"code": "x"}}, r"network\.code: unknown key, found 'x'"),
        ({"denoiser": {"sigma_data": float("nan")}}, r"denoiser\.sigma_data must be .*found nan"),
        ({"network": 3}, "network must be a valid dictionary; found 3"),
        ({"log_snrs": None}, "log_snrs must be a valid list; found None"),
        ({"network": {"widths": [8]}}, "cannot be loaded"),
    ):
        folder = shutil.copytree("pipelines/laplace", tmp_path / str(len(list(tmp_path.iterdir()))))
        place = folder / "unet/config.json"
        place.write_text(json.dumps({**json.loads(place.read_text()), **keys}))
        with pytest.raises(ValueError, match=words):
            pretrained.from_folder(folder)
    place.write_text(json.dumps({key: value for key, value in json.loads(place.read_text()).items() if key != "mean"}))
    with pytest.raises(ValueError, match=r"config\.json: mean: missing"):
        pretrained.from_folder(folder)


STRIPES = DataSet((3, 4, 8), 4, 2, load_digits)


def test_networks_of_images_that_are_not_square_are_pipelines_that_are_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(
        yaml.safe_dump({**RAW, "data": f"{__name__}:STRIPES", "runs": {"r": {}}, "replicates": 2})
    )
    study = load(Path("s.yaml"))
    layout, recipe = Layout("s", study.data_name), model_config(study.run("r@1"), study.dataset, 0.6)
    save_weights(layout.weights("r@1"), build_denoiser(recipe, 0), recipe, **study.training_facts("r@1", "0" * 64))
    command("export", "s.yaml", "pipeline", "--run", "r@1")
    card = Path("pipeline/README.md").read_text()
    assert "diffusion model of 3×4×8 images" in card and "`s`, `r@1`" in card and "training 1, derived" in card
    assert pretrained.from_folder(Path("pipeline")).shape == (3, 4, 8)
    command("generate", "pipeline", "images", "--n", 2, "--nfe", 2)
    with Image.open("images/000001.png") as image:
        assert image.size == (8, 4)


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (0.5, r"final_alpha_cumprod must be larger than alphas_cumprod at timestep 0, 0\.9; found 0\.5"),
        (1.5, r"final_alpha_cumprod must be less than or equal to 1; found 1\.5"),
        (0.0, "final_alpha_cumprod must be greater than 0"),
    ],
)
def test_an_end_of_the_chain_that_is_none_is_refused(level, words):
    with pytest.raises(ValueError, match=words):
        NonNormalScheduler(3, trained_betas=[0.1, 0.2, 0.3], final_alpha_cumprod=level)


def test_a_predictor_that_is_none_is_refused(project):
    config = dict(NoisePredictor.load_config("pipelines/laplace", subfolder="unet"))
    keys = {key: value for key, value in config.items() if not key.startswith("_")}
    with pytest.raises(ValueError, match="log_snrs must fall"):
        initialised(lambda: NoisePredictor(**{**keys, "log_snrs": keys["log_snrs"][::-1]}), 0)
    with pytest.raises(ValueError, match="out_channels must be in_channels, 1; found 2"):
        initialised(lambda: NoisePredictor(**{**keys, "out_channels": 2}), 0)
