"""Fitted steps: what they cost and draw, how they are fitted, stored and refused, and the optimum in one dimension."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from problems import MIXTURE_1D, SEVENTEEN_LEVELS, VPS, PerPixel, PhaseSpace, mmse

from nonnormal.analysis.attainable import residual_law
from nonnormal.analysis.convergence import Mixture
from nonnormal.bases import DCT, Haar, Whitened
from nonnormal.denoisers import GaussianMixtureDenoiser
from nonnormal.files import write_tensors
from nonnormal.objectives import bounds
from nonnormal.objectives.bounds import bound
from nonnormal.objectives.fitted_loss import FittedLoss
from nonnormal.objectives.fitting import CHOICES, Residuals, fit_step, fit_steps, in_residual_pca, residuals
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.step_files import load_steps, save_steps
from nonnormal.processes import VP, apply, uniform_times
from nonnormal.processes.schedules import column_labels, sequential
from nonnormal.samplers import sample_ancestral
from nonnormal.samplers.bound_grid import best_times, bound_costs
from nonnormal.seeds import ImageNoise
from nonnormal.steps import FittedStep, Normal, ResidualStep, ScaleMixture, StepError, get

DOUBLE = torch.float64
PROCESS, NORMAL = VPS["vp-digits"], get("normal")
DESIGN = Design(PROCESS, Loss(NORMAL, NORMAL))
DENOISER = PerPixel(SEVENTEEN_LEVELS)
SHAPE = ScaleMixture((0.5, 0.5), (0.5, 1.5))
SPARSE = Mixture((0.0, 0.0), (0.05, 0.5), (0.6, 0.4))
SKEWED = Mixture((-0.2, 0.15), (0.35, 0.15), (0.5, 0.5))


def images(n, size=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(17, (n, 1, size, size), generator=g).double() / 8 - 1


def draws(mixture, n, seed=1):
    g = torch.Generator().manual_seed(seed)
    which = torch.multinomial(torch.tensor(mixture.weights), n, replacement=True, generator=g)
    means, stds = (torch.tensor(part, dtype=DOUBLE)[which] for part in (mixture.means, mixture.stds))
    return (means + stds * torch.randn(n, generator=g, dtype=DOUBLE)).unsqueeze(1)


def chain(losses, n_steps=3, **other):
    options = dict(levels=17, n_steps=n_steps, seeds=range(4), losses=losses) | other
    return bound(DENOISER, DESIGN, images(4), **options)


def fitted(scale=1.0, shape=NORMAL, **other):
    return FittedStep(shape, torch.as_tensor(scale, dtype=DOUBLE), **other)


# ---- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marginals", ["limit", "bridge"])
@pytest.mark.parametrize(("q", "p"), [("normal", "normal"), ("laplace", "laplace"), ("uniform", "laplace")])
def test_a_unit_step_for_each_interval_has_the_bound_of_the_one_step_to_the_bit(q, p, marginals):
    design = Design(PROCESS, Loss(get(q), get(p)))
    options = dict(levels=17, n_steps=3, seeds=range(4), marginals=marginals)
    [one] = bound(DENOISER, design, images(4), **options)
    [each] = bound(DENOISER, design, images(4), **options, losses=[FittedLoss(get(q), [get(p)] * 3, get(p))])
    assert torch.equal(one.total, each.total)


def test_a_fitted_normal_of_scale_one_has_the_unit_bound_in_every_basis():
    [unit] = chain(None)
    for basis in (None, DCT(), Haar(1)):
        [same] = chain([FittedLoss(NORMAL, [fitted(basis=basis)] * 3)])
        torch.testing.assert_close(same.total, unit.total, rtol=1e-12, atol=1e-12)


def test_the_bound_of_fitted_steps_is_the_exact_one_of_the_residuals_law(monkeypatch):
    """A pixel of a known mixture: the mean over draws against an integral. The data lie between grey levels."""
    monkeypatch.setattr(bounds, "need_grey_levels", lambda x0, levels: None)
    x0, times = draws(SPARSE, 3000), uniform_times(4)
    steps = [fitted(2.0, SHAPE), fitted(1.5, SHAPE), fitted(1.2), NORMAL]
    [terms] = bound(
        SPARSE.denoiser(), DESIGN, x0, levels=17, n_steps=4, seeds=range(3000), losses=[FittedLoss(NORMAL, steps)]
    )
    laws = [residual_law(SPARSE, PROCESS, s, t, NORMAL) for s, t in itertools.pairwise(times)]
    exact = sum(law.cost(step) for law, step in zip(laws, steps, strict=True))
    assert abs(terms.diffusion.mean().item() - exact) < 5 * terms.diffusion.std().item() / math.sqrt(3000)


def test_times_may_be_given_and_uniform_ones_are_the_default():
    assert torch.equal(chain(None)[0].total, chain(None, times=uniform_times(3))[0].total)
    assert not torch.equal(chain(None)[0].total, chain(None, times=torch.tensor([0, 0.2, 0.5, 1.0]))[0].total)


@pytest.mark.parametrize("times", [[0, 0.5, 1], [0, 0.6, 0.5, 1], [0.1, 0.4, 0.5, 1], [0, 0.4, 0.5, 0.9]])
def test_times_that_make_no_chain_are_refused(times):
    with pytest.raises(ValueError, match="4 times that rise from 0 to 1 are needed"):
        chain(None, times=torch.tensor(times, dtype=DOUBLE))


@pytest.mark.parametrize("other", [dict(n_steps=4), dict(n_evaluations=2)])
def test_steps_must_be_as_many_as_the_intervals_that_are_visited(other):
    with pytest.raises(ValueError, match="a step for each of"):
        chain([FittedLoss(NORMAL, [NORMAL] * 3)], **other)


def test_a_basis_of_a_fitted_step_needs_a_normal_q():
    with pytest.raises(ValueError, match="basis of its own only where q is normal, found laplace"):
        FittedLoss(get("laplace"), [fitted(basis=DCT())])


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (dict(scale=[1.0, 0.0]), "scale must be positive"),
        (dict(scale=math.nan), "scale must be positive"),
        (dict(edges=torch.zeros(1)), "come together"),
        (dict(edges=torch.zeros(1), factors=torch.ones(3)), "b − 1 edges and b factors"),
        (dict(edges=torch.tensor([1.0, 0.0]), factors=torch.ones(3)), "must be finite and rise"),
        (dict(basis=Whitened(DCT(), torch.full((1, 2, 2), 2.0))), "orthonormal basis is needed, found Whitened"),
    ],
)
def test_fitted_steps_that_are_none_are_refused(parts, found):
    with pytest.raises(StepError, match=found):
        fitted(**parts)


# ---- samples ---------------------------------------------------------------------------------------------------------


def sample(step, n_steps=3, process=PROCESS, **other):
    options = dict(times=uniform_times(n_steps), seeds=[4, 5], dtype=DOUBLE) | other
    return sample_ancestral(DENOISER, process, step, (2, 1, 2, 2), **options)


@pytest.mark.parametrize("step", ["normal", "laplace", "student_t(df=5)"])
def test_a_unit_step_for_each_interval_draws_what_the_one_step_draws(step):
    assert torch.equal(sample(get(step)), sample([get(step)] * 3))
    assert torch.equal(sample(get(step)), sample([step] * 3))


def test_samples_are_the_chain_written_out_from_the_data_to_the_prior():
    conditional = fitted(
        torch.rand(1, 2, 2) + 0.5, SHAPE, edges=torch.tensor([0.0]), factors=torch.tensor([0.5, 2.0]), basis=DCT()
    )
    steps, times = [fitted(0.7), conditional, get("laplace")], uniform_times(3)
    noise = ImageNoise([4, 5], (1, 2, 2), DOUBLE)
    x = noise.draw(NORMAL)
    for k in (2, 1, 0):
        a, c = (part.item() for part in PROCESS.marginal(times[k + 1]))
        x0_hat = DENOISER(x / a, c**0.5 / a)
        w = noise.draw((NORMAL, SHAPE, get("laplace"))[k])
        if k == 1:
            factor = torch.where(DCT().forward(x0_hat) > 0, 2.0, 0.5)
            w = DCT().inverse(conditional.scale * factor * w)
        coef_xt, coef_x0, chol = PROCESS.posterior(times[k], times[k + 1])
        x = apply(coef_xt, x) + apply(coef_x0, x0_hat) + apply(chol, w * (0.7 if k == 0 else 1))
    torch.testing.assert_close(sample(steps), x / PROCESS.marginal(0.0)[0].item(), rtol=1e-10, atol=1e-12)


def test_samplers_refuse_too_few_steps_and_phase_space():
    with pytest.raises(ValueError, match="a step for each of 3 intervals is needed, found 2"):
        sample([NORMAL] * 2)
    with pytest.raises(ValueError, match="one variable per component, PhaseSpace has 2"):
        sample([fitted()] * 3, process=PhaseSpace())


# ---- fits ------------------------------------------------------------------------------------------------------------


def test_one_scale_is_the_root_of_one_plus_the_mean_square():
    errors = Residuals(NORMAL, torch.randn(40, 1, 2, 2).double(), torch.randn(40, 1, 2, 2).double(), torch.arange(40))
    assert fit_step(errors, "scale").scale.item() == pytest.approx(math.sqrt(1 + errors.delta.square().mean().item()))


@pytest.mark.parametrize("q", ["normal", "laplace"])
def test_residuals_of_both_marginals_have_one_mean_square(q):
    """Mean and covariance of the bridge walk are the limit's, of whatever q."""
    design = Design(PROCESS, Loss(get(q), NORMAL))
    both = [
        list(residuals(DENOISER, design, images(400), uniform_times(3), seeds=range(400), marginals=law, n_draws=2))
        for law in ("limit", "bridge")
    ]
    assert all(errors.delta.shape == (800, 1, 2, 2) for law in both for errors in law)
    for limit, bridge in zip(*both, strict=True):
        assert bridge.delta.square().mean().item() == pytest.approx(limit.delta.square().mean().item(), rel=0.15)


