"""Several ways down from noise, of which the likeliest arrives. What a picture shows is decided high up, for good.

Each costs as much as a run of its own while it lasts. So two stay once the picture has its shapes, those that the
measurement had to correct least, which costs nothing to know; and one goes on to the details, by its likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .latent import LatentModel, NoiseSource
from .likeliest import telling_levels, unlikelihood

SETTLED, DECIDED = 0.6, 0.25
"""Spreads, of sigma 0.75 and 0.26, below which a picture has its shapes, and nothing but details to come."""

FINALISTS = 2


@dataclass
class Candidate:
    """One way down, with noise of its own."""

    noise: NoiseSource
    z: Tensor
    """(B, c, h, w), at the noise level that has been reached."""
    z0: Tensor
    """What it was made of."""
    surprise: Tensor
    """(B,): how far the measurement had to move what the denoiser expected, in nats per unit of log sigma, added up."""

    @classmethod
    def at(cls, centre: Tensor, start: Tensor) -> Candidate:
        """From around centre, with noise start."""
        return cls(NoiseSource(start), centre + start, centre, start.new_zeros(len(start)))


def starts(z: Tensor, sigma: Tensor, candidates: int) -> list[Tensor]:
    """z itself, and other noise at the same level that z alone determines."""
    others = NoiseSource(-z)
    return [z, *(sigma * others.like(z) for _ in range(candidates - 1))]


def thin_out(model: LatentModel, measurement: Measurement, running: Sequence[Candidate], sigmas: Tensor,
             sigma: Tensor) -> list[Candidate]:
    """Those that go on at noise level sigma, of sigmas: all, the FINALISTS least surprised, or the likeliest."""
    running, spread = list(running), model.spread(sigma)
    if spread < SETTLED and len(running) > FINALISTS:
        running = least(running, [candidate.surprise for candidate in running], FINALISTS)
    if spread < DECIDED and len(running) > 1:
        levels = telling_levels(model, sigmas)
        noise = torch.stack([running[0].noise.like(running[0].z) for _ in levels])
        running = least(running, [unlikelihood(model, measurement, c.z0, levels, noise) for c in running], 1)
    return running


def least(running: Sequence[Candidate], costs: Sequence[Tensor], count: int) -> list[Candidate]:
    """Each sample's `count` candidates of least cost, the best first; the noise is that of the first ones."""
    order = torch.stack(list(costs)).nan_to_num(nan=torch.inf).argsort(0)[:count]
    sample = torch.arange(order.shape[1], device=order.device)
    z, z0, surprise = (torch.stack([getattr(c, name) for c in running]) for name in ("z", "z0", "surprise"))
    return [Candidate(c.noise, z[i, sample], z0[i, sample], surprise[i, sample])
            for c, i in zip(running, order, strict=False)]
