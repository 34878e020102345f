"""Designs: components and their information, orders that fall together, known components, and networks of a basis."""

import math
from dataclasses import replace

import pytest
import torch
from problems import small_recipe

from nonnormal.analysis.information import effective_components, information
from nonnormal.bases import DCT, KINDS, PIXEL, Basis, BasisStatistics, Whitened, moments
from nonnormal.data import scale
from nonnormal.denoisers import NetworkDenoiser, NormalDenoiser, counted, predict_x0, score
from nonnormal.objectives.bounds import bound, continuous_bound
from nonnormal.objectives.losses import ELBO, Design, EDMLoss, Loss
from nonnormal.objectives.probability_flow import flow_bound, log_density, velocity
from nonnormal.processes import PSLD, VP, uniform_times
from nonnormal.processes.schedules import ComponentWise, LinearLogSNR, column_labels, sequential, variance_labels
from nonnormal.samplers import (
    outpaint,
    sample_ancestral,
    sample_em,
    sample_flow_adaptive,
    sample_flow_euler,
    sample_flow_heun,
    sample_sscs,
)
from nonnormal.steps import get
from nonnormal.study.config import build as recipes
from nonnormal.study.config.settings import Run
from nonnormal.training.checkpoints import build_denoiser, load_denoiser, save_weights

LEVELS, SHAPE = 17, (1, 8, 8)


def grey(n=40, seed=0):
    """Smooth images on 17 grey levels."""
    noise = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = DCT().inverse(DCT().forward(noise) * torch.exp(-12 * DCT().frequency(SHAPE)))
    return ((smooth * 2 + 8).round().clamp(0, 16) - 8) / 8


X0 = grey()
FLOOR = 2 / (LEVELS - 1) / math.sqrt(12)


def fitted(kind="dct", whiten=False):
    return BasisStatistics.fit(kind, X0, floor=FLOOR, whiten=whiten)


def network(parts, **other):
    options = dict(sigma_data=None, sees_levels=True) | other
    recipe = small_recipe(**options)
    recipe["network"]["in_channels"] += options["sees_levels"]
    return build_denoiser(recipe, 1, parts).eval().double()


