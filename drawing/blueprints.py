"""Subgraph blueprints: a model and Restore Photo in one box, which ComfyUI lists among its own nodes.

`subgraphs/<title>.json` is the UI format of one node, whose type is the only subgraph that the file defines.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from ..devkit import ROOT
from .litegraph import OPTIONAL, SLOT, WIDGET, Catalogue, Node, links_of, offered, ui_node
from .priors import PRIORS, advice, loader, vae

FOLDER = ROOT / "subgraphs"
CATEGORY = "Image Tools/Restore"
DESCRIPTION = "Sharpens, enlarges, removes noise, fills holes, removes scratches, adds colour. "
ALIASES = ["restore", "repair", "photo", "deblur", "upscale", "enlarge", "denoise", "inpaint", "erase", "scratches"]
SHOWN = ("problem", "strength", "quality", "seed", "prompt")
"""The widgets of Restore Photo that the box shows."""
TAKEN = {"image": ("IMAGE", {}), "mask": ("MASK", {"shape": OPTIONAL})}
INPUT, OUTPUT, PRIOR, RESTORE = -10, -20, 1, 2
"""Ids: the frontend's own of a subgraph's two ends, and those of the nodes in it."""
WIDTH, GAP, END = 420, 80, (120, 100)  # pixels of the canvas


def title(prior: str) -> str:
    """The blueprint's, and its file's."""
    return f"Restore Photo ({PRIORS[prior].words})"


def graph(prior: str) -> dict[str, Node]:
    """What is in the box; "photo" stands for what it takes, which is what Load Image gives."""
    links = {"image": ("photo", 0), "mask": ("photo", 1), "model": ("prior", 0), "vae": vae(prior)}
    links |= {} if PRIORS[prior].embedded else {"clip": ("prior", 1)}
    return {"photo": Node("LoadImage", {}), "prior": loader(prior), "restore": Node("PSLD_RestorePhoto", links)}


def unique(*words: str) -> str:
    """An id that is the same at every drawing."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("psld-restore", *words))))


def definition(prior: str, catalogue: Catalogue) -> dict[str, Any]:
    """The subgraph: nodes and links, from its two inputs to the outputs of Restore Photo."""
    name, nodes, given = title(prior), graph(prior), results(catalogue)
    ids = {"photo": INPUT, "prior": PRIOR, "restore": RESTORE}
    links = list(links_of(nodes, ids, catalogue))
    links += [[len(links) + i + 1, RESTORE, i, OUTPUT, i, kind] for i, (_, kind) in enumerate(given)]
    inside = [ui_node(nodes[key], ids[key], links, catalogue[nodes[key].class_type]) for key in ("prior", "restore")]
    x = END[0] + GAP
    for order, node in enumerate(inside):
        node |= {"pos": [x, 0], "order": order}
        x += node["size"][0] + GAP
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return {
        "id": unique(name),
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(inside), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "category": CATEGORY,
        "description": DESCRIPTION + advice(prior),
        "inputNode": {"id": INPUT, "bounding": [0, 0, *END]},
        "outputNode": {"id": OUTPUT, "bounding": [x, 0, *END]},
        "inputs": [
            {"id": unique(name, "input", key), "name": key, "type": kind, **shape}
            | {"linkIds": [link[0] for link in links if link[1:3] == [INPUT, slot]]}
            for slot, (key, (kind, shape)) in enumerate(TAKEN.items())
        ],
        "outputs": [
            {"id": unique(name, "output", key), "name": key, "type": kind}
            | {"linkIds": [link[0] for link in links if link[3:5] == [OUTPUT, slot]]}
            for slot, (key, kind) in enumerate(given)
        ],
        "widgets": [],
        "nodes": inside,
        "groups": [],
        "links": [dict(zip(keys, link, strict=True)) for link in links],
        "extra": {},
    }


def results(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Name and type of what Restore Photo gives."""
    info = catalogue["PSLD_RestorePhoto"]
    return list(zip(info["output_name"], info["output"], strict=True))


def box(prior: str, catalogue: Catalogue) -> dict[str, Any]:
    """The one node that a person puts on the canvas."""
    model = next(iter(loader(prior).inputs))
    shown = [[str(RESTORE), widget] for widget in SHOWN] + [[str(PRIOR), model]]
    return {
        "id": 1,
        "type": unique(title(prior)),
        "pos": [0, 0],
        "size": [WIDTH, SLOT * len(results(catalogue)) + WIDGET * (len(shown) + 2)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": key, "type": kind, "link": None, **shape} for key, (kind, shape) in TAKEN.items()],
        "outputs": [{"name": key, "type": kind, "links": []} for key, kind in results(catalogue)],
        "properties": {"proxyWidgets": shown},
        "widgets_values": [],
        "title": title(prior),
    }


def blueprint(prior: str, catalogue: Catalogue) -> dict[str, Any]:
    """The file: the box, and what is in it."""
    return {
        "id": unique(title(prior), "file"),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [box(prior, catalogue)],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [definition(prior, catalogue)]},
        "config": {},
        "extra": {"BlueprintSearchAliases": ALIASES},
        "version": 0.4,
    }


def written(catalogue: Catalogue) -> dict[str, str]:
    """The text of every blueprint by its file's name; ASCII, as older ComfyUIs read it in the system's encoding."""
    return {f"{title(prior)}.json": json.dumps(blueprint(prior, catalogue), indent=2) + "\n" for prior in PRIORS}


def write() -> str:
    """Writes every blueprint anew."""
    FOLDER.mkdir(exist_ok=True)
    texts = written(offered())
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return f"{FOLDER}: {len(texts)} files"
