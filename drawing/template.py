"""One workflow before it is written: nodes by name, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .litegraph import Catalogue, Columns, Node, defaults, ui_format

ASKED = (("photo", "image"), ("restore", "problem"), ("restore", "strength"), ("restore", "seed"))
"""Nodes and their widgets that a person sees in app mode."""


@dataclass(frozen=True)
class Template:
    """`nodes` by name, each after those that it takes its inputs from; `columns` from left to right.

    `previewed` nodes save in the API's format, for programs to fetch, and only preview in the UI's, which lacks those
    that are `left_out`. Where it `shows` the results of nodes, it opens in the frontend's app mode too, which asks for
    no more than the widgets of `ASKED`.
    """

    title: str
    nodes: dict[str, Node]
    columns: Columns
    previewed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()

    def api(self, catalogue: Catalogue) -> dict[str, dict[str, Any]]:
        """The graph as the server takes it; the names in our description become titles, which programs go by."""
        ids = self.ids()

        def plain(value: Any) -> Any:
            while isinstance(value, tuple) and self.nodes[value[0]].bypassed:
                value = next(iter(self.nodes[value[0]].inputs.values()))
            return [ids[value[0]], value[1]] if isinstance(value, tuple) else value

        return {
            ids[name]: {
                "class_type": node.class_type,
                "inputs": {key: plain(value) for key, value in inputs(node, catalogue).items()},
                "_meta": {"title": name},
            }
            for name, node in self.nodes.items()
            if not node.bypassed
        }

    def ui(self, catalogue: Catalogue) -> dict[str, Any]:
        """The graph as the frontend opens it."""
        nodes = {name: node for name, node in self.nodes.items() if name not in self.left_out}
        for name in self.previewed:
            nodes[name] = Node("PreviewImage", {"images": nodes[name].inputs["images"]}, nodes[name].title)
        ids = {name: int(number) for name, number in self.ids().items()}
        columns = [[item for item in column if not isinstance(item, str) or item in nodes] for column in self.columns]
        workflow = ui_format(self.title, nodes, ids, columns, catalogue)
        if self.shows:
            asked = [[ids[name], widget] for name, widget in ASKED]
            workflow["extra"]["linearData"] = {"inputs": asked, "outputs": [ids[name] for name in self.shows]}
        return workflow

    def ids(self) -> dict[str, str]:
        """The number of each node, as text."""
        return {name: str(i) for i, name in enumerate(self.nodes, start=1)}


def inputs(node: Node, catalogue: Catalogue) -> dict[str, Any]:
    """What a node is given, and the defaults of its other widgets."""
    return defaults(catalogue[node.class_type]) | node.inputs
