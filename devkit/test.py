"""`dev.py test`: ruff, then pytest."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from . import ROOT
from .environment import HOME, comfyui_path


def main(args: argparse.Namespace) -> int:
    """Runs both; the exit code of the first that fails, else 0."""
    env = {**os.environ, "COMFYUI_PATH": str(comfyui_path()), "PYTHONPYCACHEPREFIX": str(HOME / "pycache")}
    tools = ["ruff", "check", "."], ["pytest", *args.rest]
    codes = [subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, env=env).returncode for tool in tools]
    return next(filter(None, codes), 0)
