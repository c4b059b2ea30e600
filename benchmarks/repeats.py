"""Two runs of one seed by each method, with ComfyUI's --deterministic and without.

A row of the JSON is {"family", "method", "size", "steps", "dtype", "device", "repeatable": {"same": whether both runs
gave the same bits, "difference": the largest between their latents, by the spread of these, "seconds": of the faster
run, "peak_gib"}, "fast": the same without}.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from comfy.cli_args import args as cli_args

from ..runtime.kernels import replaced
from ..runtime.sampler import posterior_sampler
from ..solvers import METHODS
from .families import Subject, families, subjects
from .hardware import device_name
from .passes import now
from .results import versions
from .step import box_inpainting, peak, start_peak


def run(args: argparse.Namespace) -> int:
    """Every family by every method: the JSON, and a line each on the terminal."""
    asked, document = families(args), {"versions": versions(), "rows": []}
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for subject, method, side in subjects(asked, args):
        document["rows"].append(measure(subject, method, side, args.steps))
        out.write_text(json.dumps(document, indent=1) + "\n")
        print(json.dumps(document["rows"][-1]), flush=True)
    return 0


@torch.inference_mode()
def measure(subject: Subject, method: str, size: int, steps: int) -> dict[str, Any]:
    """The row of one method."""
    sampled(subject, method, size, 1)  # loads the models
    model = subject.model
    row = {"family": subject.name, "method": method, "size": size, "steps": steps,
           "dtype": str(model.model.get_dtype()).removeprefix("torch."), "device": device_name(model.load_device)}
    for name, deterministic in (("repeatable", True), ("fast", False)):
        with replaced(cli_args, "deterministic", deterministic):
            row[name] = twice(subject, method, size, steps)
    return row


def twice(subject: Subject, method: str, size: int, steps: int) -> dict[str, Any]:
    """What two runs of one seed gave, and took."""
    start_peak()
    results, seconds = [], []
    for _ in range(2):
        started = now()
        results.append(sampled(subject, method, size, steps))
        seconds.append(now() - started)
    first, second = results
    return {"same": torch.equal(first, second), "difference": float((first - second).abs().max() / first.std()),
            "seconds": round(min(seconds), 3), "peak_gib": round(peak(), 2)}


def sampled(subject: Subject, method: str, size: int, steps: int) -> torch.Tensor:
    """The latents of one run."""
    measurement = box_inpainting(size)
    sampler = posterior_sampler(measurement, subject.vae, method)
    return subject.sample(METHODS[method], sampler, measurement, steps)
