"""Bases: orthonormal maps with exact inverses, against other libraries' transforms and the data's own moments."""

import math

import numpy as np
import pytest
import scipy.fft
import torch
from problems import normals
from sklearn import decomposition

from nonnormal.bases import (
    DCT,
    KINDS,
    PCA,
    PIXEL,
    Basis,
    BasisStatistics,
    Fourier,
    Haar,
    LeadingPCA,
    Pixel,
    Whitened,
    moments,
    rotation,
)
from nonnormal.bases.fixed import haar
from nonnormal.data import load
from nonnormal.files import read_tensors, write_tensors

DOUBLE = torch.float64
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def images(n, shape, seed=0):
    """Images whose numbers are correlated and not centred."""
    d = math.prod(shape)
    mixing = torch.eye(d, dtype=DOUBLE) + 0.5 * normals(d, d, seed=100) / math.sqrt(d)
    return (normals(n, d, seed=seed) @ mixing + 3).reshape(n, *shape)


@pytest.fixture(scope="module")
def digits():
    return load("digits").train.images.double() / 8 - 1


SHAPES = [(1, 8, 8), (3, 4, 12)]
FIXED = {"pixel": PIXEL, "dct": DCT(), "fourier": Fourier(), "haar-1": Haar(1), "haar-2": Haar(2)}


def bases(shape):
    train = images(400, shape)
    fitted = {"pca": PCA.fit(train), "leading pca": LeadingPCA.fit(train, 9)}
    return {**FIXED, **fitted, **{f"white {name}": Whitened.fit(b, train) for name, b in {**FIXED, **fitted}.items()}}


EVERY = [pytest.param(basis, shape, id=f"{name}-{shape}") for shape in SHAPES for name, basis in bases(shape).items()]
ORTHONORMAL = [case for case in EVERY if not isinstance(case.values[0], Whitened)]


def matrix(basis, shape):
    """U, (D, D): what the basis does to each unit image."""
    d = math.prod(shape)
    return basis.forward(torch.eye(d, dtype=DOUBLE).reshape(d, *shape)).reshape(d, d).T


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (DOUBLE, 1e-12)])
@pytest.mark.parametrize(("basis", "shape"), EVERY)
def test_inverse_undoes_forward_and_forward_the_inverse(basis, shape, dtype, tolerance, device):
    x = normals(5, *shape, dtype=dtype).to(device)
    for there, back in ((basis.forward, basis.inverse), (basis.inverse, basis.forward)):
        middle = there(x)
        again = back(middle)
        assert middle.shape == again.shape == x.shape
        assert middle.dtype == again.dtype == dtype
        assert middle.device == again.device == x.device
        torch.testing.assert_close(again, x, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("basis", "shape"), ORTHONORMAL)
def test_maps_are_orthonormal(basis, shape):
    u = matrix(basis, shape)
    torch.testing.assert_close(u @ u.T, torch.eye(len(u), dtype=DOUBLE), rtol=0, atol=1e-12)
    assert basis.log_det == 0


@pytest.mark.parametrize(("basis", "shape"), EVERY)
def test_log_det_is_that_of_the_matrix(basis, shape):
    assert basis.log_det == pytest.approx(torch.linalg.slogdet(matrix(basis, shape)).logabsdet.item(), abs=1e-9)


@pytest.mark.parametrize(("basis", "shape"), EVERY)
def test_maps_are_linear_and_differentiable(basis, shape):
    """The gradient of ½ c·w is Uᵀ w: the transposed matrix, to which autograd knows no shortcut."""
    x, w = normals(2, *shape).requires_grad_(), normals(2, *shape, seed=1)
    [gradient] = torch.autograd.grad((basis.forward(x) * w).sum(), x)
    expected = (w.flatten(1) @ matrix(basis, shape)).reshape(x.shape)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-11)
    c = normals(2, *shape).requires_grad_()
    [gradient] = torch.autograd.grad((basis.inverse(c) * w).sum(), c)
    expected = (w.flatten(1) @ matrix(basis, shape).inverse()).reshape(c.shape)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("basis", "shape"), EVERY)
