"""How every solver sees a latent diffusion model, and the moves between noise levels that they share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Autoencoder:
    """encode(x): the encoder E; decode(z0): the decoder D, not clamped."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LatentModel:
    """A diffusion prior on latents z (B, c, h, w) of images x (B, C, H, W) in [-1, 1], as callables.

    denoise(z, sigma): z0_hat = E[z0 | z], Tweedie's estimate; sigma is the 0-d noise level of the sampler.
    encode(x), decode(z0): the autoencoder E and D; E gives the mean of its posterior, D is not clamped.
    signal(sigma): what is left of z0 in z = signal z0 + sigma noise: 1 for variance-exploding latents (ComfyUI's eps
        and v models), 1 - sigma for flow models.
    draft: a smaller autoencoder of the same latents (TAESD for Stable Diffusion). Where a method asks which way D moves
        an image, the draft answers at less cost; where it asks how the image looks, D itself.
    start: the latent that z holds beside noise, where a user gave one (img2img, or a run that goes on); None: z is
        noise, and methods may start where they like.

    A pixel-space model is the case encode = decode = identity.
    """

    denoise: Callable[[Tensor, Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    signal: Callable[[Tensor], Tensor] = torch.ones_like
    draft: Autoencoder | None = None
    start: Tensor | None = None

    @property
    def guide(self) -> Autoencoder:
        """The autoencoder to ask for directions: the draft where there is one."""
        return self.draft or Autoencoder(self.encode, self.decode)

    def scale(self, sigma: Tensor) -> Tensor:
        """Standard deviation of z for a z0 of unit variance: z / scale is variance preserving, as papers write z."""
        return torch.hypot(self.signal(sigma), sigma)

    def spread(self, sigma: Tensor) -> Tensor:
        """Standard deviation of z0 given z, if z0 were standard normal: how far z0_hat may be from z0, at most 1."""
        return sigma / self.scale(sigma)


@dataclass(frozen=True)
class Step:
    """What a solver reports after each noise level."""

    index: int
    sigma: Tensor
    z: Tensor
    z0_hat: Tensor
    x0_hat: Tensor


Callback = Callable[[Step], None]


def noise_levels(sigmas: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(i, sigma_t, sigma_{t-1}) from the highest noise level down."""
    return ((i, *pair) for i, pair in enumerate(pairwise(sigmas)))


def ddim_step(z: Tensor, z0_hat: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One deterministic DDIM step (Song et al. 2021, eq. 12 with eta = 0), which in the sigma form is Euler's."""
    return z0_hat + (sigma_next / sigma) * (z - z0_hat)


def predicted_noise(model: LatentModel, z: Tensor, z0_hat: Tensor, sigma: Tensor) -> Tensor:
    """The noise of z = signal z0_hat + sigma noise."""
    return (z - model.signal(sigma) * z0_hat) / sigma


def diffuse(model: LatentModel, z0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """z0 at noise level sigma."""
    return model.signal(sigma) * z0 + sigma * noise


def mix_noise(old: Tensor, fresh: Tensor, eta: float) -> Tensor:
    """Unit-variance noise, of which fresh noise makes the part eta: 0 none, 1 all."""
    return (1 - eta**2) ** 0.5 * old + eta * fresh


def norms(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, shape (B,); its gradient at zero is zero."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def rms(x: Tensor) -> Tensor:
    """Root mean square of each sample, shape (B,)."""
    return norms(x) / x[0].numel() ** 0.5


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to multiply each sample of `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


class NoiseSource:
    """Fresh standard normal noise for a run that starts at z (B, c, h, w), with no seed to pass.

    Each sample has a generator of its own, seeded by the signs of its starting latent: the same start gives the same
    noise, alone or in a batch, on every device, and rounding of z changes nothing.
    """

    def __init__(self, z: Tensor) -> None:
        self.generators = [torch.Generator().manual_seed(sign_hash(sample)) for sample in z]

    @classmethod
    def of(cls, generators: Iterable[torch.Generator]) -> NoiseSource:
        """A source that draws each sample by one of these."""
        source = cls(torch.empty(0))
        source.generators = list(generators)
        return source

    def take(self, index: Sequence[int]) -> NoiseSource:
        """That of the samples at index."""
        return self.of(self.generators[i] for i in index)

    def fork(self, count: int) -> NoiseSource:
        """For count times as many samples: first its own, then others that its own generators seed."""

        def child(parent: torch.Generator) -> torch.Generator:
            return torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=parent)))

        others = [child(parent) for _ in range(count - 1) for parent in self.generators]
        return self.of(self.generators + others)

    def like(self, x: Tensor) -> Tensor:
        """Noise of the shape, dtype and device of x (B, ...)."""
        return torch.stack([torch.randn(x.shape[1:], generator=generator) for generator in self.generators]).to(x)


def sign_hash(z: Tensor) -> int:
    """64 bits of the SHA-256 of which entries are positive."""
    return int.from_bytes(hashlib.sha256((z > 0).cpu().numpy().tobytes()).digest()[:8], "little")
