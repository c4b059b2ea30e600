"""The subgraph blueprints: generated, made of nodes that exist, wired soundly, listed by ComfyUI, and fit to run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from psld.devkit import ROOT
from psld.drawing import blueprints, litegraph
from psld.drawing.blueprints import INPUT, OUTPUT
from psld.drawing.priors import PRIORS
from psld.drawing.samples import sample
from psld.tests.prompts import node

NAMES = [blueprints.title(prior) for prior in PRIORS]


def read(name: str) -> dict[str, Any]:
    """A file as any ComfyUI decodes it."""
    return json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="ascii"))


@pytest.fixture(scope="module")
def catalogue() -> dict[str, dict[str, Any]]:
    """`/object_info` of the ComfyUI in this process."""
    return litegraph.offered()


def test_the_files_are_what_the_generator_writes(catalogue) -> None:
    files = {file.name: file.read_text() for file in (ROOT / "subgraphs").iterdir()}
    assert files == blueprints.written(catalogue)


def test_ids_are_the_files_own() -> None:
    found = [str(value) for name in NAMES for value in identifiers(read(name))]
    assert len(found) == len(set(found)) and len(found) == len(NAMES) * 7


def identifiers(blueprint: dict[str, Any]) -> Iterator[str]:
    """Of the file, of its subgraph, and of what goes in and out."""
    (definition,) = blueprint["definitions"]["subgraphs"]
    yield from (blueprint["id"], definition["id"])
    yield from (end["id"] for end in definition["inputs"] + definition["outputs"])


@pytest.mark.parametrize("name", NAMES)
def test_a_box_shows_widgets_that_are_in_it_and_has_sockets_for_what_goes_in_and_out(name, catalogue) -> None:
    blueprint = read(name)
    (box,), (inside,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert box["type"] == inside["id"] and box["title"] == inside["name"] == name
    for side in ("inputs", "outputs"):
        assert [(end["name"], end["type"]) for end in box[side]] == [(end["name"], end["type"]) for end in inside[side]]
    nodes = {str(one["id"]): one for one in inside["nodes"]}
    assert len(nodes) == len(inside["nodes"]) and len(box["properties"]["proxyWidgets"]) == 6
    for number, widget in box["properties"]["proxyWidgets"]:
        assert widget in litegraph.defaults(catalogue[nodes[number]["type"]])


@pytest.mark.parametrize("name", NAMES)
def test_wires_end_where_both_ends_say_so(name) -> None:
    (inside,) = read(name)["definitions"]["subgraphs"]
    nodes = {one["id"]: one for one in inside["nodes"]}
    links = {link["id"]: link for link in inside["links"]}
    assert len(links) == len(inside["links"]) == inside["state"]["lastLinkId"]
    for number, link in links.items():
        source, target = link["origin_id"], link["target_id"]
        given = (inside["inputs"] if source == INPUT else nodes[source]["outputs"])[link["origin_slot"]]
        taken = (inside["outputs"] if target == OUTPUT else nodes[target]["inputs"])[link["target_slot"]]
        assert given["type"] == taken["type"] == link["type"]
        assert number in given["linkIds" if source == INPUT else "links"]
        assert taken["linkIds"] == [number] if target == OUTPUT else taken["link"] == number


def test_what_is_in_the_box_restores_a_photo(catalogue, run_prompt) -> None:
    (inside,) = read(blueprints.title("ldm"))["definitions"]["subgraphs"]
    prompt = {"photo": node("LoadImage", image=sample("ldm", "blurred"))}
    sources = {link["id"]: [str(link["origin_id"]), link["origin_slot"]] for link in inside["links"]}
    for one in inside["nodes"]:
        wired = {socket["name"]: sources[socket["link"]] for socket in one["inputs"] if socket["link"]}
        wired = {
            key: ["photo", slot] if number == str(INPUT) else [number, slot] for key, (number, slot) in wired.items()
        }
        prompt[str(one["id"])] = node(one["type"], **litegraph.defaults(catalogue[one["type"]]) | wired)
    prompt[str(blueprints.RESTORE)]["inputs"] |= {"quality": "fast", "strength": 1.5}
    outputs = run_prompt(prompt)
    photo, restored = outputs["photo"][0], outputs[str(blueprints.RESTORE)][0]
    assert restored.shape == photo.shape and (restored - photo).abs().mean() > 0.01


def test_comfyui_lists_them(tmp_path, monkeypatch) -> None:
    import folder_paths
    from app.subgraph_manager import SubgraphManager

    (tmp_path / "a pack").symlink_to(ROOT, target_is_directory=True)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "custom_nodes", ([str(tmp_path)], set()))
    manager = SubgraphManager()
    listed = asyncio.run(manager.get_custom_node_subgraphs([]))
    assert sorted(entry["name"] for entry in listed.values()) == sorted(NAMES)
    assert {entry["info"]["node_pack"] for entry in listed.values()} == {"custom_nodes.a pack"}
    for entry in listed.values():
        assert json.loads(asyncio.run(manager.load_entry_data(entry))["data"]) == read(entry["name"])
