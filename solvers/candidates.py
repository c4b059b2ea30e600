"""Several ways down from noise, of which the likeliest arrives. What a picture shows is decided half-way, for good.

High up, noise hides all that candidates could differ in: there one stands for them all. They part before a picture
takes shape, and each costs as much as a run of its own while it lasts. So two stay once it has its shapes, those that
the measurement had to correct least, which costs nothing to know; and one goes on to the details, by its likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .descent import Directions
from .latent import LatentModel, NoiseSource
from .likeliest import telling_level, unlikelihood

PARTED, SHAPED, SETTLED, DECIDED = 0.95, 0.67, 0.6, 0.41
"""Spreads, of sigma 3, 0.9, 0.75 and 0.45, below which pictures begin to differ, have their shapes, are near enough for
gradients, and lack nothing but details."""

FINALISTS = 2


@dataclass(frozen=True)
class Candidates:
    """n ways down for each of B images, as one batch: the images' first candidates, then their second, and so on.

    source: noise, each candidate's own.
    noise: what each was last seen under, (n B, c, h, w), of unit variance.
    z0: what each was made of.
    surprise: (n B,), how far the measurement had to move what the denoiser expected, in nats per unit of log sigma,
        added up.
    known: directions that led to z0.
    """

    source: NoiseSource
    noise: Tensor
    z0: Tensor
    surprise: Tensor
    known: Directions = Directions()

    def take(self, index: Tensor) -> Candidates:
        """Those at index."""
        source, known = self.source.take(index.tolist()), self.known.each(itemgetter(index))
        return Candidates(source, self.noise[index], self.z0[index], self.surprise[index], known)

    def fork(self, count: int) -> Candidates:
        """Each, and then count - 1 others of the same z0 under other noise."""
        source = self.source.fork(count)
        z0, surprise = (torch.cat([of] * count) for of in (self.z0, self.surprise))
        noise = torch.cat([self.noise, source.like(z0)[len(self.z0) :]])
        return Candidates(source, noise, z0, surprise, self.known.each(lambda of: torch.cat([of] * count)))


def parting(model: LatentModel, sigmas: Tensor) -> int:
    """Index of the noise level (of sigmas) from which on there is more than one."""
    return int((model.spread(sigmas[:-1]) >= PARTED).sum().clamp(max=len(sigmas) - 2))


def thin_out(
    model: LatentModel, measurement: Measurement, running: Candidates, sigmas: Tensor, sigma: Tensor, arrive: int = 1
) -> Candidates:
    """Those that go on at noise level sigma, of sigmas: all, the FINALISTS least surprised, the likeliest to arrive."""
    images, spread = len(measurement.y), model.spread(sigma)
    if len(running.z0) > FINALISTS * images and spread < SHAPED:
        running = running.take(least(running.surprise.view(-1, images), FINALISTS))
    if len(running.z0) > arrive * images and spread < DECIDED:
        level = telling_level(model, sigmas)
        noise = running.source.take(range(images)).like(running.z0[:images])  # the same for all that are compared
        costs = [unlikelihood(model, measurement, z0, level, noise) for z0 in running.z0.split(images)]
        running = running.take(least(torch.stack(costs) + running.surprise.view(-1, images), arrive))
    return running


def least(costs: Tensor, count: int) -> Tensor:
    """Where each image's `count` candidates of least cost (n, B) stand in the batch, its best first: (count B,)."""
    images = costs.shape[1]
    order = costs.nan_to_num(nan=torch.inf).argsort(dim=0, stable=True)[:count]
    return (order * images + torch.arange(images, device=order.device)).flatten()
