"""What a step, or a whole run, of each method takes on Stable Diffusion 1.5, in seconds and memory.

The step is one at a noise level where the method uses every gradient it has; a run has the method's own levels and
comes after such a step, so that it finds all models loaded. Weights are random unless a checkpoint is given: they
change neither time nor memory. A row of the JSON is {"method", "draft", "steps", "size", "seconds", "cpu_seconds",
"loaded_gib", "peak_gib", "device"}: memory of the process, or of the GPU where there is one, before with all models in
it, and at most during it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.taesd.taesd
import torch
from torch import Tensor

from ..nodes.sampling import make_guider
from ..operators import InpaintBox
from ..operators.measurement import Measurement
from ..runtime.levels import noise_levels
from ..runtime.sampler import posterior_sampler
from ..solvers import METHODS
from ..tests.checkpoints import write_sd15
from ..training.networks import initialised
from .hardware import device_name
from .passes import now
from .prior import load_prior

SIGMAS = (0.3, 0.1)
ONE_START = {"candidates": 1}


def run(args: argparse.Namespace) -> int:
    """Measures one method, appends its row to `args.out`, and prints it."""
    with tempfile.TemporaryDirectory() as folder:
        row = measure(args, Path(args.checkpoint) if args.checkpoint else write_sd15(Path(folder)))
    print(json.dumps(row))
    if args.out:
        out = Path(args.out)
        rows = json.loads(out.read_text()) if out.exists() else []
        out.write_text(json.dumps([*rows, row], indent=1) + "\n")
    return 0


@torch.inference_mode()  # as the executor runs nodes
def measure(args: argparse.Namespace, checkpoint: Path) -> dict[str, Any]:
    """The row of one method."""
    prior = load_prior(checkpoint)
    measurement = box_inpainting(args.size)
    draft = taesd() if args.draft else None
    noise = prior.noise(measurement, [0])
    guider = make_guider(prior.model, prior.positive, None, 1.0)

    def sample(parameters: dict[str, Any], sigmas: Tensor) -> None:
        sampler = posterior_sampler(measurement, prior.vae, args.method, parameters, draft_vae=draft)
        guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True)

    run = partial(sample, ONE_START, torch.tensor(SIGMAS))
    if args.steps:
        run()
        run = partial(sample, {}, noise_levels(prior.model, prior.scheduler, args.steps, METHODS[args.method]))
    before = start_peak()
    clock, cpu = now(), time.process_time()
    run()
    return {
        "method": args.method,
        "draft": args.draft,
        "steps": args.steps or 1,
        "size": args.size,
        "seconds": round(now() - clock, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "loaded_gib": round(before, 2),
        "peak_gib": round(peak(), 2),
        "device": device_name(prior.model.load_device),
    }


def box_inpainting(size: int) -> Measurement:
    """A measurement of noise with a hole of half the side."""
    A = InpaintBox((3, size, size), size // 2, (size // 4, size // 4))
    y = A(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    return Measurement(A.restrict(y), A, 0.05)


def taesd() -> comfy.sd.VAE:
    """ComfyUI's TAESD with random weights."""
    weights = {"vae_scale": torch.tensor(0.18215), "vae_shift": torch.tensor(0.0)}
    for half in ("Encoder", "Decoder"):
        network = initialised(getattr(comfy.taesd.taesd, half)())
        weights |= {f"taesd_{half.lower()}.{name}": value.detach() for name, value in network.state_dict().items()}
    return comfy.sd.VAE(sd=weights)


def start_peak() -> float:
    """Starts a new peak; what is in use now, in GiB."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed stays with the process otherwise
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """The most that was in use since `start_peak`, in GiB: of the GPU, or of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
