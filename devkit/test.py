"""`dev.py test`: ruff, then pytest in two processes; with --quick, only what is not marked slow."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from . import ROOT
from .server import environment

PROCESSES = 2  # each may hold Stable Diffusion's architecture, some 6 GiB


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command; what is not ours goes to pytest."""
    parser.add_argument("--quick", action="store_true", help="leave out what is slow: for the everyday loop")
    parser.epilog = "Any other argument goes to pytest; -n 0 runs the tests in one process."


def main(args: argparse.Namespace) -> int:
    """Runs both; the exit code of the first that fails, else 0."""
    cores = os.cpu_count() or 1
    processes = min(PROCESSES, cores)
    tests = ["pytest", "-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]
    quick = ["-m", "not slow"] if args.quick else []
    threads = {"OMP_NUM_THREADS": str(cores // processes)}  # else each process takes every core
    codes = [
        subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, env=threads | environment()).returncode
        for tool in (["ruff", "check", "."], [*tests, *quick, *args.rest])
    ]
    return next(filter(None, codes), 0)
