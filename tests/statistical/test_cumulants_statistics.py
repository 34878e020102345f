"""The step's law in the noise of walks that are drawn: kurtosis against the exact share, by process and basis."""

import math

import pytest
import torch

from nonnormal.analysis.cumulants import kurtosis_share, pixel_share
from nonnormal.bases import DCT, PIXEL, Haar
from nonnormal.processes import PSLD, VP, apply, cholesky, contract, embed, quadratic_times, uniform_times
from nonnormal.processes.schedules import LinearLogSNR
from nonnormal.steps import get

N = 40_000
CASES = {
    "vp, pixels": (VP(LinearLogSNR(9.0, -7.0)), uniform_times(5), PIXEL),
    "vp, Haar": (VP(LinearLogSNR(9.0, -7.0)), quadratic_times(4), Haar(1)),
    "vp, DCT": (VP(LinearLogSNR(9.0, -7.0)), uniform_times(5), DCT()),
    "psld": (PSLD(), uniform_times(5, 1e-3), PIXEL),
    "cld": (PSLD(friction_x=0.0, friction_m=4.0), quadratic_times(5, 1e-3), Haar(2)),
}


@pytest.mark.parametrize(("process", "times", "basis"), CASES.values(), ids=CASES)
def test_noise_of_the_bridge_walk_has_the_share_of_the_steps_kurtosis(process, times, basis):
    """Within five standard errors of the kurtosis of 8 N pixels, half of those drawn: those of an image may depend."""
    step, source, shape = get("uniform"), torch.Generator().manual_seed(0), (process.n, 4, 4)
    x0 = torch.zeros(N, 1, 4, 4, dtype=torch.float64)
    times = times.flip(0)
    weights, sigmas = process.observation(times)
    state = apply(cholesky(process.prior_covariance()), torch.randn((N, *shape), generator=source, dtype=x0.dtype))
    expected = step.excess_kurtosis * kurtosis_share(process, times) * pixel_share(basis, (1, 4, 4))
    for k in range(1, len(times) - 1):
        gain, coefficient, factor = process.posterior(times[k], times[k - 1])
        noise = step.sample((N, *shape), generator=source, dtype=x0.dtype)
        state = apply(gain, state) + apply(coefficient, embed(x0, process.n)) + apply(factor, noise)
        seen = basis.inverse(contract(weights[k], state)) / sigmas[k]
        found = seen.pow(4).mean() / seen.square().mean() ** 2 - 3
        assert found.item() == pytest.approx(expected[k].item(), abs=5 * math.sqrt(24 / N / 8))
    assert expected[1] < -0.1
