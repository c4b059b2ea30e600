"""Memory by plan: the fastest way through a run that fits, and the next one where memory runs out all the same.

Where memory is short, a pass without a graph weighs what the first one with a graph would hold, and the plan goes on in
the fastest tier in which that fits. Each call of a network is a `Guarded` one: where it runs out of memory, forward or
backward, what it held is freed and the same call is made again in the next tier, for good. The solver sees nothing of
it, and goes on from where it was.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import comfy.model_management
import psutil
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor, nn

from ..solvers import Autoencoder
from .blocks import checkpointed
from .codec import Codec, spatial_factor
from .estimates import GIB, TILES, Run, Tier, refuse_too_large, room
from .half import scaled
from .kept import kept_bytes
from .kernels import goes_on_without
from .tiles import TiledCoder
from .windows import Windows

BLOCKS = 0.5
"""What blocks that run again keep, by what their network does; an estimate from above."""

MARGIN = 1.25
"""Memory of a backward pass, by what it finds kept."""

PROBE = 32
"""Latents along the side of the part of a picture on which an autoencoder is weighed."""

keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)
"""Whether the running backward was asked to retain its graph. PyTorch tells by no public name."""


@dataclass
class Plan:
    """The tiers that are left to a run, the first of which it uses."""

    tiers: list[Tier]
    windows: Windows | None = None
    device: torch.device = field(default_factory=comfy.model_management.get_torch_device)
    reserve: float = 0.0
    """Bytes that ComfyUI is asked to leave beside the weights."""
    doubtful: bool = True
    """Whether the fastest tier may not fit, by estimates from above."""
    weighed: set[tuple] = field(default_factory=set)

    @classmethod
    def of(cls, run: Run, models: list[ModelPatcher], windows: Windows | None = None) -> Plan:
        """The fastest tier whose plain passes fit, and those below it. ValueError where not even the leanest can."""
        device = models[0].load_device
        tiers, available = run.tiers(), room(device, models)
        estimates = [run.estimate(tier) for tier in tiers]
        refuse_too_large(run, estimates[-1], device)
        likely = next((i for i, needed in enumerate(estimates) if needed <= available), len(tiers) - 1)
        seen = f"{len(run.grid.windows())} windows, " if run.grid else ""
        logging.info(
            "PSLD: %s%s: about %.1f of %.1f GiB%s", seen, tiers[likely], estimates[likely] / GIB, available / GIB,
            f" ({tiers[0]} would take {estimates[0] / GIB:.1f})" if likely else "",
        )  # fmt: skip
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        first = next(i for i, tier in enumerate(tiers) if i == likely or run.least(tier) <= available)
        return cls(tiers[first:], windows, device, estimates[likely], doubtful=likely > 0)

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
        """call(tier), in ever leaner tiers where memory runs out, with any kernel where none is deterministic."""
        while True:
            try:
                return call(self.tier)
            except comfy.model_management.OOM_EXCEPTION:
                pass  # what the frames of the error held is free only after this block
            except RuntimeError as error:
                if not goes_on_without(error):
                    raise
                continue
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

            return lambda x: self._guarded(x, Stage(in_tier, codec.first_stage, 1, ratio[0]))

        return Autoencoder(guarded(encode, (factor, 1)), guarded(decode, (1, factor)))

    def _guarded(self, x: Tensor, stage: Stage) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return Guarded.apply(x, self, stage)
        return self.attempt(partial(stage.forward, x))

    def weigh(self, x: Tensor, stage: Stage) -> None:
        """To the fastest tier in which what a stage keeps for backward fits the free memory; once a stage, in doubt."""
        key = id(stage.module), *x.shape[1:]
        if not self.doubtful or len(self.tiers) == 1 or key in self.weighed:
            return
        self.weighed.add(key)
        each = stage.weigh(x)
        free = comfy.model_management.get_free_memory(self.device)

        def needed(tier: Tier) -> float:
            return MARGIN * each * (len(x) // stage.unit if tier.together else stage.share(x, tier))

        needs = [needed(tier) for tier in self.tiers]
        left = next((i for i, need in enumerate(needs) if need <= free), needs.index(min(needs)))
        if left:
            self.tiers = self.tiers[left:]
            logging.info("PSLD: what backward needs takes %.1f GiB and %.1f are free: %s",
                         MARGIN * each / GIB, free / GIB, self.tier)  # fmt: skip

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
    """One call of a network, which every tier makes in its own way.

    unit: samples that belong together. scale: of an autoencoder's, which may go in tiles: what goes in to latents.
    """

    in_tier: Callable[[Tier], Callable[[Tensor], Tensor]]
    module: nn.Module
    unit: int
    scale: int = 0

    def weigh(self, x: Tensor) -> float:
        """Bytes that one unit of x keeps for backward where it runs as a whole."""
        part = x[: self.unit]
        if self.scale:
            part = part[..., : PROBE * self.scale, : PROBE * self.scale]
        kept = kept_bytes(self.in_tier(Tier(together=True)), part, self.module)
        return kept * x[: self.unit].numel() / part.numel()

    def share(self, x: Tensor, tier: Tier) -> float:
        """How much of that a tier keeps at a time."""
        if self.scale and tier.tile:
            sides = (side // self.scale for side in x.shape[-2:])
            return math.prod(min(tier.tile / side, 1) for side in sides)
        return BLOCKS if tier.blocks else 1.0

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
        return checkpointed(self.module) if tier.blocks and not (self.scale and tier.tile) else nullcontext()

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
        plan.weigh(x, stage)

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