def test_diagonal_and_conditional_find_what_differs():
    g = torch.Generator().manual_seed(0)
    x0_hat = torch.randn(2000, 1, 1, 2, generator=g, dtype=DOUBLE)
    spread = torch.tensor([0.1, 3.0], dtype=DOUBLE) * torch.where(x0_hat > 0, 2.0, 1.0)
    errors = Residuals(
        NORMAL, spread * torch.randn(x0_hat.shape, generator=g, dtype=DOUBLE), x0_hat, torch.arange(2000)
    )
    expected = torch.sqrt(1 + torch.tensor([0.1, 3.0], dtype=DOUBLE).square() * 2.5)
    torch.testing.assert_close(fit_step(errors, "diagonal").scale.flatten(), expected, rtol=0.05, atol=0)
    found = fit_step(errors, "conditional").scale_at(torch.tensor([[[[-1.0, -1.0]]], [[[1.0, 1.0]]]]))
    assert found[1, 0, 0, 1] / found[0, 0, 0, 1] == pytest.approx(math.sqrt(37 / 10), rel=0.35)


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "unit"])
def test_coordinates_at_rest_have_no_say_in_the_step_of_the_others(choice):
    g = torch.Generator().manual_seed(4)
    delta, x0_hat = (torch.randn(200, 1, 2, 3, generator=g, dtype=torch.float64) * 3 for _ in range(2))
    moves = torch.tensor([[[True, True, False], [True, True, False]]])
    at_rest, image = torch.where(moves, delta, 0.0), torch.arange(200)
    step = fit_step(Residuals(NORMAL, at_rest, x0_hat, image, moves), choice)
    left = [part[..., :2].contiguous() for part in (delta, x0_hat)]
    alone = fit_step(Residuals(NORMAL, *left, image), choice)
    assert step.shape == alone.shape
    both = [its.scale_at(at).expand(at.shape)[..., :2] for its, at in ((step, x0_hat), (alone, left[1]))]
    assert both[0].equal(both[1])


