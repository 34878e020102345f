"""A pretrained network: taken over, sampled with other steps, measured and drawn; or refused, and why."""

import copy
import inspect
import json
import re
import shutil

import elsewhere
import pandas as pd
import pytest
import torch
import yaml
from problems import STEPS
from safetensors.torch import load_file, save_file
from summaries import select

from nonnormal.denoisers.unet import initialised
from nonnormal.diffusers import pretrained
from nonnormal.diffusers.keys import UNetKeys
from nonnormal.files import read_tensors
from nonnormal.study import config as study
from nonnormal.study.cli import app, evaluate
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.summary import read_rows

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # isort: skip
from diffusers.training_utils import EMAModel  # isort: skip

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LAWS, COUNTS = ["laplace", "normal", "student_t(df=5)"], [3, 6]
RAW = {
    "name": "tiny",
    "data": "digits",
    "pretrained": {"path": "network", "step_families": LAWS, "nfe": COUNTS, "n_images": 16},
    "features": {"epochs": 1},
    "sampling": {"batch_size": 10},
    "evaluation": {"bootstrap": 10},
}


def small_unet(**settings):
    blocks = dict(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False)
    sizes = dict(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4)
    return initialised(lambda: UNet2DModel(**blocks, **(sizes | settings)), 0).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder in which `save_pretrained` wrote a pipeline."""
    folder = tmp_path_factory.mktemp("pipeline")
    schedule = DDPMScheduler(num_train_timesteps=50, prediction_type="v_prediction", beta_end=0.1)
    DDPMPipeline(small_unet(), schedule).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path, monkeypatch):
    """A copy of it in an empty project."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(saved, tmp_path / "network")


def changed(**settings):
    raw = copy.deepcopy(RAW)
    raw["pretrained"] |= settings
    return {**raw, "pretrained": {key: value for key, value in raw["pretrained"].items() if value is not None}}


def command(*words):
    app(list(words), standalone_mode=False)


