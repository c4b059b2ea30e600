"""One quality run: every candidate on every task, image and seed that the results file does not hold yet."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from kornia.metrics import ssim
from torch import Tensor
from tqdm import tqdm

from ..devkit import DevError
from ..devkit.perceptual import lpips_alex
from ..nodes.metrics import psnr
from ..operators.discrepancy import fit_to_noise_level
from ..operators.measurement import Measurement
from ..operators.noise import GaussianNoise
from ..runtime.levels import schedulers
from ..solvers import GradientError
from ..solvers.data import noise_cutoff
from ..training.draft import load_draft
from . import candidates, reference
from .candidates import Candidate
from .images import TestImage, read_images
from .passes import Cost, drafted, metered
from .prior import Prior, image_seed, load_prior
from .results import Results
from .sheets import Gallery
from .table import Row, report
from .tasks import TASKS, Task


@dataclass(frozen=True)
class Job:
    """Images that run as one batch."""

    candidate: Candidate
    task: Task
    sigma_y: float
    seed: int
    parameters: dict[str, Any]
    images: tuple[TestImage, ...]

    def row(self, image: TestImage) -> Row:
        """The part of an image's row that is known beforehand."""
        return {
            "method": self.candidate.method,
            "task": self.task.name,
            "image": image.name,
            "seed": self.seed,
            "steps": self.candidate.steps,
            "sigma_y": self.sigma_y,
            "parameters": self.parameters,
        }


def run(args: argparse.Namespace) -> int:
    """The whole benchmark: the JSON file, beside it a table (.md) and comparison sheets; 0 as exit code."""
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if args.scheduler not in schedulers():
        raise DevError(f"--scheduler: {args.scheduler!r} is not one of {', '.join(schedulers())}.")
    prior = replace(load_prior(Path(args.checkpoint) if args.checkpoint else None), scheduler=args.scheduler)
    checkout = reference.open_checkout(Path(args.reference)) if args.reference else None
    images = read_images(Path(args.images) if args.images else None, args.size, args.limit)
    setting = {"prior": prior.name, "pixels": args.size, "scheduler": prior.scheduler}
    if args.draft:
        if not Path(args.draft).exists():
            raise DevError(f"--draft: {args.draft} does not exist; make one by `dev.py train --draft-of`.")
        setting["draft"] = Path(args.draft).name
        prior = replace(prior, draft=load_draft(Path(args.draft)))
    results, gallery = Results(out, setting), Gallery(out, images[: args.sheet], args.seeds[0])
    pending = list(jobs(args, images, results))
    with tqdm(total=sum(len(job.images) for job in pending), unit="row", disable=None, smoothing=0) as bar:
        for job in pending:
            title = f"{job.task.name}, {job.candidate}"
            bar.set_description(title)
            results.add(measure(job, prior, checkout, gallery, bar))
            bar.update(len(job.images))
            if bar.disable:  # no terminal: a line in place of the bar
                print(f"{title}: {', '.join(image.name for image in job.images)}", flush=True)
    text = report(results.document)
    out.with_suffix(".md").write_text(text)
    print(f"\n{text}\n{out}, {out.with_suffix('.md')}, {', '.join(map(str, gallery.draw(results.rows)))}")
    return 0


def jobs(args: argparse.Namespace, images: list[TestImage], results: Results) -> Iterator[Job]:
    """What is left to do, task by task."""
    for task in (TASKS[name] for name in args.tasks):
        for sigma_y in args.sigma if task.sigma_y is None else [task.sigma_y]:
            for candidate in candidates.chosen(args):
                values = candidates.parameters(candidate, task, dict(args.set))
                for seed in args.seeds:
                    whole = Job(candidate, task, sigma_y, seed, values, tuple(images))
                    missing = [image for image in images if not results.has(whole.row(image))]
                    size = 1 if candidate.is_yardstick else args.batch
                    for start in range(0, len(missing), size):
                        batch = tuple(missing[start : start + size])
                        yield Job(candidate, task, sigma_y, seed, values, batch)


def measure(job: Job, prior: Prior, checkout: reference.Checkout | None, gallery: Gallery, bar: tqdm) -> list[Row]:
    """Degrades the job's images, restores them, and compares: their rows.

    Operator and noise are drawn by the job's seed and, for the noise, the image: the same for every candidate.
    """
    truth = torch.cat([image.x for image in job.images])
    seeds = [image_seed(job.seed, image.name) for image in job.images]
    A = job.task.bind(truth.shape[-1], job.seed)
    method, operator = candidates.build(job.candidate, prior, checkout, job.task, A, job.sigma_y)
    ours, told = (
        Measurement(by.restrict(noisy(by(truth), job.sigma_y, seeds)), A, job.sigma_y) for by in (A, operator)
    )
    cost = Cost()
    method = metered(method, job.parameters, cost, lambda: bar.set_postfix(NFE=cost.passes.unet_forward))
    method = drafted(method, prior.draft)
    try:
        x = prior.sample(method, told, prior.noise(told, seeds), job.candidate.steps)
    except RuntimeError as error:
        if not isinstance(error.__cause__, GradientError):
            raise
        if len(job.images) > 1:  # so that one does not spoil the others
            singles = (replace(job, images=(image,)) for image in job.images)
            return [row for single in singles for row in measure(single, prior, checkout, gallery, bar)]
        x = torch.full_like(truth, math.nan)
    if not job.candidate.is_yardstick:  # as PSLD KSampler does it
        x = fit_to_noise_level(ours, x).clamp(-1, 1)
    pinv = A.pinv(ours.y, rcond=noise_cutoff(ours))
    residual = A.restrict(told.y - operator(x)).flatten(1).norm(dim=1)
    columns = compare(x, truth) | {
        "psnr_pinv": [psnr(a[None], b[None]) for a, b in zip(pinv, truth, strict=True)],
        "residual_ratio": (residual / told.noise_level).tolist() if job.sigma_y else [None] * len(truth),
    }
    spent = {name: round(getattr(cost, name) / len(truth), 4) for name in ("seconds", "cpu_seconds")}
    rows = []
    for i, image in enumerate(job.images):
        numbers = {name: finite(values[i]) for name, values in columns.items()}
        rows.append(job.row(image) | {"nfe": asdict(cost.passes)} | spent | numbers)
        gallery.keep(rows[-1], image, ours.y[i : i + 1], pinv[i : i + 1], A, x[i : i + 1])
    return rows


def noisy(y: Tensor, sigma_y: float, seeds: list[int]) -> Tensor:
    """y (B, ...) with each sample's own noise."""
    noise = GaussianNoise(sigma_y)
    return torch.cat([noise.sample(y[i : i + 1], seed) for i, seed in enumerate(seeds)])


def compare(x: Tensor, truth: Tensor) -> dict[str, list[float]]:
    """PSNR, SSIM and LPIPS of each image, BCHW in [-1, 1]."""
    return {
        "psnr": [psnr(a[None], b[None]) for a, b in zip(x, truth, strict=True)],
        "ssim": ssim((x + 1) / 2, (truth + 1) / 2, window_size=11).flatten(1).mean(1).tolist(),
        "lpips": lpips_alex(x, truth).tolist(),
    }


def finite(value: float | None) -> float | None:
    """The value, or None for one that JSON cannot hold."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
