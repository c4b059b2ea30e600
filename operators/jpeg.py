"""JPEG as a measurement. A file says of each cosine coefficient in which bin it lies, so a whole set of images fits it.

That set is convex, and the nearest of its images has a closed form: clip each coefficient to its bin. That is all a
solver needs of an operator: its prox. The residual is the way into the set.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Constant, LinearOperator, Operator, Shape

LUMINANCE = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMINANCE = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
INSIDE = 0.6
"""How far inside a bin a projection goes, in levels of 0 to 255, but at most an eighth of the bin: saving the picture
with 8 bits must not move it out again."""


class SetOperator(Operator):
    """A measurement that a convex set of images fits; `project` goes to the nearest, as prox and pinv do."""

    proximal = True

    @abstractmethod
    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """The image next to x (B, C, H, W) that measures as y."""

    def residual(self, y: Tensor, x: Tensor) -> Tensor:
        return self.project(x.detach(), y) - x

    def linearised(self, x: Tensor) -> Tensor:
        return self._image(x)

    def pinv(self, y: Tensor, rcond: float | None = None) -> Tensor:
        """The middle of the set."""
        return self._measurement(y)

    def prox(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """argmin_u t dist(u, set)^2 + |u - x|^2: part of the way into the set, all of it for a large t."""
        x = self._image(x)
        return x + (self.project(x, y) - x) * (t / (1 + t))


class JPEG(SetOperator):
    """JPEG compression (ITU-T T.81); 1 or 3 channels.

    quality: 1 to 100, for the tables of annex K as libjpeg scales them; or `tables`, a file's own, for luma and chroma:
        64 numbers each, row by row.
    subsample: whether the chroma is halved (4:2:0), or by how much its rows and columns are: (1, 2) is 4:2:2. Halved
        chroma is up-sampled linearly, as libjpeg does.

    Rounding passes gradients straight through. The projection is nearest in luma and chroma, not in RGB.
    """

    def __init__(
        self,
        image_shape: Shape,
        quality: int = 30,
        subsample: bool | tuple[int, int] = True,
        tables: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(image_shape)
        if self.image_shape[0] not in (1, 3):
            raise ValueError(f"JPEG needs 1 or 3 channels, but the image has {self.image_shape[0]}.")
        if not 1 <= quality <= 100:
            raise ValueError(f"The JPEG quality must lie between 1 and 100, but is {quality}.")
        self.measurement_shape = self.image_shape
        self.halved = subsample if isinstance(subsample, tuple) else (2, 2) if subsample else (1, 1)
        if self.image_shape[0] == 1:
            self.halved = (1, 1)
        self.tables = tuple(Constant(table) for table in (annex_k(quality) if tables is None else own(tables)))
        n = torch.arange(8, dtype=torch.float64)
        cosine = torch.cos(math.pi / 8 * (n + 0.5) * n[:, None]) / 2
        cosine[0] /= math.sqrt(2)
        self.cosine = Constant(cosine)
        to_ycc = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        self.to_ycc, self.to_rgb = Constant(to_ycc), Constant(to_ycc.double().inverse())
        sides = (-(-n // factor) for n, factor in zip(self.image_shape[1:], self.halved, strict=True))
        self.smoothing = tuple(Constant(sharpening(n, factor)) for n, factor in zip(sides, self.halved, strict=True))

    def _forward(self, x: Tensor) -> Tensor:
        luma, chroma = self._planes(x)
        luma = self._code(luma, 0)
        if chroma is None:
            return self._picture(luma, None).clamp(-1, 1)
        return self._picture(luma, self._enlarge(self._code(chroma, 1))).clamp(-1, 1)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        held, mine = self._measured(self._measurement(y)), self._planes(self._image(x))
        moves = [None if plane is None else self._into_bins(plane, middle, i)
                 for i, (plane, middle) in enumerate(zip(mine, held, strict=True))]  # fmt: skip
        luma, chroma = moves
        if chroma is not None:
            chroma = spread(chroma, self.halved)[..., : x.shape[-2], : x.shape[-1]]
        return x + self._picture(luma, chroma, offset=0.0)

    def kept(self, x: Tensor, y: Tensor) -> Tensor:
        """The share of coefficients of x (B, ...) that fall into the bins of y; (B,)."""
        planes = zip(self._planes(x), self._measured(y), strict=True)
        right = [self._quantised(plane, i) == self._quantised(middle, i)
                 for i, (plane, middle) in enumerate(planes) if plane is not None]  # fmt: skip
        return torch.cat([r.flatten(1) for r in right], 1).float().mean(1)

    def _measured(self, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Luma and small chroma of a decoded file: what linear up-sampling smoothed is sharpened again."""
        luma, chroma = self._planes(y)
        if chroma is not None:
            rows, columns = (matrix.like(y) for matrix in self.smoothing)
            chroma = rows @ chroma @ columns.mT
        return luma, chroma

    def _planes(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Luma (B, 1, H, W), and chroma (B, 2, h, w) at its own size, centred: -128 to 127."""
        x = 127.5 * x - 0.5
        if x.shape[1] == 1:
            return x, None
        ycc = torch.einsum("mc,bchw->bmhw", self.to_ycc.like(x), x)
        chroma = ycc[:, 1:]
        if max(self.halved) > 1:
            chroma = F.avg_pool2d(replicate(chroma, self.halved), self.halved)
        return ycc[:, :1], chroma

    def _picture(self, luma: Tensor, chroma: Tensor | None, offset: float = 0.5) -> Tensor:
        """The image (or the move of one, with offset 0) of luma and chroma of its size."""
        if chroma is None:
            return (luma + offset) / 127.5
        ycc = torch.cat((luma, chroma), 1)
        return (torch.einsum("mc,bchw->bmhw", self.to_rgb.like(ycc), ycc) + offset) / 127.5

    def _enlarge(self, chroma: Tensor) -> Tensor:
        height, width = self.image_shape[1:]
        if max(self.halved) == 1:
            return chroma
        size = [n * factor for n, factor in zip(chroma.shape[-2:], self.halved, strict=True)]
        return F.interpolate(chroma, size=size, mode="bilinear")[..., :height, :width]

    def _code(self, x: Tensor, table: int) -> Tensor:
        """Quantises the cosine transform of each 8 x 8 block of (B, c, h, w)."""
        steps = self.tables[table].like(x)
        coefficients = self._transform(x) / steps
        coefficients = coefficients + (coefficients.round() - coefficients).detach()
        return self._inverse(coefficients * steps, x.shape)

    def _quantised(self, x: Tensor, table: int) -> Tensor:
        return (self._transform(x) / self.tables[table].like(x)).round()

    def _into_bins(self, x: Tensor, middle: Tensor, table: int) -> Tensor:
        """How x (B, c, h, w) has to move for its coefficients to lie in the bins of `middle`."""
        steps = self.tables[table].like(x)
        centre = self._quantised(middle, table) * steps
        half = steps / 2 - (steps / 8).clamp_max(INSIDE)
        coefficients = self._transform(x)
        return self._inverse((centre - coefficients).sign() * (abs(centre - coefficients) - half).relu(), x.shape)

    def _transform(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c, rows, columns, 8, 8), the border repeated to whole blocks."""
        cosine, padded = self.cosine.like(x), replicate(x, (8, 8))
        return cosine @ padded.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2) @ cosine.mT

    def _inverse(self, coefficients: Tensor, shape: Shape) -> Tensor:
        cosine = self.cosine.like(coefficients)
        rows = (cosine.mT @ coefficients @ cosine).transpose(-3, -2).flatten(-4, -3).flatten(-2)
        return rows[..., : shape[-2], : shape[-1]]