def test_a_scale_fitted_on_a_sequential_schedule_costs_least():
    points = torch.randint(2, (6, 1, 2, 8), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    x0, seeds = points.repeat(30, 1, 1, 1), range(180)
    schedule = sequential(column_labels((1, 2, 8)), 1.0, 9, -7)  # at each time a few columns move
    design, times = Design(VP(schedule), Loss("normal", "normal")), uniform_times(4)
    denoiser = GaussianMixtureDenoiser(points, torch.full((6,), 1e-3))
    steps = fit_steps(denoiser, design, x0, times, choice="scale", seeds=seeds)
    losses = [
        FittedLoss(NORMAL, [FittedStep(step.shape, step.scale * factor) for step in steps]) for factor in (0.9, 1, 1.1)
    ]
    found = bound(denoiser, design, x0, levels=2, n_steps=4, seeds=range(1000, 1180), losses=losses)
    below, fitted, above = (terms.diffusion.mean() for terms in found)
    assert fitted < min(below, above)
    with pytest.raises(ValueError, match="mixes components of which some do not move"):
        fit_steps(denoiser, design, x0, times, choice="diagonal", seeds=seeds, basis="residual_pca")


@pytest.mark.parametrize("n", [1, 3, 10])
def test_few_images_make_no_choice_worse_than_scale(n):
    """A fifth of the pixels hardly moves in training, and does so in what is held out."""
    g = torch.Generator().manual_seed(n)
    loud = torch.rand(2000, 1, 4, 4, generator=g) < torch.linspace(0.02, 0.5, 16).reshape(4, 4)
    delta = torch.where(loud, 6.0, 0.2).double() * torch.randn(loud.shape, generator=g, dtype=DOUBLE)
    x0_hat = torch.randn(loud.shape, generator=g, dtype=DOUBLE)
    errors = Residuals(NORMAL, delta[:n], x0_hat[:n], torch.arange(n))
    held, moves = slice(100, None), torch.ones(1, dtype=torch.bool)
    costs = {}
    for choice in CHOICES[1:]:
        loss = FittedLoss(NORMAL, [fit_step(errors, choice)])
        costs[choice] = loss.of_interval(0, delta[held], moves, x0_hat[held]).mean().item()
    assert all(cost <= costs["scale"] + 0.02 * abs(costs["scale"]) for cost in costs.values()), costs


@pytest.mark.parametrize("n", [8, 16, 40])
def test_few_images_make_principal_components_of_residuals_no_worse_than_scale(n):
    """With as few images as components their principal directions hold for no others."""
    delta = 3 * torch.randn(2000, 1, 4, 4, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    few, moves = Residuals(NORMAL, delta[:n], delta[:n], torch.arange(n)), torch.ones(1, dtype=torch.bool)
    odd, components = in_residual_pca(few)
    costs = {}
    for choice, step in (
        ("scale", fit_step(few, "scale")),
        *(
            (choice, fit_step(odd, choice, basis=components))
            for choice in ("diagonal", "conditional", "diagonal+shape")
        ),
    ):
        costs[choice] = FittedLoss(NORMAL, [step]).of_interval(0, delta[100:], moves, delta[100:]).mean().item()
    assert all(cost <= costs["scale"] + 0.05 * abs(costs["scale"]) for cost in costs.values()), costs


@pytest.mark.parametrize("mixture", [SPARSE, SKEWED], ids=["sparse", "skewed"])
@pytest.mark.parametrize("n_steps", [2, 4, 8, 16])
def test_a_fitted_shape_comes_within_two_per_cent_of_the_optimum_and_never_below(mixture, n_steps):
    x0, times = draws(mixture, 4000), uniform_times(n_steps)
    steps = fit_steps(
        mixture.denoiser(), DESIGN, x0, times, choice="scale+shape", seeds=range(4000), n_draws=1, batch_size=4000
    )
    costs, least = 0.0, 0.0
    for s, t, step in zip(times[:-1], times[1:], steps, strict=True):
        law = residual_law(mixture, PROCESS, s, t, NORMAL)
        assert law.cost(step) > law.least_cost - 1e-6
        costs, least = costs + law.cost(step), least + law.least_cost
    assert least <= costs < 1.02 * least


@pytest.mark.parametrize("basis", ["dct", "pca", "residual_pca", Haar(1)])
def test_every_basis_and_choice_makes_steps_for_bound_and_sampler(basis, tmp_path):
    options = dict(seeds=range(12), basis=basis, n_draws=2)
    steps = fit_steps(DENOISER, DESIGN, images(12), uniform_times(2), choice=CHOICES, **options)
    for choice, each in steps.items():
        [terms] = chain([FittedLoss(NORMAL, each)], n_steps=2)
        assert terms.total.isfinite().all()
        save_steps(tmp_path / "steps.safetensors", each, choice=choice)
        again, facts = load_steps(tmp_path / "steps.safetensors")
        assert facts == {"choice": choice}
        assert torch.equal(sample(each, n_steps=2), sample(again, n_steps=2))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (dict(choice="full"), "unknown choice 'full'; known: unit, scale"),
        (dict(choice="scale", basis="wavelet"), "unknown basis 'wavelet'; known: pixel"),
        (dict(choice="scale", marginals="both"), "marginals must be 'limit' or 'bridge'"),
        (dict(choice="scale", n_draws=0), "one draw or more"),
        (dict(choice="scale", seeds=range(3)), "one seed an image"),
    ],
)
def test_fits_that_make_no_sense_are_refused(arguments, found):
    with pytest.raises(ValueError, match=found):
        fit_steps(DENOISER, DESIGN, images(4), uniform_times(2), **{"seeds": range(4), **arguments})


