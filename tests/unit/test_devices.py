"""The library on a device that refuses what a GPU refuses, and gives the CPU's numbers there."""

import itertools
from functools import partial

import elsewhere
import numpy as np
import pytest
import torch
from problems import DENSE

from nonnormal.analysis import geometry
from nonnormal.bases import DCT, PCA, Fourier, Haar, LeadingPCA, Pixel
from nonnormal.denoisers import OptimalDenoiser
from nonnormal.diffusers.scheduler import NonNormalScheduler
from nonnormal.objectives.probability_flow import log_density
from nonnormal.processes import PSLD, vp_recipe
from nonnormal.samplers import GRIDS, SOLVERS, sample_ancestral, sample_em, sample_flow_adaptive, sample_sscs
from nonnormal.steps import get
from nonnormal.steps.divergence import is_finite, shift_kl

SHAPE = (1, 4, 4)


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def on_both(compute, rtol=1e-5, atol=1e-6):
    """What `compute` gives of a device, first on the CPU, then elsewhere, where its results must lie."""
    here = compute("cpu")
    with elsewhere.pretended():
        there = compute(elsewhere.DEVICE)
        assert there.device.type == elsewhere.DEVICE
        there = there.cpu()
    np.testing.assert_allclose(there.detach().double(), here.detach().double(), rtol=rtol, atol=atol)


def optimal(device):
    return OptimalDenoiser((numbers(20, *SHAPE) / 2).to(device))


# ---- the device itself -----------------------------------------------------------------------------------------------

