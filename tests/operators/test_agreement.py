"""Agreement with independent implementations: Pillow, SciPy, deepinv, and MATLAB's imresize by its definition."""

from __future__ import annotations

import io
import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
from deepinv import physics
from PIL import Image
from psld import operators as ops
from psld.operators.hadamard import sylvester, walsh_hadamard
from psld.operators.kernels import motion_kernel

torch.set_num_threads(1)
SCIPY_MODES = {"reflect": "mirror", "circular": "wrap", "zero": "constant", "replicate": "nearest"}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def apply(operator: ops.Operator, picture: np.ndarray) -> np.ndarray:
    """The operator on one (H, W) picture, in double precision."""
    return operator(torch.from_numpy(picture)[None, None])[0, 0].numpy()


def imresize_weights(n: int, scale: float) -> np.ndarray:
    """MATLAB's imresize of one axis, pixel by pixel: the stretched cubic kernel, half-sample symmetric border."""

    def cubic(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    outputs = math.ceil(n * scale)
    matrix = np.zeros((outputs, n))
    for i in range(outputs):
        u = (i + 1 - (outputs - n * scale) / 2) / scale + 0.5 * (1 - 1 / scale)  # one-based, as in MATLAB
        for j in range(math.floor(u - 2 / scale) - 1, math.ceil(u + 2 / scale) + 2):
            k = (j - 1) % (2 * n)
            matrix[i, k if k < n else 2 * n - 1 - k] += scale * cubic(scale * (u - j))
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [(32, 24), (37, 41), (16, 50)], ids=str)
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_bicubic_is_imresize(size, factor):
    picture = rng().uniform(-1, 1, size)
    expected = imresize_weights(size[0], 1 / factor) @ picture @ imresize_weights(size[1], 1 / factor).T
    np.testing.assert_allclose(apply(ops.SuperResolution((1, *size), factor), picture), expected, atol=1e-12)


PILLOW = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "lanczos": Image.LANCZOS, "box": Image.BOX}


@pytest.mark.parametrize(
    ("kernel", "factor"),
    [(k, f) for k in PILLOW for f in (2, 3, 4, 2.5) if (k, f) != ("box", 2.5)],  # Pillow's box counts pixel centres
)
def test_resizing_is_pillows_away_from_the_border(kernel, factor):
    h, w = 60, 120
    picture = rng().uniform(-1, 1, (h, w)).astype(np.float32)
    size = round(w / factor), round(h / factor)
    expected = np.asarray(Image.fromarray(picture).resize(size, PILLOW[kernel]))
    result = apply(ops.SuperResolution((1, h, w), factor, kernel), picture)
    inside = (slice(4, -4), slice(4, -4)) if kernel != "box" else (slice(None), slice(None))
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-6)


def test_nearest_is_pillows():
    picture = rng().uniform(-1, 1, (60, 90)).astype(np.float32)
    expected = np.asarray(Image.fromarray(picture).resize((30, 20), Image.NEAREST))
    np.testing.assert_array_equal(apply(ops.SuperResolution((1, 60, 90), 3, "nearest"), picture), expected)


def test_fractional_box_covers_areas():
    """Each output pixel is the exact mean of a piecewise constant image over its square."""
    picture = rng().uniform(-1, 1, (12, 18))
    fine = np.kron(picture, np.ones((2, 2)))  # 1.5 image pixels are 3 fine ones
    expected = fine.reshape(8, 3, 12, 3).mean((1, 3))
    np.testing.assert_allclose(apply(ops.SuperResolution((1, 12, 18), 1.5, "box"), picture), expected, atol=1e-12)


@pytest.mark.parametrize("boundary", SCIPY_MODES)
def test_gaussian_blur_is_scipys(boundary):
    picture = rng().uniform(-1, 1, (31, 40))
    expected = scipy.ndimage.gaussian_filter(picture, 2.0, mode=SCIPY_MODES[boundary])
    result = apply(ops.GaussianBlur((1, 31, 40), 2.0, 31, boundary), picture)
    np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize("boundary", SCIPY_MODES)