def test_maps_leave_what_they_are_given_alone(basis, shape):
    x = normals(2, *shape)
    kept = x.clone()
    basis.inverse(basis.forward(x))
    assert torch.equal(x, kept)


def test_a_first_use_without_gradients_does_not_spoil_a_later_one_with_them():
    basis, shape = DCT(), (1, 5, 7)  # a shape that no other test asks for, so nothing is kept of it
    with torch.inference_mode():
        basis.forward(normals(1, *shape))
    x = normals(1, *shape).requires_grad_()
    basis.forward(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


def test_pixel_is_the_identity():
    x = normals(2, 1, 3, 3)
    assert PIXEL.forward(x) is x
    assert PIXEL.inverse(x) is x
    assert Pixel() == PIXEL


# ---- fixed transforms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 6), (1, 1, 7)])
def test_dct_is_scipys(shape):
    x = normals(3, *shape)
    expected = scipy.fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho")
    np.testing.assert_allclose(DCT().forward(x).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 64, 513])
def test_fourier_rows_are_parts_of_the_complex_transform(n):
    x = normals(n)
    c, spectrum = (Fourier.matrix(n) @ x).numpy(), scipy.fft.rfft(x.numpy(), norm="ortho")
    expected = np.zeros(n)
    expected[0] = spectrum[0].real
    expected[1::2] = math.sqrt(2) * spectrum[1:].real
    expected[2::2] = -math.sqrt(2) * spectrum[1 : (n + 1) // 2].imag
    if n % 2 == 0:
        expected[-1] = spectrum[-1].real
    np.testing.assert_allclose(c, expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 6)])
def test_fourier_carries_the_power_of_each_radial_frequency(shape):
    x = normals(4, *shape)
    fine = torch.hypot(torch.fft.fftfreq(shape[1], dtype=DOUBLE)[:, None], torch.fft.fftfreq(shape[2], dtype=DOUBLE))
    power = torch.fft.fft2(x, norm="ortho").abs().square()
    frequency, found = Fourier().frequency(shape)[0], Fourier().forward(x).square()
    torch.testing.assert_close(frequency.flatten().sort().values, fine.flatten().sort().values, rtol=0, atol=1e-14)
    for radius in fine.unique():
        shell = [values[..., (at - radius).abs() < 1e-9].sum(-1) for values, at in ((power, fine), (found, frequency))]
        torch.testing.assert_close(*shell, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("basis", [DCT(), Fourier()], ids=["dct", "fourier"])
def test_frequency_is_the_roughness_of_the_basis_images(basis):
    """For even extensions (DCT) and periodic ones (Fourier) the basis images are eigenvectors of the grid's Laplacian.

    Its eigenvalue is Σ_axes (2 − 2 cos 2πf): from it each f is measured without the label.
    """
    shape, d = (1, 6, 8), 48
    pictures = basis.inverse(torch.eye(d, dtype=DOUBLE).reshape(d, *shape))
    for axis, side in ((-2, 6), (-1, 8)):
        n = shape[axis]
        steps = (pictures - pictures.roll(1, axis)).square()
        if isinstance(basis, DCT):
            steps = steps.narrow(axis, 1, n - 1)  # reflection: no step across the border
        roughness = steps.flatten(1).sum(1)
        along = torch.acos((1 - roughness / 2).clamp(-1, 1)) / (2 * math.pi)
        expected = basis.frequencies(side)
        expected = (expected[:, None] if axis == -2 else expected).expand(6, 8).flatten()
        torch.testing.assert_close(along, expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(
        basis.frequency(shape)[0], torch.hypot(basis.frequencies(6)[:, None], basis.frequencies(8)), rtol=0, atol=1e-15
    )


def test_haar_of_one_block_by_hand():
    c = Haar(1).forward(torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]]))
    assert c.tolist() == [[[[pytest.approx(5.5), pytest.approx(-1.5)], [pytest.approx(-2.5), pytest.approx(0.5)]]]]


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_haar_coefficients_are_products_with_wavelets_on_dyadic_squares(levels):
    """Each coefficient by the definition: (mean of one half − mean of the other) on its square, normalised."""
    x, side = normals(1, 1, 8, 8)[0, 0], 8
    found = Haar(levels).forward(x[None, None])[0, 0]
    for level in range(1, levels + 1):
        width, count = 2**level, side // 2**level
        squares = x.reshape(count, width, count, width).permute(0, 2, 1, 3)
        sign = torch.ones(width, dtype=DOUBLE)
        sign[width // 2 :] = -1
        for h, w in ((0, 1), (1, 0), (1, 1)) + (((0, 0),) if level == levels else ()):
            wavelet = (sign**h)[:, None] * (sign**w) / width
            block = found[h * count : (h + 1) * count, w * count : (w + 1) * count]
            torch.testing.assert_close(block, (squares * wavelet).sum((-2, -1)), rtol=0, atol=1e-13)


def test_haar_octaves_name_the_width_of_the_wavelets():
    frequency = Haar(3).frequency((2, 8, 8))
    pictures = Haar(3).inverse(torch.eye(64, dtype=DOUBLE).reshape(64, 1, 8, 8))
    support = (pictures.abs() > 1e-12).flatten(1).sum(1).reshape(8, 8)  # (2^level)², the finest level has 4 pixels
    level = support.double().log2() / 2
    averages = torch.zeros(8, 8, dtype=torch.bool)
    averages[0, 0] = True
    assert torch.equal(frequency[0], torch.where(averages, 0, 4 - level))
    assert torch.equal(frequency[0], frequency[1])
    assert frequency.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 8, 6)])
