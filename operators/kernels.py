"""Blur kernels, in float64, with sum 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PEN = 0.5
"""That draws a line: standard deviation of its width, in pixels."""


def gaussian_taps(sigma: float, kernel_size: int) -> Tensor:
    """A sampled Gaussian of odd length at most `kernel_size`, cut at 4 sigma."""
    check_positive("sigma", sigma)
    radius = min(kernel_size // 2, int(4 * sigma + 0.5))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    return taps / taps.sum()


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float, kernel_size: int) -> Tensor:
    """A sampled Gaussian (n, n), n <= kernel_size; its x axis turned by `angle` degrees counter-clockwise."""
    check_positive("sigma", min(sigma_x, sigma_y))
    radius = min(kernel_size // 2, int(4 * max(sigma_x, sigma_y) + 0.5))
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y = -x[:, None]
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = (cosine * x + sine * y) / sigma_x, (cosine * y - sine * x) / sigma_y
    kernel = torch.exp(-0.5 * (along**2 + across**2))
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> Tensor:
    """A disc whose border pixels weigh by their covered part (of 16 x 16 points)."""
    check_positive("radius", radius)
    half = math.ceil(radius - 0.5)
    points = (torch.arange(16 * (2 * half + 1), dtype=torch.float64) + 0.5) / 16 - half - 0.5
    inside = (points[:, None] ** 2 + points**2 <= radius**2).double()
    kernel = torch.nn.functional.avg_pool2d(inside[None], 16)[0]
    return kernel / kernel.sum()


def line_kernel(length: float, angle: float) -> Tensor:
    """A straight line through the middle; angle in degrees, counter-clockwise from horizontal."""
    check_positive("length", length)
    direction = torch.tensor([-math.sin(math.radians(angle)), math.cos(math.radians(angle))], dtype=torch.float64)
    ends = torch.tensor([-0.5, 0.5], dtype=torch.float64)[:, None] * length * direction
    return draw_track(ends, 2 * math.ceil(length / 2) + 3, pen=PEN, parts=16 * math.ceil(length))


def motion_kernel(kernel_size: int, intensity: float, seed: int) -> Tensor:
    """The track of a shaking camera, (kernel_size, kernel_size); intensity from 0 (straight) to 1 (wild).

    The random walk of the `motionblur` package (github LeviBorodenko/motionblur), which the PSLD and DPS references
    use: many short steps whose directions lie to one side of a main direction and now and then change side. The track
    is centred on its mean, turned by a random angle, drawn with a soft pen, and cut off at the border of the kernel.
    """
    if not 0 <= intensity <= 1:
        raise ValueError(f"The motion blur's intensity must lie in [0, 1], but is {intensity}.")
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape or 1, generator=generator, dtype=torch.float64)

    diagonal = math.sqrt(2) * kernel_size
    longest = 0.75 * diagonal * (uniform() + intensity**2 * uniform())
    steps = (1 - uniform(2000) ** (1 / 30)) * (1.1 - intensity) * diagonal  # Beta(1, 30)
    steps = steps[: int((steps.cumsum(0) < longest).sum()) + 1]
    widest = float(intensity * math.pi * uniform())
    angles = triangular(uniform(len(steps)), mode=intensity * widest, high=widest + 0.1)
    change = uniform(21).sort().values[1]  # Beta(2, 20)
    sides = torch.where(uniform(len(steps)) < change, -1.0, 1.0).cumprod(0)
    angles = angles * sides + 2 * math.pi * uniform()
    points = torch.stack((steps * angles.sin(), steps * angles.cos()), 1).cumsum(0)
    pen = max(0.5, int(0.02 * diagonal) / 2)
    return draw_track(torch.cat((torch.zeros(1, 2, dtype=torch.float64), points)), kernel_size, pen)


def triangular(u: Tensor, mode: float, high: float) -> Tensor:
    """Uniform numbers made triangular on [0, high]."""
    rising = (u * high * mode).sqrt()
    falling = high - ((1 - u) * high * (high - mode)).sqrt()
    return torch.where(u * high < mode, rising, falling)


def draw_track(points: Tensor, kernel_size: int, pen: float, parts: int = 16) -> Tensor:
    """The polyline `points` (N, 2; row, column), centred on its mean and drawn with a Gaussian pen of std `pen`."""
    segments = points.diff(dim=0)
    fractions = (torch.arange(parts, dtype=torch.float64) + 0.5) / parts
    track = (points[:-1] + fractions[:, None, None] * segments).reshape(-1, 2)
    weight = segments.norm(dim=1).repeat(parts)
    track = track - (weight[:, None] * track).sum(0) / weight.sum()
    half = kernel_size // 2
    grid = torch.arange(-half, half + 1, dtype=torch.float64)[:, None]
    rows, columns = (torch.exp(-0.5 * ((grid - track[:, i]) / pen) ** 2) for i in (0, 1))
    kernel = (rows * weight) @ columns.mT
    kernel = torch.where(kernel < 1e-3 * kernel.max(), 0, kernel)
    return kernel / kernel.sum()


def check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"The blur's {name} must be positive (in pixels), but is {value}.")
