"""A measurement y = A(x) + n together with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .base import LinearOperator


@dataclass(frozen=True)
class Measurement:
    """What the solver is told.

    y:        (B, *operator.measurement_shape), in [-1, 1] pixel units.
    operator: A, bound to the shape of the image to restore.
    sigma_y:  standard deviation of the noise in y, in [-1, 1] pixel units; (B,) where the images' differ.
    floor:    (B,), root mean square of what no picture that a solver can draw shows of y, in the same units, found out
              on the way: noise for the solver, but no noise in y. None: nothing is known of it.
    """

    y: Tensor
    operator: LinearOperator
    sigma_y: float | Tensor
    floor: Tensor | None = None

    @property
    def count(self) -> int | Tensor:
        """Values measured of one image, m; (B,) where the images differ."""
        m = self.operator.num_measurements
        return m if isinstance(m, int) else m.repeat(len(self.y) // len(m)).to(self.y)

    @property
    def sigmas(self) -> Tensor:
        """sigma_y of each image, (B,), beside y."""
        return torch.as_tensor(self.sigma_y, dtype=self.y.dtype, device=self.y.device).expand(len(self.y))

    @property
    def overall_sigma(self) -> float:
        """Root mean square of the noise of all images: sigma_y where they are alike."""
        return self.sigma_y if isinstance(self.sigma_y, float) else float(self.sigmas.square().mean().sqrt())

    @property
    def noise_level(self) -> Tensor:
        """Expected norm of the noise of each sample, (B,): sigma_y sqrt(m), the discrepancy principle's target."""
        return self.sigmas * self.count**0.5

    def residual(self, x: Tensor) -> Tensor:
        """y - A(x) for x of shape (B, C, H, W), zero where nothing was measured."""
        return self.operator.residual(self.y, x)

    def rms_residual(self, x: Tensor) -> Tensor:
        """||y - A(x)|| / sqrt(m) per sample, shape (B,), in [-1, 1] pixel units: sigma_y where x fits."""
        norm = torch.linalg.vector_norm(self.residual(x).flatten(1), dim=1)
        return norm / self.count**0.5

    def repeat(self, count: int) -> Measurement:
        """The same of `count` batches of images, one after the other."""
        floor = None if self.floor is None else self.floor.repeat(count)
        sigma_y = self.sigma_y.repeat(count) if isinstance(self.sigma_y, Tensor) else self.sigma_y
        return replace(self, y=torch.cat([self.y] * count), sigma_y=sigma_y, floor=floor)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Measurement:
        """The same measurement on another device and in another dtype, by default the CPU and float32."""
        device, dtype = torch.empty(0, device=device).device, dtype or torch.float32
        sigma_y = self.sigma_y.to(device, dtype) if isinstance(self.sigma_y, Tensor) else self.sigma_y
        return replace(self, y=self.y.to(device, dtype), operator=self.operator.to(device, dtype), sigma_y=sigma_y)
