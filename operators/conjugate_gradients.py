"""Conjugate gradients for (I + t A^T A) u = b, differentiable without unrolling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .base import LinearOperator

MAX_ITERATIONS = 500


def normal_solve(operator: LinearOperator, b: Tensor, t: float | Tensor) -> Tensor:
    """(I + t A^T A)^-1 b, to a relative residual of 20 machine epsilons or MAX_ITERATIONS; differentiable in b."""
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
    """Preconditioned conjugate gradients, each image of the batch with its own step sizes and its own stop."""
    tolerance = 20 * torch.finfo(b.dtype).eps * b.flatten(1).norm(dim=1)
    u, r = torch.zeros_like(b), b
    z = operator._precondition(r, t)
    p, rz = z, _dot(r, z)
    for _ in range(MAX_ITERATIONS):
        active = _column(r.flatten(1).norm(dim=1) > tolerance)
        if not active.any():
            break
        q = p + t * operator._adjoint(operator._forward(p))
        step = torch.where(active, rz / _dot(p, q).clamp_min(torch.finfo(b.dtype).tiny), 0)
        u, r = u + step * p, r - step * q
        z = operator._precondition(r, t)
        rz, previous = _dot(r, z), rz
        p = z + torch.where(active, rz / previous.clamp_min(torch.finfo(b.dtype).tiny), 0) * p
    return u


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return _column((a * b).flatten(1).sum(1))


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
