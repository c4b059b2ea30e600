"""What `dev.py check` does: one photo, spoilt and restored by three methods with somebody's checkpoint.

Rows of DIR/check.json: {"task", "method", "steps", "psnr", "lpips", "residual": rms of y - A x by sigma_y, 1 where the
measurement is fitted to its noise, "seconds": of the run without loading, "peak_gib": of the GPU, or of the process
where there is none, "tier": how memory was used, "verdict"}, or {"task", "method", "steps", "failed": the sentence}.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..devkit import DevError
from ..devkit.perceptual import lpips_alex
from ..nodes.metrics import psnr
from ..nodes.sampling import restore
from ..nodes.types import pixels_from_image
from ..operators.measurement import Measurement
from ..runtime.codec import spatial_factor
from ..runtime.levels import AUTO
from ..runtime.windows import own_size
from ..solvers.data import noise_cutoff
from .hardware import device_name
from .images import SAMPLES, picture_from_pixels, square
from .prior import Prior, load_prior
from .protocol import noisy
from .results import versions
from .sheets import draw_sheet
from .step import peak, start_peak
from .tasks import TASKS

METHODS = {"Glued MAP": 20, "PSLD": 20, "Proximal gluing": 50}
"""With the steps that each is made for."""

SIGMA_Y = 0.05
FILES = {"y": "measured", "A^+ y": "pinv"}
"""Names of pictures that make none of a file."""

COLUMNS = {
    "psnr": ("PSNR", 2),
    "lpips": ("LPIPS", 3),
    "residual": ("residual / noise", 2),
    "seconds": ("s", 1),
    "peak_gib": ("peak GiB", 1),
}
"""Titles and decimals."""

Row = dict[str, Any]


def run(args: argparse.Namespace) -> int:
    """The table, DIR/check.json, and the pictures with a sheet of them; 1 where a method failed."""
    file = Path(args.image) if args.image else SAMPLES / "hand_five.png"
    prior = load_prior(Path(args.checkpoint), Path(args.vae) if args.vae else None)
    factor = spatial_factor(prior.vae)
    truth = photo(file, args.size or own_size(prior.model.model, factor), factor)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    name = type(prior.model.model.model_config).__name__
    print(f"{prior.name}: {name}, {truth.shape[-1]} px, on {device_name(prior.model.load_device)}", flush=True)
    rows = []
    for task in args.tasks:
        rows += restorations(prior, task, truth, args, out)
    (out / "check.json").write_text(json.dumps({"versions": versions(), "model": name, "rows": rows}, indent=1) + "\n")
    print(f"\n{table(rows)}\n\npictures: {out}")
    return int(any("failed" in row for row in rows))


def photo(file: Path, size: int, factor: int) -> Tensor:
    """The middle square of a photo: (1, 3, size, size). DevError for a file or a size that cannot serve."""
    if size < 32 or size % factor:
        raise DevError(f"--size: {size} px; choose a multiple of {factor} of at least 32.")
    try:
        return square(file.read_bytes(), size)
    except OSError as error:
        raise DevError(f"--image: {file} cannot be read as a picture ({error}); give a JPEG or PNG file.") from None


def restorations(prior: Prior, task: str, truth: Tensor, args: argparse.Namespace, out: Path) -> list[Row]:
    """The rows of one task; its pictures are written into `out`."""
    A = TASKS[task].bind(truth.shape[-1], args.seed)
    measurement = Measurement(A.restrict(noisy(A(truth), SIGMA_Y, [args.seed])), A, SIGMA_Y)
    y = measurement.y if measurement.y.ndim == 4 else A.adjoint(measurement.y)
    pinv = A.pinv(measurement.y, rcond=noise_cutoff(measurement))
    shown = {"truth": (truth, ""), "y": (y, ""), "A^+ y": (pinv, f"{psnr(pinv, truth):.2f} dB")}
    rows = []
    for method, steps in METHODS.items():
        row, x = attempt(prior, measurement, truth, method, args.steps or steps, args.seed)
        rows.append({"task": task} | row)
        print(line(rows[-1]), flush=True)
        if x is not None:
            shown[method] = x, f"{row['psnr']:.2f} dB, {row['lpips']:.3f}"
    cells = []
    for name, (x, caption) in shown.items():
        cells.append((out / f"{task}_{FILES.get(name, name).replace(' ', '_')}.png", caption))
        picture_from_pixels(x).save(cells[-1][0])
    draw_sheet(f"{prior.name}, {task}, sigma_y {SIGMA_Y:g}", list(shown), [cells]).save(out / f"{task}.png")
    return rows


@torch.inference_mode()  # as the executor runs nodes
def attempt(
    prior: Prior, measurement: Measurement, truth: Tensor, method: str, steps: int, seed: int
) -> tuple[Row, Tensor | None]:
    """One run as PSLD KSampler makes it: its row and its picture, or the sentence with which it ended and None."""
    row = {"method": method, "steps": steps}
    prompts = (prior.positive, None, 1.0)
    start_peak()
    try:
        _, image, report = restore(prior.model, prior.vae, measurement, seed, method, {}, (AUTO, steps), prompts)
    except (ValueError, RuntimeError) as error:  # refused, out of memory, without a gradient
        return row | {"failed": str(error).splitlines()[0]}, None
    x = pixels_from_image(image)
    numbers = {
        "psnr": psnr(x, truth),
        "lpips": float(lpips_alex(x.cpu(), truth)),
        "residual": float(measurement.rms_residual(x.cpu())) / SIGMA_Y,
        "seconds": report.seconds,
        "peak_gib": peak(),
    }
    row |= {name: round(value, 3) for name, value in numbers.items()}
    return row | {"tier": report.tier, "verdict": report.verdict}, x


def line(row: Row) -> str:
    """A row in words."""
    if "failed" in row:
        return f"{row['task']}, {row['method']}: failed: {row['failed']}"
    return f"{row['task']}, {row['method']}: {row['verdict']} ({row['tier']})"


def table(rows: list[Row]) -> str:
    """The numbers, as markdown."""
    titles = [title for title, _ in COLUMNS.values()]
    lines = [["task", "method", "steps", *titles], ["---"] * 2 + ["--:"] * (1 + len(titles))]
    for row in rows:
        numbers = [f"{row[name]:.{digits}f}" if name in row else "failed" for name, (_, digits) in COLUMNS.items()]
        lines.append([row["task"], row["method"], str(row["steps"]), *numbers])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
