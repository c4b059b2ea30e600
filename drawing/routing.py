"""Wires of a workflow: where the frontend draws them, and points that lead them around nodes.

The frontend calls such points reroutes. A wire is a chain of cubic curves between its ends and its points, as in
`LGraphCanvas.drawConnections` and `Reroute.calculateAngle` of ComfyUI's frontend.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top (of the title), right, bottom; in pixels of the canvas, as all lengths here."""

TITLE, SLOT, ROW = 30, 20, 0.7
FOLDED = 225
"""The most that a folded node is wide."""
BEND = 80
"""How far a curve keeps the direction of a point, at most."""
CLEAR = 3
"""Between a wire and a node that it passes."""
LANES, APART = (5, 10, 15, 20), 4
"""Where lanes lie below a node, and above one that starts as much lower; and how far wires on them lie apart."""
SHARES = (0.5, 0.3, 0.7)
"""Of the gap between two columns: where wires go up and down."""
T = np.linspace(0, 1, 33)
CUBIC = np.stack(((1 - T) ** 3, 3 * (1 - T) ** 2 * T, 3 * (1 - T) * T**2, T**3), 1)
"""Weights of a curve's four control points at its 33 points."""


def ends(link: list[Any], nodes: dict[int, dict[str, Any]]) -> tuple[Point, Point]:
    """Where a wire leaves a node and where it enters another."""
    _, source, output, target, slot, _ = link
    found = []
    for node, place, out in ((nodes[source], output, True), (nodes[target], slot, False)):
        (x, y), folded = node["pos"], bool(node["flags"])
        width = min(FOLDED, node["size"][0]) if folded else node["size"][0]
        found.append((x + out * width, y - TITLE / 2 if folded else y + SLOT * (place + ROW)))
    return found[0], found[1]


def box(node: dict[str, Any]) -> Box:
    """What a node covers."""
    (x, y), (width, height) = node["pos"], node["size"]
    if node["flags"]:
        width, height = min(FOLDED, width), 0
    return x, y - TITLE, x + width, y + height


def wire(points: list[Point]) -> np.ndarray:
    """(n, 2) points of a wire: it leaves to the right, turns at each point between, and comes from the left."""
    legs = list(itertools.pairwise(points))
    lengths = [math.dist(a, b) / 4 for a, b in legs]
    angles = [math.atan2(b[1] - a[1], b[0] - a[0]) for a, b in legs]
    controls, (x, y) = [], (lengths[0], 0.0)
    for i, (a, b) in enumerate(legs):
        leaving, coming = (a[0] + x, a[1] + y), (b[0] - lengths[i], b[1])
        if i + 1 < len(legs):
            turn = (angles[i] - angles[i + 1]) / 2
            turn += math.pi if abs(turn) > math.pi / 2 else 0
            way = math.cos(angles[i] - turn), math.sin(angles[i] - turn)
            before, after = (min(BEND, length) for length in lengths[i : i + 2])
            coming, (x, y) = (b[0] - before * way[0], b[1] - before * way[1]), (after * way[0], after * way[1])
        controls.append((a, leaving, coming, b))
    return (CUBIC @ np.array(controls)).reshape(-1, 2)


def behind(curve: np.ndarray, boxes: list[Box]) -> bool:
    """Whether a curve passes behind one of the boxes."""
    x, y = curve[:, :1], curve[:, 1:]
    left, top, right, bottom = np.array(boxes).T
    return bool(((x > left - CLEAR) & (x < right + CLEAR) & (y > top - CLEAR) & (y < bottom + CLEAR)).any())


def clear(path: list[Point], boxes: list[Box]) -> bool:
    """Whether no leg of a path of upright and level legs crosses a box; slanting legs at its ends are not looked at."""
    for (x1, y1), (x2, y2) in itertools.pairwise(path):
        low, high, west, east = min(y1, y2), max(y1, y2), min(x1, x2), max(x1, x2)
        if any(west < right and left < east and low < bottom and top < high for left, top, right, bottom in boxes):
            return False
    return True


def ways(start: Point, end: Point, lanes: list[float], gap: float) -> Iterator[list[Point]]:
    """Points by which a wire may go from a gap between columns to another: the fewest first."""
    gaps = [(start[0] + a * gap, end[0] - b * gap) for a in SHARES for b in SHARES]
    for y in lanes:
        for x1, x2 in gaps:
            yield [(x1, y), (x2, y)]
    for y in lanes:
        for x1, x2 in gaps:
            yield [(x1, start[1]), (x1, y), (x2, y)]
            yield [(x1, y), (x2, y), (x2, end[1])]
            yield [(x1, start[1]), (x1, y), (x2, y), (x2, end[1])]


class Router:
    """Finds the points of one wire after another; wires from different sockets get lanes of their own."""

    def __init__(self, nodes: dict[int, dict[str, Any]], gap: float) -> None:
        self.nodes, self.gap = nodes, gap
        self.boxes = {number: box(node) for number, node in nodes.items()}
        self.taken: list[tuple[float, float, float, tuple[int, int]]] = []
        edges = {edge for box in self.boxes.values() for edge in (box[1] - LANES[-1], box[3])}
        self.lanes = sorted({edge + room for edge in edges for room in LANES})

    def points(self, link: list[Any]) -> list[Point]:
        """None where the wire goes clear of all other nodes by itself, or no way is found."""
        others = [box for number, box in self.boxes.items() if number not in (link[1], link[3])]
        start, end = ends(link, self.nodes)
        if not others or not behind(wire([start, end]), others):
            return []
        lanes = sorted(self.lanes, key=lambda y: abs(start[1] - y) + abs(end[1] - y))
        for way in ways(start, end, lanes, self.gap):
            (x1, y), (x2, _) = way[-2:] if way[-2][1] == way[-1][1] and len(way) < 4 else way[-3:-1]
            if not self.free(y, x1, x2, (link[1], link[2])) or not clear(way, list(self.boxes.values())):
                continue
            if not behind(wire([start, *way, end]), others):
                self.taken.append((y, min(x1, x2), max(x1, x2), (link[1], link[2])))
                return way
        return []

    def free(self, y: float, x1: float, x2: float, socket: tuple[int, int]) -> bool:
        """Whether no wire from another socket has this part of a lane."""
        west, east = min(x1, x2), max(x1, x2)
        return not any(
            abs(y - lane) < APART and west < right and left < east and socket != other
            for lane, left, right, other in self.taken
        )
