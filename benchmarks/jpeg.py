"""`dev.py bench jpeg`: JPEG files restored by their own tables, beside what any program decodes of them."""

from __future__ import annotations

import argparse

from .inside import run_inside


def main(args: argparse.Namespace) -> int:
    return run_inside("blocks", args)
