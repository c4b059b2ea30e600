"""What saved workflows rest on: each node's inputs, in their order, and outputs. A copy is checked in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import ROOT

FILE = ROOT / "tests" / "object_info.json"

PARTS = "required", "optional"

Interface = dict[str, dict[str, Any]]


def interface(info: Mapping[str, Mapping[str, Any]]) -> Interface:
    """Of ComfyUI's `/object_info`: our nodes, the type of each input and of each output."""
    return {
        name: {
            "inputs": {key: kind(spec) for part in PARTS for key, spec in node["input"].get(part, {}).items()},
            "outputs": list(node["output"]),
        }
        for name, node in sorted(info.items())
        if name.startswith("PSLD_")
    }


def kind(spec: Any) -> str:
    """The type of an input; lists of choices are called COMBO by newer versions."""
    return spec[0] if isinstance(spec[0], str) else "COMBO"


def text(found: Interface) -> str:
    """The copy, a line for each node."""
    rows = [f"{json.dumps(name)}: {json.dumps(node)}" for name, node in found.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def changes(found: Interface) -> list[str]:
    """What is otherwise than in the copy; widgets are stored by position, so that order counts."""
    known = json.loads(FILE.read_text())
    names = sorted(found.keys() | known.keys())
    return [f"{name}: its inputs or outputs are not those of {FILE.name}" for name in names
            if json.dumps(found.get(name)) != json.dumps(known.get(name))]  # fmt: skip
