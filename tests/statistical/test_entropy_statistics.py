"""Every bound on data of known entropy: a normal in 16 dimensions, rounded to grey levels.

The law of a pixel's level is known exactly, by differences of the cdf, and so is each image's −log P. A bound is held
against it image by image: the mean of the gap is a divergence, not negative, and how large it is is known for some.
"""

import math

import numpy as np
import pytest
import torch
from problems import Mixture, PerPixel, mixture
from scipy import stats

from nonnormal.objectives.bounds import bound, continuous_bound
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.processes import VP
from nonnormal.processes.schedules import LinearLogSNR
from nonnormal.steps import get

STD, N, SIDE = 0.25, 100, 4
DIMS = SIDE**2
NORMAL = get("normal")
# The first level is far below the distance of 64 levels, the last far above the data.
FAR = VP(LinearLogSNR(12.0, -8.0))
EXACT_FLOW = dict(rtol=1e-6, atol=1e-6)


def rounded_normal(levels: int) -> Mixture:
    """Points on the grey levels, with the masses of N(0, STD²) between the half-way marks; the outermost take tails."""
    grid = np.linspace(-1, 1, levels)
    edges = np.concatenate([[-np.inf], (grid[1:] + grid[:-1]) / 2, [np.inf]])
    below, above = stats.norm(0, STD).cdf(edges), stats.norm(0, STD).sf(edges)
    masses = np.where(grid > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return mixture(grid[:, None].tolist(), [0.0] * levels, masses.tolist())


class Data:
    """Images of rounded normal pixels, the exact denoiser of their law, and each image's −log P."""

    def __init__(self, levels: int):
        self.levels, self.law = levels, rounded_normal(levels)
        draws = STD * torch.randn(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        which = ((draws + 1) / 2 * (levels - 1)).round().long().clamp(0, levels - 1)
        self.x0, self.denoiser = self.law.means[:, 0][which], PerPixel(self.law)
        self.truth = -self.law.weights.log()[which].flatten(1).sum(1)

    def gap(self, nats):
        """(mean, standard error) of bound − truth per dimension, nats."""
        gap = (nats - self.truth) / DIMS
        return gap.mean().item(), gap.std().item() / math.sqrt(N)


@pytest.fixture(params=[16, 64], ids="{} levels".format, scope="module")
def data(request):
    return Data(request.param)


def test_truth_is_that_of_the_law(data):
    """The images' mean −log P is the entropy, which is close to the normal's own − log spacing."""
    assert data.law.weights.sum().item() == pytest.approx(1, abs=1e-12)
    assert abs(data.truth.mean() / DIMS - data.law.entropy) < 5 * data.truth.std() / DIMS / math.sqrt(N)
    own = 0.5 * math.log(2 * math.pi * math.e * STD**2)
    assert data.law.entropy == pytest.approx(own - math.log(2 / (data.levels - 1)), abs=0.02)


@pytest.mark.parametrize("pair", [("normal", "normal"), ("laplace", "laplace"), ("logistic", "logistic")], ids="/".join)
def test_bound_in_t_steps_lies_above_the_truth(data, pair):
    """On the bridge walk, exact for every q; more steps close in where nothing is owed at each."""
    point, gaps = Design(FAR, Loss(*map(get, pair))), []
    for n_steps in (16, 64):
        options = dict(levels=data.levels, n_steps=n_steps, seeds=range(N), marginals="bridge")
        [terms] = bound(data.denoiser, point, data.x0, **options)
        mean, error = data.gap(terms.total)
        assert mean > -5 * error
        gaps.append(mean)
    assert gaps[1] < gaps[0]


def test_bound_in_many_steps_of_which_some_are_visited_lies_above_the_truth(data):
    options = dict(levels=data.levels, n_steps=4096, n_evaluations=64, seeds=range(N))
    [terms] = bound(data.denoiser, Design(FAR, Loss(NORMAL, NORMAL)), data.x0, **options)
    mean, error = data.gap(terms.total)
    assert mean > -5 * error
    assert mean < 0.03 + 5 * error


def test_continuous_bound_is_the_truth(data):
    options = dict(levels=data.levels, n_evaluations=128, seeds=range(N))
    mean, error = data.gap(continuous_bound(data.denoiser, FAR, data.x0, **options).total)
    assert abs(mean) < 5 * error
    assert error < 0.03


def uniform_gap(law, levels):
    """−E log p(y) − log spacing − H for y = x0 + u and p the law of x0 + spacing/√12 · eps, by the midpoint rule."""
    spacing, cells = 2 / (levels - 1), 400
    u = (np.arange(cells) + 0.5) / cells - 0.5
    y = law.means[:, 0].numpy()[:, None] + spacing * u
    log_p = law.noisy(spacing / math.sqrt(12)).log_prob(torch.tensor(y).unsqueeze(-1)).numpy()
    return -(law.weights.numpy() @ log_p.mean(1)) - math.log(spacing) - law.entropy


def test_flow_with_uniform_noise_lies_above_the_truth_by_what_its_law_costs(data):
    """A uniform law is held against a normal one of its variance: 0.04 nats, whatever the number of levels."""
    nats, _ = flow_bound(data.denoiser, FAR, data.x0, levels=data.levels, seeds=range(N), **EXACT_FLOW)
    mean, error = data.gap(nats)
    expected = uniform_gap(data.law, data.levels)
    assert 0.02 < expected < 0.05
    assert abs(mean - expected) < 5 * error
    assert error < 0.01


def test_flow_with_normal_noise_is_the_truth_within_the_solvers_error(data):
    """The first noise is so small that y tells x0: with the exact denoiser the bound is −log P of every image."""
    errors = []
    for tolerance in (1e-4, 1e-6):
        options = dict(dequantisation="normal", rtol=tolerance, atol=tolerance)
        nats, _ = flow_bound(data.denoiser, FAR, data.x0, levels=data.levels, seeds=range(N), **options)
        errors.append(((nats - data.truth) / DIMS).abs().max().item())
    assert errors[1] < errors[0] / 10
    assert errors[1] < 2e-3


@pytest.mark.parametrize("dequantisation", ["uniform", "normal"])
def test_flow_of_the_unrounded_normal_pays_the_noise_it_starts_with(dequantisation):
    """64 levels, the denoiser of the normal itself, and a first noise of half a level: a gap that can be written down.

    −E log N(y; 0, v) − log spacing per dimension, v = s² + σ²; a grid so fine beside the noise is as good as none.
    """
    data, spacing = Data(64), 2 / 63
    denoiser, first = PerPixel(mixture([[0.0]], [STD], [1.0])), spacing / 2
    process = VP(LinearLogSNR(-2 * math.log(first), -8.0))
    options = dict(levels=64, seeds=range(N), dequantisation=dequantisation, **EXACT_FLOW)
    nats, _ = flow_bound(denoiser, process, data.x0, **options)
    mean, error = data.gap(nats)
    assert mean > -5 * error
    assert mean < 0.01 + 5 * error
    added = first**2 if dequantisation == "normal" else spacing**2 / 12
    v = STD**2 + first**2
    price = 0.5 * math.log(2 * math.pi * v) + (data.x0.square() + added) / (2 * v) - math.log(spacing)
    off = (nats - price.flatten(1).sum(1)) / DIMS
    # The softmax over levels is flat up to exp(−2π² (σ/spacing)²) = 0.7 % where the noise is half a level.
    assert abs(off.mean()) < 5 * off.std() / math.sqrt(N) + 1e-4
    assert off.std() / math.sqrt(N) < 5e-3


@pytest.mark.parametrize("log_snr_min", [-6.0, -10.0])
def test_flow_misses_the_truth_by_the_prior_alone(log_snr_min):
    """KL( law of x_1 ‖ prior ) = ½ (v − 1 − log v) per dimension, v = α² Var + σ²: what a near end leaves."""
    data = Data(16)
    process = VP(LinearLogSNR(12.0, log_snr_min))
    options = dict(levels=16, seeds=range(N), dequantisation="normal", **EXACT_FLOW)
    near, _ = flow_bound(data.denoiser, process, data.x0, **options)
    far, _ = flow_bound(data.denoiser, VP(LinearLogSNR(12.0, -14.0)), data.x0, **options)
    alpha2 = 1 / (1 + math.exp(-log_snr_min))
    v = alpha2 * (data.law.weights * data.law.means[:, 0].square()).sum().item() + 1 - alpha2
    gap = (near - far) / DIMS
    assert abs(gap.mean() - 0.5 * (v - 1 - math.log(v))) < 5 * gap.std() / math.sqrt(N) + 1e-5
