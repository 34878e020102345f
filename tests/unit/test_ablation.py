"""One network, every axis: which cells there are, that they share what they should, and what a basis does to a step."""

import math

import numpy as np
import pytest
import torch
from problems import small_denoiser
from summaries import assert_tidy, select

from nonnormal.analysis.cumulants import kurtosis_share, pixel_share
from nonnormal.bases import DCT, PCA, PIXEL, Haar, moments
from nonnormal.data import quantise, scale
from nonnormal.denoisers import NormalDenoiser
from nonnormal.metrics.fidelity import fid_difference, fidelity
from nonnormal.objectives.bounds import bits_per_dim, bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.processes import PSLD, VP, quadratic_times, uniform_times
from nonnormal.processes.schedules import Cosine, LinearLogSNR
from nonnormal.samplers import ancestral as sampler
from nonnormal.samplers import polynomial, sample_ancestral, sample_euler
from nonnormal.seeds import ImageNoise, derive
from nonnormal.steps import Normal, get
from nonnormal.study.config import validate
from nonnormal.study.experiments.ablation import measure as ablation
from nonnormal.study.experiments.ablation.measure import SHOWN, Scene, ablation_rows, cells, times_of
from nonnormal.study.results.drawing import ancestral

RAW = {
    "name": "tiny",
    "data": "digits",
    "seed": 3,
    "defaults": {"process": {"schedule": {"log_snr_max": 9, "log_snr_min": -7}}},
    "runs": {"nn": {}},
    "sampling": {"batch_size": 5},
    "evaluation": {"bootstrap": 10, "n_evaluations": 3},
    "ablation": {
        "step_families": ["laplace", "rademacher"],
        "bases": {"pca": {"kind": "pca"}, "haar": {"kind": "haar", "levels": 2}},
        "processes": {"psld-0.01": {"kind": "psld"}},
        "grids": ["polynomial"],
        "solvers": ["euler", "dpmpp_2m"],
        "nfe": [4, 2],
        "n_images": 12,
        "n_bounds": 4,
        "bound_timesteps": [4],
    },
}
STUDY = validate(RAW, "tiny.yaml")
BASE = ("pixel", "vp", "uniform")
CELLS = [BASE, ("pca", *BASE[1:]), ("haar", *BASE[1:]), ("pixel", "psld-0.01", "uniform"), (*BASE[:2], "polynomial")]
LINEAR = VP(LinearLogSNR(9.0, -7.0))


@pytest.fixture(scope="module")
def denoiser():
    return small_denoiser().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def scene(denoiser, digits, reference):
    return Scene(STUDY, denoiser, digits, reference, "cpu")


@pytest.fixture(scope="module")
def measured(denoiser, digits, reference):
    return ablation_rows(STUDY, denoiser, digits, reference)


def at(cell):
    return dict(zip(("basis", "process", "grid"), cell, strict=True))


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_every_row_has_interval_unit_and_the_names_of_its_cell(measured):
    rows, _ = measured
    assert_tidy(rows)
    assert set(rows.run) == {"nn"}
    assert rows[["value", "low", "high"]].map(math.isfinite).all(axis=None)
    assert (rows.low <= rows.value).all()
    assert (rows.value <= rows.high).all()
    assert set(zip(rows.basis, rows.process, rows.grid, strict=True)) == set(CELLS)
    assert set(zip(rows.data, rows.seed, strict=True)) == {("digits", 3)}


def test_each_cell_has_each_step_and_the_networks_own_the_solvers(measured):
    rows = select(measured[0], "ablation_fid_digits")
    steps = {("ancestral", "normal"), ("ancestral", "laplace"), ("ancestral", "rademacher")}
    for cell in CELLS:
        for nfe in (2, 4):
            found = rows[(rows[["basis", "process", "grid"]] == list(cell)).all(axis=1) & (rows.nfe == nfe)]
            solvers = {("euler", None), ("dpmpp_2m", None)} if cell[:2] == BASE[:2] and cell[0] == "pixel" else set()
            kinds = {(row.sampler, row.step if isinstance(row.step, str) else None) for row in found.itertuples()}
            assert kinds == steps | solvers
            assert len(found) == len(kinds)


