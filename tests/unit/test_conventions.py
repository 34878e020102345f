"""The paper's printed losses: what they are, where they meet the exact ones, where they do not."""

import math

import pytest
import torch

from nonnormal.objectives.losses import ELBO, Design, Loss, printed_error, whitened_error
from nonnormal.processes import VP
from nonnormal.processes.schedules import LinearLogSNR
from nonnormal.steps import get
from nonnormal.steps.conventions import CONVENTIONS, PRINTED_PAIRS, constant, step_loss
from nonnormal.steps.divergence import shift_kl

D = torch.linspace(-4, 4, 401, dtype=torch.float64)


@pytest.mark.parametrize("pair", PRINTED_PAIRS, ids="/".join)
def test_exact_convention_is_the_shift_divergence(pair):
    q, p = map(get, pair)
    assert torch.equal(step_loss(q, p, D), shift_kl(q, p, D))


@pytest.mark.parametrize(("convention", "factor"), [("main_text", 0.5), ("appendix", 1.0), ("exact", 2.0)])
def test_laplace_loss_near_zero_is_a_multiple_of_the_normal_one(convention, factor):
    laplace, small = get("laplace"), torch.tensor(1e-5, dtype=torch.float64)
    ratio = step_loss(laplace, laplace, small, convention) / (small.square() / 2)
    assert ratio.item() == pytest.approx(factor, rel=1e-4)


def test_uniform_normal_constants_are_the_two_that_are_printed():
    uniform, normal = get("uniform"), get("normal")
    assert constant(uniform, normal, "main_text") == pytest.approx(0.176485208310673, rel=1e-12)
    assert constant(uniform, normal, "appendix") == pytest.approx(0.338, abs=5e-4)
    assert constant(uniform, normal, "exact") == constant(uniform, normal, "main_text")


@pytest.mark.parametrize(("convention", "jump"), [("main_text", 1 - 1 / math.sqrt(2)), ("appendix", 0.0)])
def test_uniform_laplace_jumps_in_the_main_text_only(convention, jump):
    below, above = torch.tensor([1 - 1e-12, 1 + 1e-12], dtype=torch.float64)
    uniform, laplace = get("uniform"), get("laplace")
    found = step_loss(uniform, laplace, below, convention) - step_loss(uniform, laplace, above, convention)
    assert found.item() == pytest.approx(jump, abs=1e-10)


@pytest.mark.parametrize("convention", ["main_text", "appendix"])
def test_normal_loss_is_the_same_in_all_conventions(convention):
    normal = get("normal")
    assert torch.equal(step_loss(normal, normal, D, convention), D.square() / 2)


def test_pair_that_is_not_printed_is_refused_by_name():
    with pytest.raises(ValueError, match=r"logistic/normal.*uniform/laplace"):
        step_loss(get("logistic"), get("normal"), D, "appendix")


def test_printed_error_is_the_whitened_error_to_first_order():
    process = VP(LinearLogSNR(10.0, -8.0))
    x0, x0_hat = torch.zeros(1, 1, 2, 2, dtype=torch.float64), torch.full((1, 1, 2, 2), 0.3, dtype=torch.float64)
    gaps = []
    for step in (0.1, 0.01, 0.001):
        times = process, 0.5, 0.5 + step
        (exact, _), printed = whitened_error(*times, x0_hat, x0), printed_error(*times, x0_hat, x0)
        gaps.append((1 - printed / exact).abs().max().item())
    # The relative gap is a quarter of the step in log-SNR, 18 nats times the step in t, and higher orders.
    assert gaps[2] == pytest.approx(18 * 0.001 / 4, rel=0.02)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("pair", PRINTED_PAIRS, ids="/".join)
def test_training_loss_in_any_convention_is_zero_for_a_perfect_denoiser(pair, convention):
    q, p = map(get, pair)
    x0 = torch.rand(16, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    loss = ELBO(Design(VP(), Loss(q, p, convention)), n_steps=10)
    assert loss(lambda x, sigma: x0, x0, torch.Generator().manual_seed(1)).abs().max() < 1e-4
    assert Loss(q, p, convention).constant == constant(q, p, convention)
