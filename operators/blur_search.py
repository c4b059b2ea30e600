"""Which blur of a kind it was, by a number or two, where a cost says how well a blur explains it, or by a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from .blur import DefocusBlur, GaussianBlur, LineBlur
from .kernels import PEN

MOTION = "motion"
KINDS = ("Gaussian", "defocus", MOTION)
POINT = {"Gaussian": 0.3, "defocus": 0.5, MOTION: 0.3}
"""What is nearly no blur."""
WIDEST = {"Gaussian": 1 / 5, "defocus": 1 / 2}
"""The largest number of a kind, by the side of its kernel."""
RATIO, FINE = 1.35, 1.15
LENIENCE = 3.0


@dataclass(frozen=True)
class BlurGuess:
    """A blur of a kind: sigma, radius or length in pixels; the angle, in degrees, of motion alone."""

    kind: str
    width: float
    angle: float = 0.0

    @property
    def maker(self) -> partial:
        """The operator as a function of the image shape."""
        if self.kind == "Gaussian":
            return partial(GaussianBlur, sigma=self.width, kernel_size=8 * math.ceil(self.width / 2) + 3)
        if self.kind == "defocus":
            return partial(DefocusBlur, radius=self.width, boundary="reflect")
        return partial(LineBlur, length=self.width, angle=self.angle, boundary="reflect")

    def __str__(self) -> str:
        name = {"Gaussian": "sigma", "defocus": "radius", MOTION: "length"}[self.kind]
        turned = f", angle {self.angle % 180:.0f} degrees" if self.kind == MOTION else ""
        return f"{self.kind} blur, {name} {self.width:.2f} px{turned}"


Cost = Callable[[BlurGuess], float]


def find_blur(kind: str, largest: int, cost: Cost) -> BlurGuess:
    """The blur that a grid of widths has in its deepest valley, and then its neighbours; nearly a point if it has none.

    kind: of WIDEST.

    No blur at all always fits, for then the photo itself is the picture: its cost may be the least though the photo is
    blurred. So a valley may cost LENIENCE times as much; beyond, the photo is sharp. Kernels have at most `largest`
    pixels.
    """
    cost = cache(cost)
    low, high = POINT[kind], max(WIDEST[kind] * largest, 2 * POINT[kind])
    found = valleys([BlurGuess(kind, width) for width in geometric(low, high, RATIO)], cost)
    point = BlurGuess(kind, low)
    best = min(found, key=cost, default=point)
    if cost(best) > LENIENCE * cost(point) or best == point:
        return point
    return between(best, cost)


def find_blur_of(kinds: Sequence[str], largest: int, cost: Cost) -> BlurGuess:
    """As `find_blur`, the best of several kinds; nearly a point only where it is none of them."""
    cost = cache(cost)
    found = [find_blur(kind, largest, cost) for kind in kinds]
    blurs = [guess for guess in found if guess.width > POINT[guess.kind]]
    return min(blurs, key=cost) if len(blurs) > 1 else (blurs or found)[0]


def line_of(kernel: Tensor) -> BlurGuess:
    """The straight motion whose line is spread as a kernel (n, n) of sum 1 is: as long, and along its longest axis."""
    places = torch.arange(len(kernel), dtype=torch.float64)
    points = torch.cartesian_prod(places, places)
    spread = torch.cov(points.mT, correction=0, aweights=kernel.double().flatten())
    variances, axes = torch.linalg.eigh(spread)
    down, right = axes[:, 1].tolist()
    length = math.sqrt(max(12 * (float(variances[1]) - PEN**2), POINT[MOTION] ** 2))
    return BlurGuess(MOTION, length, math.degrees(math.atan2(-down, right)) % 180)


def valleys(guesses: list[BlurGuess], cost: Cost) -> list[BlurGuess]:
    """Those whose cost is below that of both neighbours."""
    inner = zip(guesses, guesses[1:], guesses[2:], strict=False)
    return [b for a, b, c in inner if cost(b) < min(cost(a), cost(c))]


def geometric(low: float, high: float, ratio: float) -> list[float]:
    """From low to high, evenly in the logarithm, by at most `ratio`."""
    steps = max(1, math.ceil(math.log(max(high / low, 1.0)) / math.log(ratio)))
    return [low * (high / low) ** (i / steps) for i in range(steps + 1)]


def between(best: BlurGuess, cost: Cost) -> BlurGuess:
    """The lowest point of the parabola through the costs of the best and its near neighbours."""
    near = [BlurGuess(best.kind, best.width * s) for s in (1 / FINE, 1.0, FINE)]
    best = min(near, key=cost)
    sides = [BlurGuess(best.kind, best.width * s) for s in (1 / FINE, FINE)]
    below, middle, above = cost(sides[0]), cost(best), cost(sides[1])
    bend = below - 2 * middle + above
    shift = max(-1.0, min(1.0, (below - above) / (2 * bend))) if bend > 0 else 0.0
    return BlurGuess(best.kind, best.width * FINE**shift)
