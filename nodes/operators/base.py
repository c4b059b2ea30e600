"""What all operator nodes share: the node itself, and inputs that several of them have."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from comfy_api.latest import io

from ...operators import Operator as ForwardOperator
from ...operators.boundary import BOUNDARIES
from ..types import CATEGORY, Operator, check_choice


class OperatorNode(io.ComfyNode):
    """A node whose inputs are the keywords of one operator class; subclasses say which, and describe the inputs.

    Where inputs and keywords differ, a subclass has its own `build`. Raises ValueError for a choice that is not listed.
    """

    make: Callable[..., ForwardOperator]
    node_id: str
    display_name: str
    description: str
    family: str

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return []

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.node_id,
            display_name=cls.display_name,
            category=f"{CATEGORY}/operators/{cls.family}",
            description=cls.description,
            inputs=cls.inputs(),
            outputs=[Operator.Output(display_name="operator")],
        )

    @classmethod
    def execute(cls, **parameters: Any) -> io.NodeOutput:
        for choice in cls.inputs():
            if isinstance(choice, io.Combo.Input):
                check_choice(choice.id, parameters[choice.id], choice.options)
        return io.NodeOutput(cls.build(**parameters))

    @classmethod
    def build(cls, **parameters: Any) -> partial[ForwardOperator]:
        """The operator as a function of the image shape (C, H, W)."""
        return partial(cls.make, **parameters)


def boundary_input(
    default: str = "circular",
    tooltip: str = "circular has an exact pseudo-inverse; the others are truer to photos but slower.",
) -> io.Input:
    """What lies beyond the border of a blurred image."""
    return io.Combo.Input("boundary", options=list(BOUNDARIES), default=default, tooltip=tooltip)


def kernel_size_input(default: int, tooltip: str) -> io.Input:
    """Side of a blur kernel."""
    return io.Int.Input("kernel_size", default=default, min=1, max=1023, step=2, tooltip=tooltip)


def axis_input(default: str) -> io.Input:
    """Which lines of the image an operator speaks of."""
    tooltip = "columns: lines run from top to bottom (90 degrees); rows: from left to right (0)."
    return io.Combo.Input("axis", options=["columns", "rows"], default=default, tooltip=tooltip)
