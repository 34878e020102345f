"""Bounds and flows of every basis, schedule and process on a normal of known density, with its exact denoiser."""

import math

import pytest
import torch

from nonnormal.bases import DCT, PCA, PIXEL, Fourier, Haar, Whitened
from nonnormal.denoisers import NormalDenoiser
from nonnormal.objectives.bounds import bound, continuous_bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.probability_flow import flow_bound, log_density
from nonnormal.processes import PSLD, VP
from nonnormal.processes.schedules import ComponentWise, LinearLogSNR, column_labels, sequential, variance_labels

N, LEVELS, SHAPE = 100, 256, (1, 4, 4)
DIMS, SPACING = 16, 2 / (LEVELS - 1)


def covariance():
    """Of pixels that fall off with distance, like those of photographs, from 0.04² to 0.5² along its axes."""
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], 1).double()
    return 0.04 * torch.exp(-torch.cdist(place, place) / 4) + 0.001 * torch.eye(DIMS, dtype=torch.float64)


COVARIANCE, MEAN = covariance(), torch.full(SHAPE, 0.05, dtype=torch.float64)
LAW = torch.distributions.MultivariateNormal(MEAN.flatten(), COVARIANCE)


def images():
    root, generator = torch.linalg.cholesky(COVARIANCE), torch.Generator().manual_seed(0)
    draws = MEAN.flatten() + torch.randn(N, DIMS, generator=generator, dtype=torch.float64) @ root.T
    return (((draws + 1) / SPACING).round().clamp(0, LEVELS - 1) * SPACING - 1).reshape(N, *SHAPE)


X0 = images()
DRAWN = (
    LAW.mean
    + torch.randn(4000, DIMS, generator=torch.Generator().manual_seed(1), dtype=torch.float64) @ LAW.scale_tril.T
)
DRAWN = DRAWN.reshape(-1, *SHAPE)


def variances(basis):
    return basis.forward(DRAWN).var(0)


def ordered(basis, softness):
    """Component-wise by variance, from far below a grey level to far above the data."""
    variance = variances(basis)
    return VP(ComponentWise(variance_labels(variance), softness, variance, 13.0, -9.0))


BASES = {"pixel": PIXEL, "pca": PCA.fit(DRAWN), "dct": DCT(), "fourier": Fourier(), "haar": Haar(2)}
WHITE = Whitened.fit(BASES["pca"], DRAWN)
HALF = -2 * math.log(SPACING / 2)  # log-SNR at which the noise is half a grey level
FAR = VP(LinearLogSNR(HALF, -9.0))
DESIGNS = {name: (basis, FAR) for name, basis in BASES.items()}
DESIGNS |= {f"{name}-soft": (BASES[name], ordered(BASES[name], 2.0)) for name in ("pca", "haar")}
DESIGNS |= {
    "pca-hard": (BASES["pca"], ordered(BASES["pca"], 0.3)),
    "whitened": (WHITE, VP(LinearLogSNR(7.0, -9.0))),
    "columns": (PIXEL, VP(sequential(column_labels(SHAPE), 0.6, HALF, -9.0))),
    "cld": (PIXEL, PSLD(friction_x=0.0, friction_m=4.0, beta=10.0, t_min=3e-3)),
    "psld-dct": (DCT(), PSLD(friction_x=0.25, friction_m=4.25, beta=10.0)),
}
every = pytest.mark.parametrize(("basis", "process"), DESIGNS.values(), ids=DESIGNS.keys())


def law(basis):
    return NormalDenoiser(MEAN, COVARIANCE, basis)


def moments(process, basis, t):
    """Mean, mean map and covariance, given x0 and without, of the state at t as one vector."""
    units = basis.forward(torch.eye(DIMS, dtype=torch.float64).reshape(DIMS, *SHAPE)).flatten(1).T
    a, c = (part.expand(*SHAPE, process.n, process.n) for part in process.marginal(t))
    mean_map = torch.cat([a[..., i, 0].flatten().diag() @ units for i in range(process.n)])
    blocks = [[c[..., i, j].flatten().diag() for j in range(process.n)] for i in range(process.n)]
    noise = torch.cat([torch.cat(row, 1) for row in blocks])
    return mean_map @ MEAN.flatten(), mean_map, noise, mean_map @ COVARIANCE @ mean_map.T + noise


