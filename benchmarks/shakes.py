"""Photos blurred by camera shakes and other kernels, restored with the blur that was found and with the true one.

A row of the JSON is {"kernel", "sigma_y", "image", "way", "likeness", "psnr", "seconds"}. way: `known`, a kind of
Estimate Blur, `none` (it is taken for sharp), or `BlindRL`, deepinv's blind Richardson-Lucy deconvolution, which is
scored as it restores by itself. With a factor the blurred photo became so many times smaller.
likeness: the correlation of the kernel found with the true one at the best shift. psnr: at the best shift too, to a
quarter of a pixel, for a picture moved one way and its kernel moved the other fit y as well; a margin is left out.
seconds: of finding the blur.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devkit import DevError
from ..nodes.estimate import FREE, estimated_blur
from ..nodes.sampling import restore
from ..nodes.types import image_from_pixels, pixels_from_image
from ..operators import Compose, LinearOperator, SuperResolution
from ..operators.blur import Blur
from ..operators.blur_search import KINDS
from ..operators.kernels import disc_kernel, gaussian_kernel, line_kernel, motion_kernel
from ..operators.measurement import Measurement
from ..runtime.levels import AUTO
from .images import TestImage, read_images
from .prior import Prior, image_seed, load_prior
from .protocol import noisy

KNOWN, NONE, RIVAL = "known", "none", "BlindRL"
SHAPES: dict[str, Callable[[], Tensor]] = {
    "point": lambda: torch.ones(1, 1, dtype=torch.float64),
    "gaussian": lambda: gaussian_kernel(1.5, 1.5, 0, 13),
    "defocus": lambda: disc_kernel(3),
    "line": lambda: line_kernel(8, 30),
}
"""Kernels beside the camera shakes, which are numbers: seeds of `motion_kernel`."""
MARGIN = 4
"""Left out at each side, and up to which shifts are tried."""
ITERATIONS, START = 30, 2.0
"""Of deepinv's, and the Gaussian that it starts from: more iterations raise the noise, and from its own start, a flat
kernel, it does not get there."""


def run(args: argparse.Namespace) -> int:
    """Finds every blur in every way, writes the rows to `args.out`, and prints their means; 0 as exit code."""
    for way in args.ways:
        if way not in (*KINDS, FREE, NONE, RIVAL):
            raise DevError(f"--ways: {way!r} is not one of {', '.join((*KINDS, FREE, NONE, RIVAL))}.")
        if way == RIVAL and args.factor > 1:
            raise DevError(f"--ways: {RIVAL} does not enlarge; leave it out, or --factor.")
    prior = load_prior(Path(args.checkpoint) if args.checkpoint else None)
    images = read_images(Path(args.images) if args.images else None, args.size, args.limit)
    told = ("size", "factor", "width", "largest", "search", "method", "steps")
    setting = {"prior": prior.name} | {name: getattr(args, name) for name in told}
    out, rows = Path(args.out), []
    out.parent.mkdir(parents=True, exist_ok=True)
    for row in measured(args, prior, images):
        rows.append(row)
        out.write_text(json.dumps(setting | {"rows": rows}, indent=1) + "\n")
        print(row, flush=True)
    print("\n".join(lines(rows)))
    return 0


def measured(args: argparse.Namespace, prior: Prior, images: list[TestImage]) -> Iterator[dict[str, Any]]:
    """The rows, each kernel on a photo of its own in turn."""
    for (i, name), sigma in product(enumerate(args.kernels), args.sigma):
        kernel = SHAPES[name]() if name in SHAPES else motion_kernel(args.width, args.intensity, int(name))
        image = images[i % len(images)]
        seed = image_seed(0, image.name)
        y = noisy(blurring(kernel, args)(image.x), sigma, [seed])
        for way in (KNOWN, *args.ways):
            start = time.perf_counter()
            found, x = (kernel, None) if way == KNOWN else search(way, y, sigma, prior, args)
            seconds = time.perf_counter() - start
            x = restored(found, y, sigma, prior, args) if x is None else x
            yield {
                "kernel": name,
                "sigma_y": sigma,
                "image": image.name,
                "way": way,
                "likeness": round(likeness(found, kernel), 4),
                "psnr": round(aligned_psnr(x, image.x), 3),
                "seconds": round(seconds, 1),
            }


def search(way: str, y: Tensor, sigma: float, prior: Prior, args: argparse.Namespace) -> tuple[Tensor, Tensor | None]:
    """The kernel (n, n) that was found, and the picture where that comes with it."""
    if way == NONE:
        return SHAPES["point"](), None
    if way == RIVAL:
        return blind_richardson_lucy(y, args.largest)
    with torch.inference_mode():
        told = args.largest, sigma, args.search, 0, prior.positive, args.factor
        found = estimated_blur(image_from_pixels(y), prior.model, prior.vae, [way], *told)
    side = 4 * args.largest + 1
    point = torch.zeros(1, 1, side, side, dtype=torch.float64)
    point[..., side // 2, side // 2] = 1
    return found.maker((1, side, side))(point)[0, 0], None


def blurring(kernel: Tensor, args: argparse.Namespace) -> LinearOperator:
    """A blur of the photos, which then became smaller."""
    shape = (3, args.size, args.size)
    blur = partial(Blur, kernel=kernel, boundary="reflect")
    return Compose(shape, [blur, partial(SuperResolution, factor=args.factor)] if args.factor > 1 else [blur])


def restored(kernel: Tensor, y: Tensor, sigma: float, prior: Prior, args: argparse.Namespace) -> Tensor:
    """By the sampler, under a kernel; (1, 3, H, W)."""
    kernel = kernel.where(kernel > 1e-6 * kernel.max(), 0)
    box = [int((kernel.sum(1 - i).nonzero() - len(kernel) // 2).abs().max()) for i in (0, 1)]
    rows, columns = (slice(len(kernel) // 2 - n, len(kernel) // 2 + n + 1) for n in box)
    with torch.inference_mode(False):
        told = Measurement(y, blurring(kernel[rows, columns], args), sigma)
    with torch.inference_mode():
        schedule, prompts = (AUTO, args.steps), (prior.positive, None, 1.0)
        return pixels_from_image(restore(prior.model, prior.vae, told, 0, args.method, {}, schedule, prompts)[1])


def blind_richardson_lucy(y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """deepinv's; its borders are circular, so the photo is mirrored first."""
    from deepinv.optim import BlindRL

    with torch.inference_mode(False):
        light = F.pad((y.clone() + 1) / 2, (size,) * 4, mode="reflect").clamp_min(0)
        start = gaussian_kernel(START, START, 0, size).float()[None, None]
        x, kernel = BlindRL(max_iter=ITERATIONS, init=(light, F.pad(start, [(size - start.shape[-1]) // 2] * 4)))(light)
        return kernel[0, 0], 2 * x[..., size:-size, size:-size].clamp(0, 1) - 1


def likeness(a: Tensor, b: Tensor) -> float:
    """The largest correlation of two kernels over all shifts."""
    side = len(a) + len(b)
    one, other = (torch.fft.rfft2(k.double() / k.double().norm(), s=(side, side)) for k in (a, b))
    return float(torch.fft.irfft2(one * other.conj(), s=(side, side)).max())


def aligned_psnr(x: Tensor, truth: Tensor) -> float:
    """PSNR in dB of (1, C, H, W) in [-1, 1], inside a margin, at the best of all shifts up to it."""
    inner, outer = ((..., slice(n, -n), slice(n, -n)) for n in (MARGIN, 2 * MARGIN))
    padded = F.pad(x, (2 * MARGIN,) * 4, mode="reflect")
    spectrum = torch.fft.rfft2(padded)
    fy, fx = torch.fft.fftfreq(padded.shape[-2])[:, None], torch.fft.rfftfreq(padded.shape[-1])
    best, error = (0.0, 0.0), math.inf
    for step, reach in ((1.0, MARGIN - 1), (0.5, 1), (0.25, 1)):
        middle = best
        for down, right in product(range(-reach, reach + 1), repeat=2):
            shift = middle[0] + step * down, middle[1] + step * right
            turned = spectrum * torch.exp(-2j * math.pi * (fy * shift[0] + fx * shift[1]))
            moved = torch.fft.irfft2(turned, s=padded.shape[-2:])[outer]
            squared = float((moved - truth)[inner].square().mean())
            best, error = (shift, squared) if squared < error else (best, error)
    return 10 * math.log10(4 / error)


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means of each way and noise in words."""
    known = {case(row): row["psnr"] for row in rows if row["way"] == KNOWN}
    for way, sigma in sorted({(row["way"], row["sigma_y"]) for row in rows}):
        part = [row for row in rows if (row["way"], row["sigma_y"]) == (way, sigma)]
        lost = [known[case(row)] - row["psnr"] for row in part]
        alike = [row["likeness"] for row in part]
        yield (
            f"{way}, sigma {sigma} ({len(part)} photos): {mean(row['psnr'] for row in part):.2f} dB, {mean(lost):.2f} "
            f"(at most {max(lost):.2f}) below the known; likeness {mean(alike):.3f} (at least {min(alike):.3f}); "
            f"{mean(row['seconds'] for row in part):.0f} s"
        )


def case(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["kernel"], row["sigma_y"], row["image"]