def test_haar_refuses_sides_that_do_not_split(shape):
    x = normals(1, *shape)
    for call in (Haar(2).forward, Haar(2).inverse, lambda _: Haar(2).frequency(shape)):
        with pytest.raises(ValueError, match=r"divisible by 4, found \d×\d"):
            call(x)
    Haar(1).forward(x)


def test_haar_needs_a_level():
    with pytest.raises(ValueError, match="levels ≥ 1, found 0"):
        Haar(0)


def test_haar_matrix_is_orthonormal():
    torch.testing.assert_close(haar(6) @ haar(6).T, torch.eye(6, dtype=DOUBLE), rtol=0, atol=1e-15)


@pytest.mark.parametrize("basis", [PIXEL, PCA.fit(images(5, (1, 2, 2)))], ids=["pixel", "pca"])
def test_bases_without_scales_say_so(basis):
    with pytest.raises(ValueError, match=r"components of (Pixel|PCA) have no frequency"):
        basis.frequency((1, 2, 2))


@pytest.mark.parametrize("basis", [DCT(), Fourier(), Haar(3)], ids=["dct", "fourier", "haar"])
def test_a_constant_image_is_one_component_of_frequency_zero(basis):
    shape = (2, 8, 8)
    c = basis.forward(torch.ones(1, *shape, dtype=DOUBLE))[0]
    expected = torch.where(basis.frequency(shape) == 0, 8.0, 0.0).double()
    torch.testing.assert_close(c, expected, rtol=0, atol=1e-12)
    assert basis.frequency(shape).dtype == DOUBLE


def test_fixed_bases_are_values():
    assert DCT() == DCT() != Fourier()
    assert Haar(2) == Haar(2) != Haar(3)
    assert hash(Haar(2)) == hash(Haar(2))


# ---- principal components --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_pca_makes_the_training_images_uncorrelated(shape):
    train = images(500, shape)
    basis = PCA.fit(train)
    covariance = torch.cov(basis.forward(train).flatten(1).T, correction=0)
    scale = basis.variance.max()
    torch.testing.assert_close(covariance / scale, torch.diag(basis.variance.flatten()) / scale, rtol=0, atol=1e-12)
    assert (basis.variance.flatten().diff() <= 0).all()


