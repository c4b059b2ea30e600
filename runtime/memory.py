"""Memory by plan: the fastest way through a run that fits, and the next one where memory runs out all the same.

Each call of a network is a `Guarded` one. Where it runs out of memory, forward or backward, what it held is freed and
the same call is made again in the next tier, for good: the solver sees nothing of it, and goes on from where it was.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import comfy.model_management
import psutil
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..solvers import Autoencoder, Method
from .codec import Codec, spatial_factor
from .half import scaled
from .tiles import TiledCoder
from .windows import Grid, Windows

TILES = 256, 192, 128, 96, 64, 48, 32
"""Latents along the side of a tile."""

BACKWARD, CHECKPOINTED = 3.0, 1.5
"""Memory of a pass whose activations are kept for backward, by that of one that frees them; estimates from above."""

PICTURES = 16
"""Pictures of a solver's own, a sample: operator, preconditioner, residuals, conjugate gradients."""

LEAST_SHARE = 0.3
"""Of a card's memory, for activations, where ComfyUI keeps weights elsewhere."""

GIB = 2**30

keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)
"""Whether the running backward was asked to retain its graph. PyTorch tells by no public name."""


@dataclass(frozen=True)
class Tier:
    """One way to run the networks. together: all samples at once. blocks: their activations anew in backward.

    tile: latents along the side of the VAE's tiles; 0: none.
    """

    together: bool = False
    blocks: bool = False
    tile: int = 0

    def __str__(self) -> str:
        if self.tile:
            return f"candidates one by one, the VAE in tiles of {self.tile} latents"
        if self.blocks:
            return "candidates one by one, activations of blocks made again in backward"
        return "all at once" if self.together else "candidates one by one"


@dataclass(frozen=True)
class Run:
    """What a run's memory depends on: latents of shape (B, c, ..., h, w), of which a solver has so many candidates."""

    model: object
    vaes: tuple[VAE, ...]
    solver: Method
    shape: tuple[int, ...]
    candidates: int = 1
    grid: Grid | None = None

    def tiers(self) -> list[Tier]:
        """From the fastest to the leanest."""
        side = max(self.shape[-2:])
        tiers = [Tier(together=True), Tier()]
        if self.solver.differentiable:
            tiers.append(Tier(blocks=True))
        return tiers + [Tier(blocks=True, tile=tile) for tile in TILES if tile < side]

    def estimate(self, tier: Tier) -> float:
        """Bytes beside the weights, by ComfyUI's own estimates of a pass."""
        images, channels, *frame = self.shape[:-2]
        samples = images * self.candidates
        seen = [min(self.grid.size, side) if self.grid else side for side in self.shape[-2:]]
        backward = CHECKPOINTED if tier.blocks else BACKWARD
        passes = samples if tier.together else images
        denoiser = self.model.memory_required([passes, channels, *frame, *seen])
        denoiser *= backward if self.solver.through_denoiser else 1
        side = [min(tier.tile or side, side) for side in self.shape[-2:]]
        *plain, guide = (coder_memory(vae, channels, *side) for vae in self.vaes)
        backward = BACKWARD if tier.tile else backward
        coder = sum(plain) + guide * (backward if self.solver.through_decoder else 1)
        coder *= samples if tier.together else 1
        factor = spatial_factor(self.vaes[0])
        pictures = samples * PICTURES * 3 * 4 * math.prod(self.shape[-2:]) * factor**2
        return denoiser + coder + pictures


def coder_memory(vae: VAE, channels: int, height: int, width: int) -> float:
    """Bytes to encode and decode one picture of so many latents, by ComfyUI's estimate."""
    factor = spatial_factor(vae)
    depth = [1] * (vae.latent_dim - 2)
    return vae.memory_used_decode((1, channels, *depth, height, width), vae.vae_dtype) + vae.memory_used_encode(
        (1, 3, *depth, height * factor, width * factor), vae.vae_dtype
    )