def test_bases_of_cells_are_those_fitted_to_the_training_split_and_not_to_a_copy_of_it(monkeypatch, denoiser, digits):
    seen = []
    monkeypatch.setattr(moments, "PART", 7 * 64)
    monkeypatch.setattr(ablation, "scale", lambda images, levels: seen.append(len(images)) or scale(images, levels))
    pixel, pca, haar = (cell.basis for cell in cells(STUDY, denoiser, digits)[:3])
    assert max(seen) == 7
    assert pixel == PIXEL
    assert pca.matches(PCA.fit(scale(digits.train.images, 17)))
    assert haar == Haar(2)


def test_differences_are_to_the_normal_step_in_the_same_cell(measured):
    rows, _ = measured
    gaps = rows[rows.metric == "ablation_fid_digits_difference"]
    assert len(gaps) == 2 * (len(CELLS) * 2 + 2 * 2)
    for gap in gaps.itertuples():
        cell = at((gap.basis, gap.process, gap.grid))
        [normal] = select(rows, "ablation_fid_digits", step="normal", nfe=gap.nfe, **cell).value
        its = select(rows, "ablation_fid_digits", sampler=gap.sampler, nfe=gap.nfe, **cell)
        [value] = its.value[its.step.isna() if gap.sampler != "ancestral" else its.step == gap.step]
        assert gap.value == pytest.approx(value - normal, abs=1e-6)


def test_kurtosis_share_is_that_of_chain_and_basis(measured, denoiser, digits):
    for cell in cells(STUDY, denoiser, digits):
        [share] = select(measured[0], "ablation_kurtosis_share", nfe=4, **cell.names).value
        chain = kurtosis_share(cell.process, times_of(cell.names["grid"], 4, cell.process)).mean().item()
        assert share == pytest.approx(chain * pixel_share(cell.basis, (1, 8, 8)))


def test_bounds_are_those_of_the_step_with_itself(measured, denoiser, digits):
    rows, images = measured[0], digits.test.images[:4]
    options = dict(levels=17, n_steps=4, n_evaluations=3, seeds=STUDY.image_seeds("crossing bound", 4))
    totals = {}
    for cell in ((PIXEL, LINEAR, BASE), (Haar(2), LINEAR, CELLS[2]), (PIXEL, PSLD(), CELLS[3])):
        for step in ("normal", "laplace"):
            loss = Loss(get(step), get(step))
            point = Design(cell[1], Loss(Normal(), Normal()), cell[0])
            [terms] = bound(denoiser, point, scale(images, 17), losses=[loss], **options)
            totals[cell[2], step] = bits_per_dim(terms.total, 64).numpy()
            [found] = select(rows, "ablation_bpd_total", step=step, **at(cell[2])).value
            assert found == pytest.approx(totals[cell[2], step].mean(), rel=1e-6)
    gaps = select(rows, "ablation_bpd_difference", **at(CELLS[2]))
    found = {(row.step, row.against): row.value for row in gaps.itertuples()}
    mean = {key: value.mean() for key, value in totals.items()}
    assert found == pytest.approx(
        {
            ("normal", "base cell"): mean[CELLS[2], "normal"] - mean[BASE, "normal"],
            ("laplace", "base cell"): mean[CELLS[2], "laplace"] - mean[BASE, "laplace"],
            ("laplace", "normal step"): mean[CELLS[2], "laplace"] - mean[CELLS[2], "normal"],
        },
        rel=1e-5,
        abs=1e-6,
    )
    assert not len(select(rows, "ablation_bpd_total", step="rademacher"))  # it has no density
    assert not len(select(rows, "ablation_bpd_total", grid="polynomial"))


