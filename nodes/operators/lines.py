"""Destriping: whole rows or columns are unknown."""

from __future__ import annotations

from functools import partial

from comfy_api.latest import io

from ... import operators
from ..types import seed_input
from .base import OperatorNode, axis_input


class InpaintLinesNode(OperatorNode):
    make = operators.InpaintLines
    node_id = "PSLD_InpaintLines"
    display_name = "Inpaint Alternating Lines"
    description = "One line of every few is known, as in half of an interlaced video frame."
    family = "lines"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            axis_input("rows"),
            io.Int.Input("period", default=2, min=2, max=256, tooltip="The first of this many lines is known."),
        ]


class InpaintRandomLinesNode(OperatorNode):
    make = operators.Destripe
    node_id = "PSLD_InpaintRandomLines"
    display_name = "Inpaint Random Lines"
    description = "Random whole rows or columns are unknown."
    family = "lines"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            axis_input("rows"),
            io.Float.Input("drop", default=0.5, min=0.0, max=0.999, step=0.01, tooltip="Fraction of lost lines."),
            seed_input("Which lines."),
        ]

    @classmethod
    def build(cls, axis, drop, seed) -> partial:
        return partial(cls.make, axis=axis, width=1, drop=drop, seed=seed)


class DestripeNode(OperatorNode):
    make = operators.Destripe
    node_id = "PSLD_Destripe"
    display_name = "Destripe (Repair Dead Lines)"
    description = "Stripes of dead rows or columns, as broken sensor lines leave them, are unknown."
    family = "lines"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            axis_input("columns"),
            io.Combo.Input(
                "pattern",
                options=["regular", "random"],
                default="regular",
                tooltip="regular: stripes in even spacing. random: as many as drop says, where the seed puts them.",
            ),
            io.Int.Input("width", default=2, min=1, max=1024, tooltip="Of a stripe, in pixels."),
            io.Int.Input(
                "spacing",
                default=8,
                min=2,
                max=4096,
                tooltip="Regular stripes: pixels from one to the next, above width.",
            ),
            io.Float.Input(
                "drop", default=0.25, min=0.0, max=0.999, step=0.01, tooltip="Random stripes: the lost fraction."
            ),
            seed_input("Where random stripes lie."),
        ]

    @classmethod
    def build(cls, axis, pattern, width, spacing, drop, seed) -> partial:
        if pattern == "random":
            return partial(cls.make, axis=axis, width=width, drop=drop, seed=seed)
        if width >= spacing:
            raise ValueError(
                f"width, spacing: stripes of {width} pixels at a spacing of {spacing} leave nothing between them; "
                "make the spacing larger than the width."
            )
        return partial(cls.make, axis=axis, width=width, spacing=spacing)


NODES = [InpaintLinesNode, InpaintRandomLinesNode, DestripeNode]
