"""What is wrong with a photo, in a person's words, and the operator that is believed to have done it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from .. import operators

GAUSSIAN_REACH = 4.0
"""Standard deviations of a Gaussian blur beyond which nothing of it is left."""


@dataclass(frozen=True)
class Job:
    """What an operator needs to know of one photo, fitted to the model.

    strength: see `Problem`. angle: in degrees. size: height and width in pixels. mask: (1, height, width), 1 = unknown.
    """

    strength: float
    angle: float
    size: tuple[int, int]
    mask: Tensor


@dataclass(frozen=True)
class Problem:
    """One entry of the list.

    operator: the operator of a Job, as a function of the image shape.
    default: the strength that 0 stands for; None where the photo or the mask says it.
    unit: what the strength is, for the report; empty where it has no meaning.
    help: what the strength is, for the tooltip.
    factor: how many times larger the restored photo is.
    masked: whether only what is masked is restored, and the rest stays to the bit.
    noise: whether the strength is the noise itself.
    """

    operator: Callable[[Job], partial]
    default: float | None
    unit: str
    help: str
    factor: int = 1
    masked: bool = False
    noise: bool = False


def gaussian(sigma: float, size: tuple[int, int]) -> partial:
    """A Gaussian blur whose kernel fits into an image of this size."""
    reach = min(int(GAUSSIAN_REACH * sigma + 0.5), (min(size) - 1) // 2)
    return partial(operators.GaussianBlur, sigma=sigma, kernel_size=2 * reach + 1)


def out_of_focus(job: Job) -> partial:
    """A Gaussian blur of `strength` pixels."""
    return gaussian(job.strength, job.size)


def motion(job: Job) -> partial:
    """A blur along a line of `strength` pixels."""
    return partial(operators.LineBlur, length=job.strength, angle=job.angle, boundary="reflect")


def enlarge(factor: int) -> Callable[[Job], partial]:
    """A smaller photo, out of a sharp one or (strength) one that was blurred by so many pixels of the small photo."""

    def build(job: Job) -> partial:
        smaller = partial(operators.SuperResolution, factor=factor)
        if not job.strength:
            return smaller
        large = tuple(factor * n for n in job.size)
        return partial(operators.Compose, makers=[gaussian(factor * job.strength, large), smaller])

    return build


def unknown(job: Job) -> partial:
    """What the mask marks is unknown."""
    return partial(operators.InpaintMask, mask=~(job.mask > 0.5)[:, None])


def noise(job: Job) -> partial:
    """Every pixel is measured, with noise."""
    return partial(operators.Denoise)


def grey(job: Job) -> partial:
    """A grey picture of a colour photo."""
    return partial(operators.Greyscale)


COLOUR = "add colour"
SOFT = "how blurred the small photo is, in its own pixels (0: sharp)"
PROBLEMS = {
    "sharpen: out of focus": Problem(
        out_of_focus, 1.5, "px of blur", "radius of the blur in pixels (its standard deviation; 0: 1.5)"
    ),
    "sharpen: motion": Problem(motion, 10.0, "px of motion", "length of the motion in pixels (0: 10); see angle"),
    "enlarge x2": Problem(enlarge(2), 0.0, "px of blur", SOFT, factor=2),
    "enlarge x4": Problem(enlarge(4), 0.0, "px of blur", SOFT, factor=4),
    "remove noise": Problem(
        noise,
        None,
        "of 255 grey levels",
        "standard deviation of the noise, in grey levels of 255 (0: estimated)",
        noise=True,
    ),
    "fill a mask": Problem(
        unknown, None, "px around the mask", "pixels by which the mask is grown (0: as painted)", masked=True
    ),
    "remove scratches": Problem(
        unknown,
        6.0,
        "px wide at most",
        "width of the widest scratch in pixels (0: 6); near-black and near-white ones are found, a mask adds others",
        masked=True,
    ),
    COLOUR: Problem(grey, 0.0, "", "without meaning"),
}
"""Every problem by the words a person picks."""
