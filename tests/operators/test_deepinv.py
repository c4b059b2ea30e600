"""Agreement with deepinv, another library of measurement operators, wherever it has the same one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from deepinv import physics
from psld import operators as ops
from psld.operators.hadamard import walsh_hadamard
from psld.operators.kernels import motion_kernel

SHAPE = (3, 24, 32)


def photos(*shape: int) -> torch.Tensor:
    """Two pictures of noise."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(shape or (2, *SHAPE), generator=generator) * 2 - 1


PADDINGS = {"reflect": "reflect", "circular": "circular", "replicate": "replicate", "zero": "constant"}
KERNELS = {
    "motion": motion_kernel(9, 0.5, 0),
    "line": ops.kernels.line_kernel(7, 30),
    "disc": ops.kernels.disc_kernel(3.3),
    "turned Gaussian": ops.kernels.gaussian_kernel(2, 1, 30, 9),
    "user's": torch.arange(45.0).view(5, 9).cos() + 1,
}


@pytest.mark.parametrize("boundary", PADDINGS)
@pytest.mark.parametrize("name", KERNELS)
def test_blur_and_its_adjoint_are_deepinvs(name, boundary):
    kernel = (KERNELS[name] / KERNELS[name].sum()).float()
    theirs = physics.Blur(filter=kernel[None, None], padding=PADDINGS[boundary])
    ours, x = ops.Blur(SHAPE, kernel, boundary), photos()
    torch.testing.assert_close(ours(x), theirs.A(x), rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.adjoint(x), theirs.A_adjoint(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("boundary", PADDINGS)
def test_separable_blurs_are_deepinvs(boundary):
    taps, x = ops.kernels.gaussian_taps(1.5, 9).float(), photos()
    pairs = [
        (ops.GaussianBlur(SHAPE, 1.5, 9, boundary), torch.outer(taps, taps)),
        (ops.UniformBlur(SHAPE, 7, boundary), torch.full((7, 7), 1 / 49)),
    ]
    for ours, kernel in pairs:
        theirs = physics.Blur(filter=kernel[None, None], padding=PADDINGS[boundary])
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
