"""What every measurement operator is: a linear map A with exact transpose, pseudo-inverse and proximal step."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from .conjugate_gradients import normal_solve

DEFAULT_RCOND = {torch.float32: 1e-4, torch.float64: 5e-9}
SMOOTHING_RCOND, SMOOTHING_TOLERANCE = 0.02, {torch.float32: 2e-3, torch.float64: 1e-12}
Shape = tuple[int, ...]


class Constant:
    """A tensor kept in double precision on the CPU, handed out in the dtype and on the device of its user.

    Integers (indices) stay integers. Copies are made outside inference mode, where ComfyUI runs its nodes: autograd
    refuses to save inference tensors.
    """

    def __init__(self, value: Tensor) -> None:
        with torch.inference_mode(False):
            if value.dtype != torch.int64:
                value = value.to(torch.complex128 if value.is_complex() else torch.float64)
            self.value = value.detach().cpu().clone()
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        key = (device, dtype)
        if key not in self._copies:
            with torch.inference_mode(False):
                target = dtype.to_complex() if self.value.is_complex() else dtype
                exact = self.value.dtype == torch.int64
                self._copies[key] = (self.value if exact else self.value.to(target)).to(device)
        return self._copies[key]

    def like(self, x: Tensor) -> Tensor:
        return self.on(x.device, x.dtype)


class Movable:
    """Holds Constants, directly or in other Movables."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None):
        """A shallow copy whose constants already have their copies on `device` in `dtype` (CPU and float32 if None).

        It may always be left out: operators compute on the device and in the dtype of the tensor they are given.
        """
        device, dtype = torch.empty(0, device=device).device, dtype or torch.float32
        for value in vars(self).values():
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Movable):
                    item.to(device, dtype)
                elif isinstance(item, Constant):
                    item.on(device, dtype)
        return copy.copy(self)


class Operator(Movable, ABC):
    """A measurement y = A(x) of images of one shape; x is (B, C, H, W) in [-1, 1], y is (B, *measurement_shape).

    Half-precision tensors are computed and returned in float32. ValueError for a tensor of another shape.
    """

    linear = False
    images = 1
    """Of how many images of a batch it holds something of their own (masks), in turn; 1: the same for all."""
    proximal = False
    """It has pinv and prox: all linear ones do, and those that a convex set of images fits (JPEG)."""
    measurement_shape: Shape

    def __init__(self, image_shape: Shape) -> None:
        self.image_shape = tuple(int(n) for n in image_shape)
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape must be (channels, height, width), all positive, but is {image_shape}.")

    @property
    def num_measurements(self) -> int | Tensor:
        """Scalar values per image that are really measured; (images,) where they are of different number."""
        return math.prod(self.measurement_shape)

    def forward(self, x: Tensor) -> Tensor:
        """A(x): (B, C, H, W) -> (B, *measurement_shape)."""
        return self._forward(self._image(x))

    __call__ = forward

    def restrict(self, y: Tensor) -> Tensor:
        """y with zeros where nothing was measured (the identity but for masks)."""
        return y

    def residual(self, y: Tensor, x: Tensor) -> Tensor:
        """y - A(x), zero where nothing was measured."""
        return self.restrict(y - self(x))

    def unweighted(self, y: Tensor) -> Tensor:
        """y as a picture shows it (the identity but for weighted operators)."""
        return y

    def given(self, x: Tensor, y: Tensor) -> tuple[Operator, Tensor]:
        """Operator and measurement that stand for this one and y where the image is nearly x (the same for most)."""
        return self, y

    def linearised(self, x: Tensor) -> Tensor:
        """What the residual is a difference from, and changes with x as it does: A(x), or its smooth part."""
        return self.restrict(self(x))

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    def _image(self, x: Tensor) -> Tensor:
        return _accept(x, self.image_shape, "image")

    def _measurement(self, y: Tensor) -> Tensor:
        return _accept(y, self.measurement_shape, "measurement")


