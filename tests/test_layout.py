"""How the checked-in workflows lie on the canvas: what covers what, and where wires run."""

import json
from typing import Any

import pytest
from psld.devkit import ROOT
from psld.drawing import comparisons, routing, wiring, workflows

TEMPLATES = workflows.templates()
WIDTH, TITLE = 1500, 30  # pixels of the canvas
NODES_2 = {
    "CheckpointLoaderSimple": 102,
    "PSLD_DataConsistency": 162,
    "PSLD_FindLines": 198,
    "PSLD_FitToModel": 234,
    "PSLD_GaussianBlur": 142,
    "PSLD_InpaintBox": 226,
    "PSLD_InpaintMask": 86,
    "PSLD_InpaintRandom": 142,
    "PSLD_LoadLDM": 126,
    "PSLD_Measure": 162,
    "PSLD_MeasurementFromImage": 202,
    "PSLD_MotionBlur": 170,
    "PSLD_SuperResolution": 114,
    "PSLD_UndoFit": 170,
}
"""Heights below the title that ComfyUI 0.33.0 gives nodes without a picture in its newer drawing ("Nodes 2.0")."""


def read(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", TEMPLATES)
def test_ui_nodes_do_not_overlap_and_fit_on_a_screen(name):
    boxes = [
        (*node["pos"], node["size"][0], 0 if node["flags"].get("collapsed") else node["size"][1])
        for node in read(name)["nodes"]
    ]
    assert max(x + w for x, _, w, _ in boxes) <= WIDTH
    for i, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 - TITLE or y2 + h2 <= y - TITLE


def ways(workflow: dict[str, Any]) -> dict[int, list[tuple[float, float]]]:
    """The points that each wire goes by, from its start on, as the frontend follows them: from the last one back."""
    extra = workflow["extra"]
    points, ways = {point["id"]: point for point in extra.get("reroutes", [])}, {}
    for link in extra.get("linkExtensions", []):
        way, number = [], link["parentId"]
        while number is not None:
            point = points.pop(number)
            assert point["linkIds"] == [link["id"]]
            way.insert(0, tuple(point["pos"]))
            number = point.get("parentId")
        ways[link["id"]] = way
    assert not points
    return ways


def hidden(workflow: dict[str, Any], ways: dict[int, list[tuple[float, float]]]) -> list[int]:
    """The wires that pass behind a node that they do not belong to."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    found = []
    for link in workflow["links"]:
        start, end = routing.ends(link, nodes)
        others = [routing.box(nodes[number]) for number in nodes.keys() - {link[1], link[3]}]
        if routing.behind(routing.wire([start, *ways.get(link[0], []), end]), others):
            found.append(link[0])
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_wire_passes_behind_a_node_that_it_does_not_belong_to(name):
    workflow = read(name)
    assert hidden(workflow, ways(workflow)) == []


@pytest.mark.parametrize("name", [wiring.title("fill a hole", "sd15"), comparisons.GRID])
def test_no_wire_makes_a_detour_that_it_does_not_need(name):
    workflow = read(name)
    assert hidden(workflow, {}) == sorted(ways(workflow))


def test_a_wire_is_drawn_as_by_the_frontend():
    """Between two sockets, and through one point: ends, the middle by hand, and the direction at the point."""
    straight = routing.wire([(0, 0), (400, 200)])
    assert straight[0].tolist() == [0, 0] and straight[-1].tolist() == [400, 200]
    assert straight[16] == pytest.approx((200, 100)) and straight[1, 0] > 3 * straight[1, 1]
    bent = routing.wire([(0, 0), (100, 0), (100, 100)])
    before, at, after = bent[31], bent[32], bent[34]
    assert at.tolist() == [100, 0] and (at - before)[0] == pytest.approx((before - at)[1] * -1, rel=0.2)
    assert (after - at)[0] == pytest.approx((after - at)[1], rel=0.3)


@pytest.mark.parametrize("name", TEMPLATES)
def test_nodes_are_as_high_as_the_newer_drawing_makes_them(name):
    """Else it would draw them over those below."""
    nodes = read(name)["nodes"]
    assert [node["type"] for node in nodes if node["size"][1] < NODES_2.get(node["type"], 0)] == []
