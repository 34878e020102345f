"""Networks of states: from predicted noise to score and clean image, their objectives, and what they are refused."""

import math

import pytest
import torch
from problems import MIXTURE_1D, PerPixel, Rotation, small_denoiser
from torch import nn

from nonnormal.denoisers import NFECounter, StateNFECounter, counted, predict_x0, score
from nonnormal.denoisers.phase_space import PhaseSpaceNetwork, noise_factor
from nonnormal.objectives.bounds import bound
from nonnormal.objectives.losses import Design, HybridScoreMatching, Loss, marginal_state
from nonnormal.processes import PSLD, apply, cholesky, lift, solve_lower, uniform_times
from nonnormal.samplers import sample_ancestral, sample_em, sample_sscs
from nonnormal.steps import get
from nonnormal.training.checkpoints import build_denoiser, load_denoiser, save_weights
from nonnormal.training.loop import train
from nonnormal.training.throughput import flops_per_image

PSLDS = {
    "psld": PSLD(),
    "psld-0.25": PSLD(friction_x=0.25, friction_m=4.25),
    "cld": PSLD(friction_x=0.0, friction_m=4.0),
}
TARGETS = ("hsm", "dsm")
TIMES = (1e-3, 0.02, 0.3, 1.0)
both = pytest.mark.parametrize("target", TARGETS)
every = pytest.mark.parametrize("process", PSLDS.values(), ids=PSLDS)
NORMAL = get("normal")
EXACT = PerPixel(MIXTURE_1D)


class Exact(PhaseSpaceNetwork):
    """The network that an exact image denoiser stands for: eps_hat = −Lᵀ s, of the momentum alone where CLD asks so."""

    def __init__(self, process, target):
        super().__init__(nn.Linear(1, 1).double(), process, target=target)

    def forward(self, z, t):
        noise = -apply(noise_factor(self.process, t, self.target).mT, score(EXACT, self.process, z, t))
        return noise.chunk(2, 1)[1] if self.momentum_alone else noise


def states(process, t, n=3):
    draws = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(n, c, 2, 2, generator=draws, dtype=torch.float64) for c in (1, 2))
    return marginal_state(process, 0.6 * x0, t, noise)


@pytest.mark.parametrize("t", TIMES)
@both
@every
def test_clean_image_and_score_are_those_that_the_exact_noise_stands_for(process, target, t):
    z, network = states(process, t), Exact(process, target)
    expected = predict_x0(EXACT, process, z, t)
    torch.testing.assert_close(predict_x0(network, process, z, t), expected, rtol=1e-6, atol=1e-6)
    found, wanted = score(network, process, z, t), score(EXACT, process, z, t)
    if process.friction_x == 0:
        found, wanted = found[:, 1:], wanted[:, 1:]  # no noise moves the position, so nobody asks for its score
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-7 * wanted.abs().max().item())


@both
@every
def test_each_image_may_have_a_time_of_its_own(process, target):
    t = torch.tensor(TIMES[:3], dtype=torch.float64)
    z, network = states(process, 0.3), Exact(process, target)
    for function in (predict_x0, score):
        whole = function(network, process, z, t)
        for i in range(3):
            torch.testing.assert_close(whole[i : i + 1], function(network, process, z[i : i + 1], t[i].item()))