# ---- to its figure ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(saved, tmp_path_factory):
    """A project in which every rule's command was run, in this process."""
    project, threads = tmp_path_factory.mktemp("project"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        (project / "study.yaml").write_text(yaml.safe_dump(changed(path=str(saved))))
        (project / "paper/references").mkdir(parents=True)
        (project / "paper/references/published.csv").write_text("key,model,metric,value\n")
        try:
            command("data", "digits")
            command("features", "study.yaml")
            command("pretrained", "study.yaml")
            command("evaluate", "pretrained", "study.yaml")
            command("summary", "study.yaml")
            command("show", "pretrained", "study.yaml")
        finally:
            torch.set_num_threads(threads)
    return project, Layout("tiny", "digits")


def test_another_device_gives_the_same_numbers(made, tmp_path, monkeypatch):
    project, layout = made
    shutil.copytree(project, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "prepare_torch", lambda asked, threads: elsewhere.DEVICE)
    (tmp_path / layout.rows("pretrained")).unlink()
    with elsewhere.pretended():
        command("evaluate", "pretrained", "study.yaml")
    first, second = (pd.read_csv(folder / layout.rows("pretrained")) for folder in (project, tmp_path))
    pd.testing.assert_frame_equal(first, second, rtol=5e-2, atol=5e-3)


def test_figures_and_table_are_made(made):
    project, layout = made
    for name in ("pretrained", "pretrained_samples"):
        assert (project / layout.figure(name, "png")).read_bytes().startswith(b"\x89PNG")
        assert (project / layout.figure(name, "pdf")).read_bytes().startswith(b"%PDF")
    table = pd.read_csv(project / layout.table("pretrained", "csv"))
    assert list(zip(table.step, table.nfe, strict=True)) == [(step, n) for n in COUNTS for step in LAWS]
    assert (table.fid_low < table.fid_high).all()
    assert "Fréchet distance" in (project / layout.table("pretrained", "md")).read_text()
    metrics = json.loads((project / layout.metrics).read_text())["pretrained"]
    most = table[table.nfe == max(COUNTS)].set_index("step").fid
    assert {step: found["fid"] for step, found in metrics.items()} == most.to_dict()


def test_each_step_is_compared_with_the_normal_one_from_the_same_seeds(made):
    project, layout = made
    rows = read_rows(project / layout.summary)
    for name in ("total_variation", "high_frequency"):
        means = select(rows, f"pretrained_style_{name}").set_index(["step", "nfe"]).value
        gaps = select(rows, f"pretrained_style_{name}_difference")
        assert len(gaps) == (len(LAWS) - 1) * len(COUNTS)
        for gap in gaps.itertuples():
            expected = means[gap.step, gap.nfe] - means["normal", gap.nfe]
            assert gap.value == pytest.approx(expected, abs=1e-12)
            assert gap.value != 0


def test_the_record_of_the_network_has_the_files_that_it_was_taken_over_from(made, saved):
    project, _ = made
    [record] = (project / "results/tiny/records/pretrained/network.safetensors").glob("*.json")
    read = ("scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors")
    assert set(json.loads(record.read_text())["inputs"]) == {str(saved / name) for name in read}


def test_rows_say_which_network_it_is(made, saved):
    project, layout = made
    rows = select(read_rows(project / layout.summary), "pretrained_fid_digits")
    assert set(rows.network) == {str(saved)}
    assert set(rows.network_sha256) == {pretrained.from_folder(saved).sha256}
    assert set(rows.sampler) == {"NonNormalScheduler"}
    assert set(rows.n) == {16}


def test_the_first_images_are_those_of_diffusers_with_the_normal_step(made, saved):
    """The same seeds in a pipeline of diffusers, which knows nothing of this project."""
    project, layout = made
    shown = read_tensors(project / layout.arrays("pretrained"))[0]["6/normal"]
    seeds = study.validate(changed(path=str(saved)), "").image_seeds("pretrained", 16)
    pipeline = DDPMPipeline.from_pretrained(saved)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(16, [torch.Generator().manual_seed(seed) for seed in seeds], 6, output_type="pt").images
    difference = (images * 16).round() - shown
    assert (difference != 0).double().mean() < 0.01  # batches of another size differ in the last digits
    assert difference.abs().max() <= 1


# ---- taking over -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [step for step in STEPS if step != "normal"][:2])
def test_a_network_comes_back_from_its_file_as_it_was(folder, step):
    found = pretrained.from_folder(folder)
    pretrained.write(folder / "network.safetensors", found)
    again = pretrained.read(folder / "network.safetensors")
    assert (again.origin, again.sha256, again.shape) == (str(folder), found.sha256, (1, 8, 8))
    assert again.scheduler(step).config.prediction_type == "v_prediction"
    assert again.scheduler(step).config.num_train_timesteps == 50
    images = [network.sample(step, 3, [5, 6], batch_size=2) for network in (found, again)]
    assert torch.equal(*images)
    assert not torch.equal(images[0], found.sample("normal", 3, [5, 6], batch_size=2))


def test_a_lone_network_is_taken_with_the_schedule_that_the_study_says(folder):
    lone = folder / "unet"
    with pytest.raises(ValueError, match=r"no scheduler_config\.json; describe its training in pretrained\.schedule"):
        pretrained.from_folder(lone)
    said = study.validate(changed(schedule={"num_train_timesteps": 70}), "").pretrained.schedule.model_dump()
    found = pretrained.from_folder(lone, schedule=said)
    assert found.scheduler("laplace").config.num_train_timesteps == 70
    assert found.sha256 == pretrained.from_folder(folder).sha256


def test_pickled_weights_are_refused(folder):
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"found diffusion_pytorch_model\.bin, a pickle, which can run code"):
        pretrained.from_folder(folder)


