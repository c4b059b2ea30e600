"""The diffusion prior of a quality run, loaded and run as the nodes do it."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import comfy.sample
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..devkit import DevError
from ..nodes.loading import PRIORS
from ..nodes.sampling import make_guider
from ..nodes.types import pixels_from_image
from ..operators.measurement import Measurement
from ..runtime import checks
from ..runtime.conditioning import empty_conditioning, encode_text
from ..runtime.ldm import load_ldm
from ..runtime.levels import AUTO, noise_levels
from ..runtime.plain import plain
from ..runtime.sampler import posterior_sampler
from ..solvers import METHODS, Autoencoder, Method

EMBEDDED = PRIORS / "hands64.safetensors"


@dataclass(frozen=True)
class Prior:
    """MODEL, VAE and a conditioning that says nothing (None for a model that takes none); perhaps a draft.

    scheduler: of `runtime.levels.schedulers`.
    """

    name: str
    model: ModelPatcher
    vae: comfy.sd.VAE
    positive: list | None
    draft: Autoencoder | None = None
    scheduler: str = AUTO

    @property
    def training_sigmas(self) -> Tensor:
        """The noise levels it was trained on, rising."""
        return self.model.get_model_object("model_sampling").sigmas

    @torch.inference_mode()  # as the executor runs nodes
    def sample(self, method: Method, measurement: Measurement, noise: Tensor, steps: int) -> Tensor:
        """Restored pixels (B, 3, H, W) in [-1, 1], from noise (B, c, h, w) of unit variance."""
        guider = make_guider(self.model, self.positive, None, 1.0)
        sigmas = noise_levels(self.model, self.scheduler, steps, method)
        with registered(method) as name:
            sampler = posterior_sampler(measurement, self.vae, name)
            samples = guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True)
        return pixels_from_image(self.vae.decode(samples))

    def noise(self, measurement: Measurement, seeds: list[int]) -> Tensor:
        """The starting noise, each image's from its own seed, as the KSampler node draws it for one image."""
        empty = torch.zeros(1, *checks.latent_shape(measurement, self.vae)[1:])
        return torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])


@torch.inference_mode()
def load_prior(checkpoint: Path | None, vae_file: Path | None = None) -> Prior:
    """The embedded prior, a CompVis latent diffusion checkpoint, or one that ComfyUI's own loaders know.

    vae_file: a VAE of its own, in place of the checkpoint's or where that has none. A model without a text encoder is
    told zeros. Raises DevError where a file is missing or cannot be loaded.
    """
    path = checkpoint or EMBEDDED
    for option, file in (("--checkpoint", path), ("--vae", vae_file)):
        if file is not None and not file.is_file():
            raise DevError(f"{option}: {file} does not exist; give a file.")
    try:
        model, vae = load_ldm(path)
        positive = None
    except ValueError as not_ldm:
        try:
            model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(
                str(path), embedding_directory=folder_paths.get_folder_paths("embeddings")
            )
        except RuntimeError as error:
            raise DevError(f"--checkpoint: {not_ldm} ComfyUI's own loader: {error}") from error
        if model is None:
            raise DevError(f"--checkpoint: {path} holds no diffusion model; give one that does.") from not_ldm
        positive = empty_conditioning(model) if clip is None else encode_text(clip, "")
    if vae_file is not None:
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(vae_file)))
    return Prior(path.name, plain(model), vae, positive)


@contextlib.contextmanager
def registered(method: Method) -> Iterator[str]:
    """A name under which the sampler finds the method."""
    name = "benchmark"
    METHODS[name] = method
    try:
        yield name
    finally:
        del METHODS[name]


def image_seed(seed: int, image: str) -> int:
    """A seed of its own for each image, whatever else is in the batch."""
    return zlib.crc32(f"{seed} {image}".encode())
