"""`dev.py bench windows`: a picture much larger than the embedded prior's own size, restored in windows."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("wall", args)
