"""An operator whose measurements are not equally noisy: rows are whitened, so that solvers see noise of one level."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .base import Constant, LinearOperator, SpectralOperator
from .masks import Identity, InpaintMask


def weighted(operator: LinearOperator, weights: Tensor) -> LinearOperator:
    """W A, which measures W y: a noise of 1 / weights in y is one of 1 everywhere in W y.

    weights: (N, *measurement_shape), above zero, for N images in turn (1: for all).
    Masks keep their closed form; others run conjugate gradients.
    """
    kind = WeightedPixels if isinstance(operator, Identity | InpaintMask) else Weighted
    return kind(operator, weights)


class Weighted(LinearOperator):
    """W A for a linear A."""

    def __init__(self, operator: LinearOperator, weights: Tensor) -> None:
        super().__init__(operator.image_shape)
        if not (weights > 0).all() or tuple(weights.shape[1:]) != operator.measurement_shape:
            raise ValueError("The weights must be above zero, one for each value that is measured.")
        self.operator, self.weights = operator, Constant(weights)
        self.measurement_shape, self.smoothing = operator.measurement_shape, operator.smoothing
        self.images = max(operator.images, len(weights))

    @property
    def num_measurements(self) -> int | Tensor:
        return self.operator.num_measurements

    def restrict(self, y: Tensor) -> Tensor:
        return self.operator.restrict(y)

    def unweighted(self, y: Tensor) -> Tensor:
        """What A measures: W^-1 y."""
        return y / self._weights(y)

    def _weights(self, y: Tensor) -> Tensor:
        weights = self.weights.like(y)
        return weights.repeat(len(y) // len(weights), *[1] * (y.ndim - 1)) if len(weights) > 1 else weights

    def _forward(self, x: Tensor) -> Tensor:
        y = self.operator._forward(x)
        return y * self._weights(y)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator._adjoint(y * self._weights(y))


class WeightedPixels(Weighted, SpectralOperator):
    """W A for a mask: the weights are its singular values."""

    def _pinv(self, y: Tensor, rcond: float | Tensor) -> Tensor:
        return self.restrict(self.unweighted(y))

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        return self.restrict(y * gain(self._weights(y)))
