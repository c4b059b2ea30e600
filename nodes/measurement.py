"""Menu group "measurement", first half: from a photo to a measurement."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..operators import Greyscale, LinearOperator, estimate_sigma
from ..operators import noise as noises
from ..operators.measurement import Measurement
from .masks import for_images
from .types import (
    CATEGORY,
    MeasurementIO,
    Operator,
    check_choice,
    image_from_pixels,
    linear,
    pixels_from_image,
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
                io.Image.Input("image"),
                Operator.Input("operator"),
                io.Combo.Input("noise", options=list(NOISES), default="gaussian"),
                io.Float.Input(
                    "sigma",
                    default=0.05,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Standard deviation of the noise at mid grey, in [-1, 1] pixel units (0.05 in the paper). "
                    "salt-and-pepper hits the fraction sigma^2 of the values (0.2: 4 %).",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Image i of a batch uses seed + i.",
                ),
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
                Operator.Input("operator"),
                io.Float.Input(
                    "sigma",
                    default=0.02,
                    min=ESTIMATE,
                    max=2.0,
                    step=0.005,
                    tooltip="Assumed standard deviation of the photo's noise, in [-1, 1] pixel units: "
                    "about 0.02 for a clean JPEG, 0.1 for a grainy night shot. -1: estimated from the photo.",
                ),
            ],
            outputs=[
                MeasurementIO.Output(display_name="measurement"),
                io.Image.Output(display_name="picture"),
                io.Float.Output(display_name="sigma", tooltip="As given, or as estimated."),
            ],
        )

    @classmethod
    def execute(cls, image, operator, sigma) -> io.NodeOutput:
        measurement = measurement_of(image, operator, sigma)
        return io.NodeOutput(measurement, picture(measurement), measurement.sigma_y)


def measurement_of(image: Tensor, operator, sigma: float) -> Measurement:
    """A degraded photo (IMAGE) as what the operator measured; sigma -1 estimates the noise of one photo.

    ValueError, naming the input, where photo, operator and sigma do not go together.
    """
    warn_of_white(image)
    with torch.inference_mode(False), torch.no_grad():  # solvers differentiate through what is made here
        A, y = measured(operator, pixels_from_image(image, dtype=torch.float64))
        sigma = estimated_sigma(A, y) if sigma == ESTIMATE else sigma
        if not 0 <= sigma < float("inf"):
            raise ValueError(f"sigma: it is {sigma:g}; give 0 or more, or -1 to have it estimated from the photo.")
        return Measurement(A.restrict(y), A, sigma)


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


def estimated_sigma(A: LinearOperator, y: Tensor) -> float:
    """The noise level of one photo, of its known pixels alone."""
    if len(y) > 1:
        raise ValueError(
            f"sigma: -1 estimates the noise of one photo, but image is a batch of {len(y)}; give sigma, or connect the "
            "photos one by one."
        )
    try:
        return float(estimate_sigma(y, known=A.restrict(torch.ones_like(y)) > 0))
    except ValueError as error:
        raise ValueError(f"sigma: it cannot be estimated, because {error}; give it as a number.") from error


def picture(measurement: Measurement) -> Tensor:
    """The measurement as an IMAGE; where it is no picture, its adjoint."""
    y, A = measurement.y, measurement.operator
    return image_from_pixels(y if y.ndim == 4 and y.shape[1] in (1, 3) else linear(A, "operator").adjoint(y))


NODES = [Measure, MeasurementFromImage]
