#!/usr/bin/env python3
"""One command for everything a developer or a curious visitor does here; needs nothing but Python 3.10 and a network.

It makes `.venv` and `.comfyui/` on the first run; COMFYUI_PATH names an existing ComfyUI to use instead.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys

from devkit import ROOT, TASKS, DevError, bench, check, draw, environment, test, train


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = f"only these (default: all): {', '.join(TASKS)}"
    parser.add_argument("--task", choices=TASKS, nargs="+", default=TASKS, metavar="TASK", help=tasks)
    parser.add_argument("--steps", type=int, help="sampling steps (default: the workflow's)")
    parser.add_argument("--seed", type=int, help="seed of the sampler (default: the workflow's)")
    parser.add_argument("--image", metavar="FILE", help="your own photo; the embedded prior knows hands only")


def restore_arguments(parser: argparse.ArgumentParser) -> None:
    out = "what is made, journal.jsonl, summary.json and contact sheets; a run goes on from there"
    servers = "running ComfyUI servers (default: start one, with the models of `dev.py ui`)"
    ray = "a Ray cluster, `auto` for the one here: a server on every GPU, or on every machine where there are none"
    parser.add_argument("folder", metavar="FOLDER", help="photos, also in folders below; they stay as they are")
    parser.add_argument("--workflow", required=True, metavar="FILE.json",
                        help="in API format, with exactly one Load Image: File > Export (API)")  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help=out)
    parser.add_argument("--again", action="store_true", help="take up the photos that failed before once more")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", nargs="+", metavar="HOST:PORT", help=servers)
    where.add_argument("--ray", metavar="ADDRESS", help=ray)


def soak_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--clients", type=int, default=8, help="clients at once (default: 8)")


def matrix_arguments(parser: argparse.ArgumentParser) -> None:
    paths = "checkouts of ComfyUI; what lacks its requirements is skipped, with the reason"
    parser.add_argument("paths", nargs="+", metavar="PATH", help=paths)


def ui_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8188, help="port on the loopback interface (default: 8188)")


COMMANDS = {  # name -> (help, arguments); each is devkit/<name>.py with a main(arguments) -> exit code
    "demo": ("degrade photos and restore them by the five LDM workflows, into output/demo/", demo_arguments),
    "ui": ("open the same ComfyUI for hands-on use", ui_arguments),
    "restore": ("restore a folder of photos by a workflow", restore_arguments),
    "matrix": ("load and run the pack in several versions of ComfyUI", matrix_arguments),
    "soak": ("keep one server busy with mixed prompts, and watch its memory", soak_arguments),
    "test": ("run ruff and pytest", test.arguments),
    "bench": ("measure speed or quality", bench.add_benchmarks),
    "check": ("restore one photo by three methods with a checkpoint of yours", check.arguments),
    "draw": ("write samples, workflows and pictures anew", draw.arguments),
    "train": ("train the embedded prior, or measure one", train.arguments),
}
GROUPS = {  # packages beyond ComfyUI's
    "test": ("tests", "browser", "peers", "weights"),
    "bench": ("peers", "weights"),
    "check": ("weights",),
    "train": ("weights",),
}


def parse(argv: list[str]) -> argparse.Namespace:
    """Reads the command line; what only pytest understands ends up in `rest`."""
    parser = argparse.ArgumentParser(prog="dev.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--no-setup", action="store_true", help="use the running Python and COMFYUI_PATH as they are")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (text, arguments) in COMMANDS.items():
        arguments(commands.add_parser(name, help=text, allow_abbrev=False))
    args, args.rest = parser.parse_known_args(argv)
    if args.rest and args.command != "test":
        parser.error(f"unrecognized arguments: {' '.join(args.rest)}")
    return args


def main(argv: list[str]) -> int:
    args = parse(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in devkit.server.environment; torch reads it when it loads
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` stops the server
    try:
        if not args.no_setup:
            environment.ensure((*GROUPS.get(args.command, ()), *(["ray"] if getattr(args, "ray", None) else [])))
            sys.stdout.flush()
            os.execv(environment.PYTHON, [str(environment.PYTHON), str(ROOT / "dev.py"), "--no-setup", *argv])
        return importlib.import_module(f"devkit.{args.command}").main(args)
    except DevError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
