"""A wall of hands, blurred and noisy, restored in the windows of a prior that knows one hand: are there seams?

FILE.json holds {"width", "height", "windows", "method", "steps", "tier", "seconds", "psnr", "psnr_measured",
"residual": rms of y - A x by sigma_y, "residual_before": that of the last step's estimate, before it is moved onto the
measurement, "seams": mean step between neighbouring pixels across borders of windows by that elsewhere, "seams_truth":
the same of the photo itself, "memory": MiB beyond the loaded models at the peak of the run ("run"), of a run of the
prior's own size ("window"), and of one picture in float32 ("picture"), "device"}; FILE.png the restored picture,
FILE_part.jpg a part of it beside what was measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..devkit import DevError
from ..nodes.metrics import psnr
from ..nodes.sampling import restore
from ..nodes.types import pixels_from_image
from ..operators import GaussianBlur
from ..operators.measurement import Measurement
from ..runtime import memory
from ..runtime.codec import spatial_factor
from ..runtime.levels import AUTO
from ..runtime.report import Report
from ..runtime.windows import own_size, window_grid
from .hardware import device_name
from .images import SAMPLES, picture_from_pixels, pixels_from_picture
from .prior import Prior, load_prior
from .protocol import noisy
from .results import versions
from .step import peak, start_peak

SIGMA_Y, BLUR, KERNEL = 0.05, 1.5, 13
MIB_A_GIB = 1024
PART = 512
"""Pixels along the side of the part that is shown."""


def run(args: argparse.Namespace) -> int:
    """The JSON, the pictures, and the figures on the terminal."""
    prior = load_prior(None)
    factor = spatial_factor(prior.vae)
    side = own_size(prior.model.model, factor)
    if args.width % factor or args.height % factor or min(args.width, args.height) < side:
        raise DevError(f"--width, --height: choose multiples of {factor} of at least {side}.")
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with limited(args.memory):
        restored(prior, wall(side, side, side), args)
        _, _, alone = restored(prior, wall(side, side, side), args)
        truth = wall(args.width, args.height, side)
        measurement, (x, report), used = restored(prior, truth, args)
    grid = window_grid((args.height // factor, args.width // factor), prior.model.model, factor, 0)
    borders = [{(w.top, w.left) for w in grid.windows()}, factor, len(grid.windows()[0].rows), side] if grid else None
    row = {
        "width": args.width,
        "height": args.height,
        "windows": len(grid.windows()) if grid else 1,
        "method": args.method,
        "steps": args.steps,
        "tier": report.tier,
        "seconds": round(report.seconds, 1),
        "psnr": round(psnr(x, truth), 2),
        "psnr_measured": round(psnr(measurement.y, truth), 2),
        "residual": round(float(measurement.rms_residual(x)) / SIGMA_Y, 3),
        "residual_before": round(report.residuals[-1][1] / SIGMA_Y, 3),
        "seams": round(seams(x, *borders), 3) if borders else None,
        "seams_truth": round(seams(truth, *borders), 3) if borders else None,
        "memory": {"run": used, "window": alone, "picture": round(truth.numel() * 4 / 2**20)},
        "device": device_name(prior.model.load_device),
    }
    out.write_text(json.dumps({"versions": versions(), "rows": [row]}, indent=1) + "\n")
    picture_from_pixels(x).save(out.with_suffix(".png"))
    part(measurement.y, x).save(out.with_name(f"{out.stem}_part.jpg"), quality=90)
    print(json.dumps(row, indent=1))
    return 0


def wall(width: int, height: int, side: int) -> Tensor:
    """The sample hands side by side, mirrored in turn: (1, 3, height, width) in [-1, 1]."""
    hands = [Image.open(file).convert("RGB").resize((side, side)) for file in sorted(SAMPLES.glob("hand_*.png"))]
    hands = itertools.cycle([*hands, *(ImageOps.mirror(hand) for hand in hands)])
    picture = Image.new("RGB", (width, height))
    for top, left in itertools.product(range(0, height, side), range(0, width, side)):
        picture.paste(next(hands), (left, top))
    return pixels_from_picture(picture)


@torch.inference_mode()  # as the executor runs nodes
def restored(prior: Prior, truth: Tensor, args: argparse.Namespace) -> tuple[Measurement, tuple[Tensor, Report], int]:
    """The measurement, what PSLD KSampler makes of it with its report, and MiB beyond what was held before."""
    A = GaussianBlur(tuple(truth.shape[1:]), sigma=BLUR, kernel_size=KERNEL)
    measurement = Measurement(noisy(A(truth), SIGMA_Y, [0]), A, SIGMA_Y)
    held = start_peak()
    schedule, prompts = (AUTO, args.steps), (None, None, 1.0)
    _, image, report = restore(
        prior.model, prior.vae, measurement, 0, args.method, {"candidates": 1}, schedule, prompts
    )
    return measurement, (pixels_from_image(image), report), round((peak() - held) * MIB_A_GIB)


class limited:
    """Inside, runs are planned as if so much memory were free."""

    def __init__(self, gib: float | None) -> None:
        self.gib, self.room = gib, memory.room

    def __enter__(self) -> None:
        if self.gib is not None:
            memory.room = lambda *_: self.gib * memory.GIB

    def __exit__(self, *_: Any) -> None:
        memory.room = self.room


def seams(x: Tensor, starts: set[tuple[int, int]], factor: int, size: int, side: int) -> float:
    """Mean step from pixel to pixel where a window begins or ends, by that elsewhere; edges of hands are left out."""
    at, elsewhere = [], []
    for axis, which in ((-2, 0), (-1, 1)):
        steps = x.diff(dim=axis).abs().mean(dim=(0, 1, -1 if axis == -2 else -2))
        begins = {start[which] * factor for start in starts}
        ends = {begin + size * factor for begin in begins}
        borders = [place - 1 for place in begins | ends if 0 < place < x.shape[axis]]
        borders = [place for place in borders if (place + 1) % side]
        rest = torch.ones(len(steps), dtype=torch.bool)
        rest[borders] = False
        rest[side - 1 :: side] = False
        at.append(steps[borders])
        elsewhere.append(steps[rest])
    return float(torch.cat(at).mean() / torch.cat(elsewhere).mean())


def part(y: Tensor, x: Tensor) -> Image.Image:
    """The middle of what was measured beside that of what was restored."""
    height, width = (min(PART, side) for side in x.shape[-2:])
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    both = torch.cat([z[..., top : top + height, left : left + width] for z in (y, x)], dim=-1)
    return picture_from_pixels(both)
