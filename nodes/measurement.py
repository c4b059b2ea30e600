"""Menu group "measurement": from a photo to a measurement, and pictures of it."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..operators.measurement import Measurement
from ..operators.noise import GaussianNoise, NoNoise, PoissonNoise
from .types import CATEGORY, MeasurementIO, Operator, image_from_pixels, pixels_from_image

NOISES = {
    "gaussian": lambda sigma: GaussianNoise(sigma),
    "poisson": lambda sigma: PoissonNoise(sigma),
    "none": lambda sigma: NoNoise(),
}
VIEWS = {
    "pseudo-inverse": lambda m, rcond: m.operator.pinv(m.y, rcond=rcond),
    "adjoint": lambda m, rcond: m.operator.adjoint(m.y),
}


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
                    tooltip="Standard deviation of the noise, in [-1, 1] pixel units (0.05 in the paper).",
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
        if noise not in NOISES:
            raise ValueError(f"noise: {noise!r} is not one of {', '.join(NOISES)}; choose one of these.")
        with torch.inference_mode(False), torch.no_grad():  # solvers differentiate through what is made here
            x = pixels_from_image(image)
            A = operator(tuple(x.shape[1:]))
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
                    min=0.0,
                    max=2.0,
                    step=0.005,
                    tooltip="Assumed standard deviation of the photo's noise, in [-1, 1] pixel units: "
                    "about 0.02 for a clean JPEG, 0.1 for a grainy night shot.",
                ),
            ],
            outputs=[MeasurementIO.Output(display_name="measurement"), io.Image.Output(display_name="picture")],
        )

    @classmethod
    def execute(cls, image, operator, sigma) -> io.NodeOutput:
        with torch.inference_mode(False), torch.no_grad():
            y = pixels_from_image(image)
            A = bind_to_measurement(operator, tuple(y.shape[1:]))
            measurement = Measurement(A.restrict(y), A, sigma)
        return io.NodeOutput(measurement, picture(measurement))


class ViewMeasurement(io.ComfyNode):
    """A picture of what the measurement alone says about the image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_ViewMeasurement",
            display_name="View Measurement",
            category=f"{CATEGORY}/measurement",
            description="What the measurement says without a prior: its pseudo-inverse A^+ y or its adjoint A^T y.",
            inputs=[
                MeasurementIO.Input("measurement"),
                io.Combo.Input("view", options=list(VIEWS), default="pseudo-inverse"),
                io.Float.Input(
                    "rcond",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Singular values below this fraction of the largest are left out of the pseudo-inverse, "
                    "where they would only amplify noise.",
                ),
            ],
            outputs=[io.Image.Output(display_name="picture")],
        )

    @classmethod
    def execute(cls, measurement, view, rcond) -> io.NodeOutput:
        if view not in VIEWS:
            raise ValueError(f"view: {view!r} is not one of {', '.join(VIEWS)}; choose one of these.")
        return io.NodeOutput(image_from_pixels(VIEWS[view](measurement, rcond)))


def bind_to_measurement(operator, shape: tuple[int, int, int]):
    """The operator bound to the image whose measurement has the given shape (C, h, w)."""
    size_of = getattr(operator.func, "image_shape_for", lambda shape, **_: shape)
    A = operator(size_of(shape, **operator.keywords))
    if tuple(A.measurement_shape) != shape:
        raise ValueError(
            f"image: its size is {shape[2]} x {shape[1]}, but the operator ({operator.func.__name__}) gives "
            f"measurements of shape {tuple(A.measurement_shape)}; connect the degraded photo, or another operator."
        )
    return A


def picture(measurement: Measurement) -> torch.Tensor:
    """The measurement as an IMAGE; where it is no picture, its adjoint."""
    y, A = measurement.y, measurement.operator
    return image_from_pixels(y if y.ndim == 4 and y.shape[1] in (1, 3) else A.adjoint(y))


NODES = [Measure, MeasurementFromImage, ViewMeasurement]
