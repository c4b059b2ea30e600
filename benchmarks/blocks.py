"""Photos saved as JPEG files, loaded as Load JPEG Measurement does, restored, and compared with the photos.

A row of the JSON is {"quality", "image", and of the decoded file, of what the sampler gives ("restored") and of that
after Data Consistency ("consistent"): "psnr", "lpips" and "kept", the share of the file's coefficients that the picture
has when it is saved with 8 bits and coded by the same tables}.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..devkit import DevError
from ..nodes.consistency import consistent
from ..nodes.jpeg import load
from ..nodes.types import image_from_pixels, pixels_from_image
from ..operators.discrepancy import fit_to_noise_level
from ..operators.measurement import Measurement
from ..solvers import METHODS
from .images import TestImage, read_images
from .prior import Prior, image_seed, load_prior
from .protocol import compare

SIGMA = 0.02
STAGES = ("decoded", "restored", "consistent")


def run(args: argparse.Namespace) -> int:
    """Measures every quality, writes the rows to `args.out`, and prints their means; 0 as exit code."""
    if args.method not in METHODS:
        raise DevError(f"--method: {args.method!r} is not one of {', '.join(METHODS)}.")
    prior = load_prior(Path(args.checkpoint) if args.checkpoint else None)
    images = read_images(Path(args.images) if args.images else None, args.size, args.limit)
    setting = {"prior": prior.name, "pixels": args.size, "method": args.method, "steps": args.steps, "sigma": SIGMA}
    out, rows = Path(args.out), []
    out.parent.mkdir(parents=True, exist_ok=True)
    for quality in args.qualities:
        rows += measure(quality, images, prior, args.method, args.steps)
        out.write_text(json.dumps(setting | {"rows": rows}, indent=1) + "\n")
        print(line(quality, [row for row in rows if row["quality"] == quality]), flush=True)
    return 0


def measure(quality: int, images: list[TestImage], prior: Prior, method: str, steps: int) -> list[dict[str, Any]]:
    """The rows of one quality: all images as one batch."""
    truth = torch.cat([image.x for image in images])
    decoded, A = through_files(truth, quality)
    told = Measurement(decoded, A, SIGMA)
    seeds = [image_seed(0, image.name) for image in images]
    x = prior.sample(METHODS[method], told, prior.noise(told, seeds), steps)
    restored = fit_to_noise_level(told, x).clamp(-1, 1)
    fitted = pixels_from_image(consistent(image_from_pixels(restored), told, "exact", 0.1))
    columns = {}
    for stage, picture in zip(STAGES, (decoded, restored, fitted), strict=True):
        saved = torch.round((picture + 1) * 127.5) / 127.5 - 1
        values = compare(saved, truth) | {"kept": A.kept(saved, decoded).tolist()}
        columns |= {f"{name}_{stage}": values[name] for name in ("psnr", "lpips", "kept")}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [
        {"quality": quality, "image": image.name} | {name: round(value, 5) for name, value in row.items()}
        for image, row in zip(images, rows, strict=True)
    ]


def through_files(x: Tensor, quality: int) -> tuple[Tensor, Any]:
    """Pixels (B, 3, H, W) as JPEG files hold them, and the operator of their tables."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = []
        for i, picture in enumerate(((x + 1) * 127.5).round().byte().movedim(1, -1).numpy()):
            file = Path(folder, f"{i}.jpg")
            Image.fromarray(picture).save(file, quality=quality)
            loaded.append(load(file))
    return torch.cat([pixels_from_image(photo) for photo, _ in loaded]), loaded[0][1](tuple(x.shape[1:]))


def line(quality: int, rows: list[dict[str, Any]]) -> str:
    """Means of one quality in words."""

    def of(name: str) -> float:
        return mean(row[name] for row in rows)

    parts = [f"decoded {of('psnr_decoded'):.2f} dB"]
    for stage in STAGES[1:]:
        gain, ratio = of(f"psnr_{stage}") - of("psnr_decoded"), of(f"lpips_{stage}") / of("lpips_decoded")
        parts.append(f"{stage} {gain:+.2f} dB, LPIPS x {ratio:.2f}, kept {100 * of(f'kept_{stage}'):.1f} %")
    return f"quality {quality} ({len(rows)} photos): " + "; ".join(parts)
