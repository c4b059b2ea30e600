"""Conjugate gradients for (I + t A^T A) u = b, differentiable without unrolling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .base import LinearOperator

MAX_ITERATIONS = 2000
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}
"""relative residual; in single precision, rounding hides what lies below"""


def normal_solve(operator: LinearOperator, b: Tensor, t: float | Tensor) -> Tensor:
    """(I + t A^T A)^-1 b, differentiable in b.

    Stops at a residual of TOLERANCE |b| or after MAX_ITERATIONS.
    """
    return _NormalSolve.apply(b, operator, t)


class _NormalSolve(torch.autograd.Function):
    """The system is symmetric, so the backward pass is one more solve."""

    @staticmethod
    def forward(ctx, b: Tensor, operator: LinearOperator, t: float | Tensor) -> Tensor:
        ctx.operator, ctx.t = operator, t.detach() if isinstance(t, Tensor) else t
        return conjugate_gradients(operator, b, ctx.t)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return _NormalSolve.apply(grad, ctx.operator, ctx.t), None, None


def conjugate_gradients(operator: LinearOperator, b: Tensor, t: float | Tensor) -> Tensor:
    """Each image of the batch has its own step sizes and its own stop, so a batch gives what single images give."""
    u, r, p = torch.zeros_like(b), b, b
    rr = _dot(r, r)
    stop = TOLERANCE[b.dtype] ** 2 * rr
    for _ in range(MAX_ITERATIONS):
        active = rr > stop
        if not active.any():
            break
        q = p + t * operator._adjoint(operator._forward(p))
        step = torch.where(active, rr / _dot(p, q), 0)
        u, r = u + step * p, r - step * q
        rr, previous = _dot(r, r), rr
        p = r + torch.where(active, rr / previous, 0) * p
    return u


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)
