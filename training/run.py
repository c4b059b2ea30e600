"""Trains first stage and U-Net one after the other, in a folder from which it can go on at any time."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from . import autoencoder, curves, data, diffusion, networks
from .loop import Training
from .metrics import reconstruction_metrics
from .samples import sample, sheet

FIRST_STAGE_SHARE = 0.25
"""Part of the time that goes into the first stage."""
SAVE_SECONDS, LOOK_SECONDS = 120, 300
"""How often a checkpoint is written, and how often a sheet to look at."""
LOG_STEPS = 100
COPIES, ZOOM_FIRST_STAGE, ZOOM_UNET = 8, 0.6, 0.92
"""Augmentations of a photo, and how far they zoom in: the first stage shall know more than hands of one size."""


class Folder:
    """The output folder: checkpoints, latents, log, sheets and the exported prior."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.log_file, self.prior, self.latents = path / "log.csv", path / "prior.safetensors", path / "latents.st"

    def save(self, name: str, training: Training) -> None:
        unfinished = self.path / f"{name}.tmp"
        torch.save(training.state_dict(), unfinished)
        unfinished.replace(self.path / f"{name}.pt")

    def load(self, name: str, training: Training, device: torch.device) -> None:
        file = self.path / f"{name}.pt"
        if file.exists():
            training.load_state_dict(torch.load(file, map_location=device, weights_only=True))

    def log(self, stage: str, training: Training, values: dict[str, float]) -> None:
        """Appends one line per value: stage, step, minutes, name, value."""
        fresh = not self.log_file.exists()
        with self.log_file.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["stage", "step", "minutes", "name", "value"])
            for name, value in values.items():
                writer.writerow([stage, training.step, f"{training.seconds / 60:.2f}", name, f"{value:.6g}"])
        curves.plot(self.log_file, self.path / "curves.png")


@dataclass(frozen=True)
class Job:
    """What both stages work on."""

    photos: list[Image.Image]
    tests: Tensor
    """(N, 3, H, W) uint8, to look at reconstructions."""
    sizes: networks.Sizes
    folder: Folder
    device: torch.device
    deadline: float
    """Of the monotonic clock: when to save and leave."""


def train(source: Path, out: Path, minutes: float, size: int = 64, factor: int = 4,
          stop_after: float | None = None, credit: str | None = None) -> Path:
    """Trains for `minutes` in all, over all calls with this folder; returns the exported prior.

    factor: side of a picture by side of its latent, 4 or 8.
    credit: whose photos they are, for the metadata of the prior (default: the name of the file).
    stop_after: minutes after which this call saves and returns, to be called again.
    """
    torch.manual_seed(0)
    job = Job(
        photos=data.read_photos(source, "train"),
        tests=data.squares(data.read_photos(source, "test")[:64], size),
        sizes=networks.sizes(size, factor),
        folder=Folder(out),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        deadline=time.monotonic() + 60 * stop_after if stop_after else float("inf"),
    )
    first = Training(networks.first_stage(job.sizes).to(job.device), autoencoder.LEARNING_RATE, autoencoder.DECAY)
    second = Training(networks.unet(job.sizes).to(job.device), diffusion.LEARNING_RATE, diffusion.DECAY)
    for name, training in (("first_stage", first), ("unet", second)):
        job.folder.load(name, training, job.device)
    budget = 60 * minutes * FIRST_STAGE_SHARE
    finished = second.step > 0 or first.seconds >= budget  # the U-Net knows the latents of this first stage only
    if finished or train_first_stage(first, job, budget):
        trained_on = f"{credit or source.name}, {len(job.photos)} photos, {size} px"
        train_unet(second, first, job, 60 * minutes - first.seconds, trained_on)
    return job.folder.prior


def train_first_stage(training: Training, job: Job, budget: float) -> bool:
    """Trains the autoencoder for `budget` seconds; whether it got so far before the deadline."""

    def look() -> None:
        x, y = data.pixels(job.tests), autoencoder.reconstruct(training.average, job.tests, job.device)
        job.folder.log("first_stage", training, reconstruction_metrics(x, y))
        pairs = torch.stack([x[:32], y[:32]], dim=1).flatten(0, 1)
        sheet(pairs, job.folder.path / "sheets" / "reconstructions.png", columns=16)

    images = data.bank(job.photos, job.sizes.image_size, COPIES, ZOOM_FIRST_STAGE)
    loss = autoencoder.AutoencoderLoss(training.network, images, job.device, seed=training.step)
    job.folder.latents.unlink(missing_ok=True)
    return run_stage("first_stage", training, loss, budget, job, look)


def train_unet(training: Training, first: Training, job: Job, budget: float, trained_on: str) -> None:
    """Trains the U-Net for `budget` seconds on the latents of the first stage, and exports both."""
    latents = cached_latents(first, job)
    scale = diffusion.scale_factor(latents)

    def look() -> None:
        weights = first.average.state_dict(), training.average.state_dict()
        networks.export(job.folder.prior, job.sizes, *weights, scale, trained_on)
        file = job.folder.path / "sheets" / f"samples_{training.step:06}.png"
        sheet(sample(job.folder.prior, 36, job.sizes.image_size), file)

    loss = diffusion.DiffusionLoss(training.network, latents, scale, job.device, seed=training.step)
    run_stage("unet", training, loss, budget, job, look)


def run_stage(name: str, training: Training, loss: Callable[[], dict[str, Tensor]], budget: float, job: Job,
              look: Callable[[], None]) -> bool:
    """Trains one network until its budget is used up or the deadline has come, and saves it; whether there is time to
    go on."""
    folder = job.folder
    sums, since, saved, looked = {}, 0, training.seconds, training.seconds
    bar = tqdm(total=round(budget), initial=round(training.seconds), desc=name, unit="s",
               bar_format="{desc} {percentage:3.0f} % |{bar}| {n}/{total} s {postfix}")
    try:
        for losses in training.run(loss, budget):
            since += 1
            sums = {key: sums.get(key, 0.0) + value for key, value in losses.items()}
            if since == LOG_STEPS:
                means = {key: value / since for key, value in sums.items()}
                folder.log(name, training, means)
                bar.set_postfix(step=training.step, **{key: f"{value:.4f}" for key, value in means.items()})
                sums, since = {}, 0
            bar.update(round(training.seconds) - bar.n)
            if training.seconds - saved > SAVE_SECONDS:
                folder.save(name, training)
                saved = training.seconds
            if training.seconds - looked > LOOK_SECONDS:
                look()
                looked = training.seconds
            if time.monotonic() > job.deadline:
                break
    finally:
        folder.save(name, training)
        bar.close()
    look()
    return time.monotonic() <= job.deadline


def cached_latents(first: Training, job: Job) -> Tensor:
    """Posteriors of the augmented photos, computed once by the finished first stage."""
    file = job.folder.latents
    if not file.exists():
        images = data.bank(job.photos, job.sizes.image_size, COPIES, ZOOM_UNET, seed=1)
        save_file({"posteriors": autoencoder.posteriors(first.average, images, job.device)}, file)
    return load_file(file)["posteriors"]
