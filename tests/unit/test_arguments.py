"""Wrong arguments are refused with a message that says what is needed; no wrong shape is broadcast."""

import numpy as np
import pytest
import torch
from torch import nn

from nonnormal import (
    ELBO,
    PSLD,
    VP,
    ComponentWise,
    Design,
    EDMLoss,
    GaussianMixtureDenoiser,
    Haar,
    LinearLogSNR,
    Loss,
    NetworkDenoiser,
    bound,
    continuous_bound,
    fit_steps,
    flow_bound,
    sample_ancestral,
    sample_em,
    sample_heun,
)
from nonnormal.bases import DCT, PIXEL, BasisStatistics, Fourier
from nonnormal.objectives.fitted_loss import FittedLoss
from nonnormal.objectives.losses import HybridScoreMatching
from nonnormal.processes.schedules import column_labels
from nonnormal.samplers import sample_sscs
from nonnormal.seeds import ImageNoise, derive
from nonnormal.steps import Laplace, get

DENOISER = GaussianMixtureDenoiser(torch.tensor([[[[-1.0]]], [[[1.0]]]]), torch.full((2,), 0.1))
DESIGN = Design(VP(), Loss("normal", "normal"))
X0 = torch.ones(4, 1, 1, 1)
TIMES = torch.linspace(0, 1, 4)
GRID = dict(times=TIMES, seeds=range(4))
EVALUATED = dict(levels=2, seeds=range(4))


class Network(nn.Module):
    def forward(self, z, log_snr):
        return z


@pytest.mark.parametrize(
    "call",
    [
        lambda design: sample_ancestral(DENOISER, design, "laplace", (4, 1, 1, 1), **GRID),
        lambda design: sample_em(DENOISER, design, "laplace", (4, 1, 1, 1), **GRID),
        lambda design: sample_sscs(DENOISER, design, "laplace", (4, 1, 1, 1), **GRID),
        lambda design: continuous_bound(DENOISER, design, X0, n_evaluations=2, **EVALUATED),
        lambda design: flow_bound(DENOISER, design, X0, **EVALUATED),
    ],
)
def test_a_design_in_the_place_of_a_process_is_refused(call):
    with pytest.raises(ValueError, match=r"a process is needed.*found Design\(.*give design\.process"):
        call(DESIGN)
    with pytest.raises(ValueError, match=r"a process is needed.*found <class"):
        call(VP)


@pytest.mark.parametrize(
    "call",
    [
        lambda process: bound(DENOISER, process, X0, n_steps=3, **EVALUATED),
        lambda process: fit_steps(DENOISER, process, X0, TIMES, choice="scale", seeds=range(4)),
        lambda process: ELBO(process, 10),
        lambda process: EDMLoss(process, 0.5),
        lambda process: HybridScoreMatching(process, "hsm"),
    ],
)
def test_a_process_in_the_place_of_a_design_is_refused(call):
    with pytest.raises(ValueError, match=r"a design is needed.*found VP\("):
        call(VP())


@pytest.mark.parametrize(
    "call",
    [
        lambda denoiser: ELBO(DESIGN, 10)(denoiser, X0, torch.Generator()),
        lambda denoiser: EDMLoss(DESIGN, 0.5)(denoiser, X0, torch.Generator()),
        lambda denoiser: bound(denoiser, DESIGN, X0, n_steps=3, **EVALUATED),
        lambda denoiser: sample_ancestral(denoiser, VP(), "laplace", (4, 1, 1, 1), **GRID),
        lambda denoiser: sample_heun(denoiser, X0, torch.tensor([1.0, 0.5, 0.0])),
    ],
)
def test_a_prediction_of_another_shape_is_refused(call):
    with pytest.raises(ValueError, match=r"the denoiser returns \(4, 1\) for \(4, 1, 1, 1\)"):
        call(lambda x, sigma: x[:, :, 0, 0])
    with pytest.raises(ValueError, match=r"the denoiser returns tuple for \(4, 1, 1, 1\)"):
        call(lambda x, sigma: (x,))


def test_a_denoiser_that_is_wrapped_for_several_gpus_keeps_its_basis():
    """As DistributedDataParallel and AveragedModel wrap modules."""
    components = BasisStatistics(Haar(1), torch.zeros(1, 2, 2), torch.ones(1, 2, 2), 0.0)
    denoiser, shape = NetworkDenoiser(Network(), components=components), (4, 1, 2, 2)
    found = sample_ancestral(nn.DataParallel(denoiser), VP(), "laplace", shape, **GRID)
    assert torch.equal(found, sample_ancestral(denoiser, VP(), "laplace", shape, **GRID))
    assert not torch.equal(found, sample_ancestral(denoiser, VP(), "laplace", shape, basis=PIXEL, **GRID))


@pytest.mark.parametrize("labels", [(1, 4, 6), (3, 1, 6), (2, 4, 6)])
def test_schedules_for_components_of_another_shape_are_refused(labels):
    """The prior and the constant of a broadcast schedule are those of too few components."""
    schedule = ComponentWise(column_labels(labels).clone(), softness=2.0, log_snr_max=9, log_snr_min=2.0)
    process, x0 = VP(schedule), torch.ones(4, 3, 4, 6)
    design = Design(process, Loss("normal", "normal"))
    for call in (
        lambda: bound(DENOISER, design, x0, n_steps=3, **EVALUATED),
        lambda: continuous_bound(DENOISER, process, x0, n_evaluations=2, **EVALUATED),
        lambda: flow_bound(DENOISER, process, x0, **EVALUATED),
        lambda: ELBO(design, 10)(DENOISER, x0, torch.Generator()),
        lambda: sample_ancestral(DENOISER, process, "normal", (4, 3, 4, 6), **GRID),
        lambda: sample_em(DENOISER, process, "normal", (4, 3, 4, 6), **GRID),
    ):
        with pytest.raises(ValueError, match=r"of components \(\d, \d, 6\), found images \(3, 4, 6\); labels\.expand"):
            call()


