"""Data sets, bases and processes of one's own, module:NAME: checked when loaded, part of what results depend on."""

import copy
import dataclasses
import sys
from pathlib import Path

import pytest
import torch
import yaml
from problems import PhaseSpace, few_digits

from nonnormal import bases, data, processes
from nonnormal.bases import DCT, Basis, BasisStatistics, Pixel
from nonnormal.data import DataSet, ImageData, Split
from nonnormal.files import own, tracking
from nonnormal.processes import PSLD, VE, VP, LinearSDE, as_matrix
from nonnormal.study.cli.common import open_study
from nonnormal.study.config import StudyError, validate
from nonnormal.study.config.build import components, model_config
from nonnormal.study.results.records import Recorder
from nonnormal.training.checkpoints import build_denoiser, load_denoiser, save_weights

MINE = '''
"""A data set of stripes, a basis and a process."""

from dataclasses import dataclass

import torch

from nonnormal.bases import Basis
from nonnormal.data import DataSet, ImageData, Split
from nonnormal.processes import LinearProcess, LinearSDE, as_matrix, ordered


def load(source):
    images = (torch.arange(60)[:, None, None, None] + torch.arange(8)) % 4 * torch.ones(1, 1, 4, 1)
    images, labels = images.to(torch.uint8), torch.arange(60) % 2
    return ImageData(Split(images[:50], labels[:50]), Split(images[50:], labels[50:]), 4)


STRIPES = DataSet(shape=(1, 4, 8), levels=4, classes=2, load=load)


@dataclass(frozen=True)
class Flip(Basis):
    """Sums and differences of an image and its mirror image."""

    def forward(self, x):
        left, right = x.chunk(2, dim=-1)
        right = right.flip(-1)
        return torch.cat([left + right, left - right], dim=-1) / 2**0.5

    def inverse(self, c):
        plus, minus = c.chunk(2, dim=-1)
        return torch.cat([plus + minus, (plus - minus).flip(-1)], dim=-1) / 2**0.5


@dataclass(frozen=True)
class Quadratic(LinearProcess):
    """VE with a variance that grows as the square of time: sigma_t = 0.05 + 4 t."""

    def sigma(self, t):
        return 0.05 + 4 * torch.as_tensor(t, dtype=torch.float64)

    def initial(self):
        return torch.eye(1, dtype=torch.float64), as_matrix(self.sigma(0.0).square())

    def transition(self, s, t):
        s, t = ordered(s, t)
        return as_matrix(torch.ones_like(t)), as_matrix(self.sigma(t).square() - self.sigma(s).square())

    def sde(self, t):
        noise = 8 * self.sigma(t)
        return as_matrix(torch.zeros_like(noise)), as_matrix(noise)

    def prior_covariance(self):
        return as_matrix(self.sigma(1.0).square())


MIXED = LinearSDE(D=[[1.0]], Q=[[0.0]], H=[[1.0]], beta=6.0, C_0=[[1e-3]])
'''
STUDY = {
    "name": "mine",
    "data": "mine:STRIPES",
    "defaults": {"network": {"widths": [8, 16], "groups": 4}, "training": {"timesteps": 4, "iterations": 3}},
    "runs": {
        "plain": None,
        "flip": {"basis": {"kind": "mine:Flip"}},
        "quadratic": {"process": {"kind": "mine:Quadratic"}},
        "mixed": {"process": {"kind": "mine:MIXED"}},
    },
}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The module `mine` in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    yield Path("mine.py")
    sys.modules.pop("mine", None)


@pytest.fixture
def module(mine):
    """The same, imported."""
    own.imported("mine:STRIPES")
    return sys.modules["mine"]


def mistake(path, value):
    raw = copy.deepcopy(STUDY)
    place = raw
    *folders, last = path.split(".")
    for key in folders:
        place[key] = place.get(key) or {}
        place = place[key]
    place[last] = value
    with pytest.raises(StudyError) as error:
        validate(raw, "study.yaml")
    return str(error.value)


# ---- in a study ------------------------------------------------------------------------------------------------------


