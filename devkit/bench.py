"""`dev.py bench NAME`: speed and quality, measured; NAME is benchmarks/NAME.py with a main(arguments) -> exit code."""

from __future__ import annotations

import argparse
import importlib

from . import TASKS

QUALITY_TASKS = (*TASKS, "destriping", "denoising")


def operators_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="where the JSON rows go (default: only print the table)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], metavar="PX", help="default: 512 1024")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], metavar="B", help="default: 1 8")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls per row; the median counts (default: 7)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda where there is one)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only operators whose name contains one of these")


def quality_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", default="output/quality/quality.json",
                        help="rows; beside it a table (.md) and comparison sheets (default: %(default)s). Goes on "
                        "where FILE.json ends")  # fmt: skip
    parser.add_argument("--methods", nargs="+", metavar="NAME[@STEPS]",
                        help="solvers by name, and `reference` (default: all)")  # fmt: skip
    parser.add_argument("--tasks", nargs="+", choices=QUALITY_TASKS, default=QUALITY_TASKS, metavar="TASK",
                        help=f"default: {' '.join(QUALITY_TASKS)}")  # fmt: skip
    parser.add_argument("--images", metavar="DIR", help="a folder or zip; only its test/ part where it has one "
                        "(default: the sample photos)")  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="only N of the images")
    parser.add_argument("--size", type=int, default=64, metavar="PX", help="they are resized to it (default: 64)")
    parser.add_argument("--steps", type=int, default=100, help="where a method names none (default: 100)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="S", help="default: 0")
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.05], metavar="S",
                        help="noise levels sigma_y in [-1, 1] pixels; denoising has 0.3 (default: 0.05)")  # fmt: skip
    parser.add_argument("--reference", metavar="PATH", help="a checkout of github.com/LituRout/PSLD, to run the "
                        "authors' sampler: reference@1000 and reference@100 where --methods names neither")  # fmt: skip
    parser.add_argument("--checkpoint", "--prior", metavar="FILE", help="another prior than the embedded one")
    parser.add_argument("--suite", metavar="FILE.json", help="several priors: a list of objects with checkpoint, "
                        "images, size, limit and tasks; a file of rows for each, and a table of all")  # fmt: skip
    parser.add_argument("--draft", metavar="FILE", help="a draft autoencoder for the methods that take one: of `dev.py "
                        "train --draft-of`, or a folder with encoder and decoder of the TAESD family")  # fmt: skip
    parser.add_argument("--scheduler", default="auto", metavar="NAME",
                        help="noise levels, by ComfyUI's name; not the authors' code's (default: auto)")  # fmt: skip
    parser.add_argument("--batch", type=int, default=8, help="images that run together (default: 8)")
    parser.add_argument("--set", nargs="+", type=setting, default=[], metavar="NAME=VALUE",
                        help="parameters for the methods that have them, such as omega=0.5")  # fmt: skip
    parser.add_argument("--sheet", type=int, default=4, metavar="N", help="images on a sheet (default: 4)")


def memory_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", default="Glued MAP", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--draft", action="store_true", help="with TAESD as draft_vae")
    parser.add_argument("--steps", type=int, metavar="N", help="a whole run of N steps (default: one step)")
    parser.add_argument("--size", type=int, default=512, metavar="PX", help="default: 512")
    parser.add_argument("--checkpoint", metavar="FILE", help="another than SD 1.5 with random weights")
    parser.add_argument("--out", metavar="FILE.json", help="the row is appended to it")


def seeded_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", default="output/seeded/seeded.json", help="default: %(default)s")
    parser.add_argument("--real", action="store_true", help="families at their real widths and sizes, random weights")
    parser.add_argument("--families", nargs="+", default=["SD 1.5"], metavar="NAME", help="default: SD 1.5")
    parser.add_argument("--methods", nargs="+", default=["Glued MAP", "PSLD"], metavar="NAME",
                        help="default: Glued MAP, PSLD")  # fmt: skip
    parser.add_argument("--steps", type=int, default=20, help="default: 20")


def models_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", default="output/models/models.json",
                        help="the rows; beside it a plot (.png) (default: %(default)s)")  # fmt: skip
    parser.add_argument("--real", action="store_true", help="SD 1.5, SDXL, SD 3.5 Medium and FLUX.1 dev at their own "
                        "widths and sizes, with random weights, in the precision that ComfyUI takes (default: every "
                        "family, tiny)")  # fmt: skip
    parser.add_argument("--families", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", default=["Glued MAP", "Proximal gluing", "PSLD"],
                        help="default: Glued MAP, Proximal gluing and PSLD")  # fmt: skip
    parser.add_argument("--sizes", type=int, nargs="+", metavar="PX", help="default: the family's own")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a run (default: 3)")
    parser.add_argument("--candidates", type=int, default=1, help="of methods that have them (default: 1)")