def test_motion_and_user_kernels_convolve_as_scipy(boundary):
    picture = rng().uniform(-1, 1, (31, 40))
    for kernel in (motion_kernel(15, 0.8, 4).numpy(), rng().uniform(size=(5, 9))):
        expected = scipy.ndimage.convolve(picture, kernel / kernel.sum(), mode=SCIPY_MODES[boundary])
        result = apply(ops.Blur((1, 31, 40), torch.from_numpy(kernel), boundary), picture)
        np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize("boundary", SCIPY_MODES)
def test_uniform_blur_is_scipys(boundary):
    picture = rng().uniform(-1, 1, (31, 40))
    expected = scipy.ndimage.uniform_filter(picture, 7, mode=SCIPY_MODES[boundary])
    np.testing.assert_allclose(apply(ops.UniformBlur((1, 31, 40), 7, boundary), picture), expected, atol=1e-12)


def test_turned_and_straight_anisotropic_blur_agree():
    picture = rng().uniform(-1, 1, (41, 41))
    straight = apply(ops.AnisotropicBlur((1, 41, 41), 3.0, 1.0, 0, 25, "circular"), picture)
    turned = apply(ops.AnisotropicBlur((1, 41, 41), 3.0, 1.0, 90, 25, "circular"), np.rot90(picture, 1).copy())
    np.testing.assert_allclose(np.rot90(turned, -1), straight, atol=2e-4)  # the turned kernel has no 4 sigma cut in y


@pytest.mark.parametrize("bits", [0, 1, 3, 6, 7, 12])
def test_walsh_hadamard_is_scipys(bits):
    n = 2**bits
    x = torch.from_numpy(rng().normal(size=(2, n)))
    matrix = scipy.linalg.hadamard(n)
    torch.testing.assert_close(walsh_hadamard(x), x @ torch.from_numpy(matrix).double() / math.sqrt(n))
    assert bits > 6 or np.array_equal(sylvester(bits).numpy(), matrix)


def test_greyscale_is_pillows():
    picture = rng().integers(0, 256, (20, 30, 3), dtype=np.uint8)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    grey = (ops.Greyscale((3, 20, 30))(x)[0, 0].numpy() + 1) * 127.5
    assert np.abs(grey - np.asarray(Image.fromarray(picture).convert("L"))).max() < 0.51


