"""Compositions and stacks: equal to their parts, merged where a closed form exists."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from psld import operators as ops
from torch import Tensor

SHAPE = (3, 24, 30)
BLUR = partial(ops.GaussianBlur, sigma=1.0, kernel_size=9)
HALF = partial(ops.SuperResolution, factor=2)
MOTION = partial(ops.MotionBlur, kernel_size=9)
DISC = partial(ops.DefocusBlur, radius=2)
MERGED = {
    "rows and columns": [BLUR, HALF],
    "masks": [ops.InpaintRandom, ops.InpaintLines],
    "channel masks": [ops.BayerMosaic, ops.InpaintRandom],
    "circular blurs": [MOTION, DISC],
    "colour and space": [ops.Greyscale, HALF],
    "space and colour": [MOTION, ops.Greyscale],
    "colour between": [BLUR, ops.Greyscale, HALF],
    "colour twice": [partial(ops.ChannelMix, matrix=torch.eye(3).flip(0)), ops.Greyscale],
    "identities": [ops.Identity, BLUR, ops.Denoise],
    "nested": [partial(ops.Compose, makers=[BLUR, HALF]), partial(ops.Compose, makers=[BLUR])],
}
OTHERS = {
    "motion, then sr": [MOTION, HALF],
    "mask, then blur": [ops.InpaintRandom, BLUR],
    "bayer, then blur": [ops.BayerMosaic, BLUR],
    "four deep": [MOTION, HALF, ops.InpaintRandom, ops.Greyscale],
    "sensing last": [BLUR, ops.CompressedSensing],
}


def in_turn(makers, x: Tensor) -> tuple[Tensor, list[ops.LinearOperator]]:
    parts = []
    for maker in makers:
        parts.append(maker(tuple(x.shape[1:])))
        x = parts[-1](x)
    return x, parts


@pytest.mark.parametrize("name", MERGED | OTHERS)
def test_composition_is_its_parts_in_turn(name):
    makers = (MERGED | OTHERS)[name]
    operator = ops.Compose(SHAPE, makers)
    assert isinstance(operator, ops.SpectralOperator) == (name in MERGED)
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    y, parts = in_turn(makers, x)
    torch.testing.assert_close(operator(x), y)
    u = torch.randn_like(y)
    expected = u
    for part in reversed(parts):
        expected = part.adjoint(expected)
    torch.testing.assert_close(operator.adjoint(u), expected)
    assert operator.num_measurements <= parts[-1].num_measurements
    torch.testing.assert_close(operator.restrict(y), y)


def test_a_mask_is_remembered_through_grey():
    operator = ops.Compose(SHAPE, [partial(ops.InpaintHalf, side="top"), ops.Greyscale])
    assert operator.num_measurements == 12 * 30
    assert operator.restrict(torch.ones(1, 1, 24, 30)).sum() == 12 * 30


@pytest.mark.parametrize("name", MERGED | OTHERS)
def test_consistency_of_the_pseudo_inverse(name):
    """|A A+ A x - A x| <= |A| |x| rcond, for truncation and Tikhonov alike."""
    operator = ops.Compose(SHAPE, (MERGED | OTHERS)[name])
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    y = operator(x)
    assert (operator(operator.pinv(y, 0.01)) - y).norm() <= 0.01 * x.norm()


def test_stack_joins_and_splits():
    makers = [HALF, ops.InpaintRandom, ops.Greyscale]
    operator = ops.Stack(SHAPE, makers)
    parts = [maker(SHAPE) for maker in makers]
    x = torch.randn(2, *SHAPE)
    y = operator(x)
    assert y.shape == (2, *operator.measurement_shape)
    assert operator.num_measurements == sum(part.num_measurements for part in parts)
    for single, part in zip(operator.split(y), parts, strict=True):
        assert torch.equal(single, part(x))
    assert torch.equal(operator.restrict(y), y)
    assert operator.restrict(torch.ones_like(y)).sum() == 2 * operator.num_measurements


def test_stack_of_complementary_masks_recovers_the_image():
    mask = torch.rand(24, 30) > 0.5
    operator = ops.Stack(SHAPE, [partial(ops.InpaintMask, mask=mask), partial(ops.InpaintMask, mask=~mask)])
    x = torch.randn(1, *SHAPE)
    torch.testing.assert_close(operator.pinv(operator(x)), x)


def test_composition_within_a_stack_and_a_stack_last():
    operator = ops.Stack(SHAPE, [partial(ops.Compose, makers=[MOTION, HALF]), ops.Greyscale])
    deep = ops.Compose(SHAPE, [BLUR, partial(ops.Stack, makers=[HALF, ops.InpaintRandom])])
    for op in (operator, deep):
        x, u = torch.randn(1, *SHAPE).double(), torch.randn(1, *op.measurement_shape).double()
        torch.testing.assert_close((op(x) * u).sum(), (x * op.adjoint(u)).sum())


def test_image_shape_is_found_backwards():
    makers = [BLUR, HALF, partial(ops.SuperResolution, factor=3)]
    assert ops.Compose.image_shape_for((3, 5, 7), makers=makers) == (3, 30, 42)
    assert ops.Compose((3, 30, 42), makers).measurement_shape == (3, 5, 7)


def test_one_non_linear_part_makes_the_whole_non_linear():
    operator = ops.Compose(SHAPE, [HALF, ops.JPEG])
    assert not operator.linear and not hasattr(operator, "adjoint")
    x = torch.rand(1, *SHAPE) * 2 - 1
    torch.testing.assert_close(operator(x), ops.JPEG((3, 12, 15))(HALF(SHAPE)(x)))
