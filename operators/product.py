"""Linear operators one after another, where no closed form is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from torch import Tensor

from .base import LinearOperator, Shape


class Product(LinearOperator):
    """Linear operators one after another; pinv and prox run conjugate gradients.

    |A A^+ A x - A x| <= tol |A| |x| in double precision, with tol = 1e-6, or 0.01 where a blur takes part; see
    `LinearOperator`.
    """

    def __init__(self, image_shape: Shape, parts: Sequence[LinearOperator]) -> None:
        super().__init__(image_shape)
        self.parts = tuple(parts)
        self.measurement_shape = self.parts[-1].measurement_shape
        self.smoothing = any(part.smoothing for part in self.parts)
        self.images = max(part.images for part in self.parts)

    @property
    def num_measurements(self) -> int | Tensor:
        return self.parts[-1].num_measurements

    def restrict(self, y: Tensor) -> Tensor:
        return self.parts[-1].restrict(y)

    def _forward(self, x: Tensor) -> Tensor:
        return reduce(lambda v, part: part._forward(v), self.parts, x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return reduce(lambda v, part: part._adjoint(v), reversed(self.parts), y)
