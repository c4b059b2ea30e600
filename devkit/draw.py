"""`dev.py draw`: writes the checked-in samples, workflows and pictures anew, with the real ComfyUI in this process."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

from . import DevError, inprocess, sibling

DRAWINGS = sibling("drawing").DRAWINGS


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"only these (default: all): {', '.join(DRAWINGS)}")


def main(args: argparse.Namespace) -> int:
    """Draws everything, or what was asked for."""
    if unknown := set(args.what) - set(DRAWINGS):
        raise DevError(f"There is no drawing {', '.join(sorted(unknown))}; choose from {', '.join(DRAWINGS)}.")
    with tempfile.TemporaryDirectory(prefix="psld-drawing-") as base:
        inprocess.boot(Path(base))
        for name in DRAWINGS:
            if name in args.what or not args.what:
                print(importlib.import_module(f"psld.drawing.{name}").write(), flush=True)
    return 0