@pytest.mark.parametrize("quality", [10, 40, 90])
@pytest.mark.parametrize("subsample", [False, True])
def test_jpeg_is_pillows(quality, subsample):
    picture = scipy.ndimage.gaussian_filter(rng().normal(size=(50, 61, 3)), (3, 3, 0))
    picture = (40 + (picture - picture.min()) / np.ptp(picture) * 175).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=2 if subsample else 0)
    expected = np.asarray(Image.open(file)).astype(float)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 127.5 - 1
    result = (ops.JPEG((3, 50, 61), quality, subsample)(x)[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(result - expected).mean() < 1.2, "libjpeg rounds to whole numbers on the way"


def photos(*shape: int) -> torch.Tensor:
    return torch.from_numpy(rng().uniform(-1, 1, shape or (2, 3, 24, 32))).float()


SHAPE = (3, 24, 32)
DEEPINV_PADDINGS = {"reflect": "reflect", "circular": "circular", "replicate": "replicate", "zero": "constant"}
KERNELS = {
    "motion": motion_kernel(9, 0.5, 0),
    "line": ops.kernels.line_kernel(7, 30),
    "disc": ops.kernels.disc_kernel(3.3),
    "turned Gaussian": ops.kernels.gaussian_kernel(2, 1, 30, 9),
    "user's": torch.from_numpy(rng().uniform(size=(5, 9))),
}


@pytest.mark.parametrize("boundary", DEEPINV_PADDINGS)
@pytest.mark.parametrize("name", KERNELS)
def test_blur_and_its_adjoint_are_deepinvs(name, boundary):
    kernel = (KERNELS[name] / KERNELS[name].sum()).float()
    theirs = physics.Blur(filter=kernel[None, None], padding=DEEPINV_PADDINGS[boundary])
    ours, x = ops.Blur(SHAPE, kernel, boundary), photos()
    torch.testing.assert_close(ours(x), theirs.A(x), rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.adjoint(x), theirs.A_adjoint(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("boundary", DEEPINV_PADDINGS)
def test_separable_blurs_are_deepinvs(boundary):
    taps, x = ops.kernels.gaussian_taps(1.5, 9).float(), photos()
    pairs = [
        (ops.GaussianBlur(SHAPE, 1.5, 9, boundary), torch.outer(taps, taps)),
        (ops.UniformBlur(SHAPE, 7, boundary), torch.full((7, 7), 1 / 49)),
    ]
    for ours, kernel in pairs:
        theirs = physics.Blur(filter=kernel[None, None], padding=DEEPINV_PADDINGS[boundary])
        torch.testing.assert_close(ours(x), theirs.A(x), rtol=0, atol=2e-6)
        torch.testing.assert_close(ours.adjoint(x), theirs.A_adjoint(x), rtol=0, atol=2e-6)


def test_circular_pseudo_inverse_is_deepinvs():
    kernel = ops.kernels.gaussian_kernel(0.8, 0.6, 30, 7).float()
    theirs, ours, x = physics.BlurFFT(SHAPE, filter=kernel[None, None]), ops.Blur(SHAPE, kernel), photos()
    torch.testing.assert_close(ours.pinv(x), theirs.A_dagger(x), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.prox(x, x, 3.0), theirs.prox_l2(x, x, 3.0), rtol=1e-4, atol=1e-4)


def test_prox_by_conjugate_gradients_is_deepinvs():
    kernel, x = KERNELS["motion"].float(), photos()
    theirs = physics.Blur(filter=kernel[None, None], padding="reflect", max_iter=500, tol=1e-6)
    ours, y = ops.Blur(SHAPE, kernel, "reflect"), photos().flip(0)
    torch.testing.assert_close(ours.prox(x, y, 5.0), theirs.prox_l2(x, y, 5.0), rtol=0, atol=2e-3)


MASKS = {
    "mask": lambda: ops.InpaintMask(SHAPE, torch.rand(24, 32, generator=torch.Generator().manual_seed(0))),
    "box": lambda: ops.InpaintBox(SHAPE, 7, margin=2),
    "random": lambda: ops.InpaintRandom(SHAPE, seed=3),
    "stripes": lambda: ops.Destripe(SHAPE),
    "scratches": lambda: ops.InpaintScratches(SHAPE),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_deepinvs(name):
    ours, x = MASKS[name](), photos()
    theirs = physics.Inpainting(SHAPE, mask=ours.mask.value.float().expand(SHAPE))
    for a, b in [(ours(x), theirs.A(x)), (ours.adjoint(x), theirs.A_adjoint(x)), (ours.pinv(x), theirs.A_dagger(x))]:
        assert torch.equal(a, b)
    torch.testing.assert_close(ours.prox(x, x.flip(0), 3.0), theirs.prox_l2(x, x.flip(0), 3.0))


def test_bayer_mosaic_is_deepinvs():
    mosaic, x = physics.Demosaicing(SHAPE), photos()
    assert torch.equal(ops.BayerMosaic(SHAPE, "BGGR")(x), mosaic.A(x))


def test_greyscale_and_its_pseudo_inverse_are_deepinvs():
    weights, x = (0.299, 0.587, 0.114), photos()
    ours, theirs = ops.Greyscale(SHAPE, weights), physics.Decolorize(srf=weights)
    y = ours(x)
    torch.testing.assert_close(y, theirs.A(x))
    torch.testing.assert_close(ours.adjoint(y), theirs.A_adjoint(y))
    torch.testing.assert_close(ours.pinv(y), theirs.A_dagger(y))


def test_decimation_is_deepinvs():
    x = photos()
    theirs = physics.Downsampling(SHAPE, filter=None, factor=2).A(x)
    ours = ops.InpaintGrid(SHAPE, 2)(x)
    assert torch.equal(ours[..., ::2, ::2], theirs) and ours.count_nonzero() == theirs.count_nonzero()


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_and_its_adjoint_are_deepinvs_matlab_resizing(factor):
    """deepinv prunes no kernel border and computes the adjoint by autograd: another way to the same matrix."""
    x, shape = photos(2, 3, 24, 36), (3, 24, 36)
    theirs, ours = physics.DownsamplingMatlab(factor=factor), ops.SuperResolution(shape, factor)
    y = theirs.A(x)
    torch.testing.assert_close(ours(x), y, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.adjoint(y), theirs.A_adjoint(y), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_down_sampling_is_deepinvs_away_from_the_border(kernel):
    """deepinv's filter has an even length and is centred half a pixel down and right of every fourth pixel."""
    x, factor = photos(1, 1, 96, 64), 4
    theirs = physics.Downsampling((1, 96, 64), filter=kernel, factor=factor)
    ours = ops.SuperResolution((1, 96, 64), factor, kernel)
    expected = theirs.A(x.roll((1 - factor // 2, 1 - factor // 2), (2, 3)))
    torch.testing.assert_close(ours(x)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=0, atol=1e-5)


def test_blur_then_decimation_is_deepinvs():
    """Circular blur and grid, whose closed form folds the spectrum: forward, and the prox of Zhao et al. 2016."""
    kernel, x = KERNELS["motion"].float(), photos()
    theirs = physics.Downsampling(SHAPE, filter=kernel[None, None], factor=2, padding="circular")
    ours = ops.Compose(SHAPE, [partial(ops.Blur, kernel=kernel), partial(ops.InpaintGrid, factor=2)])
    y = theirs.A(x)
    known = ours(x)
    torch.testing.assert_close(known[..., ::2, ::2], y, rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.adjoint(known), theirs.A_adjoint(y), rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.prox(x, known, 3.0), theirs.prox_l2(x, y, 3.0), rtol=0, atol=1e-4)


def test_compressed_sensing_is_deepinvs_hadamard_camera():
    """All coefficients in rows and columns, none shuffled: the full transform of its single-pixel camera."""
    x = photos(2, 3, 16, 32)
    theirs = physics.SinglePixelCamera(m=16 * 32, img_size=(3, 16, 32), fast=True)
    ours = walsh_hadamard(walsh_hadamard(x).mT).mT
    torch.testing.assert_close(ours.abs().flatten().sort().values, theirs.A(x).abs().flatten().sort().values)


def test_compressed_sensing_as_a_matrix_is_deepinvs():
    """deepinv's dense operator, given our rows: the same measurement, adjoint and pseudo-inverse."""
    ours, x = ops.CompressedSensing((3, 8, 9), 0.4), photos(2, 3, 8, 9)
    m = ours.measurement_shape[1]
    theirs = physics.CompressedSensing(m=m, img_size=(3, 8, 9), channelwise=True)
    basis = torch.eye(72).view(72, 1, 8, 9).expand(-1, 3, -1, -1)
    matrix = ours(basis)[:, 0].T.contiguous()
    theirs._A, theirs._A_adjoint, theirs._A_dagger = matrix, matrix.T, torch.linalg.pinv(matrix)
    y = ours(x)
    torch.testing.assert_close(y, theirs.A(x))
    torch.testing.assert_close(ours.adjoint(y), theirs.A_adjoint(y))
    torch.testing.assert_close(ours.pinv(y), theirs.A_dagger(y))


def test_composition_and_stack_are_deepinvs():
    kernel, x = KERNELS["motion"].float(), photos()
    blur, mask = physics.BlurFFT(SHAPE, filter=kernel[None, None]), ops.InpaintRandom(SHAPE)
    known = physics.Inpainting(SHAPE, mask=mask.mask.value.float().expand(SHAPE))
    parts = [partial(ops.Blur, kernel=kernel), ops.InpaintRandom]
    chain, y = ops.Compose(SHAPE, parts), photos().flip(0)
    torch.testing.assert_close(chain(x), (known * blur).A(x), rtol=0, atol=2e-6)
    torch.testing.assert_close(chain.adjoint(y), (known * blur).A_adjoint(y), rtol=0, atol=2e-6)
    stack, theirs = ops.Stack(SHAPE, parts), physics.StackedLinearPhysics([blur, known])
    measured = stack(x)
    for ours, other in zip(stack.split(measured), theirs.A(x), strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=2e-6)
    torch.testing.assert_close(stack.adjoint(measured), theirs.A_adjoint(theirs.A(x)), rtol=0, atol=4e-6)


def test_phase_retrieval_is_the_magnitude_of_numpys_transform():
    operator, x = ops.PhaseRetrieval((1, 16, 24)), rng().uniform(-1, 1, (16, 24))
    padded = np.pad(x, [(4, 4), (6, 6)])
    expected = np.abs(np.fft.fftshift(np.fft.fft2(padded, norm="ortho")))
    np.testing.assert_allclose(apply(operator, x), expected, atol=1e-12)
