"""How good a prior is: its reconstructions, its samples, and whether it copies its training photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from ..devkit.perceptual import inception_features, lpips_network
from ..runtime.ldm import load_ldm
from . import data
from .metrics import fid, kid, reconstruction_metrics
from .samples import sample, sheet

NEIGHBOURS = 64
"""Samples that are compared with every training photo."""
COMPARED = 128
"""Photos whose features are held at a time."""


def evaluate(weights: Path, source: Path, count: int = 1000, sheets: Path | None = None) -> dict[str, Any]:
    """Metrics of a prior by name; `count` samples are drawn.

    The first stage on the test photos: PSNR in dB (mean over photos) and LPIPS-Alex. Samples against the training
    photos: FID and KID, which with so few pictures compare priors with each other and with nothing else. Copies: the
    LPIPS of a sample to its nearest training photo, beside the same for test photos.
    sheets: folder for `samples.png` and `neighbours.png`.
    """
    size = image_size(weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = (data.squares(data.read_photos(source, split), size) for split in ("train", "test"))
    train, test = (data.pixels(photos, device) for photos in splits)
    samples = sample(weights, count, size).to(device)
    generated, real = (inception_features(images).cpu() for images in (samples, train))
    chosen = samples[:NEIGHBOURS]
    distances, nearest = nearest_photos(chosen, train)
    if sheets is not None:
        sheet(chosen.cpu(), sheets / "samples.png", zoom=2 if size < 128 else 1)
        sheet(torch.stack([chosen, train[nearest]], dim=1).flatten(0, 1).cpu(), sheets / "neighbours.png", columns=16)
    return {
        "weights": weights.name, "size": size, "samples": count, "train_photos": len(train), "test_photos": len(test),
        **reconstruction(weights, test), "fid_small_sample": fid(generated, real), "kid": kid(generated, real),
        "nearest_lpips_of_samples": quartiles(distances),
        "nearest_lpips_of_test_photos": quartiles(nearest_photos(test[:NEIGHBOURS], train)[0]),
    }


def image_size(weights: Path) -> int:
    """Side of the pictures a prior was trained on, in pixels. Raises ValueError where the file does not say."""
    try:
        with safe_open(weights, "pt") as file:
            metadata = file.metadata() or {}
        unet, first_stage = (json.loads(metadata[key]) for key in ("unet_config", "first_stage_config"))
        kl = first_stage.get("ddconfig")
        return unet["image_size"] << (len(kl["ch_mult"]) - 1 if kl else first_stage["halvings"])
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"--evaluate: {weights} is no prior that this tool has exported ({error}).") from error


@torch.inference_mode()
def reconstruction(weights: Path, images: Tensor) -> dict[str, float]:
    """PSNR and LPIPS-Alex of images after encoding and decoding, BCHW in [-1, 1]."""
    _, vae = load_ldm(weights)
    decoded = [vae.decode(vae.encode((part.movedim(1, -1) + 1) / 2)).movedim(-1, 1) * 2 - 1
               for part in images.split(32)]
    result = torch.cat(decoded).to(images)
    return {name: round(value, 5) for name, value in reconstruction_metrics(images, result).items()}


@torch.inference_mode()
def nearest_photos(images: Tensor, photos: Tensor) -> tuple[Tensor, Tensor]:
    """LPIPS-Alex to the nearest of the photos or of their mirror images, and its index: (N,) twice."""
    network = lpips_network().to(photos.device)
    features = [network.features(image[None]) for image in images]
    least = torch.full((len(images),), torch.inf, device=photos.device)
    nearest = torch.zeros(len(images), dtype=torch.long, device=photos.device)
    for start in tqdm(range(0, len(photos), COMPARED), desc="nearest photos", disable=None):
        for part in (photos[start : start + COMPARED], photos[start : start + COMPARED].flip(-1)):
            others = network.features(part)
            distances, index = torch.stack([network.distance(one, others) for one in features]).min(dim=1)
            nearest = torch.where(distances < least, start + index, nearest)
            least = torch.minimum(distances, least)
    return least.cpu(), nearest.cpu()


def quartiles(values: Tensor) -> dict[str, float]:
    names, levels = ("min", "q1", "median", "q3"), torch.tensor([0.0, 0.25, 0.5, 0.75])
    return {name: round(float(v), 4) for name, v in zip(names, values.quantile(levels), strict=True)}
