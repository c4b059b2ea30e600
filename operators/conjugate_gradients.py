"""Conjugate gradients for (I + t A^T A) u = b, differentiable without unrolling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .polling import poll

LinearMap = Callable[[Tensor], Tensor]
MAX_ITERATIONS = 2000
CACHED = 2**21  # values of a vector that a CPU's cache holds beside a few more
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}
"""relative residual; in single precision, rounding hides what lies below"""


def normal_solve(
    gram: LinearMap, b: Tensor, t: float | Tensor, tolerance: float | None = None, images: int = 1
) -> Tensor:
    """(I + t A^T A)^-1 b, differentiable in b.

    gram: x -> A^T A x, each image of the batch for itself; it takes batches of multiples of `images`.
    Stops at a residual of tolerance |b| (default: TOLERANCE of the precision) or after MAX_ITERATIONS.
    """
    return _NormalSolve.apply(b, gram, t, tolerance or TOLERANCE[b.dtype], images)


class _NormalSolve(torch.autograd.Function):
    """The system is symmetric, so the backward pass is one more solve."""

    @staticmethod
    def forward(ctx, b: Tensor, gram: LinearMap, t: float | Tensor, tolerance: float, images: int) -> Tensor:
        t = torch.as_tensor(t, dtype=b.dtype, device=b.device).detach()
        ctx.system = gram, t, tolerance, images
        return in_parts(b, *ctx.system)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _NormalSolve.apply(grad, *ctx.system), None, None, None, None


def in_parts(b: Tensor, gram: LinearMap, t: Tensor, tolerance: float, images: int) -> Tensor:
    """On a CPU, a batch goes in parts that its cache holds: fresh memory for every product costs more than the rest."""
    size = CACHED * len(b) // b.numel() if b.device.type == "cpu" else len(b)
    size = max(1, size // images) * images
    t = t.expand(len(b), 1, 1, 1)
    parts = zip(b.split(size), t.split(size), strict=True)
    return torch.cat([conjugate_gradients(part, gram, weight, tolerance) for part, weight in parts])


def conjugate_gradients(b: Tensor, gram: LinearMap, t: Tensor, tolerance: float) -> Tensor:
    """Each image of the batch has its own step sizes and its own stop, so a batch gives what single images give."""
    u, r, p = torch.zeros_like(b), b.clone(), b.clone()
    rr = _dot(r, r)
    stop = tolerance**2 * rr
    for _ in range(MAX_ITERATIONS):
        poll()
        active = rr > stop
        if not active.any():
            break
        q = torch.addcmul(p, t, gram(p))
        step = torch.where(active, rr / _dot(p, q), 0)
        u.addcmul_(step, p)
        r.addcmul_(step, q, value=-1)
        rr, previous = _dot(r, r), rr
        p.mul_(torch.where(active, rr / previous, 0)).add_(r)
    return u


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Image by image, so that rounding does not depend on the batch."""
    return torch.stack([torch.dot(v.flatten(), w.flatten()) for v, w in zip(a, b, strict=True)]).view(-1, 1, 1, 1)
