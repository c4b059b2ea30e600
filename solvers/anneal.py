"""The loop of the methods that correct z0_hat at each noise level and renoise what they made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .candidates import FINALISTS, Candidates, parting, thin_out
from .certainty import uncertainty
from .data import start_at_pinv
from .descent import Directions
from .latent import (
    Callback,
    LatentModel,
    NoiseSource,
    Step,
    diffuse,
    mix_noise,
    noise_levels,
    predicted_noise,
)
from .likeliest import surprise

FITTED = 0.4
"""Spread, of sigma 0.44, below which what residual is left is the decoder's. Above, it may be a wrong picture's, which
would stay if y were trusted less."""


@dataclass(frozen=True)
class Corrected:
    """What a method makes of z0_hat.

    z0: the latent to renoise. x0_hat: D(z0_hat). floor: (B,), the one that z0 shows, where it does. known: directions
    that led to z0, for the next level.
    """

    z0: Tensor
    x0_hat: Tensor
    floor: Tensor | None = None
    known: Directions = Directions()

    @staticmethod
    def cat(parts: Sequence[Corrected]) -> Corrected:
        """That of all samples from those of parts of them."""
        z0, x0_hat = (torch.cat([getattr(part, name) for part in parts]) for name in ("z0", "x0_hat"))
        floor = None if parts[0].floor is None else torch.cat([part.floor for part in parts])
        return Corrected(z0, x0_hat, floor, Directions.cat([part.known for part in parts]))


Correct = Callable[[Measurement, Tensor, Tensor, Tensor, Directions], Corrected]
"""(measurement, z0_hat, sigma, unsure, known) -> that. unsure: (B,), see `certainty.py`. known: of the level above."""


def anneal(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    correct: Correct,
    eta: float,
    temperature: float,
    candidates: int,
    chunk: int,
    faithful: bool,
    callback: Callback | None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1], starting around the latent that was given or E(A^+ y).

    eta: share of fresh noise in each renoising, 0 to 1; the rest is what takes z0 to z_t.
    temperature: noise that is added by noise that the denoiser is told of, where z is all noise; to the power of
        1 / spread below. Under 1 the denoiser removes more than was added and takes the surer picture; but noise is
        also what lets go of a wrong one, and that is decided high up.
    candidates: ways down, each under other noise; see `candidates.py`.
    chunk: so many of an image's candidates go through the networks together; 0: all. It changes memory, not results.
    faithful: whether the mean of the finalists arrives, not the likelier: nearer to the truth on average, and smoother.
    """
    images, parted = len(z), parting(model, sigmas)
    if model.start is None:
        noise, start = z, start_at_pinv(model, measurement, torch.zeros_like(z), torch.zeros_like(sigmas[0]))
    else:
        start = model.start
        noise = z - model.signal(sigmas[0]) * start
    running = Candidates(NoiseSource(noise), noise / sigmas[0], start, z.new_zeros(images))
    running = running.fork(candidates) if parted == 0 else running
    z = diffuse(model, running.z0, running.noise, sigmas[0])

    def estimate(z: Tensor, z0: Tensor, known: Directions, sigma: Tensor, measurement: Measurement
                 ) -> tuple[Tensor, Corrected]:
        z0_hat = model.denoise(z, sigma)
        # noise that z0 has had a part in tells nothing
        unsure = uncertainty(model, z, z0, z0_hat, sigma) if eta == 1 else z.new_ones(len(z))
        return z0_hat, correct(measurement.repeat(len(z) // images), z0_hat, sigma, unsure, known)

    for i, sigma, sigma_next in noise_levels(sigmas):
        at_once = images * chunk or len(z)
        parts = [slice(first, first + at_once) for first in range(0, len(z), at_once)]
        seen = [estimate(z[part], running.z0[part], running.known.each(itemgetter(part)), sigma, measurement)
                for part in parts]
        z0_hat, corrected = torch.cat([z0_hat for z0_hat, _ in seen]), Corrected.cat([part for _, part in seen])
        if corrected.floor is not None and model.spread(sigma) < FITTED:
            measurement = replace(measurement, floor=corrected.floor[:images])
        surprised = running.surprise + surprise(model, corrected.z0, z0_hat, sigma)
        seen_under = predicted_noise(model, z, corrected.z0, sigma)
        running = Candidates(running.source, seen_under, corrected.z0, surprised, corrected.known)
        running = thin_out(model, measurement, running, sigmas, sigma_next, FINALISTS if faithful else 1)
        running = running.fork(candidates) if i + 1 == parted else running
        added = mix_noise(running.noise, running.source.like(running.z0), eta)
        z = diffuse(model, running.z0, temperature ** (1 / model.spread(sigma_next)) * added, sigma_next)
        if callback is not None:
            callback(Step(i, sigma, z[:images], z0_hat[:images], corrected.x0_hat[:images]))
    left = z.unflatten(0, (-1, images))
    return left.mean(0) if faithful else left[0]
