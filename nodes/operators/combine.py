"""Operators made of operators; chains of these nodes give any depth."""

from __future__ import annotations

from functools import partial

from comfy_api.latest import io

from ... import operators
from ..types import Operator
from .base import OperatorNode


class CombinedNode(OperatorNode):
    """Two operators become one; parts that are such combinations themselves are spliced in."""

    family = "combine"

    @classmethod
    def build(cls, first, second) -> partial:
        return partial(cls.make, makers=[*parts(first, cls.make), *parts(second, cls.make)])


class ComposeNode(CombinedNode):
    make = operators.Compose
    node_id = "PSLD_Compose"
    display_name = "Compose Operators"
    description = "One degradation after another, such as a blur and then a smaller image."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            Operator.Input("first", tooltip="What happened to the image first."),
            Operator.Input("second", tooltip="What happened to the result; may be a composition itself."),
        ]


class StackNode(CombinedNode):
    make = operators.Stack
    node_id = "PSLD_Stack"
    display_name = "Stack Operators"
    description = "Several measurements of one image, known together. All must be linear."

    @classmethod
    def inputs(cls) -> list[io.Input]:
        return [
            Operator.Input("first", tooltip="One measurement of the image."),
            Operator.Input("second", tooltip="Another one of the same image; may be a stack itself."),
        ]


def parts(operator: partial, make) -> list[partial]:
    """The operators that `make` has combined in `operator`, or that one alone."""
    return operator.keywords["makers"] if operator.func is make else [operator]


NODES = [ComposeNode, StackNode]
