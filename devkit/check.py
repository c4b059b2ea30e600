"""`dev.py check CHECKPOINT`: whether a model that someone has restores a photo, by three methods."""

from __future__ import annotations

import argparse

from . import TASKS, sibling


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file that Load Checkpoint, Load Diffusion Model or "
                        "Load Latent Diffusion (LDM) of ComfyUI reads")  # fmt: skip
    parser.add_argument("--vae", metavar="FILE", help="the VAE, where the checkpoint has none")
    parser.add_argument("--image", metavar="FILE", help="a photo of what the model knows; its middle square is taken "
                        "(default: the sample hand)")  # fmt: skip
    parser.add_argument("--size", type=int, metavar="PX", help="of that square (default: what the model was made for)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["super_resolution"], metavar="TASK",
                        help=f"of {', '.join(TASKS)} (default: super_resolution)")  # fmt: skip
    parser.add_argument("--steps", type=int, metavar="N", help="of each method (default: 20, Proximal gluing 50)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", metavar="DIR", default="output/check", help="pictures and rows (default: %(default)s)")


def main(args: argparse.Namespace) -> int:
    """0 where all three restored it."""
    return sibling("benchmarks.inside").run_inside("checkpoint", args)
