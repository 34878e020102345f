"""Bounds: each term against closed forms, and what a bound may depend on."""

import math

import mpmath
import numpy as np
import pytest
import torch
from problems import (
    FULL_SUPPORT,
    MIXTURE_1D,
    SEVENTEEN_LEVELS,
    VPS,
    ComponentWiseVP,
    PerPixel,
    PhaseSpace,
    Rotation,
    scipy_law,
    small_denoiser,
)

from nonnormal.objectives.bounds import (
    bits_per_dim,
    bound,
    categorical_log_prob,
    continuous_bound,
    discretised_log_prob,
    prior_kl,
)
from nonnormal.objectives.losses import Design, Loss
from nonnormal.objectives.probability_flow import flow_bound
from nonnormal.processes import VP, uniform_times
from nonnormal.processes.schedules import LinearLogSNR
from nonnormal.steps import Symmetric, get
from nonnormal.steps.divergence import constant

DENOISER = PerPixel(SEVENTEEN_LEVELS)
PAIRS = [
    *(("normal", "normal"), ("laplace", "laplace"), ("uniform", "normal"), ("uniform", "laplace")),
    *(("gumbel", "logistic"), ("gumbel", "gumbel"), ("exponential", "student_t(df=5)"), ("arcsine", "normal")),
]
TERMS = ("prior", "diffusion", "reconstruction")


def design(q, p, process="vp-digits", **other):
    return Design(VPS[process], Loss(q, p), **other)


