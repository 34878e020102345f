"""Problems with known answers, shared by the tests: steps, laws with exact denoisers, processes, bases, networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.linalg
import torch
from scipy import stats
from torch import Tensor

from nonnormal import data
from nonnormal.bases import Basis
from nonnormal.denoisers import GaussianMixtureDenoiser, NetworkDenoiser
from nonnormal.metrics.features import train_classifier
from nonnormal.metrics.reference import Reference, read_reference, write_classifier_reference
from nonnormal.processes import VP, LinearProcess, as_matrix, ordered
from nonnormal.processes.schedules import Cosine, LinearLogSNR
from nonnormal.steps import Symmetric, get
from nonnormal.study.report.families import listed_steps
from nonnormal.training.checkpoints import build_denoiser

# ---- steps -----------------------------------------------------------------------------------------------------------

# One step of every family, and those with a parameter at others: more moments, a cusp, a density between two others.
STEPS = (*map(str, listed_steps()), "student_t(df=9)", "generalized_normal(shape=1.5)", "generalized_normal(shape=0.7)")
DENSE = tuple(name for name in STEPS if get(name).has_density)
FULL_SUPPORT = tuple(name for name in DENSE if get(name).support == (-math.inf, math.inf))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normals(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


class SymmetricMixture(stats.rv_continuous):
    """z = ±m + √V u in scipy's words, for V of two values such that the excess kurtosis is k."""

    def __init__(self, kurtosis, separation):
        mean = 1 - separation**2
        c = (kurtosis + 2 * separation**4) / (3 * mean**2)
        root = math.sqrt(c / (1 + 2 * c))
        spreads = [((1 + 2 * c) / (2 + 2 * c), mean * (1 - root)), (1 / (2 + 2 * c), mean * (1 + (1 + 2 * c) * root))]
        self.parts = [(w / 2, stats.norm(m, math.sqrt(v))) for w, v in spreads for m in (-separation, separation)]
        super().__init__(name="symmetric_mixture")

    def _logpdf(self, x):
        return np.logaddexp.reduce([math.log(w) + law.logpdf(x) for w, law in self.parts])

    def _pdf(self, x):
        return np.exp(self._logpdf(x))

    def _cdf(self, x):
        return sum(w * law.cdf(x) for w, law in self.parts)

    def _sf(self, x):
        return sum(w * law.sf(x) for w, law in self.parts)

    def _isf(self, q):
        return -self._ppf(q)


_SQRT2, _SQRT3, _SQRT6 = math.sqrt(2), math.sqrt(3), math.sqrt(6)
_SCIPY = {
    "normal": lambda: stats.norm(),
    "laplace": lambda: stats.laplace(scale=1 / _SQRT2),
    "uniform": lambda: stats.uniform(-_SQRT3, 2 * _SQRT3),
    "logistic": lambda: stats.logistic(scale=_SQRT3 / math.pi),
    "student_t": lambda df: stats.t(df, scale=math.sqrt((df - 2) / df)),
    "generalized_normal": lambda shape: stats.gennorm(shape, scale=1 / stats.gennorm(shape).std()),
    "triangular": lambda: stats.triang(0.5, -_SQRT6, 2 * _SQRT6),
    "arcsine": lambda: stats.arcsine(-_SQRT2, 2 * _SQRT2),
    "gumbel": lambda: stats.gumbel_r(-np.euler_gamma * _SQRT6 / math.pi, _SQRT6 / math.pi),
    "exponential": lambda: stats.expon(-1),
    "normal_mixture": SymmetricMixture,
}


def scipy_law(name: str):
    """The same law by scipy: an implementation that shares nothing with ours but the parameters' names."""
    step = get(name)
    return _SCIPY[step.name](**vars(step))


