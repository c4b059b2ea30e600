"""`dev.py bench blind`: photos under blurs that nobody told, beside the same photos with the blur known."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("shakes", args)
