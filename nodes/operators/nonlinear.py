"""Non-linear measurements: they can be measured, but solvers that need a linear operator refuse them."""

from __future__ import annotations

from comfy_api.latest import io

from ... import operators
from .base import OperatorNode


class JPEGNode(OperatorNode):
    make = operators.JPEG
    node_id = "PSLD_JPEG"
    display_name = "JPEG (non-linear)"
    description = (
        "The image was compressed as JPEG. Not linear, but with a projection: Glued MAP and Proximal gluing take it."
    )
    family = "non-linear"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Int.Input("quality", default=30, min=1, max=100, tooltip="As in other programs; 30 shows blocks."),
            io.Boolean.Input("subsample", default=True, tooltip="Halve the chroma (4:2:0), as most programs do."),
        ]


class GammaNode(OperatorNode):
    make = operators.Gamma
    node_id = "PSLD_Gamma"
    display_name = "Gamma (non-linear)"
    description = "A tone curve changed the image. Not linear: only solvers that need no linearity take it."
    family = "non-linear"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input(
                "gamma", default=2.2, min=0.05, max=20.0, step=0.05, tooltip="Above 1: darker, below 1: brighter."
            )
        ]


class HighDynamicRangeNode(OperatorNode):
    make = operators.HighDynamicRange
    node_id = "PSLD_HighDynamicRange"
    display_name = "HDR Clipping (non-linear)"
    description = "The image was overexposed and clipped. Not linear: only solvers that need no linearity take it."
    family = "non-linear"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input(
                "scale", default=2.0, min=0.05, max=20.0, step=0.05, tooltip="Contrast around mid grey before clipping."
            )
        ]


class PhaseRetrievalNode(OperatorNode):
    make = operators.PhaseRetrieval
    node_id = "PSLD_PhaseRetrieval"
    display_name = "Phase Retrieval (non-linear)"
    description = (
        "The magnitude of the image's Fourier transform is measured, its phase is lost. Not linear: only solvers that "
        "need no linearity take it."
    )
    family = "non-linear"

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            io.Float.Input(
                "oversample",
                default=2.0,
                min=0.0,
                max=16.0,
                step=0.5,
                tooltip="The image is padded by an eighth of this at each end.",
            )
        ]


NODES = [JPEGNode, GammaNode, HighDynamicRangeNode, PhaseRetrievalNode]
