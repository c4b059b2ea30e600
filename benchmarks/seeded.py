"""`dev.py bench seeded`: whether a seed gives the same bits twice, and what that costs on a GPU."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("repeats", args)