def set_key(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"


@pytest.mark.parametrize(
    ("file", "keys", "words"),
    [
        (UNET, {"_class_name": "UNet2DConditionModel"}, "expected a UNet2DModel, found 'UNet2DCond"),
        (UNET, {"num_class_embeds": 10}, "the network needs a class label"),
        (UNET, {"num_class_embeds": 0}, "the network needs a class label"),
        (UNET, {"block_out_channels": [8, 24]}, "cannot be loaded"),
        (UNET, {"block_out_channels": [8, 10**9]}, "block_out_channels must be less than or equal to 8192 at item 1"),
        (UNET, {"layers_per_block": 10**9}, "layers_per_block must be less than or equal to 64; found 1000000000"),
        (UNET, {"down_block_types": ["DownBlock2D", "OddBlock2D"]}, "OddBlock2D"),
        (UNET, {"sample_size": None}, "sample_size must be a valid integer or a valid list; found None"),
        (UNET, {"sample_size": [8]}, "sample_size must be .* found \\[8\\]"),
        (UNET, {"sample_size": 7}, r"the network cannot be called on images \(1, 7, 7\)"),
        (UNET, {"norm_eps": -1e-5}, "norm_eps must be greater than 0; found -1e-05"),
        (UNET, {"act_fn": "odd"}, "act_fn must be one of silu, swish, mish, gelu, relu; found 'odd'"),
        (UNET, {"center_input_sample": "no"}, "center_input_sample must be a valid boolean; found 'no'"),
        (UNET, {"time_embedding_type": "fourier"}, "time_embedding_type must be one of positional, learned"),
        (UNET, {"time_embedding_type": "learned"}, "num_train_timesteps must be that of the schedule, 50; found None"),
        (UNET, {"quantization_config": {"quant_method": "gguf"}}, "quantization_config: unknown key"),
        (UNET, {"_use_default_values": ["norm_eps"]}, "_use_default_values: unknown key"),
        (UNET, {"out_channels": 2}, "out_channels must be 1 for images of 1 channels and variance_type fixed_small"),
        (SCHEDULER, {"variance_type": "learned_range"}, "out_channels must be 2 .* learned_range; found 1"),
        (SCHEDULER, {"variance_type": "learned"}, "out_channels must be 2 .* learned; found 1"),
        (SCHEDULER, {"prediction_type": "score"}, "prediction_type must be one of epsilon"),
        (SCHEDULER, {"beta_schedule": "odd"}, "beta_schedule must be one of linear, .*; found 'odd'"),
        (SCHEDULER, {"beta_start": float("nan")}, "beta_start must be .*; found nan"),
        (SCHEDULER, {"beta_start": -1e-4}, "beta_start must be greater than 0; found -0.0001"),
        (SCHEDULER, {"timestep_spacing": "foo"}, "timestep_spacing must be one of .*; found 'foo'"),
        (SCHEDULER, {"trained_betas": [0.1, 0.2]}, "trained_betas must be 50 numbers, .*; found 2"),
        (SCHEDULER, {"num_train_timesteps": 10**12}, "num_train_timesteps must be less than or equal to 1000000"),
        (
            SCHEDULER,
            {"rescale_betas_zero_snr": True, "prediction_type": "epsilon"},
            "prediction_type must be one of sample, v_prediction where the last timestep has no signal",
        ),
        (SCHEDULER, {"use_flow_sigmas": True}, "use_flow_sigmas must be one of False; found True"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_configuration_that_cannot_be_used_is_refused_by_its_key(folder, file, keys, words):
    set_key(folder / file, **keys)
    with pytest.raises(ValueError, match=words) as error:
        pretrained.from_folder(folder)
    assert any(str(folder / name) in str(error.value) for name in ("unet", file))


def test_every_key_of_diffusers_has_its_allowed_values():
    known = UNetKeys.__annotations__.keys()
    parameters = inspect.signature(UNet2DModel.__init__).parameters.keys() - {"self"}
    average = EMAModel(small_unet().parameters()).state_dict().keys() - {"shadow_params"}  # as train scripts save
    assert known == parameters | average


def test_a_moving_average_saved_by_diffusers_is_taken(folder):
    weights = small_unet()
    EMAModel(weights.parameters(), model_cls=UNet2DModel, model_config=weights.config).save_pretrained(folder / "unet")
    found = pretrained.from_folder(folder).unet.state_dict()
    assert all(torch.equal(found[name], value) for name, value in weights.state_dict().items())


def change_weights(folder, change):
    """Rewrites the file of weights after `change` has changed the dictionary of tensors."""
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


NAME = "mid_block.resnets.0.conv1.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop(NAME), f"1 missing tensors, such as {NAME}"),
        (lambda tensors: tensors.clear(), "missing tensors, such as conv_in.bias"),
        (lambda tensors: tensors.update(odd=torch.zeros(2)), "1 unexpected tensors, such as odd"),
        (lambda tensors: tensors.update({NAME: tensors[NAME][:-1].clone()}), "cannot be loaded .*size mismatch"),
        (
            lambda tensors: tensors.update({NAME: tensors[NAME].char()}),
            f"expected tensors of F64, .*found {NAME} of I8",
        ),
        (
            lambda tensors: tensors.update({NAME: tensors[NAME].bool()}),
            f"expected tensors of F64, .*found {NAME} of BOOL",
        ),
        (
            lambda tensors: tensors.update({NAME: tensors[NAME].to(torch.float8_e4m3fn)}),
            f"expected tensors of F64, .*found {NAME} of F8_E4M3",
        ),
        (lambda tensors: tensors[NAME].view(-1)[3:4].fill_(float("nan")), f"{NAME} has numbers that are not finite"),
        (lambda tensors: tensors[NAME].view(-1)[3:4].fill_(float("inf")), f"{NAME} has numbers that are not finite"),
        (
            lambda tensors: tensors.update({NAME: tensors[NAME].double() + 1e300}),
            f"{NAME} has numbers that are not fin",
        ),
        (lambda tensors: tensors["conv_in.weight"].fill_(3e38), r"the network gives \(1, 8, 8\), not finite"),
    ],
    ids=["missing", "empty", "unexpected", "shape", "int8", "bool", "float8", "nan", "inf", "too large", "overflow"],
)
def test_weights_that_are_not_those_of_the_network_are_refused(folder, change, words):
    change_weights(folder, change)
    with pytest.raises(ValueError, match=re.compile(words, re.DOTALL)):
        pretrained.from_folder(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floating_types_are_taken(folder, dtype):
    expected = pretrained.from_folder(folder).unet.state_dict()[NAME]
    change_weights(folder, lambda tensors: tensors.update({name: value.to(dtype) for name, value in tensors.items()}))
    found = pretrained.from_folder(folder).unet.state_dict()[NAME]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.to(dtype).float(), rtol=0, atol=0)


def test_weights_in_several_files_are_refused(folder):
    small_unet().save_pretrained(folder / "unet", max_shard_size="4KB")
    with pytest.raises(
        ValueError, match=r'expected weights in one file .* save_pretrained\(folder, max_shard_size="100GB'
    ):
        pretrained.from_folder(folder)


def test_a_learned_variance_has_twice_the_channels(folder):
    small_unet(out_channels=2).save_pretrained(folder / "unet")
    set_key(folder / SCHEDULER, variance_type="learned_range", prediction_type="epsilon")
    images = pretrained.from_folder(folder).sample("laplace", 3, [5], batch_size=1)
    assert images.shape == (1, 1, 8, 8)
    assert images.isfinite().all()


def test_files_that_are_missing_or_damaged_are_named(folder):
    (folder / "scheduler/scheduler_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"scheduler_config\.json: is not JSON"):
        pretrained.from_folder(folder)
    (folder / "scheduler/scheduler_config.json").write_text('{"_class_name": "ScoreSdeVeScheduler"}')
    with pytest.raises(ValueError, match=r"a schedule of betas .* found the configuration of ScoreSdeVeScheduler"):
        pretrained.from_folder(folder)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be loaded"):
        pretrained.from_folder(folder, schedule={"beta_start": 0.1, "beta_end": 0.1})
    (folder / "unet/config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json: cannot be read"):
        pretrained.from_folder(folder)
    with pytest.raises(ValueError, match=r"pretrained\.path: there is no folder"):
        pretrained.from_folder(folder / "nowhere")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"nfe": [3, 50], "steps_offset": 1},
            r"pretrained\.nfe: found 50; steps_offset: timesteps must be from 0",
        ),
        ({"nfe": [3, 51]}, r"pretrained\.nfe: found 51; the network knows 50 noise levels"),
        ({"data": "cifar10"}, r"data: cifar10 has images \(3, 32, 32\), the network makes \(1, 8, 8\)"),
    ],
)
def test_a_network_that_does_not_fit_the_study_is_refused(folder, settings, words):
    raw = changed(nfe=settings.get("nfe", COUNTS)) | ({"data": settings["data"]} if "data" in settings else {})
    (folder.parent / "study.yaml").write_text(yaml.safe_dump(raw))
    set_key(folder / SCHEDULER, steps_offset=settings.get("steps_offset", 0))
    with pytest.raises(ValueError, match=words):
        command("pretrained", "study.yaml")
    assert not (folder.parent / "results").exists()