def test_pca_is_scikit_learns_up_to_sign():
    train = images(300, (1, 4, 4))
    basis, reference = PCA.fit(train), decomposition.PCA().fit(train.flatten(1).numpy())
    np.testing.assert_allclose(basis.variance.flatten(), reference.explained_variance_ * 299 / 300, rtol=1e-10)
    overlap = np.abs(np.sum(basis.directions.flatten(1).numpy() * reference.components_, axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-9)


def test_pca_has_a_sign_of_its_own():
    train = images(60, (1, 4, 4))
    basis = PCA.fit(train)
    largest = basis.directions.flatten(1)
    assert (largest.gather(1, largest.abs().argmax(1, keepdim=True)) > 0).all()
    for other in (-train, train.flip(0)):  # the same covariance, by other roundings
        torch.testing.assert_close(PCA.fit(other).directions, basis.directions, rtol=0, atol=1e-9)


def test_pca_of_fewer_images_than_dimensions_is_complete():
    basis = PCA.fit(images(5, (1, 4, 4)))
    assert (basis.variance.flatten()[:4] > 1e-3).all()
    assert (basis.variance.flatten()[4:] < 1e-10).all()
    u = matrix(basis, (1, 4, 4))
    torch.testing.assert_close(u @ u.T, torch.eye(16, dtype=DOUBLE), rtol=0, atol=1e-13)


def test_pca_gathers_variance_first(digits):
    """No basis has more variance in its first k coefficients: here against cosines in the order of frequency."""
    shares = []
    for c in (PCA.fit(digits).forward(digits), DCT().forward(digits)):
        share = c.flatten(1).var(0).sort(descending=True).values.cumsum(0)
        shares.append(share / share[-1])
    assert (shares[0] >= shares[1] - 1e-12).all()
    assert shares[0][9] > shares[1][9] + 0.05


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (torch.zeros(1, 1, 2, 2), "two or more"),
        (torch.zeros(0, 1, 2, 2), "two or more"),
        (torch.zeros(5, 4), "two or more"),
        (torch.zeros(2, 1, 64, 65), "at most 4096"),
        (torch.full((3, 1, 2, 2), math.nan), "finite"),
    ],
)
def test_pca_refuses_what_it_cannot_fit(found, message):
    with pytest.raises(ValueError, match=message):
        PCA.fit(found)


@pytest.mark.parametrize("k", [1, 9, 64])
def test_leading_pca_has_the_directions_and_variances_of_the_whole_one(k):
    train = images(400, (1, 8, 8))
    found, whole = LeadingPCA.fit(train, k), PCA.fit(train)
    torch.testing.assert_close(found.variance, whole.variance.flatten()[:k], rtol=1e-4, atol=0)
    match = (matrix(found, (1, 8, 8)) @ matrix(whole, (1, 8, 8)).T)[:k, :k].abs()
    torch.testing.assert_close(match, torch.eye(k, dtype=DOUBLE), rtol=0, atol=0.02)


def test_leading_pca_is_the_same_every_time_and_leaves_the_generator_alone():
    train = images(50, (1, 8, 8))
    torch.manual_seed(1)
    first, after = LeadingPCA.fit(train, 9), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    assert first.matches(LeadingPCA.fit(train, 9))


@pytest.mark.parametrize(("n", "k"), [(5, 512), (2, 512), (5, 3)])
def test_leading_pca_of_fewer_images_than_directions_is_complete(n, k):
    """All variance is in the n − 1 directions that there are, and the map is orthonormal all the same."""
    train = images(n, (1, 4, 4))
    basis = LeadingPCA.fit(train, k)
    assert basis.variance.shape == (min(k, n - 1),)
    u = matrix(basis, (1, 4, 4))
    torch.testing.assert_close(u @ u.T, torch.eye(16, dtype=DOUBLE), rtol=0, atol=1e-13)
    if k >= n:
        assert basis.forward(train).flatten(1).var(0)[n - 1 :].max() < 1e-12


def test_leading_pca_where_the_images_lie_along_the_axes():
    """Reflections that have nothing to do: directions that are the first axes already."""
    train = torch.zeros(6, 1, 2, 4, dtype=DOUBLE)
    for i, size in enumerate((5, 3, 2)):
        train[2 * i, 0].view(-1)[i], train[2 * i + 1, 0].view(-1)[i] = size, -size
    u = matrix(LeadingPCA.fit(train, 3), (1, 2, 4))
    torch.testing.assert_close(u.abs(), torch.eye(8, dtype=DOUBLE), rtol=0, atol=1e-12)