def kept_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", help="where the rows go (default: only print the table)")


def windows_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", default="output/windows/windows.json",
                        help="the figures; beside it the pictures (default: %(default)s)")  # fmt: skip
    parser.add_argument("--width", type=int, default=2048, metavar="PX", help="default: 2048")
    parser.add_argument("--height", type=int, default=1536, metavar="PX", help="default: 1536")
    parser.add_argument("--method", default="Proximal gluing", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=6, help="default: 6")
    parser.add_argument("--memory", type=float, metavar="GIB", help="plan as if so much were free (default: what is)")


def jpeg_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", default="output/jpeg/jpeg.json",
                        help="the rows (default: %(default)s)")  # fmt: skip
    parser.add_argument("--images", metavar="DIR", help="a folder or zip; only its test/ part where it has one "
                        "(default: the sample photos)")  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="only N of the images")
    parser.add_argument("--size", type=int, default=64, metavar="PX", help="they are resized to it (default: 64)")
    parser.add_argument("--qualities", type=int, nargs="+", default=[5, 10, 20, 50], metavar="Q",
                        help="of the files (default: 5 10 20 50)")  # fmt: skip
    parser.add_argument("--method", default="Glued MAP", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=20, help="default: 20")
    parser.add_argument("--checkpoint", metavar="FILE", help="another prior than the embedded one")


def blind_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE.json", default="output/blind/blind.json",
                        help="the rows (default: %(default)s)")  # fmt: skip
    parser.add_argument("--ways", nargs="+", default=["free", "Gaussian", "defocus", "BlindRL"], metavar="WAY",
                        help="kinds of Estimate Blur, none, or deepinv's BlindRL (default: free Gaussian defocus "
                        "BlindRL)")  # fmt: skip
    parser.add_argument("--kernels", nargs="+", default=["0", "1", "2", "3"], metavar="K", help="seeds of camera "
                        "shakes; or point, gaussian, defocus, line (default: 0 1 2 3)")  # fmt: skip
    parser.add_argument("--width", type=int, default=13, metavar="PX", help="of the camera shakes (default: 13)")
    parser.add_argument("--intensity", type=float, default=0.5, metavar="I", help="of the camera shakes (default: 0.5)")
    parser.add_argument("--factor", type=int, default=1, metavar="N", help="by which the blurred photos are made "
                        "smaller (default: 1)")  # fmt: skip
    parser.add_argument("--largest", type=int, default=21, metavar="PX", help="kernel that is thought of (default: 21)")
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.02, 0.05], metavar="S", help="default: 0.02 0.05")
    parser.add_argument("--images", metavar="DIR", help="a folder or zip; only its test/ part where it has one "
                        "(default: the sample photos)")  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="only N of the images")
    parser.add_argument("--size", type=int, default=64, metavar="PX", help="they are resized to it (default: 64)")
    parser.add_argument("--search", type=int, default=10, help="steps for each blur that is tried (default: 10)")
    parser.add_argument("--method", default="Glued MAP", metavar="NAME", help="that restores (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of that (default: 20)")
    parser.add_argument("--checkpoint", metavar="FILE", help="another prior than the embedded one")


def setting(text: str) -> tuple[str, float]:
    """NAME=VALUE."""
    name, _, value = text.partition("=")
    return name, float(value)


BENCHMARKS = {  # name -> (help, arguments)
    "quality": ("solvers, and the authors' own code, on the same images and noise", quality_arguments),
    "memory": ("time and memory of a step or a run on Stable Diffusion 1.5", memory_arguments),
    "seeded": ("whether a seed gives the same bits twice, and what that costs", seeded_arguments),
    "models": ("time and memory of a step on each family of models", models_arguments),
    "kept": ("what networks of real size keep for backward, by their shapes", kept_arguments),
    "windows": ("seams and memory of a picture much larger than the prior's own size", windows_arguments),
    "jpeg": ("JPEG files restored by their own tables, beside what is decoded of them", jpeg_arguments),
    "blind": ("photos under blurs that have to be found, beside the same with the blur known", blind_arguments),
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
