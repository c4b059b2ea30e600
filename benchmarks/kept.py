"""`dev.py bench kept`: what models and autoencoders of real size keep for backward, without running them."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("weighing", args)
