"""`dev.py bench memory`: time and memory of a step or a run on Stable Diffusion 1.5."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("step", args)
