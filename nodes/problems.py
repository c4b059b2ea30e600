"""What is wrong with a photo, in a person's words, and the operator that is believed to have done it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from .. import operators
from ..operators.jpeg_search import JPEGGuess, find_jpeg
from ..operators.kernel_search import AnyBlur, Followed, smaller
from .types import pixels_from_image

GAUSSIAN_REACH = 4.0
"""Standard deviations of a Gaussian blur beyond which nothing of it is left."""
CLEAN = 0.02
"""Noise of a photo that shows none, in [-1, 1] pixel units."""
WIDEST = 15
"""Of an unknown blur, in pixels."""
WIDEST_SMALL = 7
"""Of one that came before a photo became small, in pixels of the small photo."""
BLOCK = 8
"""Of JPEG, in pixels; chroma may have blocks of twice the size."""


@dataclass(frozen=True)
class Job:
    """What an operator needs to know of one photo.

    strength: see `Problem`. angle: in degrees. photo: an IMAGE of one. size: height and width in pixels of its window,
    fitted to the model. mask: (1, height, width) of the window, 1 = unknown. blur: finds the photo's blur, of a kernel
    of so many pixels at most; where it is to be enlarged, that of the large photo.
    """

    strength: float
    angle: float
    photo: Tensor
    size: tuple[int, int]
    mask: Tensor
    blur: Callable[[int], AnyBlur]


@dataclass(frozen=True)
class Problem:
    """One entry of the list.

    operator: the operator of a Job, as a function of the image shape; or a guess with words and such a `maker`.
    default: the strength that 0 stands for; None where the photo or the mask says it.
    unit: what the strength is, for the report; empty where it has no meaning.
    help: what the strength is, for the tooltip.
    factor: how many times larger the restored photo is.
    masked: whether only what is masked is restored, and the rest stays to the bit.
    spoilt: whether what is masked, or found to be a scratch, tells nothing, though all is restored; and what is far
        from all that is expected is not trusted.
    noise: whether the strength is the noise itself.
    sigma: the noise of the photo in [-1, 1] pixel units where the photo cannot tell; 0: it can.
    align: pixels of which the photo's corner must lie at a multiple.
    mismatch: what it means where the result does not match the photo, if one thing is likely.
    """

    operator: Callable[[Job], partial | AnyBlur | JPEGGuess]
    default: float | None
    unit: str
    help: str
    factor: int = 1
    masked: bool = False
    spoilt: bool = False
    noise: bool = False
    sigma: float = 0.0
    align: int = 1
    mismatch: str = ""


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


def enlarge_unknown(factor: int) -> Callable[[Job], AnyBlur]:
    """A smaller photo, out of one with a blur of at most `strength` pixels of the small photo."""
    return lambda job: smaller(job.blur(round(factor * job.strength)), factor)


def unknown(job: Job) -> partial:
    """What the mask marks is unknown."""
    return partial(operators.InpaintMask, mask=~(job.mask > 0.5)[:, None])


def noise(job: Job) -> partial:
    """Every pixel is measured, with noise."""
    return partial(operators.Denoise)


def grey(job: Job) -> partial:
    """A grey picture of a colour photo."""
    return partial(operators.Greyscale)


def unknown_blur(job: Job) -> AnyBlur:
    """The blur under which the model has the least to correct, at most `strength` pixels wide."""
    return job.blur(round(job.strength))


def old_print(job: Job) -> AnyBlur:
    """A blur, and then scratches."""
    return Followed(job.blur(WIDEST), unknown(job))


def jpeg(job: Job) -> JPEGGuess:
    """JPEG of a quality of `strength`, or (0) of the one that the photo's pixels show. ValueError where they do not."""
    if not (job.strength == 0 or 1 <= job.strength <= 100):
        raise ValueError(f"strength: {job.strength:g} is no JPEG quality; give 1 to 100, or 0 to have it estimated.")
    found = find_jpeg(pixels_from_image(job.photo), round(job.strength) or None)
    if found is None:
        raise ValueError(
            "strength: the photo shows no 8 x 8 grid of a JPEG, by which its quality could be estimated: it is none, "
            "or hardly compressed, or was cropped or scaled since; give the quality (1 to 100), or pick another "
            "problem."
        )
    return found


COLOUR = "add colour"
SHARPER = (
    "The photo is sharper than such a blur leaves one, so what was sharpened rings: lower strength until the verdict "
    "is that it matches, or leave the photo as it is."
)
SOFT = "how blurred the small photo is, in its own pixels (0: sharp)"
PROBLEMS = {
    "sharpen: out of focus": Problem(
        out_of_focus,
        1.5,
        "px of blur",
        "radius of the blur in pixels (its standard deviation; 0: 1.5)",
        mismatch=SHARPER,
    ),
    "sharpen: motion": Problem(
        motion, 10.0, "px of motion", "length of the motion in pixels (0: 10); see angle", mismatch=SHARPER
    ),
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
    "sharpen: unknown blur": Problem(
        unknown_blur,
        float(WIDEST),
        "px wide at most",
        "width of the widest blur to think of, in pixels (0: 15); fast tries Gaussian blurs, balanced those of a lens "
        "too, best blurs of any shape",
    ),
    "fix JPEG": Problem(
        jpeg,
        None,
        "of 100 in quality",
        "quality of the JPEG, from 1 to 100 (0: estimated from its blocks)",
        sigma=CLEAN,
        align=2 * BLOCK,
    ),
    "restore old photo": Problem(
        old_print,
        6.0,
        "px wide at most",
        "width of the widest scratch in pixels (0: 6), which are found as by remove scratches; the blur as by sharpen: "
        "unknown blur",
        spoilt=True,
    ),
} | {
    f"enlarge x{factor}: unknown blur": Problem(
        enlarge_unknown(factor),
        float(WIDEST_SMALL),
        "px wide at most",
        f"width of the widest blur to think of, in pixels of the small photo (0: {WIDEST_SMALL}), which is sought as "
        "by sharpen: unknown blur",
        factor=factor,
    )
    for factor in (2, 4)
}
"""Every problem by the words a person picks."""
