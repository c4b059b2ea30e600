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
        self.known = Constant(matrix.any(1))
        self.complete = bool(self.known.value.all())

    @cached_property
    def svd(self) -> tuple[Constant, Constant, Constant]:
        """U (m, k), S (k,) in no order, V^T (k, n) with k = min(m, n)."""
        with torch.inference_mode(False):
            return tuple(map(Constant, symmetric_svd(self.matrix.value)))


def symmetric_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The thin SVD of an (m, n) matrix; singular values come in no order.

    Symmetric kernels give matrices that commute with reversal: they map even vectors to even and odd to odd ones, and
    two decompositions of half the size take a quarter of the time.
    """
    if not torch.allclose(matrix, matrix.flip(0, 1), rtol=0, atol=1e-14):
        return torch.linalg.svd(matrix, full_matrices=False)
    left, right = parities(matrix.shape[0]), parities(matrix.shape[1])
    parts = [torch.linalg.svd(a.mT @ matrix @ b, full_matrices=False) for a, b in zip(left, right, strict=True)]
    u = torch.cat([a @ part[0] for a, part in zip(left, parts, strict=True)], 1)
    v = torch.cat([part[2] @ b.mT for b, part in zip(right, parts, strict=True)])
    return u, torch.cat([part[1] for part in parts]), v


def parities(n: int) -> tuple[Tensor, Tensor]:
    """Orthonormal bases of the even (n, n - n // 2) and the odd (n, n // 2) vectors."""
    eye = torch.eye(n, dtype=torch.float64)
    even, odd = (eye + eye.flip(0))[:, : n - n // 2], (eye - eye.flip(0))[:, : n // 2]
    return even / even.norm(dim=0), odd / odd.norm(dim=0)


class Separable(SpectralOperator):
    """x -> R x C^T on each channel, with R = rows.matrix (h, H) and C = columns.matrix (w, W).

    Rows of zeros, in either matrix, measure nothing.
    """

    def __init__(self, image_shape: Shape, rows: Axis, columns: Axis) -> None:
        super().__init__(image_shape)
        self.rows, self.columns = rows, columns
        self.measurement_shape = (self.image_shape[0], rows.shape[0], columns.shape[0])

    @cached_property
    def num_measurements(self) -> int:
        return self.image_shape[0] * int(self.rows.known.value.sum() * self.columns.known.value.sum())

    def restrict(self, y: Tensor) -> Tensor:
        if self.rows.complete and self.columns.complete:
            return y
        return y * self.rows.known.like(y)[:, None] * self.columns.known.like(y)

    def _forward(self, x: Tensor) -> Tensor:
        return self.rows.matrix.like(x) @ (x @ self.columns.matrix.like(x).mT)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.rows.matrix.like(y).mT @ y @ self.columns.matrix.like(y)

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        u_rows, s_rows, v_rows = (factor.like(y) for factor in self.rows.svd)
        u_columns, s_columns, v_columns = (factor.like(y) for factor in self.columns.svd)
        coefficients = u_rows.mT @ y @ u_columns
        return v_rows.mT @ (coefficients * gain(s_rows[:, None] * s_columns)) @ v_columns
