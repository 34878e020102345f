"""Evaluation: likelihood by the flow, and distances of features, against the field's plain ways on the same inputs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import THREADS
from scipy.integrate import solve_ivp
from threadpoolctl import threadpool_limits

from nonnormal import data
from nonnormal.denoisers._torchvision import ensure_importable
from nonnormal.metrics.fidelity import _frechet, _moments, fidelity
from nonnormal.metrics.reference import Reference
from nonnormal.objectives.probability_flow import log_density, normal_log_prob, velocity
from nonnormal.steps import get
from nonnormal.study import config as study
from nonnormal.study.config.build import design, model_config
from nonnormal.training.checkpoints import build_denoiser

ensure_importable()  # torchvision, which the modules below import
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # isort: skip # noqa: E402
from torch_fidelity.metric_kid import kid_features_to_metric  # isort: skip # noqa: E402
from torch_fidelity.metric_prc import prc_features_to_metric  # isort: skip # noqa: E402

STUDY = Path(__file__).parents[1] / "config" / "digits.yaml"
N_IMAGES, TOLERANCE = 32, 1e-4


@pytest.fixture(autouse=True)
def one_thread():
    """For numpy, too."""
    with threadpool_limits(THREADS):
        yield


def test_flow_likelihood(compare):
    digits = study.load(STUDY)
    images = data.load(digits.data)
    run = digits.run("normal-normal")
    denoiser = build_denoiser(model_config(run, digits.dataset, sigma_data=0.5)).eval().requires_grad_(False)
    process, draws = design(run).process, torch.Generator().manual_seed(0)
    x0 = data.scale(images.test.images[:N_IMAGES], images.levels).double()
    probe = get("rademacher").sample(x0.shape, generator=draws, dtype=torch.float64)
    # Dequantised, as the bound has it: uniform over a grey level, from the time of a model's noise as wide.
    width, shape, dims = 2 / (images.levels - 1) / math.sqrt(12), x0.shape, x0[0].numel()
    t = process.time_at(-2 * math.log(width)).item()
    y = x0 + width * get("uniform").sample(shape, generator=draws, dtype=torch.float64)
    z = process.marginal(t)[0].item() * y

    def solved_by_scipy():
        """The way of score_sde's likelihood.py: state and log-density as one vector for scipy's Runge–Kutta 4(5)."""

        def rate(time, state):
            with torch.enable_grad():
                at = torch.from_numpy(state[: z.numel()]).reshape(shape).requires_grad_()
                v = velocity(denoiser, process, at, min(time, 1.0))
                (product,) = torch.autograd.grad((v * probe).sum(), at)
            trace = (product * probe).flatten(1).sum(1)
            return np.concatenate([v.detach().flatten().numpy(), trace.numpy()])

        start = np.concatenate([z.flatten().numpy(), np.zeros(N_IMAGES)])
        end = solve_ivp(rate, (t, 1.0), start, method="RK45", rtol=TOLERANCE, atol=TOLERANCE).y[:, -1]
        state, gathered = torch.from_numpy(end[: z.numel()]).reshape(shape), torch.from_numpy(end[z.numel() :])
        return normal_log_prob(process.prior_covariance(), state) + gathered

    def ours():
        return log_density(denoiser, process, z, t, probe=probe, rtol=TOLERANCE, atol=TOLERANCE)[0]

    assert (ours() - solved_by_scipy()).mean().item() == pytest.approx(0, abs=0.01 * dims)
    compare(
        ours,
        solved_by_scipy,
        what=f"log-density of {N_IMAGES} images by the flow, tolerance {TOLERANCE:g}, digits",
        to="the same velocity in scipy's solve_ivp, as score_sde does: its norm of the error counts log-densities less",
        rounds=3,
        count=True,
    )


def features(n, d, seed):
    """As deep features are: positive, correlated, of unequal scales."""
    draws = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, d, generator=draws) @ torch.randn(d, d, generator=draws) / d**0.5
    return (mixed * torch.logspace(0, -2, d)).relu()


@pytest.mark.parametrize(
    ("n", "d", "how_often"), [(1000, 64, {"rounds": 20, "calls": 20}), (2000, 2048, {"rounds": 2})]
)
def test_frechet_distance(compare, n, d, how_often):
    a, b = features(n, d, 0).double(), features(n, d, 1).double()

    def ours():
        return _frechet(*(part for rows in (a, b) for part in _moments(rows, np.ones(n))))

    def plain():
        return fid_statistics_to_metric(*map(fid_features_to_statistics, (a, b)), verbose=False)

    assert ours() == pytest.approx(plain()["frechet_inception_distance"], rel=1e-6)
    compare(
        ours,
        plain,
        what=f"Fréchet distance of {n:,} and {n:,} images, {d:,} features",
        to="torch-fidelity",
        **how_often,
    )


def test_distances_with_intervals(compare):
    n, d, resamples = 1000, 64, 100
    a, b = features(n, d, 0), features(n, d, 1)
    rows = b.double()
    reference = Reference(lambda rows: rows, "none", "", n, b, rows.mean(0), rows.T.cov(), {})

    def plain():
        fid_statistics_to_metric(*map(fid_features_to_statistics, (a.double(), rows)), verbose=False)
        kid_features_to_metric(a, b, kid_subset_size=n // 2, kid_subsets=20, verbose=False)
        prc_features_to_metric(a, b, save_cpu_ram=True, verbose=False)

    compare(
        lambda: fidelity(a, reference, resamples=resamples, seed=0),
        plain,
        what=f"FID, KID, precision, recall of {n:,} images, {d} features, with {resamples} resamples for intervals",
        to="torch-fidelity's four, without intervals",
        rounds=5,
    )
