"""Menu group "measurement", first half: from a photo to a measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from comfy_api.latest import io
from torch import Tensor

from ..operators import Greyscale, LinearOperator, Robust, estimate_photon_noise, estimate_sigma, weighted
from ..operators import noise as noises
from ..operators.measurement import Measurement
from ..operators.noise_level import coarse_noise, noise_at
from .masks import for_images
from .progress import say
from .suspicion import suspicions
from .types import (
    CATEGORY,
    GREY_LEVELS,
    MeasurementIO,
    Operator,
    check_choice,
    image_from_pixels,
    linear,
    pixels_from_image,
    seed_input,
    warn_of_white,
)

NOISES = {
    "gaussian": noises.GaussianNoise,
    "poisson": noises.PoissonNoise,
    "none": lambda sigma: noises.NoNoise(),
    "speckle": noises.SpeckleNoise,
    "salt-and-pepper": noises.SaltAndPepperNoise,
}
ESTIMATE = -1.0
EVEN, PHOTONS = "gaussian", "poisson"


class Measure(io.ComfyNode):
    """Simulates a measurement y = A(x) + n of a clean photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_Measure",
            display_name="Measure",
            category=f"{CATEGORY}/measurement",
            description="Degrades a clean photo: y = A(x) + noise. For a photo that is already degraded, "
            "use Measurement from Image.",
            inputs=[
                io.Image.Input("image", tooltip="The clean photo."),
                Operator.Input("operator", tooltip="How it is degraded: from any operator node."),
                io.Combo.Input(
                    "noise",
                    options=list(NOISES),
                    default="gaussian",
                    tooltip="What is added to the measured values. The sampler takes it for Gaussian of that sigma.",
                ),
                io.Float.Input(
                    "sigma",
                    default=0.05,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Standard deviation of the noise at mid grey, in [-1, 1] pixel units (0.05 in the paper). "
                    "salt-and-pepper hits the fraction sigma^2 of the values (0.2: 4 %).",
                ),
                seed_input("Image i of a batch uses seed + i."),
            ],
            outputs=[MeasurementIO.Output(display_name="measurement"), io.Image.Output(display_name="picture")],
        )

    @classmethod
    def execute(cls, image, operator, noise, sigma, seed) -> io.NodeOutput:
        check_choice("noise", noise, NOISES)
        with torch.inference_mode(False), torch.no_grad():  # solvers differentiate through what is made here
            x = pixels_from_image(image, dtype=torch.float64)
            A = for_images(operator, len(x))(tuple(x.shape[1:]))
            model = NOISES[noise](sigma)
            y = A.restrict(model.sample(A(x), seed))
            measurement = Measurement(y, A, model.sigma)
        return io.NodeOutput(measurement, picture(measurement))


