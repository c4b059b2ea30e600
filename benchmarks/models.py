"""`dev.py bench models`: time and memory of a step on each family of models."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("families", args)
