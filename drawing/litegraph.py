"""ComfyUI's UI workflow format (LiteGraph's, version 0.4), written from a graph and the server's `/object_info`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .routing import SLOT, TITLE, Point, Router

Catalogue = dict[str, dict[str, Any]]
"""`/object_info`: what ComfyUI knows of each node type"""

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
PICTURE, TEXT, PROMPT = 260, 180, 50  # pixels of the canvas, as the sizes below
CONTENT_HEIGHT = {
    "LoadImage": PICTURE,
    "SaveImage": PICTURE,
    "PreviewImage": PICTURE,
    "PSLD_KSampler": PICTURE,  # the live preview
    "PSLD_RestorePhoto": PICTURE + PROMPT,
    "PreviewAny": TEXT,
    "CLIPTextEncode": PROMPT,
}
OPTIONAL, BYPASS = 7, 4  # LiteGraph's shape of an optional socket, and its mode of a bypassed node
GAP_X, GAP_Y, WIDGET = 40, 20, 24
NARROW = 268
"""Of a node or a note, in pixels, where there are five columns."""
NODES_2 = (38, 28)  # height of a node in the frontend's newer drawing without slots, and of a widget there


@dataclass(frozen=True)
class Node:
    """One node: an input is a value, or the (name, output index) of another node of the graph.

    A bypassed one hands its first input on, until a person switches it on.
    """

    class_type: str
    inputs: dict[str, Any]
    title: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    folded: bool = False
    width: int = 300
    bypassed: bool = False


@dataclass(frozen=True)
class Note:
    """Markdown beside the nodes."""

    text: str
    height: int
    width: int = 300


Columns = list[list[str | Note | int]]
"""Names of nodes, notes, and pixels that stay empty."""


def ui_format(
    name: str, nodes: dict[str, Node], ids: dict[str, int], columns: Columns, catalogue: Catalogue
) -> dict[str, Any]:
    """The graph as the frontend opens it: laid out in columns, from top to bottom in the given order."""
    links = list(links_of(nodes, ids, catalogue))
    next_id, placed = max(ids.values()) + 1, []
    x = 0
    for column in columns:
        items = [nodes[item] if isinstance(item, str) else item for item in column if not isinstance(item, int)]
        y, width = TITLE, max(item.width for item in items)
        for item in column:
            if isinstance(item, int):
                y += item
                continue
            if isinstance(item, Note):
                written, next_id = ui_note(item, next_id), next_id + 1
            else:
                written = ui_node(nodes[item], ids[item], links, catalogue[nodes[item].class_type])
            written["pos"] = [x, y]
            y += GAP_Y + TITLE + (0 if written["flags"] else written["size"][1])
            placed.append(written)
        x += width + GAP_X
    for order, written in enumerate(sorted(placed, key=lambda node: node["id"])):
        written["order"] = order
    router = Router({node["id"]: node for node in placed}, GAP_X)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "revision": 0,
        "last_node_id": next_id - 1,
        "last_link_id": len(links),
        "nodes": placed,
        "links": links,
        "groups": [],
        "config": {},
        "extra": reroutes({link[0]: router.points(link) for link in links}),
        "version": 0.4,
    }


def reroutes(points: dict[int, list[Point]]) -> dict[str, Any]:
    """The points that wires go by, as the frontend keeps them: a chain for each wire, of which it knows the last."""
    chains, last = [], []
    for link, way in points.items():
        for i, point in enumerate(way):
            parent = {"parentId": len(chains)} if i else {}
            chains.append({"id": len(chains) + 1, **parent, "pos": list(point), "linkIds": [link]})
        if way:
            last.append({"id": link, "parentId": len(chains)})
    return {"reroutes": chains, "linkExtensions": last} if chains else {}


def offered() -> Catalogue:
    """The catalogue of the ComfyUI in this process."""
    import nodes

    def info(node: Any) -> dict[str, Any]:
        if hasattr(node, "GET_NODE_INFO_V1"):
            return node.GET_NODE_INFO_V1()
        names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
        return {"input": node.INPUT_TYPES(), "output": node.RETURN_TYPES, "output_name": names}

    return {name: info(node) for name, node in nodes.NODE_CLASS_MAPPINGS.items()}


def specifications(info: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any], bool]]:
    """(name, type, options, is optional) of each input of a node type, in its order."""
    for group in ("required", "optional"):
        for name, spec in info["input"].get(group, {}).items():
            yield name, spec[0], spec[1] if len(spec) > 1 else {}, group == "optional"


def is_widget(kind: Any, options: dict[str, Any]) -> bool:
    """Whether the frontend draws an input as a widget; a list is the old way to write COMBO."""
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")


def sockets(info: dict[str, Any]) -> list[dict[str, Any]]:
    """The inputs that are sockets, not widgets."""
    return [
        {"name": name, "type": kind, "link": None} | ({"shape": OPTIONAL} if optional else {})
        for name, kind, options, optional in specifications(info)
        if not is_widget(kind, options)
    ]


def default(kind: Any, options: dict[str, Any]) -> Any:
    """What a widget says at first."""
    choices = kind if isinstance(kind, list) else options.get("options")
    return options.get("default", choices[0] if choices else None)


def defaults(info: dict[str, Any]) -> dict[str, Any]:
    """What all widgets of a node say at first."""
    widgets = [spec for spec in specifications(info) if is_widget(*spec[1:3])]
    return {name: default(kind, options) for name, kind, options, _ in widgets}


def widget_values(node: Node, info: dict[str, Any]) -> list[Any]:
    """Widget values by position, with those of the widgets that the frontend adds to seeds and image uploads."""
    values = []
    for name, kind, options, _ in specifications(info):
        if is_widget(kind, options):
            values.append(node.inputs.get(name, default(kind, options)))
            if options.get("control_after_generate"):
                values.append("fixed")
            if options.get("image_upload"):
                values.append("image")
    return values


def links_of(nodes: dict[str, Node], ids: dict[str, int], catalogue: Catalogue) -> Iterator[list[Any]]:
    """[link id, from node, from slot, to node, to slot, type] of each link."""
    number = 0
    for name, node in nodes.items():
        for slot, socket in enumerate(sockets(catalogue[node.class_type])):
            if socket["name"] in node.inputs:
                number += 1
                source, output = node.inputs[socket["name"]]
                kind = catalogue[nodes[source].class_type]["output"][output]
                yield [number, ids[source], output, ids[name], slot, kind]


def ui_node(node: Node, node_id: int, links: list[list[Any]], info: dict[str, Any]) -> dict[str, Any]:
    """One node without its place."""
    inputs, values = sockets(info), widget_values(node, info)
    for number, *_, target, slot, _ in links:
        if target == node_id:
            inputs[slot]["link"] = number
    outputs = [
        {"name": name, "type": kind, "links": [link[0] for link in links if link[1:3] == [node_id, slot]]}
        for slot, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
    ]
    slots = SLOT * max(len(inputs), len(outputs))
    height = slots + WIDGET * len(values) + 14 + CONTENT_HEIGHT.get(node.class_type, 0)
    written = {
        "id": node_id,
        "type": node.class_type,
        "pos": [0, 0],
        "size": [node.width, max(height, slots + NODES_2[0] + NODES_2[1] * len(values))],
        "flags": {"collapsed": True} if node.folded else {},
        "order": 0,
        "mode": BYPASS if node.bypassed else 0,
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"Node name for S&R": node.class_type, **node.properties},
        "widgets_values": values,
    }
    return written | ({"title": node.title} if node.title else {})


def ui_note(note: Note, node_id: int) -> dict[str, Any]:
    """A note without its place."""
    return {
        "id": node_id,
        "type": "MarkdownNote",
        "title": "What to do",
        "pos": [0, 0],
        "size": [note.width, note.height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [note.text],
    }