class MeasurementFromImage(io.ComfyNode):
    """The real user's case: the photo is already degraded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_MeasurementFromImage",
            display_name="Measurement from Image",
            category=f"{CATEGORY}/measurement",
            description="A photo that is already degraded, with the operator that is believed to have done it.",
            inputs=[
                io.Image.Input("image", tooltip="The degraded photo, at its own size."),
                Operator.Input("operator", tooltip="What is believed to have degraded it: from any operator node."),
                io.Float.Input(
                    "sigma",
                    default=0.02,
                    min=ESTIMATE,
                    max=2.0,
                    step=0.005,
                    tooltip="Assumed standard deviation of the photo's noise, in [-1, 1] pixel units: "
                    "about 0.02 for a clean JPEG, 0.1 for a grainy night shot. -1: estimated from each photo.",
                ),
                io.Combo.Input(
                    "noise",
                    options=[EVEN, PHOTONS],
                    default=EVEN,
                    optional=True,
                    tooltip="gaussian: as strong in shadows as in lights. poisson: photon noise, which grows with the "
                    "light; sigma is that of mid grey, and -1 estimates gain and offset.",
                ),
                io.Boolean.Input(
                    "outliers",
                    default=False,
                    optional=True,
                    tooltip="Some values may be wrong altogether (missed scratches, dust, hot pixels, clipped lights): "
                    "what is far from all that the model expects counts little. For the methods that take JPEG.",
                ),
            ],
            outputs=[
                MeasurementIO.Output(display_name="measurement"),
                io.Image.Output(display_name="picture"),
                io.Float.Output(display_name="sigma", tooltip="As given, or as estimated; of a batch, the rms."),
                io.String.Output(display_name="noise", tooltip="The noise in words, with what is doubtful about it."),
            ],
        )

    @classmethod
    def execute(cls, image, operator, sigma, noise=EVEN, outliers=False) -> io.NodeOutput:
        check_choice("noise", noise, (EVEN, PHOTONS))
        measurement = measurement_of(image, operator, sigma, noise)
        if outliers:
            measurement = robust(measurement)
        words = told(measurement, sigma == ESTIMATE, noise)
        if noise == EVEN:
            said = suspicions(pixels_from_image(image), measurement.operator, measurement.overall_sigma)
            say(" ".join(said))
        return io.NodeOutput(measurement, picture(measurement), measurement.overall_sigma, words)


def measurement_of(image: Tensor, operator, sigma: float, noise: str = EVEN) -> Measurement:
    """A degraded photo (IMAGE) as what the operator measured; sigma -1 estimates the noise of each photo.

    ValueError, naming the input, where photo, operator and sigma do not go together.
    """
    warn_of_white(image)
    with torch.inference_mode(False), torch.no_grad():  # solvers differentiate through what is made here
        A, y = measured(operator, pixels_from_image(image, dtype=torch.float64))
        if sigma != ESTIMATE and not 0 <= sigma < float("inf"):
            raise ValueError(f"sigma: it is {sigma:g}; give 0 or more, or -1 to have it estimated from the photo.")
        if noise == PHOTONS:
            return whitened(linear(A), y, sigma)
        levels = estimated(A, y, estimate_sigma).double() if sigma == ESTIMATE else sigma
        return Measurement(A.restrict(y), A, one_level(levels))


def robust(measurement: Measurement) -> Measurement:
    """The measurement, some of whose values may be wrong altogether."""
    return replace(measurement, operator=Robust(linear(measurement.operator), measurement.sigma_y))


def whitened(A: LinearOperator, y: Tensor, sigma: float) -> Measurement:
    """A measurement under photon noise: its values are weighed until they are equally noisy, as at mid grey."""
    if sigma == ESTIMATE:
        gain, offset = estimated(A, y, estimate_photon_noise)
    else:
        gain, offset = y.new_full((len(y),), 2 * sigma**2), y.new_zeros(len(y))
    levels, by_pixel = noise_at(y, A.restrict(torch.ones_like(y)), gain, offset)
    A = weighted(A, 1 / by_pixel)
    return Measurement(A.restrict(y / by_pixel), A, one_level(levels if sigma == ESTIMATE else sigma))


def one_level(sigma: float | Tensor) -> float | Tensor:
    """A number where one does for all images."""
    return float(sigma) if isinstance(sigma, float | int) or len(sigma) == 1 else sigma


def told(measurement: Measurement, estimated: bool, noise: str) -> str:
    """The noise in words: its level, and what is doubtful about an estimate."""
    A, levels = measurement.operator, measurement.sigmas
    lines = []
    for i, level in enumerate(levels.tolist()):
        name = f"photo {i + 1}: " if len(levels) > 1 else ""
        where = " at mid grey" if noise == PHOTONS else ""
        how = "estimated" if estimated else "as given"
        grey = level * GREY_LEVELS / 2
        lines.append(f"{name}noise of {grey:.1f} of 255 grey levels{where} (sigma {level:.3g}), {how}.")
    known = A.restrict(torch.ones_like(measurement.y)) > 0
    coarse = coarse_noise(A.unweighted(measurement.y), known, levels) if estimated else levels.new_zeros(1)
    if coarse.any():
        lines.append(
            f"Where the photo is flattest, neighbouring pixels are off together, by {float(coarse.max()):.2g} or more: "
            "noise that was enlarged, compressed or smoothed, which the estimate does not see, or fine texture. If it "
            "is noise, give a larger sigma."
        )
    return "\n".join(lines)


def measured(operator, photo: Tensor) -> tuple[LinearOperator, Tensor]:
    """The operator bound to the image that it would measure as the given photo (B, C, h, w), and the measurement y.

    A colour photo goes into an operator that measures a grey picture by its luma, a grey one as equal channels into
    one that measures colour. ValueError for a photo of another size than the operator can give.
    """
    photo = photo.expand(-1, 3, -1, -1)
    shape = tuple(photo.shape[1:])
    operator = for_images(operator, len(photo))
    image_shape_for = getattr(operator.func, "image_shape_for", lambda shape, **_: shape)
    A = operator(image_shape_for(shape, **operator.keywords))
    if tuple(A.measurement_shape) == (1, *shape[1:]):
        return A, Greyscale(shape)(photo)
    if tuple(A.measurement_shape) != shape:
        *_, height, width = 0, 0, *A.measurement_shape
        gives = f"pictures of {width} x {height}" if len(A.measurement_shape) == 3 else "no pictures"
        raise ValueError(
            f"image: its size is {shape[2]} x {shape[1]}, but the operator ({operator.func.__name__}) gives {gives} "
            "from such a photo; connect the degraded photo as it is, or another operator."
        )
    return A, photo


def estimated(A: LinearOperator, y: Tensor, estimate: Callable):
    """What an estimate says of the noise of each photo, of its known pixels alone."""
    try:
        return estimate(y, known=A.restrict(torch.ones_like(y)) > 0)
    except ValueError as error:
        raise ValueError(f"sigma: it cannot be estimated, because {error}; give it as a number.") from error


def picture(measurement: Measurement) -> Tensor:
    """The measurement as an IMAGE; where it is no picture, its adjoint."""
    y, A = measurement.y, measurement.operator
    if y.ndim == 4 and y.shape[1] in (1, 3):
        return image_from_pixels(A.unweighted(y))
    return image_from_pixels(linear(A, "operator").adjoint(y))


NODES = [Measure, MeasurementFromImage]