# ---- what cells share ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["normal", "rademacher"])
def test_the_base_cell_is_the_runs_own_sampler(scene, denoiser, digits, step):
    base, *_ = cells(STUDY, denoiser, digits)
    own = ancestral(STUDY, "nn", denoiser, 4, scene.seeds(12), step)
    assert torch.equal(scene.draw(base, step, 4, 12), own)
    assert torch.equal(scene.draw(base, step, 4, 3), own[:3])


def test_solvers_start_from_the_samplers_prior_draw_on_its_levels(scene, denoiser, digits):
    base, starts = cells(STUDY, denoiser, digits)[0], []

    def keep(state):
        if state["i"] == 0:
            starts.append(state["x"])

    scene.draw(base, "normal", 4, 12, keep)
    (weights,), sigmas = LINEAR.observation(1.0)[0], LINEAR.observation(uniform_times(4).flip(0))[1]
    expected = sample_euler(denoiser, torch.cat(starts) * weights, sigmas)
    assert torch.equal(scene.solve(base, "euler", 4, 12), quantise(expected, 17))


def test_what_is_shown_is_what_was_drawn(measured, scene, denoiser, digits):
    shown, found = measured[1], {cell.names["basis"]: cell for cell in cells(STUDY, denoiser, digits)[:3]}
    parts = {
        f"{basis}/{step}/{part}"
        for basis in found
        for step in ("normal", "laplace", "rademacher")
        for part in ("image", "state", "noise")
    }
    assert set(shown) == parts
    states = []
    cell = found["haar"]
    images = scene.draw(cell, "laplace", 2, SHOWN, states.append)
    assert torch.equal(shown["haar/laplace/image"], images)
    gain, coefficient, factor = (value.item() for value in LINEAR.posterior(0.5, 1.0))
    before, after = (torch.cat([state[key] for state in states if state["i"] == i]) for i, key in ((0, "x"), (1, "x")))
    clean = torch.cat([state["denoised"] for state in states if state["i"] == 0])
    noise = (after - gain * before - coefficient * clean) / factor
    torch.testing.assert_close(shown["haar/laplace/noise"], Haar(2).inverse(noise), rtol=0, atol=1e-4)
    y = Haar(2).inverse(after * LINEAR.observation(0.5)[0].item())
    torch.testing.assert_close(shown["haar/laplace/state"], y.float(), rtol=0, atol=1e-5)


# ---- grids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [LINEAR, VP(Cosine(9.0, -7.0)), PSLD()], ids=["linear", "cosine", "psld"])
@pytest.mark.parametrize("grid", ["uniform", "quadratic", "log_snr", "polynomial"])
def test_times_rise_from_the_first_to_the_last(process, grid):
    times = times_of(grid, 7, process)
    assert (times[0], times[-1], len(times)) == (process.t_min, 1, 8)
    assert (times.diff() > 0).all()


def test_times_are_those_of_their_levels():
    assert torch.equal(times_of("quadratic", 7, PSLD()), quadratic_times(7, 1e-3))
    torch.testing.assert_close(times_of("log_snr", 7, LINEAR), uniform_times(7))
    levels = LINEAR.observation(times_of("polynomial", 7, LINEAR))[1]
    expected = polynomial(7, math.exp(-4.5), math.exp(3.5), to_zero=False).flip(0)
    torch.testing.assert_close(levels, expected, rtol=1e-9, atol=0)
    steps = PSLD().mean_log_snr(times_of("log_snr", 7, PSLD())).diff()
    torch.testing.assert_close(steps, steps.mean().expand(7), rtol=1e-6, atol=0)


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="unknown grid 'karras'; known: uniform, quadratic, polynomial, log_snr"):
        times_of("karras", 5, LINEAR)


# ---- what a basis does to a step -------------------------------------------------------------------------------------


def bases(images):
    return {"pca": PCA.fit(images), "dct": DCT(), "haar": Haar(1)}


