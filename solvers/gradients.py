"""What every method with gradients asks of them before it takes a step."""

from __future__ import annotations

import torch
from torch import Tensor


class GradientError(RuntimeError):
    """The gradient through denoiser and decoder cannot be used."""


def check_gradient(gradient: Tensor, value: Tensor, step: int) -> None:
    """Stops on a gradient that is not finite, or all zero although there is a loss to lower."""
    if not torch.isfinite(gradient).all():
        raise GradientError(f"the gradient is not finite at step {step + 1}")
    dead = (gradient.flatten(1) == 0).all(dim=1) & (value > 0)
    if dead.any():
        raise GradientError(f"the gradient is zero at step {step + 1}: it does not reach the latent")
