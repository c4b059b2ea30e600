"""What leaves no visible damage: every pixel with noise, or a few random sums of all pixels."""

from __future__ import annotations

from comfy_api.latest import io

from ... import operators
from ..types import seed_input
from .base import OperatorNode


class DenoiseNode(OperatorNode):
    make = operators.Denoise
    node_id = "PSLD_Denoise"
    display_name = "Denoise (Remove Noise)"
    description = "Every pixel is measured; only the noise is to go."
    family = "sensing"


class CompressedSensingNode(OperatorNode):
    make = operators.CompressedSensing
    node_id = "PSLD_CompressedSensing"
    display_name = "Compressed Sensing"
    description = "A few random-sign Walsh-Hadamard sums of the pixels are measured."
    family = "sensing"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input(
                "ratio", default=0.25, min=0.001, max=1.0, step=0.01, tooltip="Measured sums for each pixel."
            ),
            seed_input("Signs, order and choice of the sums."),
        ]


NODES = [DenoiseNode, CompressedSensingNode]
