"""The JSON file of a quality run: what it was measured on, once, and a row per method, task, image and seed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import comfyui_version
from comfy.model_management import get_torch_device

from ..devkit import ROOT, DevError
from .hardware import device_name
from .table import Row

IDENTITY = ("method", "steps", "parameters", "task", "sigma_y", "image", "seed")
"""What makes two rows the same run."""


class Results:
    """Rows in memory and in the file, which is written anew after each addition."""

    def __init__(self, path: Path, setting: dict[str, Any]) -> None:
        """Goes on with the file where there is one. Raises DevError where that was measured in another setting."""
        self.path = path
        self.device = device_name(get_torch_device())
        self.document = {"setting": setting, "versions": versions(), "rows": []}
        if path.exists():
            self.resume()
        self.known = {identity(row) for row in self.rows}

    def resume(self) -> None:
        found = json.loads(self.path.read_text())
        for name, value in self.document["setting"].items():
            if found["setting"].get(name) != value:
                raise DevError(
                    f"--out: the rows in {self.path} have {name} {found['setting'].get(name)}, this run has {value}; "
                    "choose another file."
                )
        self.document = found

    @property
    def rows(self) -> list[Row]:
        return self.document["rows"]

    def has(self, row: Row) -> bool:
        """Whether this run was made before."""
        return identity(row) in self.known

    def add(self, rows: list[Row]) -> None:
        """Keeps the rows, and what they ran on; a run that is stopped while it writes leaves the old file."""
        self.rows.extend({**row, "device": self.device} for row in rows)
        self.known |= {identity(row) for row in rows}
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(self.document, indent=1, allow_nan=False) + "\n")
        os.replace(draft, self.path)


def identity(row: Row) -> str:
    """A key of the row; JSON, so that a row read back is the same."""
    return json.dumps([row[name] for name in IDENTITY], sort_keys=True)


def versions() -> dict[str, str]:
    """Of this pack (its commit where there is one) and of what it stands on."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    libraries = {name: version(name) for name in ("torch", "numpy", "kornia", "pillow")}
    pack = {"commit": commit} if commit else {}
    return {**pack, "python": platform.python_version(), "comfyui": comfyui_version.__version__, **libraries}
