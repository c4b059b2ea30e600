"""A draft autoencoder, distilled from a prior's own: the part that TAESD plays for Stable Diffusion."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy.sd import VAE
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..runtime.codec import Codec, spatial_factor
from ..runtime.ldm import load_ldm
from ..runtime.ldm.tiny import TinyAutoencoder, tiny_config
from ..solvers import Autoencoder
from . import data
from .finished import read_halves
from .loop import Training

WIDTH, BLOCKS = 32, 2
BATCH = 16
LEARNING_RATE, DECAY = 2e-3, 0.99
CODE = 0.5
"""Weight of the encoder's error beside the decoder's."""
DISTURBANCE = 0.3
"""Solvers ask for images and latents that are not quite right: of those it learns from, half are off by up to this."""


class DraftLoss:
    """Mean absolute differences from what the prior's autoencoder says of the same images and latents."""

    def __init__(self, network: TinyAutoencoder, teacher: Codec, images: Tensor, seed: int) -> None:
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
        decoding = (self.network.decode(z0) - picture).abs().mean()
        return {"decoder": decoding, "encoder": CODE * (self.network.encode(x) - code).abs().mean()}

    def disturbed(self, x: Tensor) -> Tensor:
        strength = DISTURBANCE * torch.rand(len(x), 1, 1, 1, generator=self.generator)
        strength[: len(x) // 2] = 0
        return x + strength * torch.randn(x.shape, generator=self.generator)


def distil(prior: Path, source: Path, out: Path, minutes: float, size: int = 64, seed: int = 0) -> Path:
    """Trains a draft of the prior's autoencoder on the CPU for `minutes`; returns its file, for `load_draft`."""
    out.mkdir(parents=True, exist_ok=True)
    teacher = teacher_of(prior)
    torch.manual_seed(seed)
    network = draft_of(teacher.vae)
    images = data.squares(data.read_photos(source, "train"), size)
    training = Training(network, LEARNING_RATE, DECAY)
    for means in training.run(DraftLoss(network, teacher, torch.cat([images, images.flip(-1)]), seed), minutes * 60):
        if means:
            print(f"{training.seconds / 60:.1f} min", *(f"{k} {v:.4f}" for k, v in means.items()), flush=True)
    file = out / "draft.safetensors"
    save_file({name: value.half().contiguous() for name, value in training.average.state_dict().items()}, file)
    return file


def teacher_of(prior: Path) -> Codec:
    """The autoencoder of a prior, on the CPU: ComfyUI would have it on the GPU where there is one."""
    with torch.inference_mode():
        model, vae = load_ldm(prior)
    vae.device = torch.device("cpu")
    return Codec(vae, vae.first_stage_model.to(vae.device), model.model)


def draft_of(vae: VAE) -> TinyAutoencoder:
    """A fresh one, with latents like the VAE's."""
    halvings = spatial_factor(vae).bit_length() - 1
    return TinyAutoencoder(vae.latent_channels, WIDTH, halvings=halvings, blocks=BLOCKS)


def load_draft(path: Path) -> Autoencoder:
    """What `distil` wrote, or a folder with an encoder and a decoder of the TAESD family, as a LatentModel's draft.

    Raises ValueError where it is neither.
    """
    weights = read_halves(path)[0] if path.is_dir() else load_file(path)
    network = TinyAutoencoder(**tiny_config(weights))
    network.load_state_dict(weights)
    network.requires_grad_(False).eval()
    return Autoencoder(network.encode, network.decode)