@pytest.mark.parametrize("name", ["pca", "dct", "haar"])
def test_a_step_in_a_basis_is_a_step_in_pixels_with_its_noise_turned(monkeypatch, denoiser, digits, name):
    """To rounding, image by image and for any step: the basis enters through the noise alone."""
    basis = bases(scale(digits.train.images, 17).double())[name]
    options = dict(times=uniform_times(4), seeds=range(6), dtype=torch.float64)
    model, shape = denoiser.double(), (6, 1, 8, 8)
    inside = sample_ancestral(model, LINEAR, get("laplace"), shape, basis=basis, **options)
    apart = sample_ancestral(model, LINEAR, get("laplace"), shape, **options)

    class Turned(ImageNoise):
        def draw(self, step):
            return basis.inverse(super().draw(step))

        def draws(self, step, n):
            yield from map(basis.inverse, super().draws(step, n))

    monkeypatch.setattr(sampler, "ImageNoise", Turned)
    turned = sample_ancestral(model, LINEAR, get("laplace"), shape, **options)
    model.float()
    torch.testing.assert_close(inside, turned, rtol=0, atol=1e-9)
    assert (inside - apart).abs().max() > 0.1


def cumulants(monkeypatch, basis, covariance):
    """Covariance (D, D) of the samples, and the fourth cumulant (D,) of each pixel for a step of excess kurtosis 1.

    With a normal law's denoiser the sampler is affine in its noise, so both are read off its answers to units of noise.
    """
    n_steps, dims = 3, 4
    units = torch.eye(dims * (n_steps + 1), dtype=torch.float64).reshape(-1, n_steps + 1, 1, 2, 2)
    units = torch.cat([torch.zeros_like(units[:1]), units])

    class Units(ImageNoise):
        def draw(self, step):
            return units[:, 0]

        def draws(self, step, n):
            yield from units[:, 1:].unbind(1)

    monkeypatch.setattr(sampler, "ImageNoise", Units)
    model, n = NormalDenoiser(torch.zeros(1, 2, 2, dtype=torch.float64), covariance), len(units)
    options = dict(times=uniform_times(n_steps), seeds=range(n), dtype=torch.float64, basis=basis)
    images = sample_ancestral(model, LINEAR, Normal(), (n, 1, 2, 2), **options).flatten(1)
    answers = images[1:] - images[0]
    return answers.T @ answers, answers[dims:].pow(4).sum(0)  # the prior's noise is normal for every step


def test_the_law_of_the_normal_step_is_one_in_every_basis_and_that_of_others_is_not(monkeypatch):
    root = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = (torch.randn(50, 4, generator=torch.Generator().manual_seed(1)).double() @ root).reshape(-1, 1, 2, 2)
    found = {"pixel": PIXEL, **bases(images)}
    results = {name: cumulants(monkeypatch, basis, root @ root.T) for name, basis in found.items()}
    covariance, fourth = results.pop("pixel")
    for its_covariance, its_fourth in results.values():
        torch.testing.assert_close(its_covariance, covariance, rtol=1e-10, atol=1e-12)
        assert ((its_fourth - fourth).abs() / fourth).max() > 0.05


# ---- differences of distances ----------------------------------------------------------------------------------------


def test_a_difference_of_distances_is_what_it_says_with_an_interval_of_its_own(digits, reference):
    source = torch.Generator().manual_seed(0)
    images = digits.test.images
    noise = torch.randint(0, 3, images.shape, generator=source, dtype=torch.uint8)
    rough = (images + noise).clamp(max=16)
    options = dict(resamples=50, seed=derive(3, "fidelity"))
    gap = fid_difference(rough, images, reference, **options)
    first, second = (fidelity(each, reference, **options)["fid"] for each in (rough, images))
    assert gap.value == pytest.approx(first.value - second.value)
    assert gap.n == len(images)
    # What both share cancels.
    assert gap.high - gap.low < np.hypot(first.high - first.low, second.high - second.low)
    none = fid_difference(images, images, reference, **options)
    assert (none.value, none.low, none.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="images in pairs are needed, found 20 and 19"):
        fid_difference(images, images[1:], reference, **options)