class LinearOperator(Operator):
    """A linear measurement. Every call is differentiable with respect to x and y.

    Without a closed form of its own (`SpectralOperator`), pinv and prox run conjugate gradients down to a relative
    residual of 1e-12 in double and 1e-4 in single precision (2e-3 for pinv of a `smoothing` operator). prox is then as
    exact as that. For pinv, A^+ A and A A^+ are symmetric, and

        |A A^+ A x - A x| <= tol |A| |x|    and    |A A^+ A A^+ A x - A A^+ A x| <= tol |A| |x|

    with tol = 0.01 for a `smoothing` operator, as the system is regularised there, and 1e-6 in double precision for
    others: masks, resizing, mosaics and channel mixing in any order, and stacks of them.
    """

    linear = proximal = True
    smoothing = False
    """It (or a part of it) is a blur: some of what it measures all but vanishes. No photograph is so free of noise that
    this could be brought back, and conjugate gradients would need thousands of iterations."""

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, the exact transpose: (B, *measurement_shape) -> (B, C, H, W)."""
        return self._adjoint(self._measurement(y))

    def pinv(self, y: Tensor, rcond: float | Tensor | None = None) -> Tensor:
        """A^+ y, the Moore-Penrose pseudo-inverse: (B, *measurement_shape) -> (B, C, H, W).

        With a closed form (`SpectralOperator`) singular values below rcond * s_max count as zero, so A^+ A is an
        orthogonal projector for every rcond, and |A A^+ A - A| <= rcond * |A|. By conjugate gradients A^+ is the
        Tikhonov inverse (A^T A + (rcond s_max)^2)^-1 A^T, a projector only where no singular value is near rcond; a
        `smoothing` operator takes an rcond of at least 0.02 there.
        rcond may differ from image to image, (B, 1, 1, 1). The default weighs truncation against rounding: 1e-4 in
        single, 5e-9 in double precision.
        """
        y = self._measurement(y)
        return self._pinv(y, DEFAULT_RCOND[y.dtype] if rcond is None else rcond)

    def prox(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """argmin_u t |A u - y|^2 + |u - x|^2, for t > 0: a number or a (B, 1, 1, 1) tensor."""
        return self._prox(self._image(x), self._measurement(y), t)

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...

    def _pinv(self, y: Tensor, rcond: float | Tensor) -> Tensor:
        least = SMOOTHING_RCOND if self.smoothing else 0.0
        rcond = torch.as_tensor(rcond, dtype=y.dtype, device=y.device).clamp_min(least)
        t = (rcond * self._norm(y)).clamp_min(1e-9) ** -2
        tolerance = SMOOTHING_TOLERANCE[y.dtype] if self.smoothing else None
        return normal_solve(self._gram, t * self._adjoint(y), t, tolerance, self.images)

    def _prox(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        return x + normal_solve(self._gram, t * self._adjoint(y - self._forward(x)), t, images=self.images)

    def _gram(self, x: Tensor) -> Tensor:
        return self._adjoint(self._forward(x))

    def _norm(self, like: Tensor) -> float:
        """The largest singular value, by power iteration; computed once."""
        if "norm" not in vars(self):
            with torch.inference_mode():
                x = torch.randn(self.images, *self.image_shape, generator=torch.Generator().manual_seed(0)).to(like)
                for _ in range(20):
                    x = self._gram(x / x.norm().clamp_min(1e-30))
            self.norm = float(x.norm()) ** 0.5
        return self.norm


class SpectralOperator(LinearOperator):
    """A linear operator A = U S V^T whose singular value decomposition is at hand."""

    def spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """V gain(S) U^T y: (B, *measurement_shape) -> (B, C, H, W)."""
        return self._spectral(self._measurement(y), gain)

    def filter(self, x: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """V gain(S) V^T x of an image x, whose part in the null space of A is multiplied by gain(0)."""
        x = self._image(x)
        unseen = gain(x.new_zeros(()))

        def correction(s: Tensor) -> Tensor:
            return torch.where(s > 0, gain(s) - unseen, 0) / torch.where(s > 0, s, 1)

        return unseen * x + self._spectral(self._forward(x), correction)

    @abstractmethod
    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """V gain(S) U^T y; `gain` maps singular values, broadcastable to (B, C, ., .), to the factors to apply."""

    def _pinv(self, y: Tensor, rcond: float | Tensor) -> Tensor:
        def gain(s: Tensor) -> Tensor:
            kept = s > rcond * s.max()
            return kept / torch.where(kept, s, 1)

        return self._spectral(y, gain)

    def _prox(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        return x + self._spectral(y - self._forward(x), lambda s: t * s / (1 + t * s**2))


def _accept(x: Tensor, shape: Shape, name: str) -> Tensor:
    if x.ndim != len(shape) + 1 or tuple(x.shape[1:]) != shape:
        raise ValueError(f"The {name} has shape {tuple(x.shape)}, but this operator needs (batch, {str(shape)[1:]}.")
    if not x.is_floating_point():
        raise ValueError(f"The {name} is of type {x.dtype}, but must be floating point, with pixels in [-1, 1].")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
