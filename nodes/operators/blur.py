"""Blur: each measured pixel is a weighted mean of the image around it."""

from __future__ import annotations

from functools import partial

from comfy_api.latest import io

from ... import operators
from ...operators.colour import LUMA
from ..types import check_image, seed_input
from .base import OperatorNode, boundary_input, kernel_size_input

EXACT = "What lies beyond the border; all have an exact pseudo-inverse."


class GaussianBlurNode(OperatorNode):
    make = operators.GaussianBlur
    node_id = "PSLD_GaussianBlur"
    display_name = "Deblur: Gaussian"
    description = "The image is out of focus: blurred by a Gaussian."
    family = "blur"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("sigma", default=3.0, min=0.01, max=100.0, step=0.1, tooltip="In pixels."),
            kernel_size_input(61, "Odd; about 6 sigma or more."),
            boundary_input("reflect", "What lies beyond the border; reflect as in the paper."),
        ]


class AnisotropicBlurNode(OperatorNode):
    make = operators.AnisotropicBlur
    node_id = "PSLD_AnisotropicBlur"
    display_name = "Deblur: Anisotropic Gaussian"
    description = "A Gaussian blur that is stronger in one direction."
    family = "blur"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("sigma_x", default=6.0, min=0.01, max=100.0, step=0.1, tooltip="In pixels, along x."),
            io.Float.Input("sigma_y", default=1.0, min=0.01, max=100.0, step=0.1, tooltip="In pixels, across x."),
            angle_input("Turns the x axis, counter-clockwise."),
            kernel_size_input(61, "Odd; about 6 times the larger sigma or more."),
            boundary_input(),
        ]


class UniformBlurNode(OperatorNode):
    make = operators.UniformBlur
    node_id = "PSLD_UniformBlur"
    display_name = "Deblur: Uniform"
    description = "Each pixel is the mean of a square around it."
    family = "blur"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [kernel_size_input(9, "Side of the square, odd; in pixels."), boundary_input("reflect", EXACT)]


class MotionBlurNode(OperatorNode):
    make = operators.MotionBlur
    node_id = "PSLD_MotionBlur"
    display_name = "Deblur: Camera Shake"
    description = "The camera moved along a random trajectory."
    family = "blur"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            kernel_size_input(61, "Odd; in pixels."),
            io.Float.Input("intensity", default=0.5, min=0.0, max=1.0, step=0.05, tooltip="0: straight, 1: jerky."),
            seed_input("The trajectory."),
            boundary_input(),
        ]


class LineBlurNode(OperatorNode):
    make = operators.LineBlur
    node_id = "PSLD_LineBlur"
    display_name = "Deblur: Motion"
    description = "Camera or subject moved along a straight line."
    family = "blur"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("length", default=15.0, min=0.1, max=1000.0, step=0.5, tooltip="In pixels."),
            angle_input("Counter-clockwise from horizontal."),
            boundary_input(),
        ]


class DefocusBlurNode(OperatorNode):
    make = operators.DefocusBlur
    node_id = "PSLD_DefocusBlur"
    display_name = "Deblur, Sharpen: Out of Focus"
    description = "A lens out of focus: blurred by a disc."
    family = "blur"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("radius", default=5.0, min=0.1, max=500.0, step=0.1, tooltip="Of the disc, in pixels."),
            boundary_input(),
        ]


class KernelBlurNode(OperatorNode):
    make = operators.Blur
    node_id = "PSLD_KernelBlur"
    display_name = "Deblur: Kernel Image"
    description = "The blur kernel is an image of your own: what a single white point became."
    family = "blur"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Image.Input("kernel", tooltip="White on black; its values are scaled to sum 1."),
            io.Float.Input(
                "threshold",
                default=0.0,
                min=0.0,
                max=0.99,
                step=0.01,
                tooltip="Values below this fraction of the brightest count as black.",
            ),
            boundary_input(),
        ]

    @classmethod
    def build(cls, kernel, threshold, boundary) -> partial:
        check_image(kernel, "kernel")
        if len(kernel) > 1:
            raise ValueError(f"kernel: it is a batch of {len(kernel)} images; connect one kernel for all images.")
        grey = kernel[0] @ kernel.new_tensor(LUMA) if kernel.shape[-1] == 3 else kernel[0, ..., 0]
        if not grey.max() > 0:
            raise ValueError("kernel: it is all black, so nothing would be left of the image; draw it white on black.")
        return partial(cls.make, kernel=grey * (grey >= threshold * grey.max()), boundary=boundary)


def angle_input(tooltip: str) -> io.Input:
    """A direction in the image."""
    return io.Float.Input("angle", default=0.0, min=-360.0, max=360.0, step=1.0, tooltip=f"In degrees. {tooltip}")


NODES = [
    GaussianBlurNode,
    AnisotropicBlurNode,
    UniformBlurNode,
    MotionBlurNode,
    LineBlurNode,
    DefocusBlurNode,
    KernelBlurNode,
]
