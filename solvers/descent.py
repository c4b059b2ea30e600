"""The most likely move of a latent, sought along one direction after another, some of them known from the level above.

    argmin_u  trust || y - h(z0) - J u ||^2 + || u ||^2

Every direction costs a decoding, for its image J u, and a gradient a back-propagation. But from one noise level to the
next J hardly changes: the directions of the level above span much of what another few gradients would (recycled Krylov
subspaces: Parks et al. 2006). Which of their span is best, their images tell, which are there already. How far to go
along it, and what is left to do, only an image of its own does: where J has changed, old ones lead astray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .latent import norms, per_sample
from .linearised import Linearised, checked, inner, ratio

ROUNDED = 1e3
"""Rounding errors of a move up to which a gradient is no more than those."""

NEW = 0.01
"""Part of a direction that must be new: what is left of less is the error of its image."""


@dataclass(frozen=True)
class Directions:
    """Moves u (B, c, h, w), and the image J u (B, *measurement_shape) of each; every sample has its own."""

    moves: tuple[Tensor, ...] = ()
    images: tuple[Tensor, ...] = ()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.moves, self.images, strict=True)

    def __len__(self) -> int:
        return len(self.moves)

    def each(self, change: Callable[[Tensor], Tensor]) -> Directions:
        """With all of its tensors changed alike: those of some samples, or of more."""
        return Directions(tuple(map(change, self.moves)), tuple(map(change, self.images)))

    @staticmethod
    def cat(parts: Sequence[Directions]) -> Directions:
        """Those of all samples from those of parts of them."""
        moves = zip(*(part.moves for part in parts), strict=True)
        images = zip(*(part.images for part in parts), strict=True)
        return Directions(tuple(map(torch.cat, moves)), tuple(map(torch.cat, images)))


class Descent:
    """A move u on its way to the minimum, the least along all directions that it has been led along so far."""

    def __init__(self, h: Linearised, trust: Tensor) -> None:
        """trust: (B,), variance of z0 by that of the measurement's noise."""
        self.h, self.trust = h, trust
        self.u, self.residual = torch.zeros_like(h.z0), h.measurement.residual(h.x0)
        self.found = Directions()
        self.curvatures: list[Tensor] = []

    def along(self, move: Tensor, image: Tensor | None = None) -> None:
        """Leads it to the least along what of a move is conjugate to the directions before, if that is much."""
        image = self.h.forward(move) if image is None else image
        whole = self.product((move, image), (move, image))
        for other, curvature in zip(self.found, self.curvatures, strict=True):
            part = -ratio(self.product((move, image), other), curvature)
            move, image = (of.addcmul(per_sample(part, of), by) for of, by in zip((move, image), other, strict=True))
        curvature = self.product((move, image), (move, image))
        old = curvature <= NEW**2 * whole
        move, image, curvature = (of.where(~per_sample(old, of), 0) for of in (move, image, curvature))
        length = ratio(self.trust * inner(image, self.residual) - inner(move, self.u), curvature)
        self.u = self.u.addcmul(per_sample(length, move), move)
        self.residual = self.residual.addcmul(per_sample(-length, image), image)
        self.found = Directions((*self.found.moves, move), (*self.found.images, image))
        self.curvatures.append(curvature)

    def gradient(self) -> Tensor:
        """Downhill from u; nothing where only rounding is left of it, which would lead anywhere."""
        downhill = per_sample(self.trust, self.u) * self.h.pulled(self.residual) - self.u
        rounding = ROUNDED * torch.finfo(downhill.dtype).eps * norms(self.u)
        return downhill.where(~per_sample(norms(downhill) <= rounding, downhill), 0)  # what is not a number stays

    def product(self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
        """Inner product of two directions by the curvature of what is minimised, (B,)."""
        return self.trust * inner(a[1], b[1]) + inner(a[0], b[0])


def most_likely_move(
    h: Linearised, trust: Tensor, iterations: int, start: Tensor | None = None, known: Directions | None = None
) -> tuple[Tensor, Tensor, Directions]:
    """The move u (B, c, h, w), the residual that it leaves, and the directions that led there.

    Along the best of what known directions span, then along start, if there is one, then by so many conjugate
    gradients. All are made conjugate to all before them, not to the last alone: J^T is no transpose of differences.
    """
    descent = Descent(h, trust)
    if known:
        descent.along(best_known(h, trust, known))
    if start is not None:
        descent.along(start)
    for _ in range(iterations):
        descent.along(descent.gradient())
    return checked(descent.u), descent.residual, descent.found  # once: what is not finite in a gradient stays in u


def best_known(h: Linearised, trust: Tensor, known: Directions) -> Tensor:
    """What is the least by the images of another level: a direction, whose length waits for its own image."""
    descent = Descent(h, trust)
    for direction in known:
        descent.along(*direction)
    return descent.u