@dataclass(frozen=True)
class HyperbolicSecant(Symmetric):
    """q(z) = sech(πz/2)/2: a step that the package does not know."""

    name = "hyperbolic_secant"
    excess_kurtosis = 2.0
    fisher_information = math.pi**2 / 8
    support = (-math.inf, math.inf)

    def sample(self, shape, *, generator=None, dtype=torch.float32, device="cpu"):
        # The logarithm of the ratio of two normals' sizes, times 2/π.
        pair = torch.randn((2, *shape), generator=generator, dtype=dtype, device=device).abs()
        return (pair[0] / pair[1]).log() * (2 / math.pi)

    def log_prob(self, z):
        u = math.pi / 2 * z.abs()
        return -u - torch.log1p(torch.exp(-2 * u))

    def cdf(self, z):
        return 2 / math.pi * torch.atan(torch.exp(math.pi / 2 * z))


class MarkupSecant(HyperbolicSecant):
    """The same law under a name that Typst and matplotlib read as markup."""

    name = "$\\frac{//"


class WideSecant(HyperbolicSecant):
    """No step: the same law of variance 2."""

    name = "wide_secant"

    def log_prob(self, z):
        return super().log_prob(z / _SQRT2) - math.log(_SQRT2)


@dataclass(frozen=True)
class HeavySecant(HyperbolicSecant):
    """No step unless mass = 1: the same law times a constant."""

    mass: float

    name = "heavy_secant"

    def log_prob(self, z):
        return super().log_prob(z) + math.log(self.mass)


class LateSecant(HyperbolicSecant):
    """No step: the same law of mean 1."""

    name = "late_secant"

    def log_prob(self, z):
        return super().log_prob(z - 1)


class NotAStep:
    """Has the name of a step and nothing else of it."""

    name = "not_a_step"


# ---- laws of the data ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ_k w_k N(m_k, s_k² I) in D dimensions: means (K, D), stds (K,), weights (K,); float64."""

    means: Tensor
    stds: Tensor
    weights: Tensor

    @property
    def denoiser(self) -> GaussianMixtureDenoiser:
        return GaussianMixtureDenoiser(self.means, self.stds, self.weights)

    @property
    def entropy(self) -> float:
        """Of the weights, nats: the entropy of the law where all stds are 0."""
        return -(self.weights * self.weights.log()).sum().item()

    def noisy(self, sigma: float) -> torch.distributions.Distribution:
        """Law of x0 + sigma·eps on (..., D)."""
        spread = (self.stds.square() + sigma**2).sqrt().unsqueeze(-1).expand_as(self.means)
        components = torch.distributions.Independent(torch.distributions.Normal(self.means, spread), 1)
        return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(self.weights), components)

    def cdf(self, x: np.ndarray, sigma: float = 0.0) -> np.ndarray:
        """P(x0 + sigma·eps ≤ x) in one dimension."""
        spread = (self.stds.square() + sigma**2).sqrt()
        z = (torch.as_tensor(x)[..., None] - self.means[:, 0]) / spread
        return (self.weights * torch.special.ndtr(z)).sum(-1).numpy()


def mixture(means, stds, weights) -> Mixture:
    return Mixture(*(torch.tensor(values, dtype=torch.float64) for values in (means, stds, weights)))


MIXTURE_1D = mixture([[-0.7], [0.1], [0.8]], [0.05, 0.2, 0.1], [0.3, 0.5, 0.2])
MIXTURE_2D = mixture([[-0.5, 0.5], [0.6, 0.0]], [0.2, 0.1], [0.4, 0.6])
NORMAL_STD = 0.6
NORMAL_1D = mixture([[0.0]], [NORMAL_STD], [1.0])
# Laws on grey levels, as point masses: two levels, and 17 levels as the digits have them.
TWO_LEVELS = mixture([[-1.0], [1.0]], [0.0, 0.0], [0.25, 0.75])
SEVENTEEN_LEVELS = mixture([[k / 8 - 1] for k in range(17)], [0.0] * 17, [(k + 1) / 153 for k in range(17)])


