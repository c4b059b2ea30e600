"""`dev.py bench blind`: its measures, and the way that needs no model."""

from __future__ import annotations

import argparse

import pytest
import torch
from psld.benchmarks import shakes
from psld.devkit import DevError, bench
from psld.operators.kernels import motion_kernel
from psld.tests.ldm import photo


def test_a_kernel_is_as_like_when_it_is_moved_and_cut_and_less_like_others():
    kernel = motion_kernel(13, 0.5, 2)
    assert shakes.likeness(torch.nn.functional.pad(kernel, (0, 4, 4, 0)), kernel) == pytest.approx(1)
    assert shakes.likeness(torch.ones(13, 13), kernel) < 0.7


def test_psnr_does_not_mind_where_the_picture_is():
    x = torch.nn.functional.avg_pool2d(photo().movedim(-1, 1) * 2 - 1, 3, 1, 1)
    off = x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    at_home = shakes.aligned_psnr(off, x)
    assert at_home == pytest.approx(40, abs=0.5)
    assert shakes.aligned_psnr(off.roll((2, -1), (-2, -1)), x) == pytest.approx(at_home, abs=0.1)
    assert shakes.aligned_psnr(x.flip(-1), x) < 25


def test_the_rival_finds_a_picture_and_a_kernel():
    x, kernel = photo().movedim(-1, 1) * 2 - 1, motion_kernel(13, 0.5, 1)
    y = shakes.Blur((3, 64, 64), kernel, "reflect")(x)
    found, restored = shakes.blind_richardson_lucy(y, 21)
    assert restored.shape == x.shape and found.shape == (21, 21) and float(found.sum()) == pytest.approx(1, abs=1e-3)


def test_a_factor_makes_the_photo_smaller_after_the_blur():
    small = shakes.blurring(motion_kernel(13, 0.5, 1), argparse.Namespace(size=64, factor=4))
    assert small.image_shape == (3, 64, 64) and small.measurement_shape == (3, 16, 16)
    assert shakes.blurring(motion_kernel(13, 0.5, 1), argparse.Namespace(size=64, factor=1)).measurement_shape[1] == 64


def test_a_way_that_there_is_not_is_answered_by_a_sentence():
    with pytest.raises(DevError, match="--ways: 'magic' is not one of Gaussian, defocus, motion, free, none, BlindRL"):
        shakes.run(argparse.Namespace(ways=["magic"]))
    with pytest.raises(DevError, match="--ways: BlindRL does not enlarge"):
        shakes.run(argparse.Namespace(ways=["BlindRL"], factor=2))
    assert "blind" in bench.BENCHMARKS