@both
@every
def test_samplers_take_it_as_they_take_the_denoiser(process, target):
    options = dict(times=uniform_times(6, process.t_min), seeds=[1, 2], dtype=torch.float64)
    for sampler in (sample_ancestral, sample_em, sample_sscs):
        expected, found = (
            sampler(model, process, get("laplace"), (2, 1, 2, 2), **options)
            for model in (EXACT, Exact(process, target))
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bounds_take_it_as_they_take_the_denoiser():
    process, x0 = PSLDS["psld"], torch.tensor([[-1.0, 0.5], [0.25, 1.0]]).double().reshape(1, 1, 2, 2)
    options = dict(levels=17, n_steps=20, seeds=[3])
    expected, found = (
        bound(model, Design(process, Loss(NORMAL, NORMAL)), x0, **options)[0].total
        for model in (EXACT, Exact(process, "hsm"))
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@both
@every
def test_objective_is_least_at_the_noise_that_was_drawn(process, target):
    """An oracle that knows x_0 and m_0 predicts the very noise, and pays nothing; 0 pays half its square."""
    objective = HybridScoreMatching(
        Design(process, Loss(NORMAL, NORMAL)), target, momentum_alone=process.friction_x == 0
    )
    x0 = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
    u, noise = objective.draw(x0.shape, torch.Generator().manual_seed(2), torch.float64)
    first = 0.0 if target == "hsm" else math.sqrt(process.momentum_var / process.mass_inv) * noise[:, 2:]

    def oracle(z, t):
        start = lift(x0, 2) + (torch.cat([torch.zeros_like(x0), first], 1) if target == "dsm" else 0.0)
        mean = apply(process.transition(torch.zeros_like(t), t)[0], start)
        inverse = solve_lower(noise_factor(process, t, target), torch.eye(2).double().expand(4, 2, 2))
        eps = apply(inverse, z - mean)
        return eps[:, 1:] if objective.momentum_alone else eps

    assert objective.loss(oracle, x0, u, noise).abs().max() < 1e-10
    wanted = noise[:, 1:2] if objective.momentum_alone else noise[:, :2]
    found = objective.loss(lambda z, t: torch.zeros_like(wanted), x0, u, noise)
    torch.testing.assert_close(found, 0.5 * wanted.square().flatten(1).sum(1) / 4)


@every
def test_states_of_the_targets_have_the_same_law(process):
    """Mean map and covariance of z given x_0, with the momentum integrated out or drawn: one by closed form."""
    t = torch.tensor(0.2, dtype=torch.float64)
    drawn, whole = noise_factor(process, t, "dsm"), noise_factor(process, t, "hsm")
    phi, _ = process.transition(0.0, t)
    torch.testing.assert_close(
        drawn @ drawn.mT + phi @ process.initial()[1] @ phi.mT, whole @ whole.mT, rtol=1e-12, atol=1e-14
    )
    assert (cholesky(process.marginal(t)[1]) - whole).abs().max() == 0


def recipe(process=None, outputs=2, target="hsm"):
    network = dict(in_channels=4, out_channels=outputs, image_size=8, widths=[8, 16], groups=4)
    settings = {
        "mass_inv": 4.0,
        "friction_x": 0.01,
        "friction_m": 4.01,
        "beta": 8.0,
        "momentum_var": 0.04,
        "t_min": 1e-3,
    }
    return {"network": network, "process": process or settings, "denoiser": {"target": target, "fourier": [2]}}


def test_weights_come_back_with_their_process(tmp_path):
    made, path = build_denoiser(recipe(), seed=3), tmp_path / "weights.safetensors"
    save_weights(path, made, recipe())
    found, z = load_denoiser(path), torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert found.process == made.process == PSLD()
    assert torch.equal(found(z, 0.3), made.eval()(z, 0.3))
    assert found(z.double(), 0.3).dtype == torch.float64


def test_the_network_sees_states_of_unit_scale_features_and_log_snr():
    seen, process = {}, PSLD()
    network = build_denoiser(recipe())

    class Look(nn.Linear):
        def forward(self, z, log_snr):
            seen.update(z=z, log_snr=log_snr)
            return z[:, :2]

    looking = network.around(Look(1, 1))
    z = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    looking(z, 0.4)
    weights, sigma = process.observation(0.4)
    y = weights[0].item() * z[:, :1] + weights[1].item() * z[:, 1:]
    phase = math.pi * 4 * y / math.sqrt(1 + sigma.item() ** 2)
    torch.testing.assert_close(seen["z"], torch.cat([z[:, :1], 2 * z[:, 1:], phase.sin(), phase.cos()], 1))
    assert seen["log_snr"].tolist() == pytest.approx([-2 * math.log(sigma.item())] * 2)
    assert not isinstance(network.network, Look)


def test_its_operations_are_counted_and_its_calls_too():
    assert flops_per_image(build_denoiser(recipe()), (1, 8, 8)) > flops_per_image(small_denoiser(), (1, 8, 8))
    network, process = Exact(PSLD(), "hsm"), PSLD()
    model = counted(network)
    assert isinstance(model, StateNFECounter)
    assert isinstance(counted(EXACT), NFECounter)
    z = states(process, 0.3)
    assert torch.equal(predict_x0(model, process, z, 0.3), predict_x0(network, process, z, 0.3))
    assert torch.equal(score(model, process, z, 0.3), score(network, process, z, 0.3))
    assert model.nfe == 2


def test_another_process_basis_or_target_is_refused():
    network, z = Exact(PSLD(), "hsm"), states(PSLD(), 0.3)
    with pytest.raises(ValueError, match="does not serve"):
        predict_x0(network, PSLDS["psld-0.25"], z, 0.3)
    with pytest.raises(ValueError, match="needs the pixel basis, found Rotation"):
        score(network, PSLD(), z, 0.3, Rotation(4))
    with pytest.raises(ValueError, match="target must be one of hsm, dsm, found 'ssm'"):
        PhaseSpaceNetwork(nn.Linear(1, 1), PSLD(), target="ssm")


@pytest.mark.parametrize(("target", "friction", "more"), [("hsm", 0.01, {}), ("dsm", 0.0, {"accumulate": 2})])
def test_it_is_trained_as_a_denoiser_is(tmp_path, target, friction, more):
    """The same bits twice, in passes over parts of a batch too, and in bfloat16; the loss falls."""
    process = PSLD(friction_x=friction, friction_m=4 + friction)
    settings = recipe(vars(process), outputs=1 if friction == 0 else 2, target=target)
    objective = HybridScoreMatching(Design(process, Loss(NORMAL, NORMAL)), target, momentum_alone=friction == 0)
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = dict(steps=12, batch_size=8, learning_rate=3e-3, warmup=1, decay="constant", betas=(0.9, 0.99))
    options |= dict(weight_decay=0.0, clip_norm=1.0, ema_decay=0.5, seed=5, checkpoint=tmp_path / "c.safetensors")
    options |= dict(checkpoint_every=50, log_every=4, fingerprint={"of": "f"}) | more
    (first, log), (again, _) = (train(build_denoiser(settings), objective, images, **options) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    losses = log["loss_nats_per_dim"]
    assert losses[-1] < losses[0]
    rough, rough_log = train(build_denoiser(settings), objective, images, **options, precision="bfloat16")
    assert rough_log["loss_nats_per_dim"] == pytest.approx(losses, rel=0.1)
    assert type(rough.network) is type(first.network)
