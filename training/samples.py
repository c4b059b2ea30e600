"""Pictures from an exported prior, drawn as any user would: loaded into ComfyUI, sampled by its own sampler."""

from __future__ import annotations

import math
from pathlib import Path

import comfy.sample
import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from ..runtime.ldm import load_ldm

SAMPLER, SCHEDULER, STEPS = "dpmpp_2m", "karras", 30


@torch.inference_mode()
def sample(checkpoint: Path, count: int, size: int, seed: int = 0, batch: int = 50) -> Tensor:
    """`count` pictures of a checkpoint, (count, 3, size, size) in [-1, 1] on the CPU."""
    model, vae = load_ldm(checkpoint)
    nothing = [[torch.zeros(1, 1, 1), {}]]
    pictures = []
    for first in range(0, count, batch):
        number = min(batch, count - first)
        empty = torch.zeros(number, vae.latent_channels, *2 * (size // vae.downscale_ratio,))
        noise = comfy.sample.prepare_noise(empty, seed + first)
        z = comfy.sample.sample(model, noise, STEPS, 1.0, SAMPLER, SCHEDULER, nothing, nothing, empty,
                                disable_pbar=True, seed=seed)
        pictures.append(vae.decode(z).movedim(-1, 1).cpu() * 2 - 1)
    return torch.cat(pictures).clone()


def sheet(pictures: Tensor, file: Path, columns: int | None = None, zoom: int = 1) -> None:
    """Writes pictures, (N, 3, H, W) in [-1, 1], side by side; as many in a row as `columns` says, else a square."""
    count, _, height, width = pictures.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    canvas = Image.new("RGB", (columns * (width + 2), rows * (height + 2)), "white")
    frames = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).numpy()
    for i, frame in enumerate(frames):
        canvas.paste(Image.fromarray(frame), (i % columns * (width + 2) + 1, i // columns * (height + 2) + 1))
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.resize((canvas.width * zoom, canvas.height * zoom), Image.Resampling.NEAREST).save(file)
