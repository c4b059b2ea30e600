"""A measurement some of whose values are wrong altogether: missed scratches, dust, hot pixels.

Least squares would fit them as well as it can. Here a value counts less the further it is from what is expected of it
(weights that redescend; Beaton and Tukey 1974): with the residual r = y - A x and its usual size s, a robust one,

    psi(r) = r   for |r| <= k s,      (k s)^2 / r   beyond

takes the place of r, so that the closed forms of A remain: A x + psi(r) is measured instead of y. Where y is black or
white it may have been cut off: there x may be darker than black, or brighter than white.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Constant, LinearOperator, Operator

K = 3.0
"""Deviations up to which a value is trusted fully."""
MEDIAN = 0.6745
"""Of the absolute value of a standard normal."""
SHOWN = 0.03
"""Share of the variance of x's error that is looked for in y."""
LIMIT = 1 - 1e-3
"""Of black and white, in [-1, 1] pixel units."""
LEAST = 2e-3
"""Noise of an 8-bit picture."""


class Robust(Operator):
    """A linear A whose measurement has outliers beside noise of sigma_y, a number or (N,) for N images in turn."""

    proximal = True

    def __init__(self, operator: LinearOperator, sigma_y: float | Tensor) -> None:
        super().__init__(operator.image_shape)
        self.sigmas = Constant(torch.as_tensor(sigma_y).reshape(-1).clamp_min(LEAST))
        self.operator, self.measurement_shape, self.images = operator, operator.measurement_shape, operator.images

    @property
    def num_measurements(self) -> int | Tensor:
        return self.operator.num_measurements

    def restrict(self, y: Tensor) -> Tensor:
        return self.operator.restrict(y)

    def unweighted(self, y: Tensor) -> Tensor:
        return self.operator.unweighted(y)

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator._forward(x)

    def residual(self, y: Tensor, x: Tensor) -> Tensor:
        """psi(y - A x)."""
        return self._trusted(y, x, 0.0)

    def pinv(self, y: Tensor, rcond: float | Tensor | None = None) -> Tensor:
        """As of A: nothing is expected yet."""
        return self.operator.pinv(y, rcond)

    def prox(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """As of A, next to x, for what of y is trusted given x."""
        return self.operator.prox(x, self.operator(x) + self._trusted(y, x, t), t)

    def given(self, x: Tensor, y: Tensor) -> tuple[LinearOperator, Tensor]:
        return self.operator, self.operator(x) + self.residual(y, x)

    def _trusted(self, y: Tensor, x: Tensor, t: float | Tensor) -> Tensor:
        """psi(y - A x) for an x that t (sigma_y)^2 is the variance of."""
        residual = self._within_range(y, self.operator.residual(y, x))
        size = residual.detach().abs()
        trusted = K * self._usual(size, t)
        return residual * (trusted / size.clamp_min(1e-12)).square().clamp_max(1)

    def _usual(self, size: Tensor, t: float | Tensor) -> Tensor:
        """The usual deviation of each image's residual, from its absolute values (B, ...): (B, 1, ...).

        What most values are off by, but no less than the noise, and a part of what x may be off by itself: else all of
        what x does not show yet would count as wrong.
        """
        known = self.operator.restrict(torch.ones_like(size)) > 0
        median = torch.where(known, size, torch.nan).flatten(1).nanmedian(1).values
        sigmas = self.sigmas.like(size)
        sigmas = sigmas.repeat(len(size) // len(sigmas)) if len(sigmas) > 1 else sigmas
        expected = sigmas * (1 + SHOWN * torch.as_tensor(t, dtype=size.dtype, device=size.device).flatten()).sqrt()
        return torch.maximum(median / MEDIAN, expected).view(-1, *[1] * (size.ndim - 1))

    def _within_range(self, y: Tensor, residual: Tensor) -> Tensor:
        """The residual, 0 where x is beyond black or white, and y is cut off there."""
        shown = self.operator.unweighted(y)
        beyond = (shown >= LIMIT) & (residual < 0) | (shown <= -LIMIT) & (residual > 0)
        return torch.where(beyond, 0, residual)
