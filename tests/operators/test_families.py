"""What each family promises by itself: which pixels a mask keeps, sizes, seeds, and refusals in words."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from psld import operators as ops
from psld.operators.kernels import disc_kernel, line_kernel, motion_kernel
from torch import Tensor

SHAPE = (3, 30, 42)


def known(operator: ops.InpaintMask) -> Tensor:
    """The (H, W) mask, read off a white image; every channel must agree."""
    white = operator(torch.ones(1, *operator.image_shape))[0]
    assert (white == white[:1]).all()
    assert operator.num_measurements == int(white.sum())
    return white[0]


def test_mask_shapes_and_threshold():
    mask = torch.rand(30, 42)
    assert torch.equal(known(ops.InpaintMask(SHAPE, mask)), (mask >= 0.5).float())
    assert torch.equal(known(ops.InpaintMask(SHAPE, mask[None])), (mask >= 0.5).float())
    assert torch.equal(known(ops.InpaintMask(SHAPE, mask > 0.5)), (mask > 0.5).float())


def test_restrict_clears_unknown_pixels():
    operator = ops.InpaintHalf(SHAPE, "left")
    y = torch.full((1, *SHAPE), 0.25)
    assert torch.equal(operator.restrict(y), operator(torch.full((1, *SHAPE), 0.25)))


def test_known_pixels_come_back_to_the_bit():
    operator = ops.InpaintRandom(SHAPE, seed=4)
    x = torch.randn(2, *SHAPE)
    assert torch.equal(operator.pinv(operator(x)), operator(x))


def test_box_is_where_it_was_put():
    expected = torch.ones(30, 42)
    expected[3:8, 10:20] = 0
    assert torch.equal(known(ops.InpaintBox(SHAPE, (5, 10), (3, 10))), expected)


def test_random_box_respects_the_margin_and_the_seed():
    places = {ops.InpaintBox(SHAPE, 10, seed=s, margin=4).position for s in range(50)}
    assert len(places) > 30 and all(4 <= r <= 16 and 4 <= c <= 28 for r, c in places)
    assert ops.InpaintBox(SHAPE, 10, seed=3, margin=4).position == ops.InpaintBox(SHAPE, 10, seed=3, margin=4).position


def test_random_drops_the_exact_fraction():
    assert known(ops.InpaintRandom(SHAPE, drop=0.7)).sum() == 30 * 42 - int(0.7 * 30 * 42)
    rates = [ops.InpaintRandom(SHAPE, low=0.3, high=0.7, seed=s).drop for s in range(40)]
    assert 0.3 <= min(rates) < 0.4 and 0.6 < max(rates) <= 0.7
    assert torch.equal(known(ops.InpaintRandom(SHAPE, seed=5)), known(ops.InpaintRandom(SHAPE, seed=5)))


def test_half_outpaint_lines_grid_and_stripes():
    assert known(ops.InpaintHalf(SHAPE, "right"))[:, 21:].sum() == 0 and known(ops.InpaintHalf(SHAPE))[:, :21].all()
    centre = known(ops.Outpaint(SHAPE, 0.5))
    assert centre[8:22, 11:31].all() and centre.sum() in (15 * 21, 14 * 21, 15 * 20, 16 * 22)
    assert torch.equal(known(ops.InpaintLines(SHAPE)).mean(1), (torch.arange(30) % 2 == 0).float())
    assert torch.equal(known(ops.InpaintGrid(SHAPE, 3)).nonzero() % 3, torch.zeros(140, 2, dtype=torch.long))
    assert torch.equal(known(ops.Destripe(SHAPE, "columns", 2, 7)).mean(0), (torch.arange(42) % 7 < 5).float())
    dead = 1 - known(ops.Destripe(SHAPE, "rows", width=3, drop=0.4)).mean(1)
    assert dead.sum() == 12 and (dead.view(10, 3) == dead.view(10, 3)[:, :1]).all()


@pytest.mark.parametrize("style", ["thin", "thick"])
def test_strokes_hide_a_sensible_part_at_every_size(style):
    for size in (64, 300):
        hidden = [1 - known(ops.InpaintStrokes((1, size, size), style, s)).mean() for s in range(8)]
        low, high = (0.01, 0.3) if style == "thin" else (0.03, 0.9)
        assert low < sum(hidden) / 8 < high
    assert torch.equal(known(ops.InpaintStrokes(SHAPE, style, 1)), known(ops.InpaintStrokes(SHAPE, style, 1)))


def test_scratches_are_long_and_narrow():
    hidden = 1 - known(ops.InpaintScratches((1, 200, 100), count=4, width=2, seed=1))
    assert 0.005 < hidden.mean() < 0.1
    assert hidden.sum(1).max() <= 4 * 6 and (hidden.sum(1) > 0).float().mean() > 0.4


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 4, 7.3, 16])
def test_super_resolution_sizes_and_constants(factor):
    operator = ops.SuperResolution(SHAPE, factor)
    assert operator.measurement_shape == (3, -(-30 // factor), -(-42 // factor))
    torch.testing.assert_close(
        operator(torch.full((1, *SHAPE), 0.5)), torch.full((1, *operator.measurement_shape), 0.5)
    )
    image_shape = ops.SuperResolution.image_shape_for((3, 11, 9), factor=factor)
    if factor <= min(image_shape[1:]):
        assert ops.SuperResolution(image_shape, factor).measurement_shape == (3, 11, 9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [15, 61])
def test_motion_kernel(size, seed):
    kernel = motion_kernel(size, 0.5, seed)
    assert kernel.shape == (size, size) and kernel.sum() == pytest.approx(1) and kernel.min() >= 0
    assert torch.equal(kernel, motion_kernel(size, 0.5, seed))
    assert not torch.equal(kernel, motion_kernel(size, 0.5, seed + 1))


def moments(kernel: Tensor) -> tuple[float, float, float]:
    """Variances down the rows, along the columns, and covariance (rows downwards) of a kernel."""
    n = torch.arange(len(kernel), dtype=torch.float64) - len(kernel) // 2
    m = torch.arange(kernel.shape[1], dtype=torch.float64) - kernel.shape[1] // 2
    return float(n**2 @ kernel.sum(1)), float(kernel.sum(0) @ m**2), float(n @ kernel @ m)


def test_disc_and_line_have_the_right_moments():
    rows, columns, mixed = moments(disc_kernel(6.3))
    assert rows == pytest.approx(6.3**2 / 4, rel=0.01) and columns == pytest.approx(rows) and abs(mixed) < 1e-9
    rows, columns, mixed = moments(line_kernel(20, 30))
    spread = 20**2 / 12
    assert columns == pytest.approx(spread * 0.75 + 0.25, rel=0.02)
    assert rows == pytest.approx(spread * 0.25 + 0.25, rel=0.02)
    assert mixed == pytest.approx(-spread * 0.433, rel=0.02), "counter-clockwise: to the right goes up"


def test_compressed_sensing_rows_are_orthonormal():
    operator = ops.CompressedSensing((1, 13, 9), 0.4)
    assert operator.measurement_shape == (1, 47) and operator.num_measurements == 47
    y = torch.eye(47, dtype=torch.float64)[:, None]
    torch.testing.assert_close(operator(operator.adjoint(y)), y)


REFUSALS = {
    "larger than the image": partial(ops.GaussianBlur, kernel_size=31),
    "must be odd": partial(ops.MotionBlur, kernel_size=8),
    "sigma must be positive": partial(ops.GaussianBlur, sigma=0, kernel_size=5),
    "intensity": partial(ops.MotionBlur, kernel_size=9, intensity=2),
    "boundary must be one of": partial(ops.UniformBlur, boundary="mirror"),
    "positive sum": partial(ops.Blur, kernel=torch.zeros(3, 3)),
    "no known pixel": partial(ops.InpaintMask, mask=torch.zeros(30, 42)),
    "one mask of the image's size": partial(ops.InpaintMask, mask=torch.ones(2, 30, 42)),
    "does not fit": partial(ops.InpaintBox, size=25),
    r"must lie in \[0, 1\)": partial(ops.InpaintRandom, drop=1.0),
    "side must be one of": partial(ops.InpaintHalf, side="up"),
    r"must lie in \(0, 1\]": partial(ops.Outpaint, keep=0),
    "below their spacing": partial(ops.Destripe, width=8),
    "kernel must be one of": partial(ops.SuperResolution, kernel="cubic"),
    "factor must lie": partial(ops.SuperResolution, factor=31),
    "one column for each": partial(ops.ChannelMix, matrix=[[1.0, 2.0]]),
    "ratio": partial(ops.CompressedSensing, ratio=0),
    "nothing can follow": partial(ops.Compose, makers=[ops.CompressedSensing, ops.SuperResolution]),
    "nothing to measure": partial(
        ops.Compose,
        makers=[partial(ops.InpaintGrid, factor=3), partial(ops.SuperResolution, factor=3, kernel="nearest")],
    ),
    "leave out the non-linear": partial(ops.Stack, makers=[ops.JPEG]),
    "quality": partial(ops.JPEG, quality=0),
}


@pytest.mark.parametrize("words", REFUSALS)
def test_bad_parameters_are_refused_in_words(words):
    with pytest.raises(ValueError, match=words):
        REFUSALS[words](SHAPE)


def test_colour_needs_colour():
    for maker in (ops.Greyscale, ops.BayerMosaic):
        with pytest.raises(ValueError, match="channel"):
            maker((1, 30, 42))