REFUSED = {
    "a sum": lambda there, here: there + here,
    "a product": lambda there, here: here @ there,
    "a row of both": lambda there, here: torch.stack([there, here]),
    "a change in place": lambda there, here: here.add_(there),
    "indices elsewhere": lambda there, here: here[there.argsort(0)],
    "what is put in": lambda there, here: there.index_put_((here.argsort(0)[0],), here),
    "a choice": lambda there, here: torch.where(here > 0, there, 0.0),
    "an array": lambda there, here: there.numpy(),
    "an array that numpy asks for": lambda there, here: np.asarray(there),
    "a generator of the CPU": lambda there, here: torch.randn(
        2, generator=torch.Generator().manual_seed(0), device=there.device
    ),
    "a generator elsewhere": lambda there, here: here.normal_(generator=torch.Generator(there.device).manual_seed(0)),
    "a layer on the CPU": lambda there, here: torch.nn.Linear(3, 3)(there),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_device_refuses(what):
    here = numbers(3, 3)
    with elsewhere.pretended(), pytest.raises((RuntimeError, TypeError), match=r"two devices|generator|numpy"):
        REFUSED[what](here.to(elsewhere.DEVICE), here.clone())


@pytest.mark.parametrize(
    "compute",
    [
        lambda there, here: there * here[0, 0],
        lambda there, here: there[here.argsort(0)],
        lambda there, here: there.clone().copy_(here),
        lambda there, here: torch.randn(2, generator=torch.Generator(there.device).manual_seed(0), device=there.device),
    ],
    ids=["a number", "indices", "a copy", "its own generator"],
)
def test_the_device_takes(compute):
    here = numbers(3, 3)
    with elsewhere.pretended():
        found = compute(here.to(elsewhere.DEVICE), here)
        assert found.device.type == elsewhere.DEVICE
        assert torch.equal(found.cpu(), compute(here, here))


def test_nothing_is_left_of_the_device():
    real = torch.Generator
    with elsewhere.pretended():
        assert torch.Generator is not real
    assert torch.Generator is real


# ---- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_drawn(step, dtype):
    on_both(
        lambda device: step.sample((5, 3), generator=torch.Generator(device).manual_seed(0), dtype=dtype, device=device)
    )


def test_densities(dense):
    on_both(lambda device: torch.stack([dense.log_prob(z := numbers(7).to(device)), dense.cdf(z)]))


PAIRS = [pair for pair in itertools.product(DENSE, DENSE) if is_finite(*pair)]


@pytest.mark.parametrize(("q", "p"), PAIRS, ids=map("/".join, PAIRS))
def test_shift_divergences_and_their_gradients(q, p):
    def compute(device):
        delta = (numbers(6) / 8).to(device).requires_grad_()
        nats = shift_kl(q, p, delta)
        return torch.stack([nats, *torch.autograd.grad(nats.sum(), delta)])

    on_both(compute)


# ---- bases, samplers, flows ------------------------------------------------------------------------------------------

BASES = {
    "pixel": lambda: Pixel(),
    "dct": lambda: DCT(),
    "fourier": lambda: Fourier(),
    "haar": lambda: Haar(2),
    "pca": lambda: PCA.fit(numbers(30, *SHAPE)),
    "leading_pca": lambda: LeadingPCA.fit(numbers(30, *SHAPE), 5),
}


@pytest.mark.parametrize("basis", BASES)
def test_bases(basis):
    basis = BASES[basis]()
    x = numbers(3, *SHAPE)
    on_both(lambda device: basis.forward(x.to(device)))
    on_both(lambda device: basis.inverse(basis.forward(x.to(device))))


WALKS = {
    "ancestral": partial(sample_ancestral, step=get("laplace")),
    "em": partial(sample_em, step=get("laplace")),
    "sscs": partial(sample_sscs, step=get("laplace")),
    "flow_adaptive": partial(sample_flow_adaptive, rtol=1e-2, atol=1e-2),
}


@pytest.mark.parametrize("sampler", WALKS)
@pytest.mark.parametrize("process", [vp_recipe(), PSLD(friction_x=0.01)], ids=["vp", "psld"])
def test_samplers(sampler, process):
    options = dict(times=torch.linspace(1, 0.01, 4, dtype=torch.float64), seeds=[1, 2], dtype=torch.float64)
    on_both(
        lambda device: WALKS[sampler](optimal(device), process, shape=(2, *SHAPE), device=device, **options),
    )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_solvers(solver, grid):
    def compute(device):
        start = 80 * numbers(2, *SHAPE, dtype=torch.float64).to(device)
        return SOLVERS[solver](optimal(device), start, GRIDS[grid](5, 0.1, 80.0))

    on_both(compute)


@pytest.mark.parametrize("probe", [None, numbers(2, *SHAPE)], ids=["exact", "probed"])
def test_log_densities(probe):
    def compute(device):
        z = numbers(2, *SHAPE, seed=1).to(device)
        v = None if probe is None else probe.double().to(device)
        return log_density(optimal(device), vp_recipe(), z, 0.3, probe=v, rtol=1e-2, atol=1e-2)[0]

    on_both(compute)


PATHS = (
    geometry.chord_distance,
    geometry.arc_chord_ratio,
    geometry.end_distance,
    geometry.monotone_share,
    geometry.explained_variance,
)


def test_measures_of_paths():
    def compute(device):
        path, denoised = numbers(6, 3, 16).to(device), numbers(5, 3, 16, seed=1).to(device)
        found = [measure(path) for measure in PATHS] + [geometry.remaining_cosine(path, denoised)]
        found += [measure(geometry.project(path)) for measure in (geometry.curvature, geometry.torsion)]
        return torch.cat([value.flatten() for value in found])

    on_both(compute, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("law", ["normal", "laplace"])
def test_scheduler_of_diffusers(law):
    def compute(device):
        scheduler, generator = NonNormalScheduler(step_distribution=law), torch.Generator(device).manual_seed(0)
        scheduler.set_timesteps(4, device=device)
        x = scheduler.add_noise(*(numbers(2, *SHAPE, seed=seed).to(device) for seed in (0, 1)), scheduler.timesteps[:1])
        for t in scheduler.timesteps:
            x = scheduler.step(x / 2, t, x, generator=generator).prev_sample
        return x

    on_both(compute)
