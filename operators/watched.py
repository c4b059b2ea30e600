"""How far a measurement had to move what a denoiser expected: what tells a right operator from a wrong one.

With a kernel that is too narrow the fitted picture stays blurred, with one too wide it rings. A denoiser expects
neither, and each level undoes what the one before had to put in. So of several operators that may have measured a photo
the right one is that under which a solver's steps are the shortest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import LinearOperator, Operator


class Watched(Operator):
    """A linear operator that keeps a record of the moves of its prox, in units of what x may be off.

    keep: whether of each x, too, with the standard deviation of what it may be off.
    """

    proximal = True

    def __init__(self, operator: LinearOperator, sigma_y: float, keep: bool = False) -> None:
        super().__init__(operator.image_shape)
        self.operator, self.measurement_shape, self.images = operator, operator.measurement_shape, operator.images
        self.sigma_y = sigma_y
        self.moves: list[Tensor] = []
        self.seen: list[tuple[Tensor, float]] | None = [] if keep else None

    @property
    def surprise(self) -> float:
        """Mean square of the moves in the second half of a run, where pictures have their shapes; inf before one."""
        late = self.moves[len(self.moves) // 2 :]
        return float(torch.stack(late).mean()) if late else torch.inf

    def restrict(self, y: Tensor) -> Tensor:
        return self.operator.restrict(y)

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator._forward(x)

    def pinv(self, y: Tensor, rcond: float | None = None) -> Tensor:
        """As of the operator."""
        return self.operator.pinv(y, rcond)

    def prox(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """As of the operator; t (sigma_y)^2 is the variance of x."""
        fitted = self.operator.prox(x, y, t)
        off = self.sigma_y**2 * torch.as_tensor(t, dtype=x.dtype, device=x.device)
        if self.seen is not None:
            self.seen.append((x.cpu(), float(off.flatten()[0]) ** 0.5))
        self.moves.append(((fitted - x).square().mean((1, 2, 3)) / off.flatten()).mean().cpu())
        return fitted
