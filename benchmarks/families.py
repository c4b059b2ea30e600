"""What a step of each method takes on each family of models, beside the networks by themselves.

A row of the JSON is {"family", "method", "size", "steps", "candidates", "seconds": of a step; on a CPU those of this
process, summed over its threads, "networks": seconds of the step's passes of networks, made again alone, "overhead":
seconds / networks - 1, "forwards", "backwards": passes of all networks in a run, "loaded_gib", "peak_gib": memory of
the GPU, or of the process where there is none, before with all models in it, and at most during the run, "tier": what
the memory plan chose, "windows", "dtype": of the model's weights, "device"}.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sample
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import KSAMPLER
from comfy.sd import VAE

from ..devkit import DevError
from ..nodes.sampling import make_guider
from ..operators.measurement import Measurement
from ..runtime import checks
from ..runtime.codec import spatial_factor
from ..runtime.levels import AUTO, noise_levels
from ..runtime.plain import plain
from ..runtime.report import Report
from ..runtime.sampler import posterior_sampler
from ..runtime.windows import window_grid
from ..solvers import METHODS, Method
from ..tests import families as tiny
from . import real
from .bare import Calls, bare_seconds, recorded
from .bars import draw
from .hardware import device_name
from .passes import Cost, metered
from .prior import registered
from .results import versions
from .step import box_inpainting, peak, start_peak

Row = dict[str, Any]
Load = Callable[[tiny.Family], tuple[ModelPatcher, VAE, list]]


def run(args: argparse.Namespace) -> int:
    """Measures every family by every method at every size: the JSON, a plot beside it, and a table on the terminal."""
    asked = families(args)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {"setting": {"widths": "real" if args.real else "tiny"}, "versions": versions(), "rows": []}
    print(line({name: name for name in COLUMNS}), flush=True)
    for subject, method, side in subjects(asked, args):
        for size in args.sizes or [side]:
            row = measure(subject, method, size, args.steps, args.candidates)
            document["rows"].append(row)
            out.write_text(json.dumps(document, indent=1) + "\n")
            print(line(row), flush=True)
    draw(document["rows"]).save(out.with_suffix(".png"))
    print(f"{out}, {out.with_suffix('.png')}")
    return 0


def check_names(option: str, asked: list[str], known: list[str]) -> None:
    """DevError for a name that is none of the known ones."""
    if unknown := [name for name in asked if name not in known]:
        raise DevError(f"{option}: there is no {', '.join(unknown)}; choose from {', '.join(known)}.")


def families(args: argparse.Namespace) -> list[tiny.Family]:
    """Those that were asked for. DevError for a method or a family that there is not."""
    check_names("--methods", args.methods, list(METHODS))
    known = real.REAL if args.real else [f for f in tiny.HERE if f.works_here in (tiny.ALL, tiny.NO_GRADIENT)]
    check_names("--families", args.families or [], [family.name for family in known])
    return [family for family in known if not args.families or family.name in args.families]


def subjects(asked: list[tiny.Family], args: argparse.Namespace) -> Iterator[tuple[Subject, str, int]]:
    """Each family, loaded once, by each method that it takes, and the side of its pictures."""
    load: Load = real.load if args.real else partial(tiny.load, device=comfy.model_management.get_torch_device())
    for family in asked:
        model, vae, conditioning = load(family)
        subject = Subject(family.name, plain(model), vae, conditioning)
        for method in args.methods:
            if not METHODS[method].through_denoiser or family.works_here != tiny.NO_GRADIENT:
                yield subject, method, family.side
        comfy.model_management.unload_all_models()


@dataclass(frozen=True)
class Subject:
    """A family's model, VAE and conditioning."""

    name: str
    model: ModelPatcher
    vae: VAE
    conditioning: list

    def networks(self) -> list[tuple[torch.nn.Module, str]]:
        """The modules that a run may call, by the method it calls."""
        stages = dict.fromkeys((self.vae.first_stage_model, plain(self.vae.patcher).model))
        coders = [(stage, name) for stage in stages for name in ("encode", "decode")]
        return [(self.model.model.diffusion_model, "forward"), *coders]

    def sample(self, method: Method, sampler: KSAMPLER, measurement: Measurement, steps: int) -> torch.Tensor:
        """The latents of one run by a sampler of a method, on its own noise levels."""
        empty = torch.zeros(checks.latent_shape(measurement, self.vae))
        noise, sigmas = comfy.sample.prepare_noise(empty, 0), noise_levels(self.model, AUTO, steps, method)
        guider = make_guider(self.model, self.conditioning, None, 1.0)
        return guider.sample(noise, empty, sampler, sigmas, disable_pbar=True, seed=0)


@torch.inference_mode()  # as the executor runs nodes
def measure(subject: Subject, method: str, size: int, steps: int, candidates: int) -> Row:
    """The row of one run of so many steps, which comes after one that loads all models."""
    measurement = box_inpainting(size)
    sampled(subject, method, measurement, 1, candidates)
    loaded = start_peak()
    cost, calls, report = sampled(subject, method, measurement, steps, candidates)
    used = peak()
    model = subject.model.model
    alone = bare_seconds(calls, [module for module, _ in subject.networks()], [model.latent_format])
    seconds = cost.seconds if torch.cuda.is_available() else cost.cpu_seconds
    grid = window_grid(latent_size(subject, measurement), model, spatial_factor(subject.vae), 0)
    return {
        "family": subject.name,
        "method": method,
        "size": size,
        "steps": steps,
        "candidates": candidates,
        "seconds": round(seconds / steps, 4),
        "networks": round(alone / steps, 4),
        "overhead": round(seconds / alone - 1, 3),
        "forwards": sum(entry.forwards for entry in calls),
        "backwards": sum(entry.backwards for entry in calls),
        "loaded_gib": round(loaded, 2),
        "peak_gib": round(used, 2),
        "tier": report.tier,
        "windows": len(grid.windows()) if grid else 1,
        "dtype": str(model.get_dtype()).removeprefix("torch."),
        "device": device_name(subject.model.load_device),
    }


def sampled(
    subject: Subject, method: str, measurement: Measurement, steps: int, candidates: int
) -> tuple[Cost, list[Calls], Report]:
    """One run: its seconds, without loading and without the last decoding, the calls it made, and its report."""
    cost, report = Cost(), Report(method)
    own = METHODS[method].parameters
    timed = metered(METHODS[method], {"candidates": candidates} if "candidates" in own else {}, cost, lambda: None)
    with registered(timed) as name, recorded(subject.networks()) as calls:
        sampler = posterior_sampler(measurement, subject.vae, name, report=report)
        subject.sample(METHODS[method], sampler, measurement, steps)
    return cost, calls, report


def latent_size(subject: Subject, measurement: Measurement) -> tuple[int, int]:
    """Height and width of the latents."""
    return tuple(checks.latent_shape(measurement, subject.vae)[-2:])


COLUMNS = {"family": 20, "method": 16, "size": 5, "seconds": 8, "networks": 8, "overhead": 8, "peak_gib": 8, "tier": 0}


def line(row: Row) -> str:
    """A row for the terminal."""
    return " ".join(str(row[name]).ljust(width) for name, width in COLUMNS.items())
