"""Compressed sensing: a few random-sign Walsh-Hadamard coefficients of each channel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Constant, Shape, SpectralOperator


class CompressedSensing(SpectralOperator):
    """Keeps the fraction `ratio` of an orthonormal transform; y is (C, m), m = round(ratio H W), at least 1.

    The pixels of a channel are shuffled, their signs drawn, and each block transformed by Walsh-Hadamard; blocks are
    the powers of two that add up to H W, so that any size works. Then m coefficients are kept at random. A A^T = I,
    hence A^+ = A^T. After the compressed sensing of DDRM (Kawar et al. 2022).
    """

    def __init__(self, image_shape: Shape, ratio: float = 0.25, seed: int = 0) -> None:
        super().__init__(image_shape)
        if not 0 < ratio <= 1:
            raise ValueError(f"The ratio of compressed sensing must lie in (0, 1], but is {ratio}.")
        channels, height, width = self.image_shape
        pixels = height * width
        kept = max(1, round(ratio * pixels))
        self.measurement_shape = (channels, kept)
        generator = torch.Generator().manual_seed(seed)
        self.order = Constant(torch.randperm(pixels, generator=generator))
        self.inverse_order = Constant(self.order.value.argsort())
        self.signs = Constant(torch.randint(2, (pixels,), generator=generator) * 2.0 - 1)
        self.rows = Constant(torch.randperm(pixels, generator=generator)[:kept])
        self.blocks = [2**k for k in reversed(range(pixels.bit_length())) if pixels >> k & 1]

    def _forward(self, x: Tensor) -> Tensor:
        x = gather(x.flatten(2), self.order.like(x)) * self.signs.like(x)
        return gather(self._transform(x), self.rows.like(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(*y.shape[:2], len(self.order.value)).scatter(2, self.rows.like(y).expand(*y.shape[:2], -1), y)
        x = self._transform(x) * self.signs.like(y)
        return gather(x, self.inverse_order.like(y)).unflatten(2, self.image_shape[1:])

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        return self._adjoint(y) * gain(y.new_ones(1, 1, 1))

    def _transform(self, x: Tensor) -> Tensor:
        if len(self.blocks) == 1:
            return walsh_hadamard(x)
        return torch.cat([walsh_hadamard(block) for block in x.split(self.blocks, -1)], -1)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """x[..., index] of (B, C, n), ten times as fast as indexing."""
    return x.gather(2, index.expand(*x.shape[:2], -1))


def walsh_hadamard(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform (Sylvester's order) of the last axis, whose length is a power of two.

    A Hadamard matrix is a Kronecker product of smaller ones: the axis is transformed five bits at a time.
    """
    shape, bits = x.shape, x.shape[-1].bit_length() - 1
    while bits > 0:
        step = min(5, bits)
        matrix = sylvester(step).to(x) / 2 ** (step / 2)
        x = (x.reshape(*shape[:-1], -1, 2**step) @ matrix).mT.reshape(shape)
        bits -= step
    return x


def sylvester(bits: int) -> Tensor:
    """The (2^bits, 2^bits) matrix of signs."""
    matrix, core = torch.ones(1, 1), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    for _ in range(bits):
        matrix = torch.kron(core, matrix)
    return matrix
