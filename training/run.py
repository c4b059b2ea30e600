"""Trains first stage and U-Net one after the other, in a folder from which it can go on at any time."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from . import autoencoder, curves, data, diffusion, finished, networks
from .finished import FirstStage
from .loop import Training, fused
from .metrics import reconstruction_metrics
from .samples import sample, sheet

FIRST_STAGE_SHARE = 0.25
"""Part of the time that goes into the first stage."""
SAVE_SECONDS, LOOK_SECONDS = 120, 300
"""How often a checkpoint is written, and how often a sheet to look at."""
COPIES, ZOOM = 8, 0.6
"""Augmentations of a photo for the first stage, and how far they zoom in: it shall know more than hands of one size."""
ENCODED = 64
"""Pictures that are encoded at a time."""


class Folder:
    """The output folder: checkpoints, latents, log, sheets and the exported prior."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.log_file, self.prior = path / "log.csv", path / "prior.safetensors"

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
    """What a call is to do."""

    source: Path
    size: int
    folder: Folder
    device: torch.device
    deadline: float
    """Of the monotonic clock: when to save and leave."""

    def squares(self, split: str, count: int | None = None) -> Tensor:
        """Photos as they are, (N, 3, size, size) uint8 on the device."""
        return data.squares(data.read_photos(self.source, split)[:count], self.size).to(self.device)


def train(source: Path, out: Path, minutes: float, size: int = 64, *, factor: int = 4, given: Path | None = None,
          start: Path | None = None, copies: int | None = None, credit: str | None = None,
          stop_after: float | None = None) -> Path:
    """Trains for `minutes` in all, over all calls with this folder; returns the exported prior.

    factor: side of a picture by side of its latent, 4 or 8, of the first stage that is trained; unless there is
    given: one that is used as it is, as `finished.read_first_stage` reads it; or
    start: a prior to go on with, its first stage and its U-Net, where the folder is new.
    copies: how often a photo is encoded, moved and mirrored (default: 8 on a GPU, else 2).
    credit: whose photos they are, for the metadata of the prior (default: the name of the file).
    stop_after: minutes after which this call saves and returns, to be called again.
    """
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    deadline = time.monotonic() + 60 * stop_after if stop_after else float("inf")
    job = Job(source, size, Folder(out), device, deadline)
    old, budget = finished.read_start(start, device) if start else None, 60 * minutes
    if old or given:
        first = old.first_stage if old else finished.read_first_stage(given, device)
    else:
        first, budget = trained_first_stage(job, factor, budget)
    if first:
        copies = copies or (8 if device.type == "cuda" else 2)
        train_unet(first, old, job, budget, copies, credit or source.name)
    return job.folder.prior


def trained_first_stage(job: Job, factor: int, seconds: float) -> tuple[FirstStage | None, float]:
    """A KL autoencoder after its share of the time, None where the deadline came first; and what time is left."""
    config = networks.kl_config(job.size, factor)
    network = networks.first_stage(config).to(job.device)
    training = Training(network, autoencoder.LEARNING_RATE, autoencoder.DECAY)
    job.folder.load("first_stage", training, job.device)
    unet_begun = (job.folder.path / "unet.pt").exists()  # it knows the latents of this first stage only
    share = FIRST_STAGE_SHARE * seconds
    if not unet_begun and training.seconds < share and not train_first_stage(training, job, share):
        return None, 0.0
    network = training.average
    first = FirstStage(lambda x: autoencoder.posteriors(network, x), network.state_dict(), config,
                       config["embed_dim"], factor, {})
    return first, seconds - training.seconds


def train_first_stage(training: Training, job: Job, budget: float) -> bool:
    """Trains the autoencoder for `budget` seconds; whether it got so far before the deadline."""
    tests = job.squares("test", 64)

    def look() -> None:
        x, y = data.pixels(tests).cpu(), autoencoder.reconstruct(training.average, tests, job.device)
        job.folder.log("first_stage", training, reconstruction_metrics(x, y))
        pairs = torch.stack([x[:32], y[:32]], dim=1).flatten(0, 1)
        sheet(pairs, job.folder.path / "sheets" / "reconstructions.png", columns=16)

    images = data.bank(data.read_photos(job.source, "train"), job.size, COPIES, ZOOM)
    loss = autoencoder.AutoencoderLoss(training.network, images, job.device, seed=training.step)
    for file in job.folder.path.glob("latents_*.st"):
        file.unlink()
    return run_stage("first_stage", training, loss, budget, job, look)


def train_unet(first: FirstStage, old: finished.Start | None, job: Job, budget: float, copies: int, credit: str
               ) -> None:
    """Trains the U-Net for `budget` seconds on the latents of a ready first stage, and exports both."""
    sizes = old.sizes if old else networks.sizes(job.size, first.factor, first.channels)
    network = networks.unet(sizes)
    if old:
        network.load_state_dict(old.unet)
    training = Training(network.to(job.device), diffusion.LEARNING_RATE, diffusion.DECAY)
    job.folder.load("unet", training, job.device)
    latents = diffusion.Latents(cached_latents(first, job, copies), first.channels, job.device)
    scale = old.scale_factor if old else latents.scale_factor()
    parameterization = old.parameterization if old else diffusion.PARAMETERIZATION
    notes = {"data": f"{credit}, {len(latents.moments) // copies} photos, {job.size} px", **first.notes}
    facts = networks.Facts(sizes, first.config, scale, parameterization, notes)

    def look() -> None:
        networks.export(job.folder.prior, facts, first.weights, training.average.state_dict())
        sheet(sample(job.folder.prior, 36, job.size), job.folder.path / "sheets" / f"samples_{training.step:06}.png")

    batch = diffusion.batch_size(job.device)
    network = fused(training.network, job.device, budget)
    loss = diffusion.DiffusionLoss(network, latents, scale, parameterization, batch, job.device, seed=training.step)
    run_stage("unet", training, loss, budget, job, look)


@torch.no_grad()
def cached_latents(first: FirstStage, job: Job, copies: int) -> Tensor:
    """Latents of the photos, moved and mirrored `copies` times, half precision; each round is kept in a file."""
    files = [job.folder.path / f"latents_{i}.st" for i in range(copies)]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    images = job.squares("train") if missing else None
    for i in missing:
        generator = torch.Generator().manual_seed(i)
        parts = tqdm(images.split(ENCODED), desc=f"latents, {i + 1} of {copies}", disable=None)
        moments = [first.moments(data.shifted(data.pixels(part, job.device), generator)).half().cpu() for part in parts]
        save_file({"moments": torch.cat(moments).contiguous()}, files[i])
    return torch.cat([load_file(file)["moments"] for file in files])


def run_stage(name: str, training: Training, loss: Callable[[], dict[str, Tensor]], budget: float, job: Job,
              look: Callable[[], None]) -> bool:
    """Trains one network until its budget is used up or the deadline has come, and saves it; whether there is time to
    go on."""
    folder = job.folder
    saved, looked = training.seconds, training.seconds
    bar = tqdm(total=round(budget), initial=round(training.seconds), desc=name, unit="s",
               bar_format="{desc} {percentage:3.0f} % |{bar}| {n}/{total} s {postfix}")
    try:
        for means in training.run(loss, budget):
            if means:
                folder.log(name, training, means)
                bar.set_postfix(step=training.step, **{key: f"{value:.4f}" for key, value in means.items()})
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