def test_a_study_of_ones_own_data_basis_and_process(mine, tmp_path):
    study = validate(STUDY, "x")
    assert study.dataset.shape == (1, 4, 8) and study.data_name == "mine-STRIPES"
    assert study.metric("fid") == "fid_mine-STRIPES"
    images = data.load(study.data, study.source)
    for name, run in study.runs.items():
        parts = components(run, images.train.images, images.levels)
        recipe = model_config(run, study.dataset, 0.5)
        denoiser = build_denoiser(recipe, 0, parts)
        x = torch.randn(2, 1, 4, 8)
        save_weights(tmp_path / f"{name}.safetensors", denoiser, recipe)
        loaded = load_denoiser(tmp_path / f"{name}.safetensors", trusted_basis=run.basis.kind)
        assert torch.equal(denoiser.eval()(x, 0.5), loaded(x, 0.5))
        assert type(loaded.basis).__name__ == {"flip": "Flip"}.get(name, "Pixel")
    assert study.run("quadratic").process.build().sigma(0.5) == 2.05


def test_code_of_ones_own_belongs_to_what_it_makes(mine):
    study = validate(STUDY, "x")
    names = ["mine:Flip", "mine:MIXED", "mine:Quadratic", "mine:STRIPES"]
    assert list(study.own_files) == names
    assert {path.name for files in study.own_files.values() for path in files} == {"mine.py"}
    facts, told = {name: study.training_facts(name) for name in study.runs}, study.with_code
    mine.write_text(MINE + "# edited\n")
    assert {name for name in facts if facts[name] != study.training_facts(name)} == {"flip", "quadratic", "mixed"}
    assert {key for key in told if told[key] != study.with_code[key]} == {"data", "runs"}


def test_files_of_ones_own_are_inputs_of_records(mine):
    Path("study.yaml").write_text(yaml.safe_dump(STUDY))
    recorder = Recorder(["x"], {"arguments": {}})
    with tracking(recorder):
        open_study(Path("study.yaml"))
    assert "mine.py" in recorder.inputs


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("data", "nowhere:STRIPES", "data: found \"nowhere:STRIPES\"; data set 'nowhere:STRIPES' cannot be loaded"),
        ("data", "mine:Flip", "'mine:Flip' is no nonnormal.data.DataSet, but <class 'mine.Flip'>"),
        ("data", "mine STRIPES", "unknown data set; known: digits"),
        ("source", {"path": "x"}, "source.path: does not fit mine:STRIPES"),
        ("defaults.network.widths", [8, 16, 32, 64], "levels halve mine:STRIPES's 4 pixels"),
        (
            "runs.flip.basis.kind",
            "mine:Absent",
            "runs.flip.basis.kind: found \"mine:Absent\"; basis 'mine:Absent' cannot",
        ),
        ("runs.flip.basis.kind", "mine:STRIPES", "'mine:STRIPES' is no nonnormal.bases.Basis"),
        ("runs.flip.basis.levels", 2, "levels: belongs to haar"),
        ("runs.mixed.process.kind", "mine:Flip", "'mine:Flip' is no nonnormal.processes.LinearProcess"),
        ("runs.mixed.process.beta", 2.0, "beta: does not fit the kind mine:MIXED"),
        ("runs.mixed.process.schedule", {"kind": "cosine"}, "schedule: does not fit the kind mine:MIXED"),
    ],
)
def test_a_wrong_name_is_refused_with_its_key(mine, path, value, words):
    assert words in mistake(path, value)


def test_weights_do_not_import_the_basis_that_they_name(mine, tmp_path):
    """A file may come from anywhere; what it names is not run unless the caller names it too."""
    study = validate(STUDY, "x")
    images = data.load(study.data, study.source)
    recipe = model_config(study.run("flip"), study.dataset, 0.5)
    parts = components(study.run("flip"), images.train.images, images.levels)
    save_weights(tmp_path / "w.safetensors", build_denoiser(recipe, 0, parts), recipe)
    sys.modules.pop("mine")
    for trusted in (None, "pixel", "mine:Other"):
        with pytest.raises(ValueError, match="'mine:Flip' is code, which a weight file may not import"):
            load_denoiser(tmp_path / "w.safetensors", trusted_basis=trusted)
    assert "mine" not in sys.modules


# ---- data sets -------------------------------------------------------------------------------------------------------

FINE = dict(shape=(1, 8, 8), levels=17, classes=10, load=lambda source: few_digits())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"shape": [1, 8, 8]}, r"shape: found \[1, 8, 8\]"),
        ({"shape": (2, 8, 8)}, "shape: found .*C = 1 or 3"),
        ({"shape": (1, 8, 3)}, "4 pixels a side"),
        ({"levels": 257}, "levels: found 257"),
        ({"classes": -1}, "classes: found -1"),
        ({"load": "digits"}, "load: found 'digits'"),
        ({"keys": ("mirrors",)}, "keys: found mirrors"),
    ],
)
def test_a_data_set_that_says_what_cannot_be_is_refused(module, monkeypatch, wrong, words):
    monkeypatch.setattr(module, "STRIPES", DataSet(**FINE | wrong))
    with pytest.raises(ValueError, match=words):
        data.describe("mine:STRIPES")


