"""`dev.py train`: trains the embedded prior, or measures one."""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from pathlib import Path

from . import DevError, inprocess


def arguments(parser: argparse.ArgumentParser) -> None:
    splits = "photos; with folders train/ and test/ where it has them, else every tenth is kept for testing"
    folder = "checkpoints, log, curves, sheets and prior.safetensors; training goes on from what is there"
    total = "training time in all, over every call with this folder (default: 120)"
    parser.add_argument("--data", required=True, metavar="ZIP_OR_FOLDER", help=splits)
    parser.add_argument("--out", metavar="DIR", help=folder)
    parser.add_argument("--minutes", type=float, default=120, metavar="N", help=total)
    parser.add_argument("--stop-after", type=float, metavar="N", help="save and leave after N minutes of this call")
    parser.add_argument("--size", type=int, default=64, metavar="PX", help="side of the pictures (default: 64)")
    parser.add_argument("--factor", type=int, choices=(4, 8), default=4, help="side of a picture by side of its latent "
                        "(default: 4, with 4 channels; 8 has 16)")  # fmt: skip
    parser.add_argument("--autoencoder", metavar="DIR_OR_PRIOR", help="train the U-Net alone, on latents of this "
                        "autoencoder: a folder with encoder and decoder of the TAESD family, or a prior")  # fmt: skip
    parser.add_argument("--start-from", metavar="PRIOR", help="go on with the weights of a prior, in a new folder")
    parser.add_argument("--copies", type=int, metavar="N", help="how often a photo is encoded, moved and mirrored "
                        "(default: 8 on a GPU, else 2)")  # fmt: skip
    parser.add_argument("--credit", metavar="TEXT", help="whose photos they are, for the metadata of the prior")
    parser.add_argument("--draft-of", metavar="WEIGHTS", help="train a small autoencoder that answers like this "
                        "prior's, for `bench quality --draft`; 10 minutes serve")  # fmt: skip
    parser.add_argument("--evaluate", metavar="WEIGHTS", help="measure a prior instead, and print JSON")
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="samples to measure (default: 1000)")


def main(args: argparse.Namespace) -> int:
    """Trains, or measures; 0 when it is done."""
    if not args.evaluate and not args.out:
        raise DevError("--out: name a folder for what is trained, or give --evaluate WEIGHTS.")
    if args.size % 16 or args.size < 64:
        raise DevError(f"--size: {args.size} is not a multiple of 16 from 64 up.")
    with tempfile.TemporaryDirectory(prefix="psld-comfyui-") as base:
        inprocess.boot(Path(base))
        try:
            run(args)
        except ValueError as error:
            raise DevError(str(error)) from error
    return 0


def run(args: argparse.Namespace) -> None:
    """What the arguments ask for."""
    if args.evaluate:
        evaluate(args)
    elif args.draft_of:
        draft = importlib.import_module("psld.training.draft")
        print(draft.distil(Path(args.draft_of), Path(args.data), Path(args.out), args.minutes, args.size))
    else:
        train(args)


def train(args: argparse.Namespace) -> None:
    run = importlib.import_module("psld.training.run")
    given, start = (Path(name) if name else None for name in (args.autoencoder, args.start_from))
    prior = run.train(Path(args.data), Path(args.out), args.minutes, args.size, factor=args.factor, given=given,
                      start=start, copies=args.copies, credit=args.credit, stop_after=args.stop_after)
    print(f"Prior: {prior}" if prior.exists() else "Stopped in the first stage; the same command goes on.")


def evaluate(args: argparse.Namespace) -> None:
    module = importlib.import_module("psld.training.evaluate")
    sheets = Path(args.out) if args.out else None
    print(json.dumps(module.evaluate(Path(args.evaluate), Path(args.data), args.samples, sheets), indent=2))
