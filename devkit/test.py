"""`dev.py test`: ruff, then pytest."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from . import ROOT
from .environment import HOME, comfyui_path


def main(args: argparse.Namespace) -> int:
    """The exit code of the first of the two that fails, else 0."""
    env = {**os.environ, "COMFYUI_PATH": str(comfyui_path()), "PYTHONPYCACHEPREFIX": str(HOME / "pycache")}
    for tool in (["ruff", "check", "."], ["pytest", *args.rest]):
        if code := subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, env=env).returncode:
            return code
    return 0
