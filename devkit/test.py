"""`dev.py test`: ruff, then pytest."""

from __future__ import annotations

import argparse
import subprocess
import sys

from . import ROOT
from .server import environment


def main(args: argparse.Namespace) -> int:
    """Runs both; the exit code of the first that fails, else 0."""
    tools = ["ruff", "check", "."], ["pytest", *args.rest]
    codes = [subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, env=environment()).returncode for tool in tools]
    return next(filter(None, codes), 0)
