"""tests/object_info.json: inputs and outputs of every node, to see where a change would break saved workflows."""

from __future__ import annotations

from ..devkit.interface import FILE, interface, text
from .litegraph import offered


def write() -> str:
    """Writes the copy."""
    FILE.write_text(text(interface(offered())))
    return str(FILE)