def test_a_basis_where_q_is_not_normal_is_refused():
    design = Design(PROCESS, Loss(get("laplace"), NORMAL))
    with pytest.raises(ValueError, match="needs a normal q, found laplace"):
        fit_steps(DENOISER, design, images(4), uniform_times(2), choice="scale", seeds=range(4), basis="dct")


# ---- files -----------------------------------------------------------------------------------------------------------


def stored(**changes):
    """(tensors, header) of a file with one step, with changes."""
    header = {"kind": "fitted steps", "bases": [], "facts": {}}
    header["steps"] = [{"shape": {"family": "normal"}, "tensors": ["scale"]}]
    tensors = {"0.scale": torch.ones(1, 2, 2, dtype=DOUBLE)}
    return tensors | changes.pop("tensors", {}), header | changes


def test_the_file_that_the_hostile_ones_are_made_of_is_read(tmp_path):
    write_tensors(tmp_path / "steps.safetensors", *stored())
    [step], _ = load_steps(tmp_path / "steps.safetensors")
    assert isinstance(step.shape, Normal)


def row(**changes):
    return [{"shape": {"family": "normal"}, "tensors": ["scale"]} | changes]


@pytest.mark.parametrize(
    "changes",
    [
        dict(kind="weights"),
        dict(steps=[]),
        dict(steps=7),
        dict(facts=[]),
        dict(steps=row(shape={"family": "hostile_module:Step"})),
        dict(steps=row(shape={"family": "student_t(df=1)"})),
        dict(steps=row(shape={"weights": [1.0], "variances": [2.0]})),
        dict(steps=row(shape={"weights": ["1"], "variances": [1.0]})),
        dict(steps=row(shape={})),
        dict(steps=row(tensors=["scale", "basis"])),
        dict(steps=row(tensors=["edges"])),
        dict(steps=row(basis=0)),
        dict(steps=row(tensors=["delta"])),
        dict(steps=row(tensors=["delta"]), tensors={"0.delta": torch.full((2, 1, 2, 2), math.nan, dtype=DOUBLE)}),
        dict(steps=row(tensors=["delta", "scale"]), tensors={"0.delta": torch.ones(2, 1, 2, 2, dtype=DOUBLE)}),
        dict(bases=[{"kind": "eval"}]),
        dict(bases=[{"kind": "haar", "levels": "2"}]),
        dict(bases=[{"kind": "pca"}]),
        dict(tensors={"0.scale": torch.tensor(-1.0, dtype=DOUBLE)}),
        dict(tensors={"0.scale": torch.tensor(math.inf, dtype=DOUBLE)}),
        dict(tensors={"0.scale": torch.tensor([0], dtype=torch.int64)}),
        dict(
            bases=[{"kind": "pca"}],
            tensors={
                "basis.0.directions": 2 * torch.eye(4, dtype=DOUBLE).reshape(4, 1, 2, 2),
                "basis.0.variance": torch.ones(1, 2, 2, dtype=DOUBLE),
            },
        ),
    ],
    ids=str,
)
def test_a_hostile_file_is_refused_and_imports_nothing(changes, tmp_path, monkeypatch):
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    write_tensors(tmp_path / "steps.safetensors", *stored(**changes))
    with pytest.raises(ValueError, match=r"steps\.safetensors holds no fitted steps"):
        load_steps(tmp_path / "steps.safetensors")
    assert "hostile_module" not in sys.modules


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "steps.safetensors"
    save_steps(path, [fitted(2.0), get("laplace")])
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load_steps(path)


