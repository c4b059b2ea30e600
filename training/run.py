"""Trains first stage and U-Net one after the other, in a folder from which it can go on at any time."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ..devkit.perceptual import lpips_alex
from . import autoencoder, curves, data, diffusion, networks
from .loop import Training
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


def train(source: Path, out: Path, minutes: float, size: int = 64, stop_after: float | None = None,
          credit: str | None = None) -> Path:
    """Trains for `minutes` in all, over all calls with this folder; returns the exported prior.

    credit: whose photos they are, for the metadata of the prior (default: the name of the file).
    stop_after: minutes after which this call saves and returns, to be called again.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder, sizes = Folder(out), networks.Sizes(image_size=size)
    deadline = time.monotonic() + 60 * stop_after if stop_after else float("inf")
    torch.manual_seed(0)
    stages = Training(networks.first_stage(sizes).to(device), autoencoder.LEARNING_RATE, autoencoder.DECAY), Training(
        networks.unet(sizes).to(device), diffusion.LEARNING_RATE, diffusion.DECAY)
    for name, training in zip(("first_stage", "unet"), stages, strict=True):
        folder.load(name, training, device)
    photos = data.read_photos(source, "train")
    tests = data.squares(data.read_photos(source, "test")[:64], size)
    first, second = stages

    def look_at_reconstructions() -> None:
        x, y = data.pixels(tests), autoencoder.reconstruct(first.average, tests, device)
        folder.log("first_stage", first, reconstruction_metrics(x, y))
        sheet(torch.stack([x[:32], y[:32]], dim=1).flatten(0, 1), out / "sheets" / "reconstructions.png", columns=16)

    budget = 60 * minutes * FIRST_STAGE_SHARE
    if first.seconds < budget:
        images = data.bank(photos, size, COPIES, ZOOM_FIRST_STAGE)
        loss = autoencoder.AutoencoderLoss(first.network, images, device, seed=first.step)
        folder.latents.unlink(missing_ok=True)
        if not run_stage("first_stage", first, loss, budget, folder, look_at_reconstructions, deadline):
            return folder.prior
    latents = cached_latents(folder, first, photos, size, device)
    scale = diffusion.scale_factor(latents)

    def look_at_samples() -> None:
        trained_on = f"{credit or source.name}, {len(photos)} photos, {size} px"
        weights = first.average.state_dict(), second.average.state_dict()
        networks.export(folder.prior, sizes, *weights, scale, trained_on)
        sheet(sample(folder.prior, 36, size), out / "sheets" / f"samples_{second.step:06}.png")

    loss = diffusion.DiffusionLoss(second.network, latents, scale, device, seed=second.step)
    run_stage("unet", second, loss, 60 * minutes * (1 - FIRST_STAGE_SHARE), folder, look_at_samples, deadline)
    return folder.prior


def run_stage(name: str, training: Training, loss: Callable[[], dict[str, Tensor]], budget: float, folder: Folder,
              look: Callable[[], None], deadline: float) -> bool:
    """Trains one network until its budget is used up (True) or the deadline has come (False), and saves it."""
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
            if time.monotonic() > deadline:
                break
    finally:
        folder.save(name, training)
        bar.close()
    look()
    return training.seconds >= budget


def cached_latents(folder: Folder, first: Training, photos: list[Image.Image], size: int,
                   device: torch.device) -> Tensor:
    """Posteriors of the augmented photos, computed once by the finished first stage."""
    if not folder.latents.exists():
        images = data.bank(photos, size, COPIES, ZOOM_UNET, seed=1)
        save_file({"posteriors": autoencoder.posteriors(first.average, images, device)}, folder.latents)
    return load_file(folder.latents)["posteriors"]


def reconstruction_metrics(x: Tensor, y: Tensor) -> dict[str, float]:
    """Mean PSNR in dB and LPIPS-Alex of reconstructions y of x, BCHW in [-1, 1]."""
    psnr = -10 * ((x - y) / 2).square().mean(dim=(1, 2, 3)).log10()
    return {"psnr": float(psnr.mean()), "lpips": float(lpips_alex(x, y).mean())}
