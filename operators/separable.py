"""Operators that act on rows and columns apart: A = A_rows (x) A_columns on each channel.

One-dimensional matrices and their singular value decompositions, in double precision, give the exact pseudo-inverse
and proximal step of a two-dimensional operator for any boundary and any size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from .base import Constant, Movable, Shape, SpectralOperator


class Axis(Movable):
    """A linear map of one image axis: `matrix` is (m, n)."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = Constant(matrix)
        self.shape = tuple(matrix.shape)

    @cached_property
    def svd(self) -> tuple[Constant, Constant, Constant]:
        """U (m, k), S (k,), V^T (k, n) with k = min(m, n)."""
        with torch.inference_mode(False):
            return tuple(Constant(factor) for factor in torch.linalg.svd(self.matrix.value, full_matrices=False))


class Separable(SpectralOperator):
    """x -> R x C^T on each channel, with R = rows.matrix (h, H) and C = columns.matrix (w, W)."""

    def __init__(self, image_shape: Shape, rows: Axis, columns: Axis) -> None:
        super().__init__(image_shape)
        self.rows, self.columns = rows, columns
        self.measurement_shape = (self.image_shape[0], rows.shape[0], columns.shape[0])

    def _forward(self, x: Tensor) -> Tensor:
        return self.rows.matrix.like(x) @ (x @ self.columns.matrix.like(x).mT)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.rows.matrix.like(y).mT @ y @ self.columns.matrix.like(y)

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        u_rows, s_rows, v_rows = (factor.like(y) for factor in self.rows.svd)
        u_columns, s_columns, v_columns = (factor.like(y) for factor in self.columns.svd)
        coefficients = u_rows.mT @ y @ u_columns
        return v_rows.mT @ (coefficients * gain(s_rows[:, None] * s_columns)) @ v_columns