@dataclass
class Plan:
    """The tiers that are left to a run, the first of which it uses."""

    tiers: list[Tier]
    windows: Windows | None = None
    device: torch.device = field(default_factory=comfy.model_management.get_torch_device)

    @classmethod
    def of(cls, run: Run, models: list[ModelPatcher], windows: Windows | None = None) -> Plan:
        """The fastest tier that fits, and those below it. ValueError where not even the leanest can."""
        device = models[0].load_device
        tiers, available = run.tiers(), room(device, models)
        estimates = [run.estimate(tier) for tier in tiers]
        refuse_too_large(run, estimates[-1], device)
        first = next((i for i, needed in enumerate(estimates) if needed <= available), len(tiers) - 1)
        seen = f"{len(run.grid.windows())} windows, " if run.grid else ""
        logging.info(
            "PSLD: %s%s: about %.1f of %.1f GiB%s", seen, tiers[first], estimates[first] / GIB, available / GIB,
            f" ({tiers[0]} would take {estimates[0] / GIB:.1f})" if first else "",
        )  # fmt: skip
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        return cls(tiers[first:], windows, device)

    @property
    def tier(self) -> Tier:
        """The one in use."""
        return self.tiers[0]

    def lower(self) -> None:
        """To the next tier. OOM_EXCEPTION with a sentence for the user where there is none."""
        gc.collect()
        comfy.model_management.soft_empty_cache()
        at_once = self.windows.at_once if self.windows is not None else 1
        if at_once > 1:
            self.windows.at_once = 1
            logging.warning("PSLD: out of memory; going on from here with one window at a time")
        elif len(self.tiers) > 1:
            self.tiers = self.tiers[1:]
            logging.warning("PSLD: out of memory; going on from here with %s", self.tier)
        else:
            raise comfy.model_management.OOM_EXCEPTION(
                "measurement: not even the leanest way fits the memory; restore a part of the photo (Fit to Model), "
                "connect a draft_vae, or choose Proximal gluing, which takes no gradients."
            )

    def attempt(self, call: Callable[[Tier], object]) -> object:
        """call(tier), in ever leaner tiers where memory runs out."""
        while True:
            try:
                return call(self.tier)
            except comfy.model_management.OOM_EXCEPTION:
                pass  # what the frames of the error held is free only after this block
            self.lower()

    def call(self, x: Tensor, function: Callable[[Tensor], Tensor], module: nn.Module, unit: int = 1) -> Tensor:
        """function(x) of x (n unit, ...), whose samples are on their own, `unit` by `unit`; differentiable by x.

        module: what it runs, whose blocks a tier may run again in backward.
        """
        return self._guarded(x, Stage(lambda _: function, module, unit))

    def coder(self, codec: Codec) -> Autoencoder:
        """E and D of a codec, in tiles where the plan says so, with gradients that survive half precision."""
        factor = spatial_factor(codec.vae)
        encode, decode = (scaled(network, codec.vae.vae_dtype) for network in (codec.encode, codec.decode))

        def guarded(coder: Callable[[Tensor], Tensor], ratio: tuple[int, int]) -> Callable[[Tensor], Tensor]:
            def in_tier(tier: Tier) -> Callable[[Tensor], Tensor]:
                return TiledCoder(codec.first_stage, coder, ratio, tier.tile) if tier.tile else coder

            return lambda x: self._guarded(x, Stage(in_tier, codec.first_stage, 1, tiled=True))

        return Autoencoder(guarded(encode, (factor, 1)), guarded(decode, (1, factor)))

    def _guarded(self, x: Tensor, stage: Stage) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return Guarded.apply(x, self, stage)
        return self.attempt(partial(stage.forward, x))

    def log_peak(self) -> None:
        """What the run took."""
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
            logging.info("PSLD: peak memory %.1f GiB, weights included", peak / GIB)
        else:
            held = psutil.Process().memory_info().rss  # no peak is known on every system
            logging.info("PSLD: the process holds %.1f GiB after the run", held / GIB)


@dataclass(frozen=True)
class Stage:
    """One call of a network, which every tier makes in its own way."""

    in_tier: Callable[[Tier], Callable[[Tensor], Tensor]]
    module: nn.Module
    unit: int
    tiled: bool = False

    def parts(self, x: Tensor, tier: Tier) -> tuple[Tensor, ...]:
        return (x,) if tier.together else x.split(self.unit)

    def forward(self, x: Tensor, tier: Tier) -> Tensor:
        """The result, with no graph of its own."""
        function = self.in_tier(tier)
        return torch.cat([function(part) for part in self.parts(x, tier)])

    def traced(self, x: Tensor, tier: Tier) -> tuple[Tensor, Tensor]:
        """x as a leaf, and the result with its graph."""
        inside = x.detach().requires_grad_()
        with torch.enable_grad(), self.blocks(tier):
            return inside, self.in_tier(tier)(inside)

    def blocks(self, tier: Tier) -> AbstractContextManager:
        """Checkpoints, but for tiles: those run again as a whole."""
        return checkpointed(self.module) if tier.blocks and not (self.tiled and tier.tile) else nullcontext()

    def pull(self, x: Tensor, gradient: Tensor, tier: Tier) -> Tensor:
        """gradient by the result -> gradient by x, part by part anew."""
        moves = []
        parts = self.parts(x, tier)
        for part, wanted in zip(parts, gradient.chunk(len(parts)), strict=True):
            inside, value = self.traced(part, tier)
            with self.blocks(tier):
                moves += torch.autograd.grad(value, inside, wanted)
            del value
        return torch.cat(moves)