# ---- the optimum and the grid ----------------------------------------------------------------------------------------


def test_the_error_of_the_residuals_law_is_that_of_the_denoiser():
    law_of_x0 = Mixture(*(tuple(part.flatten().tolist()) for part in vars(MIXTURE_1D).values()))
    s, t = 0.3, 0.5
    law = residual_law(law_of_x0, PROCESS, s, t, NORMAL)
    (_, near), (_, far) = PROCESS.observation(s), PROCESS.observation(t)
    assert law.error == pytest.approx((near**-2 - far**-2).item() * mmse(MIXTURE_1D, far.item()), rel=1e-6)
    assert law.cost(NORMAL) == pytest.approx(law.error / 2, rel=1e-4)


@pytest.mark.parametrize("q", ["normal", "laplace", "uniform", "logistic", "student_t(df=5)"])
def test_a_normal_x0_leaves_a_sum_of_q_and_a_normal(q):
    """Then δ is normal and independent of x_t; with q normal so is r, and the best step is a normal."""
    one = Mixture((0.0,), (0.6,), (1.0,))
    law = residual_law(one, PROCESS, 0.4, 0.5, get(q))
    assert law.least_cost >= -1e-6
    total = 1 + law.error
    assert (law.probability * law.r**2).sum() == pytest.approx(total, rel=2e-3)
    if q == "normal":
        assert law.least_cost == pytest.approx(0.5 * math.log(total), abs=1e-5)


