"""Closed forms of two operators in a row.

Masks; blurs with a circular boundary; rows-and-columns operators (resizing, separable blurs, masks of whole rows and
columns); channel mixing with whatever treats all channels alike, or with any mask; a circular blur before or after a
regular grid; anything with a closed form after a resizing by box or nearest whose factor divides the image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Constant, LinearOperator, Shape, SpectralOperator
from .blur import CircularBlur, SeparableBlur
from .colour import ChannelMix, mix
from .convolution import Convolution
from .hadamard import CompressedSensing
from .masks import Identity, InpaintGrid, InpaintMask
from .pixelwise import pixelwise, product
from .product import Product
from .resize import SuperResolution
from .separable import Axis, Separable


def merge(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    """`then` after `first` as one operator in closed form, or None."""
    if isinstance(first, Identity) or isinstance(then, Identity):
        return then if isinstance(first, Identity) else first
    rules = (masks, circular, rows_and_columns, colour_and_space, channels, convolution_and_grid, tight)
    return next(filter(None, (rule(first, then) for rule in rules)), None)


def masks(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    if isinstance(first, InpaintMask) and isinstance(then, InpaintMask):
        return InpaintMask(first.image_shape, first.mask.value * then.mask.value)
    return None


def circular(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    a, b = circular_convolution(first), circular_convolution(then)
    return CircularBlur(first.image_shape, a.then(b)) if a and b else None


def circular_convolution(operator: LinearOperator) -> Convolution | None:
    """That of a blur with a circular boundary."""
    blur = isinstance(operator, CircularBlur | SeparableBlur) and operator.convolution.boundary == "circular"
    return operator.convolution if blur else None


def rows_and_columns(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    a, b = axes(first), axes(then)
    if not (a and b):
        return None
    rows, columns = (Axis(outer.matrix.value @ inner.matrix.value) for inner, outer in zip(a, b, strict=True))
    both = Separable(first.image_shape, rows, columns)
    both.smoothing = first.smoothing or then.smoothing
    return both


def axes(operator: LinearOperator) -> tuple[Axis, Axis] | None:
    """The one-dimensional factors of an operator; of a mask only where whole rows and columns are known."""
    if isinstance(operator, Separable):
        return operator.rows, operator.columns
    if isinstance(operator, InpaintMask) and operator.images == len(mask := operator.mask.value) == 1:
        rows, columns = mask[0].amax(1), mask[0].amax(0)
        if torch.equal(mask[0], torch.outer(rows, columns)):
            return Axis(rows.diag()), Axis(columns.diag())
    return None


def colour_and_space(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    """Channel mixing commutes with whatever treats all channels alike."""
    match first, then:
        case ChannelMix(), ChannelMix():
            return ChannelMix(first.image_shape, then.matrix.value @ first.matrix.value)
        case (ChannelMix() as colour, space) | (space, ChannelMix() as colour) if same_in_every_channel(space):
            return ColourAndSpace(first.image_shape, then.measurement_shape, colour, space)
        case ColourAndSpace(), _ if same_in_every_channel(then) and (space := merge(first.space, then)):
            return ColourAndSpace(first.image_shape, then.measurement_shape, first.colour, space)
        case ColourAndSpace(), ChannelMix():
            colour = colour_and_space(first.colour, then)
            return ColourAndSpace(first.image_shape, then.measurement_shape, colour, first.space)
    return None


def same_in_every_channel(operator: LinearOperator) -> bool:
    """Does it act on each channel alike, so that it commutes with channel mixing?"""
    match operator:
        case InpaintMask():
            return operator.mask.value.shape[-3] == 1
        case ConvolutionAndGrid() | AfterTight():
            return all(map(same_in_every_channel, operator.parts))
    return isinstance(operator, Separable | CircularBlur | CompressedSensing)


def channels(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    """Masks of single channels, and channel mixing."""
    a = pixelwise(first)
    b = pixelwise(then) if a else None
    return product(a, b) if a and b else None


def convolution_and_grid(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    a, b = circular_convolution(first), circular_convolution(then)
    grid, blur = (then, a) if a else (first, b)
    fits = blur and isinstance(grid, InpaintGrid) or a and is_decimation(grid)
    step = int(grid.factor) if fits else 0
    if not fits or any(n % step for n in blur.size):
        return None
    return ConvolutionAndGrid((first, then), blur, step)


def is_decimation(operator: LinearOperator) -> bool:
    return isinstance(operator, SuperResolution) and operator.kernel == "nearest" and operator.factor % 1 == 0


def tight(first: LinearOperator, then: LinearOperator) -> LinearOperator | None:
    """Where A A^T of the first is a multiple of the identity, the second's decomposition serves both."""
    if not (isinstance(first, Separable) and isinstance(then, SpectralOperator)):
        return None
    norms = [row_norm(axis.matrix.value) for axis in (first.rows, first.columns)]
    return AfterTight((first, then), norms[0] * norms[1]) if all(norms) else None