class Guarded(torch.autograd.Function):
    """A stage whose backward, too, goes on in the next tier where memory runs out.

    Where all of x is one part its graph is kept inside, for backward to use as long as it is wanted.
    """

    @staticmethod
    def forward(ctx, x: Tensor, plan: Plan, stage: Stage) -> Tensor:
        ctx.save_for_backward(x)
        ctx.plan, ctx.stage, ctx.graph = plan, stage, None

        def run(tier: Tier) -> Tensor:
            if len(stage.parts(x, tier)) > 1:
                return stage.forward(x, tier)
            ctx.graph = stage.traced(x, tier)
            return ctx.graph[1].detach()

        return plan.attempt(run)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        again = keeps_graph()

        def run(tier: Tier) -> Tensor:
            graph, ctx.graph = ctx.graph, None
            if graph is None:
                return ctx.stage.pull(x, gradient, tier)
            inside, value = graph
            with ctx.stage.blocks(tier):
                (move,) = torch.autograd.grad(value, inside, gradient, retain_graph=again)
            if again:
                ctx.graph = graph
            return move

        return ctx.plan.attempt(run), None, None


@contextmanager
def checkpointed(root: nn.Module) -> Iterator[None]:
    """Inside, the blocks of a network keep no activations but their input, and run again in backward.

    A block is a module made of others in a list of them: of residual layers, of a transformer's.
    """
    patched: list[tuple[nn.Module, object]] = []
    for block in blocks(root):
        patched.append((block, block.__dict__.get("forward")))
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for block, before in patched:
            if before is None:
                del block.forward
            else:
                block.forward = before


def blocks(module: nn.Module, listed: bool = False) -> Iterator[nn.Module]:
    """The outermost blocks below a module."""
    runs = type(module).forward is not nn.Module.forward and not isinstance(module, nn.Sequential | nn.ModuleList)
    if listed and runs and any(True for _ in module.children()):
        yield module
        return
    for child in module.children():
        yield from blocks(child, isinstance(module, nn.Sequential | nn.ModuleList))


def decode_picture(vae: VAE, samples: Tensor) -> Tensor:
    """Latents (B, c, h, w) as a model gives them -> IMAGE, as VAE Decode does; in our tiles where it does not fit."""
    patcher, (height, width) = vae.patcher, samples.shape[-2:]
    available = room(patcher.load_device, [patcher])

    def needed(tile: int) -> float:
        return vae.memory_used_decode((1, *samples.shape[1:-2], min(tile, height), min(tile, width)), vae.vae_dtype)

    if len(samples) * needed(max(height, width)) <= available:
        return vae.decode(samples)
    tile = next((tile for tile in TILES if needed(tile) <= available / 2), TILES[-1])
    comfy.model_management.load_models_gpu([patcher], memory_required=needed(tile))

    def decode(z: Tensor) -> Tensor:
        return vae.process_output(vae.first_stage_model.decode(z.to(vae.device, vae.vae_dtype)).float())

    with torch.inference_mode():
        coder = TiledCoder(vae.first_stage_model, decode, (1, spatial_factor(vae)), tile)
        pixels = torch.cat([coder(sample[None]).cpu() for sample in samples])
    pixels = pixels if pixels.ndim == 4 else pixels.transpose(1, 2).flatten(0, 1)
    return pixels.to(vae.output_device).movedim(1, -1)


def room(device: torch.device, models: list[ModelPatcher]) -> float:
    """Bytes for activations once these models, and no others, are on the device."""
    management = comfy.model_management
    free = management.get_free_memory(device)
    if management.is_device_cpu(device):
        return free
    for loaded in management.current_loaded_models:
        if loaded.model is not None and loaded.device == device and loaded.model not in models:
            free += loaded.model_loaded_memory()
    missing = sum(max(m.model_size() - m.loaded_size(), 0) for m in models if m.load_device == device)
    return max(free - missing, LEAST_SHARE * management.get_total_memory(device))


def refuse_too_large(run: Run, needed: float, device: torch.device) -> None:
    """ValueError for a picture that does not fit however it is cut."""
    management = comfy.model_management
    cpu = management.is_device_cpu(device)
    limit = management.get_free_memory(device) if cpu else management.get_total_memory(device)
    if needed <= limit:
        return
    factor = spatial_factor(run.vaes[0])
    height, width = (side * factor for side in run.shape[-2:])
    raise ValueError(
        f"measurement: its image of {width} x {height} pixels takes about {needed / GIB:.0f} GiB even in windows and "
        f"tiles, and there are {limit / GIB:.0f}; restore a part of it (Fit to Model, 'around mask' or 'crop'), scale "
        "it down, run fewer candidates, or choose Proximal gluing, which takes no gradients."
    )
