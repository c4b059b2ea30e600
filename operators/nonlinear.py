"""Non-linear measurements: a forward that autograd can follow, and nothing else."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Constant, Operator, Shape


class PhaseRetrieval(Operator):
    """Magnitude of the orthonormal Fourier transform of the zero-padded image, zero frequency in the middle.

    Each side is padded by oversample / 8 of its length at both ends (2 in DPS: y is 1.5 times as large).
    """

    def __init__(self, image_shape: Shape, oversample: float = 2.0) -> None:
        super().__init__(image_shape)
        if not 0 <= oversample <= 64:
            raise ValueError(f"The oversampling of phase retrieval must lie between 0 and 64, but is {oversample}.")
        channels, height, width = self.image_shape
        self.margins = tuple(int(oversample / 8 * n) for n in (height, width))
        self.measurement_shape = (channels, height + 2 * self.margins[0], width + 2 * self.margins[1])

    def _forward(self, x: Tensor) -> Tensor:
        rows, columns = self.margins
        padded = F.pad(x, (columns, columns, rows, rows))
        return torch.fft.fftshift(torch.fft.fft2(padded, norm="ortho").abs(), dim=(-2, -1))


class HighDynamicRange(Operator):
    """An overexposed picture: clip(scale * x) to [-1, 1]."""

    def __init__(self, image_shape: Shape, scale: float = 2.0) -> None:
        super().__init__(image_shape)
        if not scale > 0:
            raise ValueError(f"The scale of the exposure must be positive, but is {scale}.")
        self.measurement_shape, self.scale = self.image_shape, scale

    def _forward(self, x: Tensor) -> Tensor:
        return (self.scale * x).clamp(-1, 1)


class Gamma(Operator):
    """A tone curve: intensities in [0, 1] to the power of `gamma`, values outside clipped."""

    def __init__(self, image_shape: Shape, gamma: float = 2.2) -> None:
        super().__init__(image_shape)
        if not gamma > 0:
            raise ValueError(f"gamma must be positive, but is {gamma}.")
        self.measurement_shape, self.gamma = self.image_shape, gamma

    def _forward(self, x: Tensor) -> Tensor:
        return 2 * ((x + 1) / 2).clamp(1e-6, 1) ** self.gamma - 1  # at zero the slope may be infinite


LUMINANCE = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMINANCE = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


class JPEG(Operator):
    """JPEG compression (ITU-T T.81, tables of annex K, scaled by `quality` as libjpeg does); 1 or 3 channels.

    Rounding passes gradients straight through. `subsample` halves the chroma (4:2:0), up-sampled linearly.
    """

    def __init__(self, image_shape: Shape, quality: int = 30, subsample: bool = True) -> None:
        super().__init__(image_shape)
        if self.image_shape[0] not in (1, 3):
            raise ValueError(f"JPEG needs 1 or 3 channels, but the image has {self.image_shape[0]}.")
        if not 1 <= quality <= 100:
            raise ValueError(f"The JPEG quality must lie between 1 and 100, but is {quality}.")
        self.measurement_shape, self.subsample = self.image_shape, subsample
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        tables = (torch.tensor([float(v) for v in table.split()]).view(8, 8) for table in (LUMINANCE, CHROMINANCE))
        self.tables = tuple(Constant(((scale * table + 50) / 100).floor().clamp(1, 255)) for table in tables)
        n = torch.arange(8, dtype=torch.float64)
        cosine = torch.cos(math.pi / 8 * (n + 0.5) * n[:, None]) / 2
        cosine[0] /= math.sqrt(2)
        self.cosine = Constant(cosine)
        self.to_ycc = Constant(
            torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        )
        self.to_rgb = Constant(self.to_ycc.value.inverse())

    def _forward(self, x: Tensor) -> Tensor:
        x = 127.5 * x - 0.5  # centred on 128: 0 .. 255 becomes -128 .. 127
        if x.shape[1] == 1:
            return self._unit(self._code(x, 0))
        ycc = torch.einsum("mc,bchw->bmhw", self.to_ycc.like(x), x + 128) - x.new_tensor([128, 0, 0]).view(3, 1, 1)
        luma, chroma = self._code(ycc[:, :1], 0), ycc[:, 1:]
        if self.subsample:
            chroma = F.avg_pool2d(replicate(chroma, 2), 2)
            chroma = F.interpolate(self._code(chroma, 1), scale_factor=2, mode="bilinear")
            chroma = chroma[..., : x.shape[-2], : x.shape[-1]]
        else:
            chroma = self._code(chroma, 1)
        ycc = torch.cat((luma + 128, chroma), 1)
        return self._unit(torch.einsum("mc,bchw->bmhw", self.to_rgb.like(x), ycc) - 128)

    def _code(self, x: Tensor, table: int) -> Tensor:
        """Quantises the cosine transform of each 8 x 8 block of (B, c, h, w)."""
        cosine, steps = self.cosine.like(x), self.tables[table].like(x)
        padded = replicate(x, 8)
        blocks = padded.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
        coefficients = cosine @ blocks @ cosine.mT / steps
        coefficients = coefficients + (coefficients.round() - coefficients).detach()
        blocks = cosine.mT @ (coefficients * steps) @ cosine
        return blocks.transpose(-3, -2).reshape(padded.shape)[..., : x.shape[-2], : x.shape[-1]]

    def _unit(self, x: Tensor) -> Tensor:
        return ((x + 0.5) / 127.5).clamp(-1, 1)


def replicate(x: Tensor, multiple: int) -> Tensor:
    """Repeats the last row and column until the sides are multiples of `multiple`."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
