"""The workflows of `workflows/`, described once; `dev.py draw workflows` writes both formats again after a change.

`workflows/<title>.json` is ComfyUI's UI format, a template, and `workflows/api/<title>.json` its API format.
"""

from __future__ import annotations

import json

from ..devkit import ROOT
from . import comparisons, old_photo, restoring, trials, wiring
from .litegraph import Catalogue, offered
from .template import Template

FOLDER = ROOT / "workflows"
ROOMS = (restoring, old_photo, wiring, trials, comparisons)


def templates() -> dict[str, Template]:
    """Every workflow by its title."""
    return {template.title: template for room in ROOMS for template in room.templates()}


def written(catalogue: Catalogue) -> dict[str, str]:
    """The text of every workflow file by its path in `FOLDER`."""
    workflows = {}
    for title, template in templates().items():
        workflows[f"api/{title}.json"] = template.api(catalogue)
        workflows[f"{title}.json"] = template.ui(catalogue)
    return {path: json.dumps(workflow, indent=2) + "\n" for path, workflow in workflows.items()}


def write() -> str:
    """Writes every file anew, and takes away those of workflows that are no more."""
    texts = written(offered())
    for file in FOLDER.rglob("*.json"):
        if str(file.relative_to(FOLDER)) not in texts:
            file.unlink()
    for path, text in texts.items():
        (FOLDER / path).write_text(text, encoding="utf-8")
    return f"{FOLDER}: {len(texts)} files"
