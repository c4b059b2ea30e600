"""Colour: grey pictures, mixed channels, and the mosaic of a camera sensor."""

from __future__ import annotations

import math
from functools import partial

from comfy_api.latest import io

from ... import operators
from ...operators.colour import BAYER
from .base import OperatorNode


class GreyscaleNode(OperatorNode):
    make = operators.Greyscale
    node_id = "PSLD_Greyscale"
    display_name = "Colorize (Greyscale)"
    description = "The measurement is a grey picture of a colour image: colourisation."
    family = "colour"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [weight_input("red", 0.299), weight_input("green", 0.587), weight_input("blue", 0.114)]

    @classmethod
    def build(cls, red, green, blue) -> partial:
        if red + green + blue == 0:
            raise ValueError("red, green, blue: all are 0, so nothing would be measured; raise one of them.")
        return partial(cls.make, weights=(red, green, blue))


class ChannelMixNode(OperatorNode):
    make = operators.ChannelMix
    node_id = "PSLD_ChannelMix"
    display_name = "Channel Mix"
    description = "Each measured channel is a mixture of the image's red, green and blue."
    family = "colour"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.String.Input(
                "matrix",
                default="0.5 0.5 0\n0.5 0.5 0\n0 0 1",
                multiline=True,
                tooltip="A line for each measured channel: how much red, green and blue it takes.",
            )
        ]

    @classmethod
    def build(cls, matrix) -> partial:
        return partial(cls.make, matrix=parse_matrix(matrix))


class BayerMosaicNode(OperatorNode):
    make = operators.BayerMosaic
    node_id = "PSLD_BayerMosaic"
    display_name = "Demosaic (Bayer)"
    description = "One colour per pixel is known, as a camera sensor sees: demosaicing."
    family = "colour"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Combo.Input(
                "pattern", options=list(BAYER), default="RGGB", tooltip="Colours of the top left 2 x 2 pixels."
            )
        ]


def weight_input(colour: str, default: float) -> io.Input:
    """How much of a colour the grey picture has."""
    return io.Float.Input(colour, default=default, min=0.0, max=1.0, step=0.001, tooltip=f"Weight of {colour}.")


def parse_matrix(text: str) -> list[list[float]]:
    """Lines of three numbers, separated by spaces or commas."""
    lines = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    try:
        matrix = [[float(number) for number in line] for line in lines]
    except ValueError as error:
        raise ValueError(f"matrix: {error}; write numbers only, such as 0.5 0.5 0.") from None
    if not matrix or any(len(line) != 3 for line in matrix):
        raise ValueError(
            f"matrix: its lines have {', '.join(str(len(line)) for line in matrix) or 'no'} numbers; write three "
            "numbers (red, green, blue) on each line."
        )
    numbers = [number for line in matrix for number in line]
    if not all(map(math.isfinite, numbers)) or not any(numbers):
        raise ValueError("matrix: it has infinite numbers or only zeros; write at least one number other than 0.")
    return matrix


NODES = [GreyscaleNode, ChannelMixNode, BayerMosaicNode]