def test_components_of_large_images_are_those_of_the_leading_pca():
    train = normals(12, 1, 64, 65)
    found = BasisStatistics.fit("pca", train, floor=0.01)
    assert isinstance(found.basis, LeadingPCA)
    assert found.std.flatten()[:11].min() > 10 * found.std.flatten()[11:].max()
    again = BasisStatistics.from_tensors("pca", found.tensors())
    assert again.basis.matches(found.basis)
    assert torch.equal(again.std, found.std)


@pytest.mark.parametrize("found", [torch.zeros(1, 1, 2, 2), torch.zeros(5, 4), torch.full((3, 1, 2, 2), math.nan)])
def test_leading_pca_refuses_what_it_cannot_fit(found):
    with pytest.raises(ValueError, match=r"two or more|finite"):
        LeadingPCA.fit(found)


def test_pca_refuses_images_of_another_shape():
    basis = PCA.fit(images(5, (1, 2, 3)))
    for call in (basis.forward, basis.inverse):
        with pytest.raises(ValueError, match=r"fitted to images \(1, 2, 3\), found \(1, 3, 2\)"):
            call(torch.zeros(4, 1, 3, 2))


def test_fitted_bases_survive_being_stored(tmp_path, digits):
    basis = Whitened.fit(PCA.fit(digits), digits, floor=0.01)
    write_tensors(tmp_path / "basis.safetensors", basis.tensors())
    tensors, _ = read_tensors(tmp_path / "basis.safetensors")
    again = Whitened(PCA.from_tensors(tensors), tensors["std"])
    assert torch.equal(again.forward(digits), basis.forward(digits))
    assert torch.equal(again.inverse(digits), basis.inverse(digits))


@pytest.mark.parametrize("basis", FIXED.values(), ids=FIXED.keys())
def test_fixed_bases_store_nothing(basis):
    assert isinstance(basis, Basis)
    assert basis.tensors() == {}


# ---- a part at a time ------------------------------------------------------------------------------------------------


def levels_of(found):
    return found.double() / 8 - 1


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_components_of_grey_levels_in_parts_are_those_of_all_numbers_at_once(monkeypatch, kind, whiten):
    """But for last bits; the parts are uneven, and the images far from centred."""
    grey = torch.randint(17, (101, 1, 8, 8), generator=torch.Generator().manual_seed(0)).clamp(min=12).to(torch.uint8)
    whole = BasisStatistics.fit(kind, levels_of(grey), floor=0.01, whiten=whiten)
    monkeypatch.setattr(moments, "PART", 7 * 64 + 1)
    found = BasisStatistics.fit(kind, grey, floor=0.01, whiten=whiten, scale=levels_of)
    for name, expected in whole.tensors().items():
        torch.testing.assert_close(found.tensors()[name], expected, rtol=1e-9, atol=1e-9, msg=name)
    coefficients = found.basis.forward(levels_of(grey))
    torch.testing.assert_close(found.mean, coefficients.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.std, coefficients.std(0, correction=0), rtol=0, atol=1e-12)


