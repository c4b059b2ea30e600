"""`dev.py bench NAME`: speed and quality, measured; NAME is benchmarks/NAME.py with a main(arguments) -> exit code."""

from __future__ import annotations

import argparse
import importlib


def operators_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="where the JSON rows go (default: only print the table)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], metavar="PX", help="default: 512 1024")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], metavar="B", help="default: 1 8")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls per row; the median counts (default: 7)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda where there is one)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only operators whose name contains one of these")


BENCHMARKS = {  # name -> (help, arguments)
    "operators": ("forward, adjoint and pseudo-inverse beside deepinv's", operators_arguments),
}


def add_benchmarks(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each benchmark."""
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="benchmark")
    for name, (text, arguments) in BENCHMARKS.items():
        arguments(commands.add_parser(name, help=text, allow_abbrev=False))


def main(args: argparse.Namespace) -> int:
    """Runs the one that was asked for."""
    return importlib.import_module(f"benchmarks.{args.benchmark}").main(args)