# ---- the Hub ---------------------------------------------------------------------------------------------------------


def test_of_the_hub_configuration_and_safetensors_of_one_commit_are_fetched(folder, monkeypatch):
    asked = {}

    def snapshot_download(hub_id, **options):
        asked.update(options, hub_id=hub_id)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    (folder.parent / "study.yaml").write_text(
        yaml.safe_dump(changed(path=None, hub_id="someone/network", revision=COMMIT))
    )
    command("pretrained", "study.yaml")
    assert (asked["hub_id"], asked["revision"]) == ("someone/network", COMMIT)
    assert {pattern.rpartition(".")[2] for pattern in asked["allow_patterns"]} == {"json", "safetensors"}
    assert pretrained.read(Layout("tiny", "digits").pretrained_network).origin == f"someone/network@{COMMIT}"


def test_without_the_hub_it_says_how_to_get_the_network(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(*_, **__):
        raise LocalEntryNotFoundError("no connection\nmore words")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ValueError, match="no connection") as error:
        pretrained.fetch("someone/network", COMMIT)
    assert f"hf download someone/network --revision {COMMIT} --local-dir FOLDER" in str(error.value)
    assert "pretrained.path: FOLDER" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": None}, "pretrained.path: found neither of path and hub_id"),
        ({"hub_id": "a/b", "revision": COMMIT}, "pretrained.path: found both of path and hub_id"),
        ({"revision": COMMIT}, "pretrained.revision: belongs to hub_id"),
        ({"path": None, "hub_id": "a/b"}, "pretrained.revision: found null; hub_id needs a commit"),
        ({"path": None, "hub_id": "a/b", "revision": "main"}, 'pretrained.revision: found "main"; hub_id needs'),
        ({"path": None, "hub_id": "a/b", "revision": COMMIT[:7]}, f'pretrained.revision: found "{COMMIT[:7]}"'),
        ({"path": None, "hub_id": "b", "revision": COMMIT}, 'pretrained.hub_id: found "b"'),
        ({"step_families": ["odd"]}, 'pretrained.step_families.0: found "odd"'),
        ({"schedule": {"num_train_timesteps": 10**7}}, "pretrained.schedule.num_train_timesteps: found 10000000"),
        ({"schedule": {"beta_start": 0}}, "pretrained.schedule.beta_start: found 0"),
    ],
)
def test_what_does_not_name_one_network_is_refused_when_the_study_is_read(settings, words):
    with pytest.raises(study.StudyError) as error:
        study.validate(changed(**settings), "study.yaml")
    assert str(error.value).startswith(f"study.yaml: {words}")


@pytest.mark.parametrize("section", ["step_swap", "geometry"])
def test_sections_that_look_at_a_run_need_one(section):
    with pytest.raises(study.StudyError, match=f"{section}: needs a network of the study's runs"):
        study.validate(changed() | {section: {}}, "study.yaml")