@dataclass(frozen=True, eq=False)
class PerPixel:
    """Exact denoiser of images whose pixels are independent draws of a one-dimensional mixture."""

    pixel: Mixture

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).repeat_interleave(x[0].numel())
        return self.pixel.denoiser(x.reshape(-1, 1), sigma).reshape(x.shape)


def mmse(law: Mixture, sigma: float) -> float:
    """E (x0 − E[x0 | x0 + sigma·eps])² in one dimension, by the trapezium rule (exponentially accurate here)."""
    width = float(law.stds.max()) + sigma
    x = np.linspace(float(law.means.min()) - 12 * width, float(law.means.max()) + 12 * width, 20001)
    spread = law.stds.numpy() ** 2 + sigma**2
    joint = law.weights.numpy() * np.exp(-((x[:, None] - law.means[:, 0].numpy()) ** 2) / (2 * spread))
    joint = joint / np.sqrt(2 * math.pi * spread)
    estimate = law.denoiser(torch.tensor(x)[:, None], sigma)[:, 0].numpy()
    second = (law.weights * (law.means[:, 0].square() + law.stds.square())).sum().item()
    return second - float(np.trapezoid(joint.sum(1) * estimate**2, x))


# ---- processes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhaseSpace(LinearProcess):
    """dz = F z dt + G dw for z = (position, momentum) with constant matrices, by expm and Van Loan's block matrix.

    An underdamped oscillator with noise on both variables; the momentum starts as N(0, 0.04).
    """

    n = 2
    drift = np.array([[-0.4, 6.0], [-1.5, -5.0]])
    noise = np.array([[0.5, 0.0], [0.3, 1.2]])

    def initial(self):
        return torch.eye(2, dtype=torch.float64), torch.diag(torch.tensor([0.0, 0.04], dtype=torch.float64))

    def transition(self, s, t):
        s, t = ordered(s, t)
        pairs = [self._van_loan(span) for span in (t - s).flatten().tolist()]
        phi, sigma = (torch.tensor(np.stack(part)).reshape(*t.shape, 2, 2) for part in zip(*pairs, strict=True))
        return phi, sigma

    def sde(self, t):
        shape = (*torch.as_tensor(t).shape, 2, 2)
        return torch.tensor(self.drift).expand(shape), torch.tensor(self.noise @ self.noise.T).expand(shape)

    def prior_covariance(self):
        return torch.tensor(scipy.linalg.solve_continuous_lyapunov(self.drift, -self.noise @ self.noise.T))

    def _van_loan(self, span):
        block = np.block([[-self.drift, self.noise @ self.noise.T], [np.zeros((2, 2)), self.drift.T]])
        exponential = scipy.linalg.expm(block * span)
        phi = exponential[2:, 2:].T
        return phi, phi @ exponential[:2, 2:]


@dataclass(frozen=True)
class ComponentWiseVP(LinearProcess):
    """VP in which each of the components (C, H, W) = (1, 2, 3) has a log-SNR of its own, shifted by k/2."""

    schedule = LinearLogSNR(6.0, -6.0)
    components = (1, 2, 3)

    def _log_snr(self, t):
        shift = torch.arange(6, dtype=torch.float64).reshape(self.components) / 2
        return self.schedule.log_snr(t)[..., None, None, None] + shift

    def initial(self):
        log_snr = self._log_snr(torch.zeros(()))
        return as_matrix(torch.sigmoid(log_snr).sqrt()), as_matrix(torch.sigmoid(-log_snr))

    def transition(self, s, t):
        log_snr_s, log_snr_t = (self._log_snr(time) for time in ordered(s, t))
        phi = (torch.sigmoid(log_snr_t) / torch.sigmoid(log_snr_s)).sqrt()
        return as_matrix(phi), as_matrix(torch.sigmoid(-log_snr_t) - phi.square() * torch.sigmoid(-log_snr_s))

    def sde(self, t):
        variance = torch.sigmoid(-self._log_snr(torch.as_tensor(t, dtype=torch.float64)))
        return as_matrix(-6 * variance), as_matrix(12 * variance)

    def prior_covariance(self):
        return torch.eye(1, dtype=torch.float64)