# ---- components ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_components_hold_the_datas_moments_and_survive_a_file(kind, whiten, tmp_path):
    parts = BasisStatistics.fit(kind, X0, floor=FLOOR, whiten=whiten)
    coefficients = parts.basis.forward(X0)
    torch.testing.assert_close(parts.mean, coefficients.mean(0), rtol=0, atol=1e-12)
    expected = torch.ones(SHAPE).double() if whiten else coefficients.std(0, correction=0).clamp(min=FLOOR)
    torch.testing.assert_close(parts.std, expected, rtol=0, atol=1e-9)
    recipe = small_recipe(sigma_data=None) | {"basis": {"kind": kind, "whiten": whiten}}
    denoiser = build_denoiser(recipe, 0, parts).eval()
    save_weights(tmp_path / "w.safetensors", denoiser, recipe)
    loaded = load_denoiser(tmp_path / "w.safetensors")
    assert loaded.basis.matches(parts.basis)
    assert torch.equal(loaded(X0[:3].float(), 0.4), denoiser(X0[:3].float(), 0.4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_runs_components_are_fitted_to_grey_levels_in_parts(monkeypatch, kind):
    given, seen = ((X0 + 1) * 8).to(torch.uint8), []
    monkeypatch.setattr(moments, "PART", 7 * 64)
    monkeypatch.setattr(recipes, "scale", lambda images, levels: seen.append(len(images)) or scale(images, levels))
    run = Run.model_validate({"basis": {"kind": kind}})
    found = recipes.components(run, given, LEVELS)
    assert max(seen) == 7
    expected = BasisStatistics.fit(kind, X0, floor=FLOOR)
    torch.testing.assert_close(found.std, expected.std, rtol=0, atol=1e-12)


def test_an_unknown_basis_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown basis 'sine'; known: pixel, pca"):
        BasisStatistics.fit("sine", X0, floor=FLOOR)


# ---- networks --------------------------------------------------------------------------------------------------------


class Silence(torch.nn.Module):
    """A network that predicts 0 and remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, z, log_snr):
        self.seen = z, log_snr
        return torch.zeros_like(z[:, :1])


@pytest.mark.parametrize("level", ["one", "an image", "a component", "both"])
@pytest.mark.parametrize(("kind", "whiten"), [("pixel", False), ("pca", False), ("haar", True)])
def test_an_untrained_network_is_the_normal_optimal_denoiser(kind, whiten, level):
    """Of components that are not correlated, whatever the noise of each."""
    parts = fitted(kind, whiten)
    draws = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(3)).double() + 0.1
    sigma = {"one": 0.4, "an image": draws[:, 0, 0, 0], "a component": draws[0], "both": draws}[level]
    columns = parts.basis.inverse(torch.eye(64).double().reshape(64, *SHAPE)).flatten(1).T
    covariance = columns @ parts.variance.flatten().diag() @ columns.T
    exact = NormalDenoiser(parts.basis.inverse(parts.mean[None])[0], covariance, parts.basis)
    silent = NetworkDenoiser(Silence(), sigma_data=None, components=parts, sees_levels=True)
    torch.testing.assert_close(silent(X0[:3], sigma), exact(X0[:3], sigma), rtol=1e-9, atol=1e-9)


def test_the_network_sees_the_noise_share_of_each_component_and_the_mean_log_snr():
    parts, sigma = fitted("dct"), torch.rand(SHAPE, generator=torch.Generator().manual_seed(3)).double() + 0.1
    silent = NetworkDenoiser(Silence(), sigma_data=None, components=parts, sees_levels=True)
    silent(X0[:2], sigma)
    z, log_snr = silent.network.seen
    assert z.shape == (2, 2, 8, 8)
    share = (parts.basis.forward(z[:, 1:]) + 1) / 2
    torch.testing.assert_close(share, (sigma**2 / (sigma**2 + parts.variance)).expand_as(share))
    torch.testing.assert_close(log_snr, (-2 * sigma.log()).mean().expand(2))


class Recorded(Basis):
    """A basis that remembers how many images it was asked for at a time."""

    def __init__(self, basis):
        self.basis, self.inverses = basis, []

    def forward(self, x):
        return self.basis.forward(x)

    def inverse(self, c):
        self.inverses.append(len(c))
        return self.basis.inverse(c)


@pytest.mark.parametrize("kind", KINDS)
def test_a_basis_carries_back_what_the_network_sees_and_levels_once_where_all_images_share_them(kind):
    parts = fitted(kind)
    basis, sigma = Recorded(parts.basis), torch.rand(SHAPE, generator=torch.Generator().manual_seed(3)).double() + 0.1
    options = dict(sigma_data=None, components=replace(parts, basis=basis), sees_levels=True)
    shared, alone = NetworkDenoiser(Silence(), **options), NetworkDenoiser(Silence(), **options)
    shared(X0[:5], sigma)
    assert basis.inverses == [5, 1, 5]  # the state, the levels, the prediction; no Fourier features that nobody sees
    alone(X0[:5], sigma.expand(5, *SHAPE))
    assert basis.inverses[3:] == [5, 5, 5]
    # A product with one row may be summed in another order than one with five.
    torch.testing.assert_close(shared.network.seen[0], alone.network.seen[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("level", ["an image", "a component"])
def test_a_float64_state_goes_through_a_float32_network(level):
    parts, x = fitted("haar"), X0[:2]
    denoiser = network(parts).float()
    sigma = torch.full((2,), 0.3).double() if level == "an image" else torch.full(SHAPE, 0.3).double()
    found = denoiser(x, sigma)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, denoiser(x.float(), sigma.float()).double(), rtol=1e-5, atol=1e-5)


# ---- orders that fall together ---------------------------------------------------------------------------------------


def everything(point, denoiser, x0):
    """Loss, bound and samples of a design, each image from its own seed."""
    loss = ELBO(point, 20)(denoiser, x0, torch.Generator().manual_seed(0))
    [terms] = bound(denoiser, point, x0, levels=LEVELS, n_steps=12, seeds=range(len(x0)))
    options = dict(times=uniform_times(12), seeds=range(3), basis=point.basis, dtype=torch.float64)
    return loss, terms.total, sample_ancestral(denoiser, point.process, point.p, (3, *SHAPE), **options)


@pytest.mark.parametrize("step", ["normal", "laplace"])
@pytest.mark.parametrize("kind", ["pixel", "pca", "haar"])
def test_softness_one_by_variance_is_the_one_schedule_of_standard_diffusion(kind, step):
    parts = fitted(kind)
    labels = variance_labels(parts.variance)
    each = ComponentWise(labels, 1.0, parts.variance, 9.0, -5.0)
    one = LinearLogSNR(each.log_snr(0.0).mean().item(), each.log_snr(1.0).mean().item())
    point = Design(VP(each), Loss(step, step), parts.basis)
    denoiser, x0 = network(parts), X0[:3]
    found, expected = everything(point, denoiser, x0), everything(replace(point, process=VP(one)), denoiser, x0)
    for mine, standard in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, standard, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("step", ["normal", "laplace"])
def test_one_snr_for_all_is_standard_diffusion_in_the_whitened_space(step):
    """As component-wise schedule on U x and as one schedule on S⁻¹ U x: one loss, one bound but for the prior."""
    parts = fitted("dct")
    white = BasisStatistics(
        Whitened(parts.basis, parts.std), parts.mean / parts.std, torch.ones(SHAPE).double(), parts.floor / parts.std
    )
    unordered = VP(ComponentWise(variance_labels(parts.variance), math.inf, parts.variance, 9.0, -7.0))
    first = Design(unordered, Loss(step, step), parts.basis)
    second = Design(VP(LinearLogSNR(9.0, -7.0)), Loss(step, step), white.basis)
    losses, terms, x0 = [], [], X0[:3]
    for point, its in ((first, parts), (second, white)):
        denoiser = NetworkDenoiser(Silence(), sigma_data=None, components=its)
        losses.append(ELBO(point, 20)(denoiser, x0, torch.Generator().manual_seed(0)))
        terms += bound(denoiser, point, x0, levels=LEVELS, n_steps=12, seeds=range(3))
    torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
    for term in ("diffusion", "reconstruction"):  # priors are N(0, 1), of one variable or the other
        torch.testing.assert_close(getattr(terms[0], term), getattr(terms[1], term), rtol=1e-6, atol=1e-6)


# ---- the denoiser's own basis ----------------------------------------------------------------------------------------

WHITE = Whitened.fit(DCT(), X0, FLOOR)
COVARIANCE = torch.cov(X0.flatten(1).T) + FLOOR**2 * torch.eye(64).double()
WHITE_LAW = NormalDenoiser(X0.mean(0), COVARIANCE, WHITE)
STATE = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def by_sampler(sampler, *step, **solver):
    options = dict(times=uniform_times(3), seeds=[0, 1], dtype=torch.float64) | solver
    return lambda law, **more: sampler(law, VP(LinearLogSNR(7.0, -7.0)), *step, (2, *SHAPE), **options, **more)


def by_bound(law, basis=PIXEL):
    point = Design(VP(), Loss("laplace", "laplace"), basis)
    return bound(law, point, X0[:2], levels=LEVELS, n_steps=3, seeds=[0, 1])[0].total


def by_loss(kind, *settings):
    def loss(law, basis=PIXEL):
        return kind(Design(VP(), Loss("laplace", "laplace"), basis), *settings)(
            law, X0[:2], torch.Generator().manual_seed(0)
        )

    return loss


LOOSE = dict(rtol=1e-2, atol=1e-2)
WITH_A_BASIS = {
    "predict_x0": lambda law, **more: predict_x0(law, VP(), STATE, 0.4, **more),
    "score": lambda law, **more: score(law, VP(), STATE, 0.4, **more),
    "velocity": lambda law, **more: velocity(law, VP(), STATE, 0.4, **more),
    "log_density": lambda law, **more: log_density(law, VP(), STATE, 0.4, probe=STATE.sign(), **LOOSE, **more)[0],
    "ancestral": by_sampler(sample_ancestral, get("laplace")),
    "em": by_sampler(sample_em, get("laplace")),
    "sscs": by_sampler(sample_sscs, get("laplace")),
    "flow_euler": by_sampler(sample_flow_euler),
    "flow_heun": by_sampler(sample_flow_heun),
    "flow_adaptive": by_sampler(sample_flow_adaptive, **LOOSE),
    "continuous": lambda law, **more: (
        continuous_bound(law, VP(), X0[:2], levels=LEVELS, n_evaluations=3, seeds=[0, 1], **more).total
    ),
    "flow": lambda law, **more: flow_bound(law, VP(), X0[:2], levels=LEVELS, seeds=[0, 1], **LOOSE, **more)[0],
}
OF_A_DESIGN = {"bound": by_bound, "elbo": by_loss(ELBO, 5), "perceptual": by_loss(EDMLoss, 0.5)}


@pytest.mark.parametrize("basis", [WHITE, DCT()], ids=["whitened", "dct"])
@pytest.mark.parametrize("name", WITH_A_BASIS)
def test_a_denoiser_is_used_in_its_own_basis_unless_another_is_given(name, basis):
    law, call = replace(WHITE_LAW, basis=basis), WITH_A_BASIS[name]
    expected = call(law, basis=basis)
    assert torch.equal(call(law), expected)
    assert torch.equal(call(counted(law)), expected)  # whoever counts its calls keeps its basis


@pytest.mark.parametrize("name", WITH_A_BASIS | OF_A_DESIGN)
def test_a_whitened_denoiser_is_refused_another_basis_in_which_its_noise_is_another(name):
    call = (WITH_A_BASIS | OF_A_DESIGN)[name]
    for basis in (PIXEL, DCT()):
        with pytest.raises(ValueError, match=r"white noise of the basis .* expects; give basis=denoiser\.basis"):
            call(WHITE_LAW, basis=basis)
    with pytest.raises(
        ValueError, match="noise that is not white of the basis Whitened needs a denoiser of that basis"
    ):
        call(WHITE_LAW, basis=Whitened.fit(PIXEL, X0, FLOOR))
    assert call(WHITE_LAW, basis=WHITE).isfinite().all()


@pytest.mark.parametrize("name", OF_A_DESIGN)
def test_a_design_that_names_no_basis_is_one_of_pixels_and_refuses_a_whitened_denoiser(name):
    with pytest.raises(
        ValueError, match="white noise of the basis Pixel is not the noise that NormalDenoiser of White"
    ):
        OF_A_DESIGN[name](WHITE_LAW)


@pytest.mark.parametrize("name", WITH_A_BASIS | OF_A_DESIGN)
def test_white_noise_is_white_in_every_orthonormal_basis_so_a_denoiser_of_one_serves_all(name):
    call, law = (WITH_A_BASIS | OF_A_DESIGN)[name], replace(WHITE_LAW, basis=DCT())
    for basis in (PIXEL, fitted("pca").basis):
        expected = call(replace(law, basis=basis), basis=basis)
        torch.testing.assert_close(call(law, basis=basis), expected, rtol=1e-6, atol=1e-8)


def test_samples_of_a_whitened_denoiser_have_the_datas_deviation():
    options = dict(times=uniform_times(60), seeds=range(300), dtype=torch.float64)
    drawn = sample_ancestral(WHITE_LAW, VP(LinearLogSNR(9.0, -7.0)), get("normal"), (300, *SHAPE), **options)
    assert drawn.std().item() == pytest.approx(COVARIANCE.diagonal().mean().sqrt().item(), rel=0.1)


# ---- information -----------------------------------------------------------------------------------------------------


def test_information_is_that_of_a_normal_channel_and_its_gain_the_derivative():
    variance, t = torch.linspace(0.1, 2.0, 6, dtype=torch.float64).reshape(1, 2, 3), torch.tensor([0.2, 0.7]).double()
    order = VP(ComponentWise(variance_labels(variance), 0.5, variance, 9.0, -5.0))
    for process in (VP(), order, PSLD()):
        known, gain = information(process, variance, t)
        before, after = (information(process, variance, t + h)[0] for h in (-1e-5, 1e-5))
        torch.testing.assert_close(gain, (before - after) / 2e-5, rtol=1e-5, atol=1e-8)
        sigma = process.observation(t)[1].reshape(2, *(order.schedule.labels.shape if process is order else (1, 1, 1)))
        torch.testing.assert_close(known, 0.5 * (1 + variance / sigma**2).log())
        coarse, slower = information(process, variance, t, floor=0.3)
        torch.testing.assert_close(coarse, 0.5 * (1 + variance / (sigma**2 + 0.09)).log())
        before, after = (information(process, variance, t + h, floor=0.3)[0] for h in (-1e-5, 1e-5))
        torch.testing.assert_close(slower, (before - after) / 2e-5, rtol=1e-5, atol=1e-8)


def test_information_is_asked_of_no_time_before_the_noise():
    with pytest.raises(ValueError, match=r"PSLD has times from t_min = 0\.001 to 1, found 0$"):
        information(PSLD(), torch.ones(SHAPE).double(), torch.tensor([0.0, 0.5]).double())


def test_the_harder_the_order_the_fewer_components_are_generated_at_once():
    """From all together to block after block, as many as a label has, if what the data do not resolve is left out."""
    labels = torch.arange(4).repeat_interleave(3).reshape(1, 4, 3).double()
    ones = torch.ones(1, 4, 3).double()
    found = [
        effective_components(VP(ComponentWise(labels, softness, None, 9.0, -5.0)), ones, floor=0.1)
        for softness in (math.inf, 1.0, 0.3, 0.1, 0.02)
    ]
    assert found[0] == pytest.approx(12, rel=1e-6)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(3, abs=0.2)
    assert effective_components(VP(sequential(labels, 1.5)), ones) == pytest.approx(3, abs=0.05)


# ---- known components ------------------------------------------------------------------------------------------------


def conditional(law, mask, known):
    """Mean and covariance of the unknown given the known pixels of a normal law."""
    mask, mean = mask.flatten(), law.mean.flatten()
    cross = law.covariance[~mask][:, mask] @ torch.linalg.inv(law.covariance[mask][:, mask])
    return mean[~mask] + cross @ (known.flatten()[mask] - mean[mask]), (
        law.covariance[~mask][:, ~mask] - cross @ law.covariance[mask][:, ~mask]
    )


@pytest.mark.parametrize("step", ["normal", "laplace"])
def test_known_columns_condition_the_others_exactly_where_they_come_first(step):
    shape, n = (1, 1, 3), 1000
    covariance = torch.tensor([[0.3, 0.2, 0.1], [0.2, 0.3, 0.2], [0.1, 0.2, 0.3]], dtype=torch.float64)
    law = NormalDenoiser(torch.full(shape, 0.1, dtype=torch.float64), covariance)
    process = VP(sequential(column_labels(shape), 1.0, 9.0, -7.0))
    mask = torch.tensor([[[True, False, False]]])
    known = torch.tensor([[[0.9, 0.0, 0.0]]], dtype=torch.float64)
    options = dict(times=uniform_times(90), seeds=range(n), dtype=torch.float64)
    drawn = sample_ancestral(law, process, get(step), (n, *shape), known=(known.expand(n, *shape), mask), **options)
    assert (drawn[..., 0] == 0.9).all()
    mean, spread = conditional(law, mask, known)
    rest = drawn.flatten(1)[:, 1:]
    error = (spread.diagonal() / n).sqrt()
    assert ((rest.mean(0) - mean).abs() < 5 * error + 0.02).all()
    torch.testing.assert_close(torch.cov(rest.T), spread, rtol=0.2, atol=0.02)


def test_known_components_may_be_any_of_a_basis():
    parts = fitted("dct")
    mask = parts.basis.frequency(SHAPE) < 0.2
    silent = NetworkDenoiser(Silence(), sigma_data=None, components=parts)
    options = dict(times=uniform_times(5), seeds=range(2), basis=parts.basis, dtype=torch.float64)
    drawn = sample_ancestral(silent, VP(), get("normal"), (2, *SHAPE), known=(X0[:2], mask), **options)
    coarse = (parts.basis.forward(drawn) - parts.basis.forward(X0[:2])).abs()
    assert coarse[:, mask].max() < 1e-12
    assert coarse[:, ~mask].max() > 0.01


def test_extension_keeps_what_there_is_and_adds_columns_for_each_round():
    denoiser = NormalDenoiser(torch.zeros(SHAPE).double(), 0.2 * torch.eye(64).double())
    options = dict(step=get("normal"), times=uniform_times(4), dtype=torch.float64)
    strip = outpaint(denoiser, VP(), X0[:2], kept=5, seeds=[[0, 1], [2, 3]], **options)
    assert strip.shape == (2, 1, 8, 8 + 2 * 3)
    assert torch.equal(strip[..., :8], X0[:2])
    alone = outpaint(denoiser, VP(), X0[1:2], kept=5, seeds=[[1], [3]], **options)
    torch.testing.assert_close(alone, strip[1:], rtol=1e-12, atol=1e-12)
    for kept in (0, 8):
        with pytest.raises(ValueError, match=f"kept must be between 1 and 7 columns, found {kept}"):
            outpaint(denoiser, VP(), X0[:2], kept=kept, seeds=[[0, 1]], **options)


def test_extension_keeps_columns_of_pixels_also_whitened_and_takes_no_other_components():
    covariance = 0.2 * torch.eye(64).double()
    law = NormalDenoiser(torch.zeros(SHAPE).double(), covariance, Whitened.fit(PIXEL, X0, FLOOR))
    options = dict(kept=5, seeds=[[0, 1]], step=get("normal"), times=uniform_times(4), dtype=torch.float64)
    assert torch.equal(outpaint(law, VP(), X0[:2], **options)[..., :8], X0[:2])
    for basis in (DCT(), fitted("pca").basis, fitted("haar", whiten=True).basis):
        with pytest.raises(ValueError, match=r"columns are known of pixels alone, found components of (DCT|PCA|Haar)"):
            outpaint(replace(law, basis=basis), VP(), X0[:2], **options)
    with pytest.raises(ValueError, match="columns are known of pixels alone, found components of DCT"):
        outpaint(replace(law, basis=PIXEL), VP(), X0[:2], basis=DCT(), **options)


def test_grey_levels_are_no_known_images():
    known = (((X0[:2] + 1) * 8).to(torch.uint8), torch.ones(SHAPE, dtype=torch.bool))
    law = NormalDenoiser(X0[0], torch.eye(64))
    with pytest.raises(
        ValueError, match=r"known takes images in \[−1, 1\] as data\.scale makes them, found torch\.uint8"
    ):
        sample_ancestral(law, VP(), "normal", (2, *SHAPE), times=uniform_times(2), seeds=[0, 1], known=known)


def test_known_images_of_another_shape_are_refused():
    mask = torch.ones(SHAPE, dtype=torch.bool)
    with pytest.raises(ValueError, match="known takes images"):
        options = dict(times=uniform_times(2), seeds=[0], known=(X0[:2], mask))
        sample_ancestral(NormalDenoiser(X0[0], torch.eye(64)), VP(), get("normal"), (1, *SHAPE), **options)


def test_pixels_are_a_basis_like_others():
    assert PIXEL.matches(PIXEL)
    assert not PIXEL.matches(DCT())
    assert fitted("pca").basis.matches(fitted("pca").basis)
    assert not fitted("pca").basis.matches(BasisStatistics.fit("pca", grey(seed=1), floor=FLOOR).basis)