@every
def test_flow_is_the_density_of_the_state(basis, process):
    """Of images in the coordinates of every basis, order and momentum: only the far end is not the prior itself."""
    t = 0.05
    mean, _, _, total = moments(process, basis, t)
    marginal = torch.distributions.MultivariateNormal(mean, total)
    z = (
        marginal.mean
        + torch.randn(3, len(mean), generator=torch.Generator().manual_seed(2)).double() @ marginal.scale_tril.T
    )
    found, _ = log_density(law(basis), process, z.reshape(3, -1, 4, 4), t, basis=basis, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found, marginal.log_prob(z), rtol=0, atol=0.02)


@every
def test_prior_and_diffusion_are_what_the_first_state_knows(basis, process):
    """KL( q(z | x0) ‖ p(z) ) of the state at t_min, image by image: on average for T → ∞, and more in fewer steps.

    With the reconstruction it is −log P(x0); its mean over the data is the information of the state on them.
    """
    mean, mean_map, noise, total = moments(process, basis, process.t_min)
    gap = X0.flatten(1) @ mean_map.T - mean
    spread = torch.trace(torch.linalg.solve(total, noise)) - len(mean) + total.logdet() - noise.logdet()
    exact = 0.5 * ((gap * torch.linalg.solve(total, gap.T).T).sum(1) + spread)
    options = dict(levels=LEVELS, n_evaluations=48, seeds=range(N))
    terms = continuous_bound(law(basis), process, X0, basis=basis, **options)
    found = (terms.prior + terms.diffusion - exact) / DIMS
    error = found.std().item() / math.sqrt(N)
    assert abs(found.mean()) < 5 * error + 1e-3
    assert error < 0.08
    point = Design(process, Loss("normal", "normal"), basis)
    [terms] = bound(law(basis), point, X0, n_steps=1000, **options)
    above = (terms.prior + terms.diffusion - exact) / DIMS
    assert -5 * above.std() / math.sqrt(N) < above.mean() < 0.25 + 5 * above.std() / math.sqrt(N)


@pytest.mark.parametrize("name", [name for name, (_, process) in DESIGNS.items() if process is FAR])
def test_bits_are_the_entropy_in_every_orthonormal_basis(name):
    basis, truth = BASES[name], -LAW.log_prob(X0.flatten(1)) - DIMS * math.log(SPACING)
    options = dict(levels=LEVELS, seeds=range(N), basis=basis)
    terms = continuous_bound(law(basis), FAR, X0, n_evaluations=48, **options)
    nats, _ = flow_bound(law(basis), FAR, X0, dequantisation="normal", rtol=1e-4, atol=1e-4, **options)
    for found in (terms.total, nats):
        gap = (found - truth) / DIMS
        assert abs(gap.mean()) < 5 * gap.std() / math.sqrt(N) + 0.02


@pytest.mark.parametrize(("step", "same"), [("normal", True), ("laplace", False)])
def test_the_basis_counts_for_another_step_than_the_normal_alone(step, same):
    """The bound of the exact denoiser in two bases, on the exact walk of each."""
    totals, x0 = {}, X0.repeat(10, 1, 1, 1)
    for name in ("pixel", "pca"):
        point = Design(FAR, Loss(step, step), BASES[name])
        options = dict(levels=LEVELS, n_steps=16, seeds=range(len(x0)), marginals="bridge")
        [terms] = bound(law(BASES[name]), point, x0, **options)
        totals[name] = terms.diffusion / DIMS
    difference = totals["pixel"] - totals["pca"]
    score = difference.mean() / (difference.std() / math.sqrt(len(x0)))
    assert (abs(score) < 4) == same