def replaced(**split):
    """The digits with another training split."""
    found = few_digits()
    return dataclasses.replace(found, train=dataclasses.replace(found.train, **split))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: None, "load returns None"),
        (lambda: replaced(images=torch.zeros(60, 1, 8, 8)), r"train.images: found \(60, 1, 8, 8\) of torch.float32"),
        (lambda: replaced(images=few_digits().train.images[:, 0]), "must be 4-dimensional"),
        (lambda: replaced(labels=torch.zeros(59, dtype=torch.int64)), "train.labels: found 59 for 60 images"),
        (lambda: replaced(images=few_digits().train.images + 1), r"expected \(1, 8, 8\) with 17 levels, found .*17\)"),
        (lambda: replaced(images=few_digits().train.images[..., :4]), r"expected \(1, 8, 8\)"),
        (lambda: ImageData(Split(*[torch.empty(0)] * 2), few_digits().test, 17), "train.images"),
    ],
)
def test_images_that_are_not_what_the_data_set_says_are_refused(module, monkeypatch, made, words):
    monkeypatch.setattr(module, "STRIPES", DataSet(**FINE | {"load": lambda source: made()}))
    with pytest.raises(ValueError, match=words):
        data.load("mine:STRIPES")


def test_a_data_set_of_ones_own_may_ask_for_a_source(module, monkeypatch):
    asks = DataSet(**FINE | {"keys": ("path", "size"), "options": ("channels",)})
    monkeypatch.setattr(module, "STRIPES", asks)
    source = data.Source(path="x", size=(8, 8))
    assert data.describe("mine:STRIPES", source).shape == (3, 8, 8)
    assert data.file_name("mine:STRIPES", source) != data.file_name("mine:STRIPES", data.Source(path="y", size=8))
    with pytest.raises(ValueError, match=r"source.path, source.size: missing; mine:STRIPES needs it"):
        data.describe("mine:STRIPES")
    grey = DataSet(**FINE | {"keys": ("size",)})
    monkeypatch.setattr(module, "STRIPES", grey)
    assert data.describe("mine:STRIPES", data.Source(size=[8, 12])).shape == (grey.shape[0], 8, 12)
    monkeypatch.setattr(module, "STRIPES", DataSet(**FINE | {"options": ("size",)}))
    assert data.describe("mine:STRIPES", data.Source(size=12)).shape == (grey.shape[0], 12, 12)
    assert data.describe("mine:STRIPES").shape == grey.shape


def test_a_data_set_of_ones_own_in_several_sizes_has_a_file_for_each_source(module, monkeypatch):
    several = DataSet(**FINE | {"keys": ("path", "size"), "sizes": (8, 16)})
    monkeypatch.setattr(module, "STRIPES", several)
    sources = [data.Source(path=path, size=size) for path in ("x", "y") for size in (8, 16)]
    names = [data.file_name("mine:STRIPES", source) for source in sources]
    assert len(set(names)) == 4 and all(name.startswith("mine-STRIPES") for name in names)


# ---- bases -----------------------------------------------------------------------------------------------------------


class Scaled(Pixel):
    def forward(self, x):
        return 2 * x

    def inverse(self, c):
        return c / 2


class Sheared(Pixel):
    """Invertible, of determinant 1, and not orthonormal."""

    def forward(self, x):
        return x + 0.1 * x.flip(-1).cumsum(-1).tril()

    def inverse(self, c):
        return c


class OneWay(DCT):
    def inverse(self, c):
        return super().inverse(c) + 1e-3


class Shifted(Pixel):
    def forward(self, x):
        return x + 1

    def inverse(self, c):
        return c - 1


class Crossed(Pixel):
    """Depends on the other images of the batch."""

    def forward(self, x):
        return x.flip(0)

    inverse = forward


class Doubled(Pixel):
    def forward(self, x):
        return x.double()


class InPlace(Pixel):
    def forward(self, x):
        return x.neg_()

    def inverse(self, c):
        return -c


