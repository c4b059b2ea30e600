"""Operators that act on each pixel's channels by themselves: masks and channel mixing in any order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from .base import Constant, LinearOperator, Shape, SpectralOperator
from .colour import ChannelMix, mix
from .masks import InpaintMask


class Pixelwise(SpectralOperator):
    """Each pixel's channels times one of a few matrices: `matrices` is (P, m, C), `index` (H, W) says which.

    Rows of zeros measure nothing. The singular value decomposition is that of the P matrices.
    """

    def __init__(self, image_shape: Shape, matrices: Tensor, index: Tensor) -> None:
        super().__init__(image_shape)
        self.measurement_shape = (matrices.shape[1], *self.image_shape[1:])
        self.index = index.cpu()
        self.places = Constant(index == torch.arange(len(matrices)).view(-1, 1, 1, 1))  # (P, 1, H, W)
        self.matrices = Constant(matrices)
        self.svd = tuple(map(Constant, torch.linalg.svd(self.matrices.value, full_matrices=False)))
        self.known = Constant(matrices.any(2)[self.index].permute(2, 0, 1))

    @cached_property
    def num_measurements(self) -> int:
        return int(self.known.value.sum())

    def restrict(self, y: Tensor) -> Tensor:
        return y * self.known.like(y)

    def _forward(self, x: Tensor) -> Tensor:
        return self._apply(self.matrices.like(x), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._apply(self.matrices.like(y).mT, y)

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        u, s, v = (factor.like(y) for factor in self.svd)
        return self._apply(v.mT, self._apply(u.mT, y) * gain(s[self.index.to(s.device)].permute(2, 0, 1)))

    def _apply(self, matrices: Tensor, x: Tensor) -> Tensor:
        places = self.places.like(x)
        return sum(mix(matrix, x) * place for matrix, place in zip(matrices, places, strict=True))


def pixelwise(operator: LinearOperator) -> Pixelwise | None:
    """A mask or a channel mixing in this form; None for any other operator."""
    shape = operator.image_shape
    match operator:
        case Pixelwise():
            return operator
        case ChannelMix():
            return Pixelwise(shape, operator.matrix.value[None], torch.zeros(shape[1:], dtype=torch.int64))
        case InpaintMask(images=1):
            known = operator.mask.value.expand(shape).flatten(1).T
            patterns, index = known.unique(dim=0, return_inverse=True)
            return Pixelwise(shape, torch.diag_embed(patterns), index.view(shape[1:]))
    return None


def product(first: Pixelwise, then: Pixelwise) -> Pixelwise:
    """`then` after `first`: one matrix for each pair of matrices that meet in a pixel."""
    pairs, index = torch.stack((first.index, then.index)).flatten(1).unique(dim=1, return_inverse=True)
    matrices = then.matrices.value[pairs[1]] @ first.matrices.value[pairs[0]]
    return Pixelwise(first.image_shape, matrices, index.view(first.index.shape))