def grey_images(n, levels=17, dtype=torch.float64):
    values = torch.randint(levels, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    return values.to(dtype) * 2 / (levels - 1) - 1


def grid(levels):
    return torch.arange(levels, dtype=torch.float64) * 2 / (levels - 1) - 1


def draw(denoiser, point, x0, **other):
    options = dict(levels=17, n_steps=10, seeds=range(len(x0))) | other
    return bound(denoiser, point, x0, **options)


# ---- terms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("scale", [1e-3, 0.05, 1.0])
@pytest.mark.parametrize("centre", [-2.5, -1.3, -1.0, 0.0, 0.31, 1.0, 2.5])
@pytest.mark.parametrize("p", FULL_SUPPORT)
def test_masses_of_the_levels_sum_to_one(p, centre, scale, levels):
    x0 = grid(levels)
    total = discretised_log_prob(get(p), x0, torch.full_like(x0, centre), scale, levels).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("p", FULL_SUPPORT)
def test_mass_of_an_inner_level_is_density_times_width_if_bins_are_fine(p):
    step, levels, scale = get(p), 2001, 0.5
    x0 = torch.tensor([0.3], dtype=torch.float64)
    found = discretised_log_prob(step, x0, torch.zeros(1), scale, levels)
    expected = step.log_prob(x0 / scale) - math.log(scale) + math.log(2 / (levels - 1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("distance", [2.0, 5.0, 10.0, 30.0])
@pytest.mark.parametrize("p", FULL_SUPPORT)
def test_mass_far_out_is_finite_and_scipys(p, distance, side):
    """An image far from where the model expects it costs much, and not infinitely much."""
    x0, scale, levels = torch.tensor([0.25], dtype=torch.float64), 0.02, 17
    centre = x0 - side * distance * scale
    found = discretised_log_prob(get(p), x0, centre, scale, levels)
    assert found.isfinite().all()
    law, ends = scipy_law(p), side * distance + np.array([-1, 1]) / (levels - 1) / scale
    tails = law.sf(ends) if side > 0 else law.cdf(ends)
    if abs(np.diff(tails)[0]) > 1e-280:  # scipy's own difference ends there
        assert found.item() == pytest.approx(math.log(abs(np.diff(tails)[0])), rel=1e-9)


def log_tail(p, z):
    """Log P(Z > z), z > 0, to 60 digits; of gumbel log P(Z < −z)."""
    z = mpmath.mpf(z)
    if p == "normal":
        return mpmath.log(mpmath.erfc(z / mpmath.sqrt(2)) / 2)
    if p == "laplace":
        return -mpmath.sqrt(2) * z - mpmath.log(2)
    if p == "logistic":
        return -mpmath.log1p(mpmath.exp(mpmath.pi / mpmath.sqrt(3) * z))
    if p == "gumbel":
        return -mpmath.exp(mpmath.pi / mpmath.sqrt(6) * z - mpmath.euler)
    b = mpmath.mpf(get(p).shape)
    a = mpmath.sqrt(mpmath.gamma(1 / b) / mpmath.gamma(3 / b))
    return mpmath.log(mpmath.gammainc(1 / b, (z / a) ** b) / mpmath.gamma(1 / b) / 2)


@pytest.mark.parametrize("x0", [0.25, 1.0], ids=["inner", "outermost"])
@pytest.mark.parametrize("width", [1e-3, 0.5, 20.0])
@pytest.mark.parametrize(
    ("p", "edges"),
    [
        *(("normal", (39.0, 150.0)), ("laplace", (530.0,)), ("logistic", (450.0,)), ("gumbel", (5.7, 8.0))),
        *((f"generalized_normal(shape={b})", edges) for b, edges in ((1.5, (120.0,)), (8, (4.7, 7.0)))),
        *((f"generalized_normal(shape={b})", edges) for b, edges in ((16, (2.7, 4.0)), (64, (1.97, 3.0)))),
    ],
)
def test_mass_below_the_smallest_number_is_that_of_the_tail(p, edges, width, x0):
    """To the nearer edge, where it sits; the middle of a wide bin is off by as much as log p itself."""
    step, side, levels = get(p), -1 if p == "gumbel" else 1, 17
    for near in edges:
        scale = 2 / (levels - 1) / width
        centre = side * (x0 - 1 / (levels - 1)) - side * near * scale
        found = discretised_log_prob(
            step, torch.tensor(side * x0, dtype=torch.float64), torch.tensor(centre, dtype=torch.float64), scale, levels
        )
        with mpmath.workdps(60):
            far, farther = (log_tail(p, end) for end in (near, near + width))
            expected = far if x0 == 1 else far + mpmath.log1p(-mpmath.exp(farther - far))
            # The edges are rounded, and a steep tail magnifies that.
            rounding = abs(log_tail(p, near * (1 + 1e-13)) - far)
        assert expected < -700
        assert found.item() == pytest.approx(float(expected), rel=1e-13, abs=2.5e-3 + float(rounding))


def test_mass_far_out_needs_no_gradients():
    found = []
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            x0, centre = torch.zeros(1, dtype=torch.float64), torch.full((1,), 3.0, dtype=torch.float64)
            found.append(discretised_log_prob(get("generalized_normal(shape=16)"), x0, centre, 0.1, 17).item())
    assert found[0] == found[1] < -1e10


def test_mass_outside_the_support_is_none():
    outside = discretised_log_prob(get("triangular"), torch.tensor([0.5]), torch.tensor([-0.5]), 0.1, 17)
    assert outside.item() == -math.inf


@pytest.mark.parametrize("distance", [1.0, 5.0, 20.0, 30.0])
@pytest.mark.parametrize("p", [name for name in FULL_SUPPORT if isinstance(get(name), Symmetric)])
def test_mirrored_images_have_mirrored_masses(p, distance):
    """The mass of a level above the centre is that of its mirror image below, also far out."""
    x0, scale = torch.tensor([0.25], dtype=torch.float64), 0.05
    centre = x0 - distance * scale
    above = discretised_log_prob(get(p), x0, centre, scale, 17)
    below = discretised_log_prob(get(p), -x0, -centre, scale, 17)
    torch.testing.assert_close(above, below, rtol=1e-6, atol=0)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("sigma", [1e-2, 0.1, 3.0])
def test_categorical_is_torchs_log_softmax(sigma, levels):
    y = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    table = (-0.5 * ((y.unsqueeze(1) - grid(levels)) / sigma).square()).log_softmax(1)
    found = categorical_log_prob(grid(levels).expand(31, levels), y.unsqueeze(1), sigma, levels)
    torch.testing.assert_close(found, table, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.exp().sum(1), torch.ones_like(y), rtol=0, atol=1e-12)


def test_categorical_at_next_to_no_noise_is_certain_and_finite():
    x0 = grid(17)[5:6]
    for sigma in (1e-4, 1e-8):
        assert categorical_log_prob(x0, x0 + 0.4 / 16, sigma, 17).item() == 0
        halfway = categorical_log_prob(x0, x0 + 1 / 16, sigma, 17)
        # The two gaps differ by rounding, which a small sigma magnifies.
        assert halfway.item() == pytest.approx(-math.log(2), abs=1e-16 / sigma**2)
        # From the next level the squares differ by spacing².
        next_door = categorical_log_prob(x0, x0 + 2 / 16, sigma, 17)
        assert next_door.item() == pytest.approx(-((2 / 16) ** 2) / (2 * sigma**2), rel=1e-9)


def test_categorical_without_knowledge_is_flat():
    found = categorical_log_prob(grid(17), torch.zeros(17), 1e4, 17)
    torch.testing.assert_close(found, torch.full_like(found, -math.log(17)), rtol=0, atol=1e-7)


@pytest.mark.parametrize("process", VPS.values(), ids=VPS.keys())
def test_prior_kl_is_torchs(process):
    x0 = grey_images(3)
    a, c = (part.item() for part in process.marginal(1.0))
    found = torch.distributions.kl_divergence(
        torch.distributions.Normal(a * x0, math.sqrt(c)), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(prior_kl(process, x0), found.flatten(1).sum(1), rtol=1e-10, atol=1e-12)


def test_prior_kl_in_phase_space_is_torchs():
    process = PhaseSpace()
    x0 = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, c = process.marginal(1.0)
    law = torch.distributions.MultivariateNormal(x0[..., None] * a[:, 0], c)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), process.prior_covariance())
    expected = torch.distributions.kl_divergence(law, prior).flatten(1).sum(1)
    torch.testing.assert_close(prior_kl(process, x0), expected, rtol=1e-9, atol=1e-12)


def test_prior_kl_with_a_schedule_for_each_component_is_torchs():
    process = ComponentWiseVP()
    x0 = torch.randn(3, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, c = (part[..., 0, 0] for part in process.marginal(1.0))
    law = torch.distributions.Normal(a * x0, c.sqrt())
    expected = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(prior_kl(process, x0), expected, rtol=1e-10, atol=1e-12)


def test_bits_per_dim():
    assert bits_per_dim(torch.tensor([64 * math.log(2), 0.0]), 64).tolist() == pytest.approx([1.0, 0.0])


# ---- what a bound depends on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("marginals", ["limit", "bridge"])
@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_terms_are_float64_finite_and_sum_to_the_total(q, p, marginals):
    [terms] = draw(DENOISER, design(q, p), grey_images(3, dtype=torch.float32), marginals=marginals)
    for term in TERMS:
        value = getattr(terms, term)
        assert (value.shape, value.dtype) == ((3,), torch.float64)
        assert value.isfinite().all()
    assert torch.equal(terms.total, terms.prior + terms.diffusion + terms.reconstruction)


@pytest.mark.parametrize("marginals", ["limit", "bridge"])
@pytest.mark.parametrize("denoiser", [DENOISER, small_denoiser(parametrisation="edm").eval()], ids=["exact", "network"])
def test_image_i_does_not_depend_on_batch_size_or_company(denoiser, marginals):
    x0, point = grey_images(9, dtype=torch.float32), design("laplace", "laplace")
    [whole] = draw(denoiser, point, x0, marginals=marginals)
    [parts] = draw(denoiser, point, x0, marginals=marginals, batch_size=4)
    [alone] = draw(denoiser, point, x0[5:6], marginals=marginals, seeds=[5])
    for term in TERMS:
        torch.testing.assert_close(getattr(whole, term), getattr(parts, term), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(getattr(whole, term)[5:6], getattr(alone, term), rtol=1e-5, atol=1e-6)


def test_another_seed_is_another_draw_of_diffusion_and_reconstruction_but_not_of_the_prior():
    x0, point = grey_images(2), design("normal", "normal")
    [first], [second] = draw(DENOISER, point, x0, seeds=[0, 1]), draw(DENOISER, point, x0, seeds=[2, 3])
    assert torch.equal(first.prior, second.prior)
    assert (first.diffusion != second.diffusion).all()
    assert (first.reconstruction != second.reconstruction).all()


def test_native_bound_of_the_normal_pair_is_the_normal_limit_bound():
    x0, normal = grey_images(3), Loss(get("normal"), get("normal"))
    [native] = draw(DENOISER, design("normal", "normal"), x0)
    [same] = draw(DENOISER, design("normal", "normal"), x0, losses=[normal])
    [read_off_another] = draw(DENOISER, design("laplace", "laplace"), x0, losses=[normal])
    assert torch.equal(native.total, same.total)
    assert torch.equal(native.total, read_off_another.total)  # limit states do not know the pair


def test_bridge_of_a_normal_step_walks_the_limit_marginals_own_chain():
    """With T = 1 there is one state, drawn from the limit marginal in both laws."""
    x0, point = grey_images(3), design("normal", "normal")
    [limit], [bridge] = (draw(DENOISER, point, x0, n_steps=1, marginals=law) for law in ("limit", "bridge"))
    assert torch.equal(limit.diffusion, bridge.diffusion)


@pytest.mark.parametrize("n_steps", [1, 10, 37])
@pytest.mark.parametrize("q", ["uniform", "gumbel", "student_t(df=5)", "exponential"])
def test_a_normal_model_pays_its_constant_at_every_step_and_coordinate(q, n_steps):
    losses = [Loss(get(q), get("normal")), Loss(get("normal"), get("normal"))]
    native, normal = draw(DENOISER, design(q, "normal"), grey_images(3), losses=losses, n_steps=n_steps)
    owed = torch.full((3,), n_steps * 64 * constant(q, "normal"), dtype=torch.float64)
    torch.testing.assert_close(native.diffusion - normal.diffusion, owed, rtol=1e-9, atol=0)
    assert torch.equal(native.reconstruction, normal.reconstruction)


def test_laplace_pays_at_most_twice_the_normal_price_on_the_same_states():
    """exp(−a) − 1 + a ≤ a²/2: information 2 is the small-step limit, approached from below as T grows."""
    ratios = []
    for n_steps in (5, 50, 500):
        losses = [Loss(get("laplace"), get("laplace")), Loss(get("normal"), get("normal"))]
        laplace, normal = draw(DENOISER, design("laplace", "laplace"), grey_images(2), losses=losses, n_steps=n_steps)
        ratios.append((laplace.diffusion.sum() / normal.diffusion.sum()).item())
    assert ratios == sorted(ratios)
    assert 1.7 < ratios[-1] < 2


def test_prior_and_reconstruction_of_a_basis_are_counted_on_the_same_image():
    """An orthonormal basis moves neither the norm in the prior's KL nor the pixels of the reconstruction."""
    x0 = grey_images(3)
    [plain] = draw(DENOISER, design("normal", "normal"), x0)
    [turned] = draw(DENOISER, design("normal", "normal", basis=Rotation(64)), x0)
    torch.testing.assert_close(plain.prior, turned.prior)
    # Noise in another basis is another draw of the same law: equal up to its spread over 3 × 64 pixels.
    assert turned.reconstruction.sum().item() == pytest.approx(plain.reconstruction.sum().item(), abs=1e-3)


def test_reconstruction_vanishes_where_the_last_noise_is_far_below_a_level():
    [terms] = draw(DENOISER, design("normal", "normal", "vp-vdm"), grey_images(3))
    assert (terms.reconstruction < 1e-10).all()


@pytest.mark.parametrize("seeds", [[], [0], [0, 1, 2]])
def test_another_number_of_seeds_than_images_is_refused(seeds):
    with pytest.raises(ValueError, match=rf"found {len(seeds)} seeds for 2 images"):
        draw(DENOISER, design("normal", "normal"), grey_images(2), seeds=seeds)


def test_the_number_of_network_calls_is_the_number_of_steps():
    calls = []

    def counted(x, sigma):
        calls.append(sigma)
        return PerPixel(MIXTURE_1D)(x, sigma)

    draw(counted, design("normal", "normal"), grey_images(2), n_steps=7)
    sigmas = torch.stack([torch.as_tensor(sigma).max() for sigma in calls])
    assert len(sigmas) == 7
    assert (sigmas.diff() < 0).all()


# ---- leaving out steps -----------------------------------------------------------------------------------------------


class Recorder:
    """Keeps what an exact denoiser is asked: states (B, …) and one noise level an image (B,)."""

    def __init__(self):
        self.states, self.sigmas = [], []

    def __call__(self, x, sigma):
        self.states.append(x)
        self.sigmas.append(torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)))
        return DENOISER(x, sigma)


def steps_taken(recorder, n_steps, process):
    """Which k of the times t_k each image saw in each call, (calls, B)."""
    levels = (-process.schedule.log_snr(uniform_times(n_steps)) / 2).exp()
    return (torch.stack(recorder.sigmas).unsqueeze(-1) / levels - 1).abs().argmin(-1)


@pytest.mark.parametrize("n_evaluations", [12, 13, 1000])
@pytest.mark.parametrize("marginals", ["limit", "bridge"])
def test_as_many_evaluations_as_steps_are_all_steps(n_evaluations, marginals):
    options = dict(n_steps=12, marginals=marginals)
    [whole] = draw(DENOISER, design("laplace", "laplace"), grey_images(3), **options)
    [same] = draw(DENOISER, design("laplace", "laplace"), grey_images(3), n_evaluations=n_evaluations, **options)
    assert all(torch.equal(getattr(whole, term), getattr(same, term)) for term in TERMS)


@pytest.mark.parametrize(("n_steps", "n_evaluations"), [(12, 1), (12, 4), (12, 11), (1000, 7)])
def test_each_image_visits_one_step_of_each_equal_part(n_steps, n_evaluations):
    recorder, process = Recorder(), VPS["vp-digits"]
    draw(recorder, design("normal", "normal"), grey_images(20), n_steps=n_steps, n_evaluations=n_evaluations)
    taken, share = steps_taken(recorder, n_steps, process), n_steps / n_evaluations
    assert taken.shape == (n_evaluations, 20)
    # Step k leads from t_k and covers [k − 1, k] of the T steps; call j asks for the j-th part from the prior's end.
    for j, part in enumerate(taken):
        low = (n_evaluations - 1 - j) * share
        assert (part > low).all()
        assert (part - 1 < low + share).all()
    assert len(taken.T.unique(dim=0)) > 1, "all images drew the same steps"


def test_a_bridge_walk_that_leaves_out_steps_is_refused():
    with pytest.raises(ValueError, match=r"visits all its 12 steps, found n_evaluations = 5"):
        draw(DENOISER, design("laplace", "laplace"), grey_images(2), n_steps=12, n_evaluations=5, marginals="bridge")


def test_image_i_does_not_depend_on_batch_size_or_company_when_steps_are_left_out():
    x0, point = grey_images(9), design("laplace", "laplace")
    options = dict(n_steps=40, n_evaluations=6)
    [whole] = draw(DENOISER, point, x0, **options)
    [parts] = draw(DENOISER, point, x0, batch_size=4, **options)
    [alone] = draw(DENOISER, point, x0[5:6], seeds=[5], **options)
    [other] = draw(DENOISER, point, x0[5:6], seeds=[6], **options)
    for term in TERMS:
        torch.testing.assert_close(getattr(whole, term), getattr(parts, term), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(getattr(whole, term)[5:6], getattr(alone, term), rtol=1e-10, atol=1e-12)
    assert alone.diffusion != other.diffusion


def test_left_out_steps_still_owe_their_constant():
    """K(0) is owed T times, however many steps are visited: the weights sum to T."""
    losses = [Loss(get("uniform"), get("normal")), Loss(get("normal"), get("normal"))]
    options = dict(losses=losses, n_steps=50, n_evaluations=7)
    native, normal = draw(DENOISER, design("uniform", "normal"), grey_images(3), **options)
    owed = torch.full((3,), 50 * 64 * constant("uniform", "normal"), dtype=torch.float64)
    torch.testing.assert_close(native.diffusion - normal.diffusion, owed, rtol=1e-9, atol=0)


# ---- the limit of many steps -----------------------------------------------------------------------------------------


def limit(denoiser, x0, process="vp-digits", **other):
    options = dict(levels=17, n_evaluations=10, seeds=range(len(x0))) | other
    return continuous_bound(denoiser, VPS[process] if isinstance(process, str) else process, x0, **options)


def test_continuous_terms_are_float64_and_the_prior_is_that_of_every_bound():
    x0 = grey_images(3, dtype=torch.float32)
    terms = limit(small_denoiser().eval(), x0)
    for term in TERMS:
        value = getattr(terms, term)
        assert (value.shape, value.dtype, value.requires_grad) == ((3,), torch.float64, False)
        assert value.isfinite().all()
    assert torch.equal(terms.prior, prior_kl(VPS["vp-digits"], x0))
    assert torch.equal(terms.total, terms.prior + terms.diffusion + terms.reconstruction)


def test_continuous_diffusion_of_a_constant_denoiser_is_the_integral():
    """½ ∫ e^λ ‖x0‖² dλ; a sum with one point anywhere in each part is off by no more than a factor e^width."""
    x0, (high, low), n = grey_images(3), (9.0, -7.0), 1000
    found = limit(lambda x, sigma: torch.zeros_like(x), x0, n_evaluations=n).diffusion
    ratio = found / (0.5 * (math.exp(high) - math.exp(low)) * x0.square().flatten(1).sum(1))
    width = (high - low) / n
    assert (ratio.log().abs() < width).all()
    assert ratio.unique().numel() == 3, "each image has its own draw"


def test_continuous_bound_draws_one_log_snr_in_each_equal_part():
    recorder = Recorder()
    limit(recorder, grey_images(20), n_evaluations=8)
    log_snr = -2 * torch.stack(recorder.sigmas).log()
    assert log_snr.shape == (8, 20)
    part = (log_snr + 7) / 2
    torch.testing.assert_close(part.floor(), torch.arange(8.0, dtype=torch.float64).unsqueeze(1).expand(8, 20))
    assert part.frac().std() > 0.2


def test_continuous_bound_of_an_image_depends_on_its_seed_alone():
    x0 = grey_images(9)
    whole, parts = limit(DENOISER, x0), limit(DENOISER, x0, batch_size=4)
    alone, other = limit(DENOISER, x0[5:6], seeds=[5]), limit(DENOISER, x0[5:6], seeds=[6])
    for term in TERMS:
        torch.testing.assert_close(getattr(whole, term), getattr(parts, term), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(getattr(whole, term)[5:6], getattr(alone, term), rtol=1e-10, atol=1e-12)
    assert alone.diffusion != other.diffusion
    assert alone.prior == other.prior


def test_continuous_bound_knows_of_a_schedule_its_ends():
    x0 = grey_images(3)
    linear = limit(DENOISER, x0)
    cosine = limit(DENOISER, x0, "vp-cosine")
    for term in TERMS:
        torch.testing.assert_close(getattr(linear, term), getattr(cosine, term), rtol=1e-6, atol=1e-8)
    longer = limit(DENOISER, x0, VP(LinearLogSNR(9.0, -8.0)))
    assert (longer.prior < linear.prior).all()


@pytest.mark.parametrize("seeds", [[], [0], [0, 1, 2]])
def test_continuous_bound_refuses_another_number_of_seeds_than_images(seeds):
    with pytest.raises(ValueError, match=rf"found {len(seeds)} seeds for 2 images"):
        limit(DENOISER, grey_images(2), seeds=seeds)


def test_one_grey_level_is_refused():
    denoiser, x0, seeds = None, torch.zeros(1, 1, 2, 2), [0]  # nobody asks the denoiser
    for measure in (
        lambda: bound(denoiser, Design(VP(), Loss("normal", "normal")), x0, levels=1, n_steps=2, seeds=seeds),
        lambda: continuous_bound(denoiser, VP(), x0, levels=1, n_evaluations=1, seeds=seeds),
        lambda: flow_bound(denoiser, VP(), x0, levels=1, seeds=seeds),
        lambda: discretised_log_prob(get("normal"), x0, x0, 1.0, 1),
    ):
        with pytest.raises(ValueError, match="levels must be 2 or more, found 1"):
            measure()


BOUNDS = {
    "T steps": lambda x0, **other: draw(DENOISER, design("normal", "normal"), x0, **other),
    "continuous": lambda x0, **other: limit(DENOISER, x0, **other),
    "flow": lambda x0, **other: flow_bound(
        DENOISER, VPS["vp-digits"], x0, **dict(levels=17, seeds=range(len(x0)), rtol=1e-2, atol=1e-2) | other
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_images_are_numbers_on_the_grid_of_their_grey_levels(name):
    measure, x0 = BOUNDS[name], grey_images(2)
    measure(x0.float())  # rounding is no mistake
    with pytest.raises(
        ValueError, match=r"images are numbers in \[−1, 1\], found torch\.uint8; nonnormal\.data\.scale"
    ):
        measure(((x0 + 1) * 8).to(torch.uint8))
    between, beyond, nothing = x0.clone(), x0.clone(), x0.clone()
    between[0, 0, 0, 0], beyond[1, 0, 1, 1], nothing[0, 0, 0, 1] = 0.06, 1.125, torch.nan
    for images, found in ((between, "0.06"), (beyond, "1.125"), (nothing, "nan")):
        with pytest.raises(
            ValueError, match=f"1 of {x0.numel()} numbers .* none of 17 equally .* the first is {found};"
        ):
            measure(images)
    for levels in (16, 18, 256):
        with pytest.raises(ValueError, match=f"none of {levels} equally spaced grey levels"):
            measure(x0, levels=levels)
    with pytest.raises(ValueError, match=r"levels must be a whole number, found 17\.5"):
        measure(x0, levels=17.5)


def test_a_bound_has_one_step_or_more():
    with pytest.raises(ValueError, match="n_steps must be 1 or more, found 0"):
        draw(DENOISER, design("normal", "normal"), grey_images(1), n_steps=0)


def test_a_reconstruction_takes_the_name_of_a_step():
    x0 = grey_images(1)
    found = discretised_log_prob("laplace", x0, x0 + 0.1, 0.2, 17)
    assert torch.equal(found, discretised_log_prob(get("laplace"), x0, x0 + 0.1, 0.2, 17))