@pytest.mark.parametrize(
    ("basis", "words"),
    [
        (Scaled(), r"\|forward\(x\)\| / \|x\| − 1 is 1 in"),
        (Sheared(), r"inverse\(forward\(x\)\) − x is"),
        (OneWay(), r"inverse\(forward\(x\)\) − x is 0.001"),
        (Shifted(), "forward\\(2x \\+ y\\)"),
        (Crossed(), r"forward\(x\)\[:1\]"),
        (Doubled(), "forward: returns .* of torch.float64; must be .* of torch.float32"),
        (InPlace(), "forward: changes the images"),
        (bases.PCA.fit(torch.randn(40, 1, 2, 4, generator=torch.Generator().manual_seed(0))), "tensors, rotation"),
        (bases.Haar(3), "ValueError: Haar wavelets of 3 levels"),
    ],
)
def test_a_basis_that_is_none_is_refused(basis, words):
    with pytest.raises(ValueError, match=words):
        bases.check(basis, (1, 2, 4))


@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 4, 4)])
@pytest.mark.parametrize("basis", [bases.PIXEL, bases.DCT(), bases.Fourier(), bases.Haar(2)])
def test_the_librarys_bases_pass(basis, shape):
    bases.check(basis, shape)


def test_statistics_of_a_basis_of_ones_own_are_read_with_trust_alone(mine):
    found = BasisStatistics.fit("mine:Flip", few_digits().train.images, floor=0.1, whiten=True)
    assert isinstance(found.basis.rotation, Basis) and type(found.basis.rotation).__name__ == "Flip"
    with pytest.raises(ValueError, match="if trusted, name it in trusted_basis"):
        BasisStatistics.from_tensors("mine:Flip", found.tensors(), whiten=True)
    again = BasisStatistics.from_tensors("mine:Flip", found.tensors(), whiten=True, trusted="mine:Flip")
    assert again.basis.matches(found.basis)


# ---- processes -------------------------------------------------------------------------------------------------------


class Forgetful(VE):
    """Noise that does not add up."""

    def transition(self, s, t):
        phi, sigma = super().transition(s, t)
        return phi, (1 + 0.1 * (torch.as_tensor(t) - s))[..., None, None] * sigma


class Slow(VE):
    def sde(self, t):
        drift, noise = super().sde(t)
        return drift, 1.05 * noise


class Backwards(VP):
    """Noise first: the schedule of another direction."""

    def mean_log_snr(self, t):
        return -super().mean_log_snr(t)


class Unlike(VE):
    def prior_covariance(self):
        return torch.eye(1, dtype=torch.float64)


class Single(VE):
    def initial(self):
        return tuple(part.float() for part in super().initial())


class Indefinite(PSLD):
    def prior_covariance(self):
        return torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)


class Noiseless(VE):
    """Exact data at time 0, of infinite SNR, without a t_min."""

    def initial(self):
        return torch.eye(1, dtype=torch.float64), as_matrix(torch.zeros((), dtype=torch.float64))


class Raising(VE):
    def sde(self, t):
        raise NotImplementedError("later")


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (Forgetful(), "composed"),
        (Slow(), r"sde − the derivatives \(F, G Gᵀ\)"),
        (Backwards(), "log-SNR rises in time"),
        (Unlike(), r"prior_covariance: found \[\[1.0\]\], the law at t = 1 has"),
        (Single(), r"initial: returns \(1, 1\) of torch.float32; must be \(1, 1\) of float64"),
        (Indefinite(), "prior_covariance: .*must be symmetric, without negative"),
        (Noiseless(), "must be finite from t_min on"),
        (Raising(), "NotImplementedError: later"),
        (dataclasses.make_dataclass("Bad", [], bases=(VE,), namespace={"n": 0}, frozen=True)(), "n: found 0"),
        (dataclasses.make_dataclass("Late", [], bases=(VE,), namespace={"t_min": 1.0}, frozen=True)(), "t_min"),
    ],
)
def test_a_process_that_is_none_is_refused(process, words):
    with pytest.raises(ValueError, match=words):
        processes.check(process)


class Observed(PhaseSpace):
    """Exact data at time 0."""

    t_min = 0.01


@pytest.mark.parametrize(
    "process",
    [
        VP(),
        VP(processes.Cosine()),
        VE(),
        PSLD(),
        PSLD(friction_x=0.0, friction_m=4.0),
        Observed(),
        processes.vp_sde(),
        LinearSDE(D=[[1.0]], Q=[[0.0]], H=[[1.0]], beta=6.0, C_0=[[1e-3]]),
    ],
    ids=lambda process: type(process).__name__,
)
def test_the_librarys_processes_pass(process):
    processes.check(process)
