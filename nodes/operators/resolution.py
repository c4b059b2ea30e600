"""Super-resolution: the measurement is a smaller image."""

from __future__ import annotations

from comfy_api.latest import io

from ... import operators
from ...operators.resize import KERNELS
from .base import OperatorNode


class SuperResolutionNode(OperatorNode):
    make = operators.SuperResolution
    node_id = "PSLD_SuperResolution"
    display_name = "Upscale, Enlarge (Super-Resolution)"
    description = "The measurement is a smaller image, down-sampled with an antialiasing kernel."
    family = "resolution"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input("factor", default=4.0, min=1.0, max=16.0, step=0.5, tooltip="How many times smaller."),
            io.Combo.Input("kernel", options=list(KERNELS), default="bicubic", tooltip="bicubic as in the paper."),
        ]


NODES = [SuperResolutionNode]