def noisy_entropy(mixture, t):
    """h(x_t) of a mixture, by the trapezium rule."""
    x = np.linspace(-8, 8, 200_001)
    density = mixture.marginal(PROCESS, t, x)[0]
    return -np.trapezoid(density * np.log(np.maximum(density, 1e-300)), x)


@pytest.mark.parametrize("mixture", [SPARSE, SKEWED], ids=["sparse", "skewed"])
def test_no_chain_attains_less_than_the_information_and_a_single_step_attains_it(mixture):
    """Σ h(r) − h(z) ≥ I(x0; x at 0) − I(x0; x at 1); one step from noise has the law of x itself to choose from."""
    ends = (PROCESS.marginal(t)[1].item() for t in (0.0, 1.0))
    start, end = (noisy_entropy(mixture, t) - 0.5 * math.log(v) for t, v in zip((0.0, 1.0), ends, strict=True))
    chains = [itertools.pairwise(uniform_times(n)) for n in (1, 2, 8)]
    least = [sum(residual_law(mixture, PROCESS, s, t, NORMAL).least_cost for s, t in chain) for chain in chains]
    assert min(least) >= start - end - 1e-4
    assert least[0] == pytest.approx(start - end, abs=5e-3)


def test_the_best_grid_is_better_than_the_uniform_one_and_costs_what_bound_finds():
    x0, fine = images(300), uniform_times(16)
    for choice in ("unit", "scale", "diagonal", "conditional"):
        costs = bound_costs(DENOISER, DESIGN, x0, fine, choice=choice, seeds=range(300))
        times = best_times(costs, fine, 4)
        places = [fine.tolist().index(time) for time in times.tolist()]
        best = sum(costs[i, j] for i, j in itertools.pairwise(places)).item()
        uniform = sum(costs[i, i + 4] for i in (0, 4, 8, 12)).item()
        assert best < uniform
        [steps] = fit_steps(DENOISER, DESIGN, x0, times, choice=[choice], seeds=range(300)).values()
        [terms] = bound(
            *(DENOISER, DESIGN, x0),
            **dict(levels=17, n_steps=4, seeds=range(300), times=times, losses=[FittedLoss(NORMAL, steps)]),
        )
        assert terms.diffusion.mean().item() == pytest.approx(best, rel=0.1)


