"""Menu group "measurement", second half: operators and measurements against images, without a model."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..operators import InpaintMask, LinearOperator, Robust, SpectralOperator
from ..operators import Operator as ForwardOperator
from ..operators.grey import stay_grey
from ..operators.measurement import Measurement
from .masks import for_images
from .measurement import measured, picture
from .sampling_inputs import MEASUREMENT
from .types import (
    CATEGORY,
    MeasurementIO,
    Operator,
    check_choice,
    image_from_pixels,
    linear,
    pixels_from_image,
    size_of,
)

VIEWS = ("pseudo-inverse", "adjoint")
CALLS = ("forward", *reversed(VIEWS))
METHODS = ("exact", "noise-aware")

RCOND = io.Float.Input(
    "rcond",
    default=0.1,
    min=0.0,
    max=1.0,
    step=0.001,
    tooltip="Singular values below this fraction of the largest are left out of the pseudo-inverse, "
    "where they would only amplify noise.",
)


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
                MEASUREMENT,
                io.Combo.Input(
                    "view",
                    options=list(VIEWS),
                    default="pseudo-inverse",
                    tooltip="pseudo-inverse: the smallest image that explains the measurement, A^+ y. adjoint: A^T y.",
                ),
                RCOND,
            ],
            outputs=[io.Image.Output(display_name="picture")],
        )

    @classmethod
    def execute(cls, measurement, view, rcond) -> io.NodeOutput:
        check_choice("view", view, VIEWS)
        A = linear(measurement.operator, "measurement")
        return io.NodeOutput(image_from_pixels(back(A, measurement.y.to(precision(A)), view, rcond)))


class ApplyOperator(io.ComfyNode):
    """An operator, its adjoint or its pseudo-inverse on an image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_ApplyOperator",
            display_name="Apply Operator",
            category=f"{CATEGORY}/measurement",
            description="Shows what an operator does: forward A x degrades an image; adjoint A^T y and pseudo-inverse "
            "A^+ y go back from a degraded one.",
            inputs=[
                io.Image.Input("image", tooltip="The image x for forward, a degraded picture y for the other two."),
                Operator.Input("operator", tooltip="From any operator node."),
                io.Combo.Input(
                    "call",
                    options=list(CALLS),
                    default="forward",
                    tooltip="forward: A x. adjoint: A^T y. pseudo-inverse: A^+ y, the smallest image that explains y.",
                ),
                RCOND,
            ],
            outputs=[io.Image.Output(display_name="picture")],
        )

    @classmethod
    def execute(cls, image, operator, call, rcond) -> io.NodeOutput:
        check_choice("call", call, CALLS)
        with torch.inference_mode(False), torch.no_grad():
            pixels = pixels_from_image(image)
            if call == "forward":
                A = for_images(operator, len(pixels))(tuple(pixels.shape[1:]))
                return io.NodeOutput(picture(Measurement(A(pixels), A, 0.0)))
            A, y = measured(operator, pixels)
            return io.NodeOutput(image_from_pixels(back(linear(A), y, call, rcond)))


class DataConsistency(io.ComfyNode):
    """Makes a finished image agree with the measurement."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_DataConsistency",
            display_name="Data Consistency",
            category=f"{CATEGORY}/measurement",
            description="Moves a finished image to the nearest one that fits the measurement: x + A^+ (y - A x). "
            "Known pixels of an inpainted photo come out exactly as they were.",
            inputs=[
                io.Image.Input("image", lazy=True, tooltip="The restored image, by this pack or any other node."),
                MeasurementIO.Input("measurement", tooltip="The one to agree with."),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="exact",
                    tooltip="exact: fits the measurement and its noise. noise-aware: weighs the measurement's noise "
                    "(its sigma) against the image's error.",
                ),
                RCOND,
                io.Float.Input(
                    "error",
                    default=0.1,
                    min=0.001,
                    max=2.0,
                    step=0.01,
                    tooltip="Only for noise-aware: how far off the image is thought to be, as a standard deviation in "
                    "[-1, 1] pixel units. The larger, the more the measurement counts.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def check_lazy_status(cls, image=None, measurement=None, **_) -> list[str]:
        """Asks for the image, which takes a whole run, once the measurement is known to be one that can be fitted."""
        if measurement is not None:
            fitted_by(measurement)
        return ["image"] if image is None else []

    @classmethod
    def execute(cls, image, measurement, method, rcond, error) -> io.NodeOutput:
        check_choice("method", method, METHODS)
        return io.NodeOutput(consistent(image, measurement, method, rcond, error))


def consistent(image: Tensor, measurement: Measurement, method: str, rcond: float, error: float = 0.1) -> Tensor:
    """The image (IMAGE) nearest to the given one that fits the measurement; see the node's inputs.

    ValueError, naming the input, for an operator without a prox and for an image of another size than was measured.
    """
    A = fitted_by(measurement)
    x, y = pixels_from_image(image, dtype=precision(A)), measurement.y.to(precision(A))
    if tuple(x.shape[1:]) != A.image_shape or len(y) not in (1, len(x)):
        _, height, width = A.image_shape
        raise ValueError(
            f"image: it is {size_of(image)}, but the measurement is of {width} x {height} pixels"
            f"{f' in a batch of {len(y)}' if len(y) > 1 else ''}; connect the image that was restored from it."
        )
    x = stay_grey(measurement, x)
    A, y = A.given(x, y.expand(len(x), *A.measurement_shape))
    if method == "exact" and not A.linear:
        x = A.project(x, y)
    elif method == "exact":
        x = x + A.pinv(A.restrict(y - A(x)), rcond=rcond)
    else:
        noise = measurement.to(dtype=x.dtype).sigmas.clamp_min(1e-3).view(-1, 1, 1, 1)
        x = A.prox(x, y, (max(error, 1e-3) / noise) ** 2)
    return image_from_pixels(x, *bounds(measurement))


def fitted_by(measurement: Measurement) -> ForwardOperator:
    """The operator, one with a prox. ValueError otherwise."""
    return measurement.operator if measurement.operator.proximal else linear(measurement.operator, "measurement")


def bounds(measurement: Measurement) -> tuple[float, float]:
    """What an IMAGE is clipped to: [0, 1], and where pixels are known, what they have beyond it."""
    if not isinstance(measurement.operator, InpaintMask):
        return 0.0, 1.0
    y = measurement.y
    return min(0.0, float((y.min() + 1) / 2)), max(1.0, float((y.max() + 1) / 2))


def back(A: LinearOperator, y: Tensor, call: str, rcond: float) -> Tensor:
    """From a measurement to an image, by the pseudo-inverse or the adjoint."""
    return A.adjoint(y) if call == "adjoint" else A.pinv(y, rcond=rcond)


def precision(A: LinearOperator) -> torch.dtype:
    """Double where it is cheap, so that known pixels come out to the bit; conjugate gradients would take far longer."""
    A = A.operator if isinstance(A, Robust) else A
    return torch.float64 if isinstance(A, SpectralOperator) else torch.float32


NODES = [ViewMeasurement, ApplyOperator, DataConsistency]