@dataclass(frozen=True)
class Levels(LinearProcess):
    """VE coordinates in which log sigma rises linearly from sigma_min to sigma_max, with any prior."""

    sigma_min: float
    sigma_max: float
    prior_std: float

    def sigma(self, t):
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** torch.as_tensor(t, dtype=torch.float64)

    def initial(self):
        return torch.eye(1, dtype=torch.float64), as_matrix(self.sigma(0.0).square())

    def transition(self, s, t):
        s, t = ordered(s, t)
        return as_matrix(torch.ones_like(t)), as_matrix(self.sigma(t).square() - self.sigma(s).square())

    def sde(self, t):
        noise = 2 * math.log(self.sigma_max / self.sigma_min) * self.sigma(t).square()
        return as_matrix(torch.zeros_like(noise)), as_matrix(noise)

    def prior_covariance(self):
        return torch.tensor([[self.prior_std**2]], dtype=torch.float64)


VPS = {
    "vp-vdm": VP(),
    "vp-digits": VP(LinearLogSNR(9.0, -7.0)),
    "vp-cosine": VP(Cosine(9.0, -7.0)),
}
PROCESSES = {**VPS, "phase-space": PhaseSpace(), "component-wise": ComponentWiseVP()}


# ---- bases and networks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rotation(Basis):
    """An orthonormal basis that mixes the coordinates of an image of `size` numbers."""

    size: int

    def _matrix(self, x: Tensor) -> Tensor:
        normal = torch.randn(self.size, self.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return torch.linalg.qr(normal)[0].to(x)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self._matrix(x)).reshape(x.shape)

    def inverse(self, c: Tensor) -> Tensor:
        return (c.flatten(1) @ self._matrix(c).T).reshape(c.shape)


def small_recipe(*, dropout: float = 0.0, **denoiser) -> dict:
    """Configuration of a U-Net denoiser for 1×8×8 images, small enough for a test."""
    channels = 1 + 2 * len(denoiser.get("fourier", ()))
    network = dict(in_channels=channels, out_channels=1, image_size=8, widths=[8, 16], groups=4, dropout=dropout)
    return {"network": network, "denoiser": denoiser}


def small_denoiser(seed: int = 0, **settings) -> NetworkDenoiser:
    """A U-Net denoiser for 1×8×8 images with random weights."""
    return build_denoiser(small_recipe(**settings), seed)


def random_inception(path: Path) -> Path:
    """A file of random weights for Inception in torch-fidelity's format, under which images differ in all features."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Extractor

    torch.save({}, path)
    with mock.patch.object(Extractor, "load_state_dict"):  # it has no other way to be built than from weights
        network = Extractor("inception-v3-compat", ["2048"], str(path))
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)
    torch.save(network.state_dict(), path)
    return path


# ---- digits and their features ---------------------------------------------------------------------------------------


def few_digits() -> data.ImageData:
    """60 digits for training and 20 held out."""
    whole = data.load("digits")
    parts = ((whole.train, 60), (whole.test, 20))
    return data.ImageData(*(data.Split(split.images[:n], split.labels[:n]) for split, n in parts), 17)


def rough_reference(digits: data.ImageData, folder: Path) -> Reference:
    """Reference of the digits with a classifier of two epochs, whose files lie in the folder."""
    stored, path = folder / "digits.safetensors", folder / "features.safetensors"
    data.write(stored, digits, "digits")
    network = train_classifier(digits, epochs=2, batch_size=20, learning_rate=3e-3, seed=0)
    images = digits.train.images
    write_classifier_reference(path, network, images, stored, data_name="digits", held_out_accuracy=0.25)
    return read_reference(path, stored)
