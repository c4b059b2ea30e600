"""`dev.py bench quality`: solvers, and the authors' own code, on the same prior, images, operators and noise."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("suite" if args.suite else "protocol", args)