class Coded(SetOperator):
    """A linear operator and then a set (JPEG): y is the coded picture of B x."""

    ROUNDS = 3

    def __init__(self, image_shape: Shape, before: LinearOperator, code: SetOperator) -> None:
        super().__init__(image_shape)
        self.parts, self.measurement_shape = (before, code), code.measurement_shape
        self.images = before.images

    def _forward(self, x: Tensor) -> Tensor:
        return self.parts[1]._forward(self.parts[0]._forward(x))

    def residual(self, y: Tensor, x: Tensor) -> Tensor:
        return self.parts[1].residual(y, self.parts[0](x))

    def linearised(self, x: Tensor) -> Tensor:
        return self.parts[0](x)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        before = self.parts[0]
        for _ in range(self.ROUNDS):
            x = x + before.pinv(self.residual(y, x), rcond=0.05)
        return x

    def pinv(self, y: Tensor, rcond: float | None = None) -> Tensor:
        return self.parts[0].pinv(y, rcond)

    def prox(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """As of the set, by a few rounds: the coded picture next to B u takes the place of y, and B's prox follows."""
        before, code = self.parts
        u = x
        for _ in range(self.ROUNDS):
            u = before.prox(x, code.project(before(u), y), t)
        return u


def annex_k(quality: int) -> list[Tensor]:
    """The tables (8, 8) for luma and chroma at a quality of 1 to 100."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    tables = (torch.tensor([float(v) for v in table.split()]).view(8, 8) for table in (LUMINANCE, CHROMINANCE))
    return [((scale * table + 50) / 100).floor().clamp(1, 255) for table in tables]


def own(tables: Sequence[Sequence[int]]) -> list[Tensor]:
    """A file's tables, the last of them again where there is but one."""
    if not 1 <= len(tables) <= 4 or any(len(table) != 64 or min(table) < 1 for table in tables):
        raise ValueError("The JPEG's quantisation tables must have 64 numbers each, all above zero.")
    first, *others = (torch.tensor([float(v) for v in table]).view(8, 8) for table in tables)
    return [first, others[0] if others else first]


def sharpening(n: int, factor: int) -> Tensor:
    """(n, n): undoes what linear up-sampling by `factor` and means of so many do to n values."""
    if factor == 1:
        return torch.eye(n, dtype=torch.float64)
    large = F.interpolate(torch.eye(n, dtype=torch.float64)[None], scale_factor=factor, mode="linear")[0]
    return F.avg_pool1d(large[None], factor)[0].T.inverse()


def spread(x: Tensor, factors: tuple[int, int]) -> Tensor:
    """(B, c, h, w) with each value repeated along rows and columns."""
    return x.repeat_interleave(factors[0], -2).repeat_interleave(factors[1], -1)


def replicate(x: Tensor, multiples: tuple[int, int]) -> Tensor:
    """Repeats the last row and column until the sides are multiples."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiples[1], 0, -height % multiples[0]), mode="replicate")