@pytest.mark.parametrize("basis", [DCT(), Fourier(), Haar(1)])
def test_bases_of_images_refuse_points_whose_batch_they_would_transform(basis):
    for transform in (basis.forward, basis.inverse):
        with pytest.raises(ValueError, match=r"transforms images \(B, C, H, W\), found \(4, 2\)"):
            transform(torch.ones(4, 2))


def test_names_that_are_none_of_those_known_are_refused():
    with pytest.raises(ValueError, match=r"convention must be one of exact, main_text, appendix, found 'Exact'"):
        Loss("normal", "normal", "Exact")
    with pytest.raises(ValueError, match="target must be one of hsm, dsm, found 'HSM'"):
        HybridScoreMatching(Design(PSLD(), Loss("normal", "normal")), "HSM")
    with pytest.raises(ValueError, match="marginals must be 'limit' or 'bridge', found 'bridges'"):
        bound(DENOISER, DESIGN, X0, n_steps=3, marginals="bridges", **EVALUATED)
    with pytest.raises(ValueError, match=r"a basis is an object of Basis, .* found 'haar'"):
        sample_ancestral(DENOISER, VP(), "laplace", (4, 1, 1, 1), basis="haar", **GRID)
    with pytest.raises(ValueError, match=r"schedule must be an object of Schedule, .* found <class"):
        VP(LinearLogSNR)


def test_a_class_in_the_place_of_a_step_is_refused_with_how_to_write_it():
    with pytest.raises(ValueError, match=r"write Laplace\(\)"):
        sample_ancestral(DENOISER, VP(), Laplace, (4, 1, 1, 1), **GRID)


@pytest.mark.parametrize("choice", ["scale", "diagonal", "residuals"])
def test_steps_fitted_for_images_of_another_shape_are_refused(choice):
    denoiser = GaussianMixtureDenoiser(torch.stack([-torch.ones(1, 2, 2), torch.ones(1, 2, 2)]), torch.full((2,), 0.1))
    steps = fit_steps(denoiser, DESIGN, torch.ones(9, 1, 2, 2), TIMES, choice=choice, seeds=range(9))
    shape, denoiser = (4, 3, 2, 2), lambda x, sigma: 0 * x
    if choice == "scale":
        assert sample_ancestral(denoiser, VP(), steps, shape, **GRID).shape == shape
        return
    with pytest.raises(ValueError, match=r"steps were fitted for images \(1, 2, 2\); found \(3, 2, 2\)"):
        sample_ancestral(denoiser, VP(), steps, shape, **GRID)
    if choice == "diagonal":
        with pytest.raises(ValueError, match=r"steps were fitted for images \(1, 2, 2\); found \(3, 2, 2\)"):
            bound(denoiser, DESIGN, torch.ones(shape), n_steps=3, losses=[FittedLoss(DESIGN.q, steps)], **EVALUATED)


def test_integers_in_the_place_of_numbers_are_refused():
    with pytest.raises(ValueError, match=r"draws of a step are numbers of a floating type, found torch\.int64"):
        get("laplace").sample((5,), dtype=torch.long)
    with pytest.raises(ValueError, match=r"images are numbers in \[−1, 1\], found torch\.int64"):
        fit_steps(DENOISER, DESIGN, X0.long(), TIMES, choice="scale", seeds=range(4))
    with pytest.raises(ValueError, match=r"the mask is of bool|mask of known components is of bool"):
        known = (X0, torch.ones(1, 1, 1))
        sample_ancestral(DENOISER, VP(), "laplace", (4, 1, 1, 1), known=known, **GRID)


@pytest.mark.parametrize("seeds", [np.arange(4), torch.arange(4), [0, 1, 2, 3]])
def test_seeds_are_integers_of_any_type(seeds):
    expected = ImageNoise(range(4), (3,)).draw("normal")
    assert torch.equal(ImageNoise(seeds, (3,)).draw("normal"), expected)
    assert [derive(seed, "a") for seed in seeds] == [derive(seed, "a") for seed in range(4)]
    for wrong in ([0.5], torch.ones(1), ["1"]):
        with pytest.raises(TypeError):
            ImageNoise(wrong, (3,))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(network=lambda z, log_snr: z), "network must be a torch.nn.Module, found <function"),
        (dict(network=Network(), components=Haar(1)), "components must be BasisStatistics, found Haar"),
        (dict(network=Network(), sigma_data=0), "sigma_data must be a positive number, found 0"),
        (dict(network=Network(), sigma_data=float("nan")), "sigma_data must be a positive number, found nan"),
    ],
)
def test_a_denoiser_refuses_what_it_cannot_use(arguments, words):
    with pytest.raises(ValueError, match=words):
        NetworkDenoiser(**arguments)


def test_a_network_may_be_without_parameters_and_must_return_a_tensor():
    assert NetworkDenoiser(Network())(X0.double(), 0.5).dtype == torch.float64

    class Output(nn.Module):
        def forward(self, z, log_snr):
            return (z,)

    with pytest.raises(ValueError, match=r"the network returns tuple for \(4, 1, 1, 1\)"):
        NetworkDenoiser(Output())(X0, 0.5)
