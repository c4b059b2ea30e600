"""A draft autoencoder, distilled from a prior's own: the part that TAESD plays for Stable Diffusion."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime.codec import Codec, spatial_factor
from ..runtime.ldm import load_ldm
from ..solvers import Autoencoder
from . import data
from .loop import Training

WIDTH = 32
BATCH = 16
LEARNING_RATE, DECAY = 2e-3, 0.99
CODE = 0.5
"""Weight of the encoder's error beside the decoder's."""
DISTURBANCE = 0.3
"""Solvers ask for images and latents that are not quite right: of those it learns from, half are off by up to this."""


class Draft(nn.Module):
    """Convolutions and ReLUs alone, as Bohan's TAESD."""

    def __init__(self, channels: int, factor: int, width: int = WIDTH) -> None:
        """channels of the latents, and the factor by which they are smaller: a power of two."""
        super().__init__()
        self.facts = {"channels": channels, "factor": factor, "width": width}
        halvings = factor.bit_length() - 1
        down, up = [], []
        for _ in range(halvings):
            down += [conv(width, width, stride=2), Block(width), Block(width)]
            up += [Block(width), Block(width), nn.Upsample(scale_factor=2), conv(width, width)]
        self.encoder = nn.Sequential(conv(3, width), Block(width), *down, conv(width, channels))
        self.decoder = nn.Sequential(conv(channels, width), nn.ReLU(), *up, Block(width), conv(width, 3))


class Block(nn.Module):
    """Three convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = (conv(width, width) for _ in range(3))
        self.branch = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


def conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1)


class DraftLoss:
    """Mean absolute differences from what the prior's autoencoder says of the same images and latents."""

    def __init__(self, network: Draft, teacher: Codec, images: Tensor, seed: int) -> None:
        """images: (N, 3, H, W) uint8."""
        self.network, self.teacher, self.images = network, teacher, images
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self) -> dict[str, Tensor]:
        chosen = torch.randint(len(self.images), (BATCH,), generator=self.generator)
        clean = data.pixels(self.images[chosen])
        with torch.no_grad():
            x = self.disturbed(clean)
            code, z0 = self.teacher.encode(x), self.disturbed(self.teacher.encode(clean))
            picture = self.teacher.decode(z0)
        decoding = (self.network.decoder(z0) - picture).abs().mean()
        return {"decoder": decoding, "encoder": CODE * (self.network.encoder(x) - code).abs().mean()}

    def disturbed(self, x: Tensor) -> Tensor:
        strength = DISTURBANCE * torch.rand(len(x), 1, 1, 1, generator=self.generator)
        strength[: len(x) // 2] = 0
        return x + strength * torch.randn(x.shape, generator=self.generator)


def distil(prior: Path, source: Path, out: Path, minutes: float, size: int = 64, seed: int = 0) -> Path:
    """Trains a draft of the prior's autoencoder on the CPU for `minutes`; returns its file, for `load_draft`."""
    out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        model, vae = load_ldm(prior)
    teacher = Codec(vae, vae.first_stage_model, model.model)
    torch.manual_seed(seed)
    network = Draft(vae.latent_channels, spatial_factor(vae))
    images = data.squares(data.read_photos(source, "train"), size)
    training = Training(network, LEARNING_RATE, DECAY)
    for means in training.run(DraftLoss(network, teacher, torch.cat([images, images.flip(-1)]), seed), minutes * 60):
        if means:
            print(f"{training.seconds / 60:.1f} min", *(f"{k} {v:.4f}" for k, v in means.items()), flush=True)
    file = out / "draft.safetensors"
    weights = {name: value.half().contiguous() for name, value in training.average.state_dict().items()}
    save_file(weights, file, {name: str(value) for name, value in network.facts.items()})
    return file


def load_draft(file: Path) -> Autoencoder:
    """What `distil` wrote, as a LatentModel's draft."""
    with safe_open(file, framework="pt") as opened:
        network = Draft(**{name: int(value) for name, value in opened.metadata().items()})
    network.load_state_dict(load_file(file))
    network.requires_grad_(False).eval()
    return Autoencoder(network.encoder, network.decoder)