def test_leading_pca_of_grey_levels_in_parts_is_that_of_all_numbers_at_once(monkeypatch):
    grey = torch.randint(17, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    whole = LeadingPCA.fit(levels_of(grey), 5)
    monkeypatch.setattr(moments, "PART", 7 * 64)
    found = LeadingPCA.fit(grey, 5, scale=levels_of)
    for name, expected in whole.tensors().items():
        torch.testing.assert_close(found.tensors()[name], expected, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("kind", ["pixel", "pca", "leading", "haar"])
def test_a_fit_makes_numbers_of_few_images_at_once(monkeypatch, kind):
    """Of all at once a set of a million images would take 48 GB."""
    seen = []

    def scale(found):
        seen.append(len(found))
        return levels_of(found)

    monkeypatch.setattr(moments, "PART", 10 * 64)
    monkeypatch.setattr("nonnormal.bases.statistics.LARGEST_PCA", 0 if kind == "leading" else 64)
    grey = torch.randint(17, (45, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found = BasisStatistics.fit(kind.replace("leading", "pca"), grey, floor=0.01, whiten=True, scale=scale)
    assert isinstance(found.basis.rotation, LeadingPCA) == (kind == "leading")
    assert set(seen) == {10, 5}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_is_the_basis_of_the_components_without_a_pass_for_statistics(kind, digits):
    calls = []
    found = rotation(kind, digits, scale=lambda part: calls.append(part) or part)
    assert found.matches(BasisStatistics.fit(kind, digits, floor=0.1, whiten=True).basis.rotation)
    assert bool(calls) == (kind == "pca")
    with pytest.raises(ValueError, match="unknown basis 'sine'"):
        rotation("sine", digits)


# ---- whitening -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["pca", *FIXED])
def test_whitened_training_images_have_unit_variance(kind, shape):
    train = images(200, shape)
    basis = PCA.fit(train) if kind == "pca" else FIXED[kind]
    chi = Whitened.fit(basis, train.float()).forward(train).flatten(1)
    torch.testing.assert_close(chi.std(0, correction=0), torch.ones(chi.shape[1], dtype=DOUBLE), rtol=0, atol=1e-5)
    if kind == "pca":
        torch.testing.assert_close(
            torch.cov(chi.T, correction=0), torch.eye(chi.shape[1], dtype=DOUBLE), atol=1e-5, rtol=0
        )


def test_white_noise_on_whitened_coefficients_has_the_datas_covariance():
    """The prior on pixels: Cov[U⁻¹ S ε] = Uᵀ S² U, for PCA the data's own covariance."""
    train = images(200, (1, 3, 3))
    basis = Whitened.fit(PCA.fit(train), train)
    back = basis.inverse(torch.eye(9, dtype=DOUBLE).reshape(9, 1, 3, 3)).flatten(1)  # rows: U⁻¹ S e_i
    expected = torch.cov(train.flatten(1).T, correction=0)
    torch.testing.assert_close(back.T @ back, expected, rtol=1e-9, atol=1e-9)


def test_densities_change_by_log_det():
    """Normal data: the density of x by its covariance, and by the standard normal density of chi."""
    train = images(200, (1, 3, 3))
    basis, x = Whitened.fit(PCA.fit(train), train), images(4, (1, 3, 3), seed=7)
    covariance = torch.cov(train.flatten(1).T, correction=0)
    law = torch.distributions.MultivariateNormal(torch.zeros(9, dtype=DOUBLE), covariance)
    white = torch.distributions.Normal(0, 1).log_prob(basis.forward(x)).flatten(1).sum(1) + basis.log_det
    torch.testing.assert_close(white, law.log_prob(x.flatten(1)), rtol=1e-8, atol=0)


@pytest.mark.parametrize("kind", ["pixel", "pca"])
def test_components_that_do_not_vary_are_refused_unless_a_floor_is_given(kind, digits):
    """Corners of the digits are always blank."""
    basis = PIXEL if kind == "pixel" else PCA.fit(digits)
    blank = int((digits.flatten(1).std(0) == 0).sum())
    assert blank > 0
    with pytest.raises(ValueError, match=rf"{blank} of 64 components of (Pixel|PCA) do not vary .*√12"):
        Whitened.fit(basis, digits)
    floor = 2 / 16 / math.sqrt(12)
    white = Whitened.fit(basis, digits, floor)
    std = basis.forward(digits).std(0, correction=0)
    torch.testing.assert_close(white.std, std.clamp(min=floor))
    torch.testing.assert_close(white.inverse(white.forward(digits)), digits, rtol=0, atol=1e-12)


def test_constant_images_have_no_scale_at_all():
    with pytest.raises(ValueError, match="4 of 4 components"):
        Whitened.fit(PIXEL, torch.ones(3, 1, 2, 2))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_deviations_must_be_positive(value):
    with pytest.raises(ValueError, match="positive deviations"):
        Whitened(PIXEL, torch.tensor([[[1.0, value]]], dtype=DOUBLE))


def test_whitening_keeps_the_order_of_its_basis():
    white = Whitened(DCT(), torch.full((1, 4, 4), 2.0, dtype=DOUBLE))
    assert torch.equal(white.frequency((1, 4, 4)), DCT().frequency((1, 4, 4)))