# ---- whole residuals -------------------------------------------------------------------------------------------------


def test_whole_residuals_keep_the_dependence_of_components():
    g = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 1.5], [0.0, 0.5]], dtype=torch.float64)
    delta = (torch.randn(3000, 2, generator=g, dtype=torch.float64).exp() - 2) @ mixing
    step = fit_step(Residuals(Normal(), delta, delta, torch.arange(3000)), "residuals")
    w, u = torch.randn(200_000, 2, generator=g, dtype=torch.float64), torch.rand(200_000, generator=g).double()
    z = step.noise(w, u)
    # The law of z − δ, first and second moments: its mean is kept, and the covariance is 1 + Cov δ.
    assert torch.allclose(z.mean(0), -delta.mean(0), atol=0.05)
    expected = torch.eye(2, dtype=torch.float64) + delta.T.cov()
    assert torch.allclose(z.T.cov(), expected, rtol=0.03)
    # Each drawn vector is one of the errors: without w, no other is drawn, and all are.
    alone = step.noise(torch.zeros(200_000, 2, dtype=torch.float64), u)
    assert len(alone.unique(dim=0)) == 3000 and torch.isin(alone, -delta).all()


def test_an_image_draws_the_same_residuals_in_any_batch():
    torch.manual_seed(0)
    delta = torch.randn(7, 1, 2, 2, dtype=torch.float64)
    steps = [ResidualStep(Normal(), delta), "normal", ResidualStep(Normal(), 2 * delta)]

    def draw(seeds):
        options = dict(times=uniform_times(3), seeds=seeds)
        return sample_ancestral(lambda x, sigma: 0.5 * x, PROCESS, steps, (len(seeds), 1, 2, 2), **options)

    assert torch.equal(draw([1, 2, 3])[1:], draw([2, 3]))
    assert not torch.equal(draw([1, 2]), draw([2, 3]))


def test_whole_residuals_are_stored_and_have_no_bound(tmp_path):
    step = ResidualStep(Normal(), torch.randn(3, 1, 2, 2, dtype=torch.float64))
    save_steps(tmp_path / "steps.safetensors", [step, Normal()])
    (read, unit), _ = load_steps(tmp_path / "steps.safetensors")
    assert isinstance(read, ResidualStep) and torch.equal(read.delta, step.delta) and unit == Normal()
    with pytest.raises(ValueError, match="serves samples"):
        FittedLoss(Normal(), [step])
    with pytest.raises(StepError, match="finite errors"):
        ResidualStep(Normal(), torch.full((2, 1), math.nan))
