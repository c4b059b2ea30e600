"""Menu group "operators": how the image was degraded. One node per operator class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from comfy_api.latest import io

from .. import operators
from ..operators.boundary import BOUNDARIES
from ..operators.resize import KERNELS
from .types import CATEGORY, Operator

MAX_SEED = 0xFFFFFFFFFFFFFFFF


class OperatorNode(io.ComfyNode):
    """A node whose inputs are the keywords of one operator class; subclasses say which, and describe the inputs."""

    make: Callable[..., operators.Operator]
    node_id: str
    display_name: str
    description: str

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return []

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.node_id,
            display_name=cls.display_name,
            category=f"{CATEGORY}/operators",
            description=cls.description,
            inputs=cls.inputs(),
            outputs=[Operator.Output(display_name="operator")],
        )

    @classmethod
    def execute(cls, **parameters: Any) -> io.NodeOutput:
        return io.NodeOutput(partial(cls.make, **parameters))


def seed_input(tooltip: str) -> io.Input:
    """Seed of a random operator: the same seed gives the same operator on every device."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def boundary_input(default: str, tooltip: str) -> io.Input:
    """What lies beyond the border of a blurred image."""
    return io.Combo.Input("boundary", options=list(BOUNDARIES), default=default, tooltip=tooltip)


class SuperResolutionNode(OperatorNode):
    make = operators.SuperResolution
    node_id = "PSLD_SuperResolution"
    display_name = "Super-Resolution"
    description = "The measurement is a smaller image, down-sampled with an antialiasing kernel."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("factor", default=4.0, min=1.0, max=16.0, step=0.5, tooltip="How many times smaller."),
            io.Combo.Input("kernel", options=list(KERNELS), default="bicubic", tooltip="bicubic as in the paper."),
        ]


class InpaintMaskNode(OperatorNode):
    node_id = "PSLD_InpaintMask"
    display_name = "Inpaint Mask"
    description = "The painted area of a mask is unknown, as the mask editor paints it; the rest is measured."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [io.Mask.Input("mask", tooltip="1 (painted) = to restore; of the image's size.")]

    @classmethod
    def execute(cls, mask) -> io.NodeOutput:
        if mask.ndim == 3 and len(mask) > 1:
            raise ValueError(f"mask: it is a batch of {len(mask)} masks; connect one mask for all images.")
        if not (mask > 0.5).any():
            raise ValueError("mask: it is all zero, so there is nothing to restore; paint the area to restore.")
        return io.NodeOutput(partial(operators.InpaintMask, mask=1 - mask.reshape(mask.shape[-2:])))


class InpaintBoxNode(OperatorNode):
    node_id = "PSLD_InpaintBox"
    display_name = "Inpaint Box"
    description = "A box is unknown: at a random place, or at a given one."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Int.Input("width", default=256, min=1, max=16384),
            io.Int.Input("height", default=256, min=1, max=16384),
            io.Int.Input("left", default=-1, min=-1, max=16384, tooltip="-1: drawn by the seed."),
            io.Int.Input("top", default=-1, min=-1, max=16384, tooltip="-1: drawn by the seed."),
            io.Int.Input(
                "margin", default=16, min=0, max=8192, tooltip="Least distance of a random box to the border."
            ),
            seed_input("Where a random box lies."),
        ]

    @classmethod
    def execute(cls, width, height, left, top, margin, seed) -> io.NodeOutput:
        if (left < 0) != (top < 0):
            raise ValueError(f"left, top: they are {left} and {top}; give both, or -1 for both to draw the place.")
        position = None if left < 0 else (top, left)
        size = (height, width)
        return io.NodeOutput(partial(operators.InpaintBox, size=size, position=position, margin=margin, seed=seed))


class InpaintRandomNode(OperatorNode):
    node_id = "PSLD_InpaintRandom"
    display_name = "Inpaint Random"
    description = "Random pixels are unknown, in all channels together."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("low", default=0.7, min=0.0, max=0.999, step=0.01, tooltip="Least fraction of lost pixels."),
            io.Float.Input(
                "high", default=0.7, min=0.0, max=0.999, step=0.01, tooltip="Largest; the paper: 0.3 to 0.7."
            ),
            seed_input("Which pixels, and how many between low and high."),
        ]

    @classmethod
    def execute(cls, low, high, seed) -> io.NodeOutput:
        if low > high:
            raise ValueError(f"low, high: low is {low:g}, above high {high:g}; swap them.")
        return io.NodeOutput(partial(operators.InpaintRandom, low=low, high=high, seed=seed))


class GaussianBlurNode(OperatorNode):
    make = operators.GaussianBlur
    node_id = "PSLD_GaussianBlur"
    display_name = "Gaussian Blur"
    description = "The image is out of focus: blurred by a Gaussian."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("sigma", default=3.0, min=0.01, max=100.0, step=0.1, tooltip="In pixels."),
            io.Int.Input("kernel_size", default=61, min=1, max=1023, step=2, tooltip="Odd; about 6 sigma or more."),
            boundary_input("reflect", "What lies beyond the border; reflect as in the paper."),
        ]


class MotionBlurNode(OperatorNode):
    make = operators.MotionBlur
    node_id = "PSLD_MotionBlur"
    display_name = "Motion Blur"
    description = "The camera moved along a random trajectory."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Int.Input("kernel_size", default=61, min=1, max=1023, step=2, tooltip="Odd; in pixels."),
            io.Float.Input("intensity", default=0.5, min=0.0, max=1.0, step=0.05, tooltip="0: straight, 1: jerky."),
            seed_input("The trajectory."),
            boundary_input(
                "circular", "circular has an exact pseudo-inverse; the others are truer to photos but slower."
            ),
        ]


class DenoiseNode(OperatorNode):
    make = operators.Denoise
    node_id = "PSLD_Denoise"
    display_name = "Denoise"
    description = "Every pixel is measured; only the noise is to go."


NODES = [
    SuperResolutionNode,
    InpaintMaskNode,
    InpaintBoxNode,
    InpaintRandomNode,
    GaussianBlurNode,
    MotionBlurNode,
    DenoiseNode,
]
