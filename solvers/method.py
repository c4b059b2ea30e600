"""What a user and the runtime need to know of a solver."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..operators import Operator


@dataclass(frozen=True)
class Method:
    """A solver with what it demands of model and measurement.

    solve: (model, measurement, z, sigmas, *, its parameters, callback) -> z.
    description: one sentence for a tooltip.
    through_denoiser, through_decoder: whether it needs gradients through the U-Net, through the VAE's decoder (and
        encoder). Without either it runs in the memory of plain sampling, with any attention kernel and fp8.
    takes_draft: whether it makes use of a LatentModel's draft.
    linear_only: whether the operator must have an adjoint; proximal_only: a prox at least, which JPEG has too.
    levels: the highest and the lowest noise level that suit it, for a z0 of unit variance; None: as in training.
    """

    solve: Callable[..., Tensor]
    description: str
    through_denoiser: bool = False
    through_decoder: bool = False
    takes_draft: bool = False
    linear_only: bool = True
    proximal_only: bool = False
    levels: tuple[float, float] | None = None

    def takes(self, operator: Operator) -> bool:
        """Whether it can solve for what this operator measured."""
        return (operator.linear or not self.linear_only) and (operator.proximal or not self.proximal_only)

    @property
    def differentiable(self) -> bool:
        """Whether any gradient is needed."""
        return self.through_denoiser or self.through_decoder

    @property
    def parameters(self) -> dict[str, float]:
        """Its own parameters and their defaults."""
        signature = inspect.signature(self.solve).parameters.values()
        return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY and p.name != "callback"}
