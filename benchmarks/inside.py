"""Benchmarks that run inside ComfyUI, as a part of the pack."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
from pathlib import Path

import devkit
from devkit import inprocess


def run_inside(module: str, args: argparse.Namespace) -> int:
    """Boots ComfyUI with the pack in this process, and calls run(args) of a module of this folder."""
    with tempfile.TemporaryDirectory(prefix="psld-comfyui-") as base:
        logging.disable(logging.WARNING)  # of extra nodes that miss a package; nothing here needs them
        inprocess.boot(Path(base))
        logging.disable(logging.NOTSET)
        sys.modules["psld.devkit"] = devkit  # one DevError for both
        return importlib.import_module(f"psld.benchmarks.{module}").run(args)
