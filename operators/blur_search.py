"""Which blur of a kind it was, by one or two numbers, where a cost says how well a blur explains a photo."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial

from .blur import DefocusBlur, GaussianBlur, LineBlur

KINDS = ("Gaussian", "defocus", "motion")
POINT = {"Gaussian": 0.3, "defocus": 0.5, "motion": 0.3}
"""What is nearly no blur."""
WIDEST = {"Gaussian": 1 / 5, "defocus": 1 / 2, "motion": 1.0}
"""The largest number of a kind, by the side of its kernel."""
RATIO, FINE = 1.35, 1.15
ANGLES = 8


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
        name = {"Gaussian": "sigma", "defocus": "radius", "motion": "length"}[self.kind]
        turned = f", angle {self.angle % 180:.0f} degrees" if self.kind == "motion" else ""
        return f"{self.kind} blur, {name} {self.width:.2f} px{turned}"


Cost = Callable[[BlurGuess], float]


def find_blur(kind: str, largest: int, cost: Cost) -> BlurGuess:
    """The blur of least cost whose kernel is at most `largest` pixels: a grid, and then the neighbours of its best."""
    cost = cache(cost)
    low, high = POINT[kind], max(WIDEST[kind] * largest, 2 * POINT[kind])
    if kind == "motion":
        best = least(line_guesses(high), cost)
        for step in (90 / ANGLES, 45 / ANGLES):
            best = least([best, *(BlurGuess(kind, best.width, best.angle + s) for s in (-step, step))], cost)
    else:
        best = least([BlurGuess(kind, width) for width in geometric(low, high, RATIO)], cost)
    return between(best, cost) if best.width > low else best


def line_guesses(longest: float) -> list[BlurGuess]:
    """A point, and lines of a few lengths at evenly spread angles."""
    lengths, angles = geometric(3.0, longest, 1.6), [180 * i / ANGLES for i in range(ANGLES)]
    return [BlurGuess("motion", POINT["motion"]), *(BlurGuess("motion", n, a) for n in lengths for a in angles)]


def geometric(low: float, high: float, ratio: float) -> list[float]:
    """From low to high, evenly in the logarithm, by at most `ratio`."""
    steps = max(1, math.ceil(math.log(max(high / low, 1.0)) / math.log(ratio)))
    return [low * (high / low) ** (i / steps) for i in range(steps + 1)]


def between(best: BlurGuess, cost: Cost) -> BlurGuess:
    """The lowest point of the parabola through the costs of the best and its near neighbours."""
    best = least([BlurGuess(best.kind, best.width * s, best.angle) for s in (1 / FINE, 1.0, FINE)], cost)
    sides = [BlurGuess(best.kind, best.width * s, best.angle) for s in (1 / FINE, FINE)]
    below, middle, above = cost(sides[0]), cost(best), cost(sides[1])
    bend = below - 2 * middle + above
    shift = max(-1.0, min(1.0, (below - above) / (2 * bend))) if bend > 0 else 0.0
    return BlurGuess(best.kind, best.width * FINE**shift, best.angle)


def least(guesses: Iterable[BlurGuess], cost: Cost) -> BlurGuess:
    return min(guesses, key=cost)
