"""Agreement with independent implementations: Pillow, SciPy, and MATLAB's imresize by its definition."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
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
    """MATLAB's imresize of one axis, pixel by pixel: the stretched cubic kernel, half-sample symmetric border.

    The definition that the `Resizer` of the PSLD and DPS references states too.
    """

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


def test_phase_retrieval_is_the_magnitude_of_numpys_transform():
    operator, x = ops.PhaseRetrieval((1, 16, 24)), rng().uniform(-1, 1, (16, 24))
    padded = np.pad(x, [(4, 4), (6, 6)])
    expected = np.abs(np.fft.fftshift(np.fft.fft2(padded, norm="ortho")))
    np.testing.assert_allclose(apply(operator, x), expected, atol=1e-12)