def row_norm(matrix: Tensor) -> float:
    """The common norm of rows that are orthogonal to each other, else 0."""
    gram = matrix @ matrix.mT
    scale = gram[0, 0]
    return float(scale.sqrt()) if torch.allclose(gram, scale * torch.eye(len(gram)).to(gram), atol=1e-14) else 0.0


class ColourAndSpace(SpectralOperator):
    """Channel mixing and an operator that acts on every channel alike: they commute, singular values multiply."""

    def __init__(
        self, image_shape: Shape, measurement_shape: Shape, colour: ChannelMix, space: SpectralOperator
    ) -> None:
        super().__init__(image_shape)
        self.measurement_shape, self.colour, self.space = measurement_shape, colour, space
        self.smoothing, self.images = space.smoothing, space.images

    @property
    def num_measurements(self) -> int | Tensor:
        return self.measurement_shape[0] * (self.space.num_measurements // self.space.measurement_shape[0])

    def restrict(self, y: Tensor) -> Tensor:
        return self.space.restrict(y)

    def _forward(self, x: Tensor) -> Tensor:
        return self.space._forward(self.colour._forward(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.colour._adjoint(self.space._adjoint(y))

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        u, s, v = (factor.like(y) for factor in self.colour.svd)
        return mix(v.mT, self.space._spectral(mix(u.mT, y), lambda t: gain(s[:, None, None] * t)))


class ConvolutionAndGrid(Product, SpectralOperator):
    """A circular convolution C, and a regular grid: D picks every `step`-th pixel, after C or (as D^T D) before it.

    D C C^T D^T is a circular convolution of the small image. Its spectrum is that of C C^T, folded: the frequencies
    that look alike on the grid are averaged. Hence U is the Fourier basis of the small image and V = A^T U / S; where
    the grid comes first, the same with A^T for A.
    """

    def __init__(self, parts: tuple[LinearOperator, LinearOperator], blur: Convolution, step: int) -> None:
        super().__init__(parts[0].image_shape, parts)
        height, width = (n // step for n in blur.size)
        power = torch.fft.fft2(torch.fft.irfft2(blur.transfer.value, s=blur.size)).abs().square()
        folded = power.view(step, height, step, width).mean((0, 2))
        self.step, self.singular = step, Constant(folded.sqrt()[:, : width // 2 + 1])

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        if isinstance(self.parts[0], InpaintGrid):
            return self._filter(self._adjoint(y), gain)
        return self._adjoint(self._filter(y, gain))

    def _filter(self, v: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """gain(S) / S in the Fourier basis of the grid."""
        s = self.singular.like(v)
        ratio = torch.where(s > 0, gain(s), 0) / torch.where(s > 0, s, 1)
        if is_decimation(self.parts[1]):
            return convolve(v, ratio)
        small = convolve(v[..., :: self.step, :: self.step], ratio)
        return torch.zeros_like(v).slice_scatter(
            torch.zeros_like(v[..., :: self.step, :]).slice_scatter(small, 3, step=self.step), 2, step=self.step
        )


def convolve(x: Tensor, transfer: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(x) * transfer, s=x.shape[-2:])


class AfterTight(Product, SpectralOperator):
    """B R with R R^T = norm^2 I: from B = U S V^T follows B R = U (norm S) (R^T V / norm)^T."""

    def __init__(self, parts: tuple[LinearOperator, SpectralOperator], norm: float) -> None:
        super().__init__(parts[0].image_shape, parts)
        self.norm_of_first = norm

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        first, then = self.parts
        return first._adjoint(then._spectral(y, lambda s: gain(self.norm_of_first * s))) / self.norm_of_first
