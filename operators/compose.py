"""Operators made of operators: one after another, and several of one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch
from torch import Tensor

from .base import LinearOperator, Operator, Shape
from .jpeg import Coded, SetOperator
from .masks import Identity
from .merge import merge
from .product import Product

Maker = Callable[[Shape], Operator]


def Compose(image_shape: Shape, makers: Sequence[Maker]) -> Operator:
    """The operators of `makers`, in order: `[partial(GaussianBlur, sigma=2), SuperResolution]`.

    Each but the first is bound to the measurement of the one before, which must be an image (C, H, W). Neighbours with
    a common closed form are merged (see `merge`), and a product that merges into one keeps an exact pseudo-inverse; any
    other runs conjugate gradients. With a non-linear part the product only has a forward.
    """
    parts: list[Operator] = []
    for maker in makers:
        shape = parts[-1].measurement_shape if parts else image_shape
        if len(shape) != 3:
            raise ValueError(f"The measurement of {type(parts[-1]).__name__} is no image: nothing can follow it.")
        parts.append(maker(shape))
    if not parts:
        return Identity(image_shape)
    if not all(part.linear for part in parts):
        coded = isinstance(parts[-1], SetOperator) and len(parts) > 1 and all(part.linear for part in parts[:-1])
        return Coded(image_shape, Compose(image_shape, makers[:-1]), parts[-1]) if coded else Chain(image_shape, parts)
    merged: list[LinearOperator] = []
    for part in parts:
        both = merge(merged[-1], part) if merged else None
        merged = [*merged[:-1], both] if both else [*merged, part]
    operator = merged[0] if len(merged) == 1 else Product(image_shape, merged)
    if not torch.as_tensor(operator.num_measurements).all():
        raise ValueError("The operators of this composition leave nothing to measure: change one or their order.")
    return operator


def image_shape_for(measurement_shape: Shape, makers: Sequence[Maker]) -> Shape:
    """The image whose measurement by `Compose` has this shape, asked of each maker from the last to the first."""
    for maker in reversed(makers):
        keywords = maker.keywords if isinstance(maker, partial) else {}
        shape_for = getattr(getattr(maker, "func", maker), "image_shape_for", None)
        measurement_shape = shape_for(measurement_shape, **keywords) if shape_for else measurement_shape
    return measurement_shape


Compose.image_shape_for = image_shape_for


class Chain(Operator):
    """Operators one after another, not all linear."""

    def __init__(self, image_shape: Shape, parts: Sequence[Operator]) -> None:
        super().__init__(image_shape)
        self.parts = tuple(parts)
        self.measurement_shape = self.parts[-1].measurement_shape

    def _forward(self, x: Tensor) -> Tensor:
        return reduce(lambda v, part: part._forward(v), self.parts, x)


def nonlinear_part(operator: Operator) -> str:
    """The class of what makes an operator non-linear: its name, for messages."""
    if isinstance(operator, Chain | Coded):
        return nonlinear_part(next(part for part in operator.parts if not part.linear))
    return type(operator).__name__


class Stack(LinearOperator):
    """Several linear measurements of one image; y is their flat vectors end to end, (m_1 + m_2 + ...,).

    pinv and prox run conjugate gradients: |A A^+ A x - A x| <= tol |A| |x| in double precision, with tol = 1e-6, or
    0.01 where a blur takes part; see `LinearOperator`.
    """

    def __init__(self, image_shape: Shape, makers: Sequence[Maker]) -> None:
        super().__init__(image_shape)
        self.parts = tuple(maker(self.image_shape) for maker in makers)
        if not self.parts or not all(part.linear for part in self.parts):
            raise ValueError("A stack needs one or more linear operators: leave out the non-linear ones.")
        self.smoothing = any(part.smoothing for part in self.parts)
        self.images = max(part.images for part in self.parts)
        self.sizes = [math.prod(part.measurement_shape) for part in self.parts]
        self.measurement_shape = (sum(self.sizes),)

    @property
    def num_measurements(self) -> int | Tensor:
        return sum(part.num_measurements for part in self.parts)

    def split(self, y: Tensor) -> list[Tensor]:
        """The single measurements in y."""
        flat = y.split(self.sizes, 1)
        return [v.reshape(-1, *part.measurement_shape) for v, part in zip(flat, self.parts, strict=True)]

    def restrict(self, y: Tensor) -> Tensor:
        return self._join([part.restrict(v) for part, v in zip(self.parts, self.split(y), strict=True)])

    def _forward(self, x: Tensor) -> Tensor:
        return self._join([part._forward(x) for part in self.parts])

    def _adjoint(self, y: Tensor) -> Tensor:
        return sum(part._adjoint(v) for part, v in zip(self.parts, self.split(y), strict=True))

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([v.flatten(1) for v in parts], 1)
