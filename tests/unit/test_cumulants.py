"""What is left of the step's law: shares against closed forms, and the noise of bases against each other."""

import math

import pytest
import torch

from nonnormal.analysis.cumulants import kurtosis_share, pixel_share
from nonnormal.bases import DCT, PIXEL, Fourier, Haar, Whitened
from nonnormal.processes import PSLD, VE, VP, uniform_times
from nonnormal.processes.schedules import ComponentWise, LinearLogSNR


@pytest.mark.parametrize("n_steps", [5, 50, 400])
def test_equal_steps_of_log_snr_leave_the_stationary_share(n_steps):
    """f/(2 − f) with f = 1 − exp(−Δγ), once the prior's normal noise is forgotten."""
    found = kurtosis_share(VP(LinearLogSNR(9.0, -7.0)), uniform_times(n_steps))
    fresh = -math.expm1(-16 / n_steps)
    assert len(found) == n_steps
    assert found[0] == 0
    assert found[-1].item() == pytest.approx(fresh / (2 - fresh), rel=1e-5)
    assert (found.diff() > -1e-12).all()


def test_share_of_one_variable_is_the_sum_over_the_steps_written_out():
    process, times = VE(0.01, 50.0), torch.tensor([0.0, 0.2, 0.7, 1.0])
    first, second = ((process.posterior(s, t)) for s, t in ((0.7, 1.0), (0.2, 0.7)))
    one = (first[2].item() / process.observation(0.7)[1].item()) ** 4
    carried = second[0].item() * first[2].item(), second[2].item()
    two = sum(part**4 for part in carried) / process.observation(0.2)[1].item() ** 4
    assert kurtosis_share(process, times).tolist() == pytest.approx([0.0, one, two])


@pytest.mark.parametrize("process", [VP(), PSLD(), PSLD(friction_x=0.0, friction_m=4.0)], ids=["vp", "psld", "cld"])
def test_share_lies_between_0_and_1_and_falls_with_the_number_of_steps(process):
    shares = [kurtosis_share(process, uniform_times(n, process.t_min)) for n in (4, 16, 64)]
    assert all(((share >= 0) & (share <= 1)).all() for share in shares)
    means = [share.mean().item() for share in shares]
    assert means[0] > means[1] > means[2] > 0


def test_a_momentum_averages_the_noise_of_steps():
    few = uniform_times(6, 1e-3)
    assert kurtosis_share(PSLD(), few).mean() < 0.7 * kurtosis_share(VP(LinearLogSNR(9.0, -7.0)), few).mean()


def test_a_schedule_for_each_component_has_no_one_share():
    labels = torch.arange(4.0, dtype=torch.float64).reshape(1, 2, 2)
    process = VP(ComponentWise(labels, 1.0, None, 9.0, -7.0))
    with pytest.raises(
        ValueError, match=r"one schedule for all components is needed, found one for each of \(1, 2, 2\)"
    ):
        kurtosis_share(process, uniform_times(4))


def test_pixels_keep_all_and_haars_first_level_a_quarter():
    assert pixel_share(PIXEL, (1, 8, 8)) == 1
    assert pixel_share(Haar(1), (1, 8, 8)) == pytest.approx(1 / 4)  # four components of ±1/2
    # Averages spread over more pixels at each level: two 1/2s and an average of 1/√2² by the level below, and so on.
    assert pixel_share(Haar(3), (3, 8, 8)) == pytest.approx(3 * (4**-2 + 16**-2 + 64**-2) + 64**-2)
    assert pixel_share(DCT(), (1, 8, 8)) == pytest.approx(((DCT.matrix(8) ** 4).sum(0).mean().item()) ** 2)
    assert 1 / 64 <= pixel_share(Fourier(), (1, 8, 8)) < 1 / 16
    assert pixel_share(Haar(1), (3, 20, 10)) == pytest.approx(1 / 4)  # more components than are looked at together


def test_a_whitened_basis_has_no_pixels_of_unit_noise():
    basis = Whitened(PIXEL, torch.full((1, 8, 8), 2.0, dtype=torch.float64))
    with pytest.raises(ValueError, match="an orthonormal basis is needed, found Whitened"):
        pixel_share(basis, (1, 8, 8))
