"""Which operators are timed, each with the deepinv operator that does the same work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from deepinv import physics

import operators as ops

Shape = tuple[int, ...]


class Case(NamedTuple):
    """`ours` takes the image shape; `deepinv` the image shape and the device (None: deepinv has nothing like it)."""

    name: str
    ours: Callable[[Shape], ops.LinearOperator]
    deepinv: Callable[[Shape, torch.device], Any] | None = None


def inpainting(maker: Callable[[Shape], ops.InpaintMask]) -> Callable[[Shape, torch.device], Any]:
    """deepinv's mask with the pixels of ours."""

    def make(shape: Shape, device: torch.device) -> Any:
        mask = maker(shape).mask.value.float().expand(shape).contiguous()
        return physics.Inpainting(shape, mask=mask, device=device)

    return make


def blur(kernel: torch.Tensor, padding: str) -> Callable[[Shape, torch.device], Any]:
    """deepinv's convolution by FFT, as it advises for large kernels; "circular" has a closed-form pseudo-inverse."""
    kernel = kernel.float()[None, None]
    if padding == "circular":
        return lambda shape, device: physics.BlurFFT(shape, filter=kernel.to(device), device=device)
    return lambda shape, device: physics.Blur(filter=kernel.to(device), padding=padding, use_fft=True, device=device)


def hadamard(shape: Shape, device: torch.device) -> Any:
    """The closest kin: a quarter of the Walsh-Hadamard coefficients, the low ones."""
    return physics.SinglePixelCamera(m=shape[1] * shape[2] // 4, img_size=shape, fast=True, device=device)


def blur_then_bicubic(shape: Shape, device: torch.device) -> Any:
    first = blur(GAUSSIAN, "reflect")(shape, device)
    return physics.DownsamplingMatlab(factor=4, device=device) * first


def grey_and_masked(shape: Shape, device: torch.device) -> Any:
    parts = [physics.Decolorize(srf=GREY, device=device), inpainting(RANDOM)(shape, device)]
    return physics.StackedLinearPhysics(parts)


GREY = (0.299, 0.587, 0.114)
RANDOM = partial(ops.InpaintRandom, drop=0.7)
BOX = partial(ops.InpaintBox, size=64, margin=0)
STRIPES = ops.Destripe
taps = ops.kernels.gaussian_taps(3.0, 61)
GAUSSIAN = torch.outer(taps, taps)
MOTION = ops.kernels.motion_kernel(61, 0.5, 0)
DISC = ops.kernels.disc_kernel(5.0)
HALF_BLUR = [partial(ops.GaussianBlur, kernel_size=25), partial(ops.SuperResolution, factor=4)]

CASES = (
    Case("identity", ops.Identity, lambda shape, device: physics.Denoising(device=device)),
    Case("inpainting, random 70 %", RANDOM, inpainting(RANDOM)),
    Case("inpainting, box", BOX, inpainting(BOX)),
    Case("destripe", STRIPES, inpainting(STRIPES)),
    Case("Bayer mosaic", partial(ops.BayerMosaic, pattern="BGGR"), lambda s, d: physics.Demosaicing(s, device=d)),
    Case("greyscale", ops.Greyscale, lambda shape, device: physics.Decolorize(srf=GREY, device=device)),
    Case("channel mix 3 to 2", partial(ops.ChannelMix, matrix=[[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])),
    Case("super-resolution x4, bicubic", ops.SuperResolution, lambda s, d: physics.DownsamplingMatlab(4, device=d)),
    Case("super-resolution x2, box", partial(ops.SuperResolution, factor=2, kernel="box")),
    Case("super-resolution x2.5, Lanczos", partial(ops.SuperResolution, factor=2.5, kernel="lanczos")),
    Case("Gaussian blur, reflect", partial(ops.GaussianBlur, kernel_size=25), blur(GAUSSIAN, "reflect")),
    Case(
        "Gaussian blur, circular",
        partial(ops.GaussianBlur, kernel_size=25, boundary="circular"),
        blur(GAUSSIAN, "circular"),
    ),
    Case(
        "uniform blur, reflect",
        partial(ops.UniformBlur, boundary="reflect"),
        blur(torch.full((9, 9), 1 / 81), "reflect"),
    ),
    Case("motion blur 61, circular", partial(ops.Blur, kernel=MOTION), blur(MOTION, "circular")),
    Case("motion blur 61, reflect", partial(ops.Blur, kernel=MOTION, boundary="reflect"), blur(MOTION, "reflect")),
    Case("defocus, circular", partial(ops.Blur, kernel=DISC), blur(DISC, "circular")),
    Case("Walsh-Hadamard 25 %", ops.CompressedSensing, hadamard),
    Case("Gaussian blur, then bicubic x4", partial(ops.Compose, makers=HALF_BLUR), blur_then_bicubic),
    Case("grey and masked, stacked", partial(ops.Stack, makers=[ops.Greyscale, RANDOM]), grey_and_masked),
)
