"""`dev.py bench quality`: solvers, and the authors' own code, on the same prior, images, operators and noise."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
from pathlib import Path

import devkit
from devkit import inprocess


def main(args: argparse.Namespace) -> int:
    """Boots ComfyUI with the pack in this process, and runs the benchmark as a part of it."""
    with tempfile.TemporaryDirectory(prefix="psld-comfyui-") as base:
        logging.disable(logging.WARNING)  # of extra nodes that miss a package; nothing here needs them
        inprocess.boot(Path(base))
        logging.disable(logging.NOTSET)
        sys.modules["psld.devkit"] = devkit  # one DevError for both
        return importlib.import_module("psld.benchmarks.protocol").run(args)
