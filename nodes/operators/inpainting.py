"""Inpainting: an area of the image is unknown."""

from __future__ import annotations

from functools import partial

from comfy_api.latest import io

from ... import operators
from ...operators.strokes import STROKES
from ..masks import PAINTED, nothing_painted, painted, painting_inputs
from ..types import seed_input
from .base import OperatorNode


class InpaintMaskNode(OperatorNode):
    make = operators.InpaintMask
    node_id = "PSLD_InpaintMask"
    display_name = "Inpaint Mask (Erase, Fill)"
    description = "The painted area of a mask is unknown, as the mask editor paints it; the rest is measured."
    family = "inpainting"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        what = "1 (painted) = to restore; of the image's size. One for all images, or one for each."
        return [io.Mask.Input("mask", tooltip=what), *painting_inputs()]

    @classmethod
    def build(cls, mask, threshold=PAINTED, grow=0) -> partial:
        unknown = painted(mask, threshold, grow)
        if not unknown.any():
            reason = nothing_painted(mask, threshold)
            raise ValueError(f"mask: {reason}, so there is nothing to restore; paint the area to restore.")
        return partial(cls.make, mask=~unknown[:, None])


class InpaintBoxNode(OperatorNode):
    make = operators.InpaintBox
    node_id = "PSLD_InpaintBox"
    display_name = "Inpaint Box"
    description = "A box is unknown: at a random place, or at a given one."
    family = "inpainting"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Int.Input("width", default=256, min=1, max=16384, tooltip="Of the box, in pixels."),
            io.Int.Input("height", default=256, min=1, max=16384, tooltip="Of the box, in pixels."),
            io.Int.Input("left", default=-1, min=-1, max=16384, tooltip="-1: drawn by the seed."),
            io.Int.Input("top", default=-1, min=-1, max=16384, tooltip="-1: drawn by the seed."),
            io.Int.Input(
                "margin", default=16, min=0, max=8192, tooltip="Least distance of a random box to the border."
            ),
            seed_input("Where a random box lies."),
        ]

    @classmethod
    def build(cls, width, height, left, top, margin, seed) -> partial:
        if (left < 0) != (top < 0):
            raise ValueError(f"left, top: they are {left} and {top}; give both, or -1 for both to draw the place.")
        position = None if left < 0 else (top, left)
        return partial(cls.make, size=(height, width), position=position, margin=margin, seed=seed)


class InpaintRandomNode(OperatorNode):
    make = operators.InpaintRandom
    node_id = "PSLD_InpaintRandom"
    display_name = "Inpaint Random"
    description = "Random pixels are unknown, in all channels together."
    family = "inpainting"

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
    def build(cls, low, high, seed) -> partial:
        if low > high:
            raise ValueError(f"low, high: low is {low:g}, above high {high:g}; swap them.")
        return partial(cls.make, low=low, high=high, seed=seed)


class InpaintHalfNode(OperatorNode):
    make = operators.InpaintHalf
    node_id = "PSLD_InpaintHalf"
    display_name = "Inpaint Half"
    description = "One half of the image is unknown."
    family = "inpainting"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        sides = ["left", "right", "top", "bottom"]
        return [io.Combo.Input("side", options=sides, default="right", tooltip="The unknown half.")]


class OutpaintNode(OperatorNode):
    make = operators.Outpaint
    node_id = "PSLD_Outpaint"
    display_name = "Outpaint"
    description = "Only the centre of the image is known; what lies around it is to be painted."
    family = "inpainting"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input(
                "keep", default=0.5, min=0.01, max=1.0, step=0.01, tooltip="Known fraction of the width and the height."
            )
        ]


class InpaintGridNode(OperatorNode):
    make = operators.InpaintGrid
    node_id = "PSLD_InpaintGrid"
    display_name = "Inpaint Grid"
    description = "One pixel of each block is known, at full size: super-resolution of an image that was decimated."
    family = "inpainting"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Int.Input("factor", default=2, min=1, max=64, tooltip="The first pixel of factor x factor is known.")
        ]


class InpaintStrokesNode(OperatorNode):
    make = operators.InpaintStrokes
    node_id = "PSLD_InpaintStrokes"
    display_name = "Inpaint Strokes"
    description = "Random brush strokes are unknown."
    family = "inpainting"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Combo.Input("style", options=list(STROKES), default="thin", tooltip="Width and number of the strokes."),
            seed_input("The strokes."),
        ]


class InpaintScratchesNode(OperatorNode):
    make = operators.InpaintScratches
    node_id = "PSLD_InpaintScratches"
    display_name = "Inpaint Scratches"
    description = "Nearly vertical scratches, as on old film and prints, are unknown."
    family = "inpainting"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Int.Input("count", default=8, min=1, max=1000, tooltip="How many scratches."),
            io.Float.Input("width", default=2.0, min=0.1, max=256.0, step=0.1, tooltip="In pixels."),
            seed_input("The scratches."),
        ]


NODES = [
    InpaintMaskNode,
    InpaintBoxNode,
    InpaintRandomNode,
    InpaintHalfNode,
    OutpaintNode,
    InpaintGridNode,
    InpaintStrokesNode,
    InpaintScratchesNode,
]
