"""What networks of real size keep for a backward pass, by their shapes alone: no weights, no arithmetic, no GPU.

A row of the JSON is {"network", "size": side of the picture, "format", "weights_gib", "plain_gib": most that a pass
without gradients holds beside the weights, "kept_gib": what the memory plan weighs before a pass with gradients,
"backward_gib": most that such a pass holds, forward and backward, "blocks_gib": the same where blocks run again}.
What a pass changes in place after it was saved is cloned, as in a run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import comfy.ldm.modules.attention
import comfy.supported_models
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ..runtime.autograd import mutable_saved_tensors
from ..runtime.blocks import checkpointed
from ..runtime.kept import kept_bytes
from ..tests.checkpoints import SD15_VAE
from ..tests.families import Family
from .real import MORE, REAL, TOKENS

GIB = 2**30
FORMATS = {"16 bit": torch.bfloat16, "32 bit": torch.float32}
ATTENTION = "optimized_attention_override"


class Held(TorchDispatchMode):
    """Follows every storage that operations make until it is freed; `most` is the peak of their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self.follow(tensor)
        return made

    def follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if (key := storage._cdata) in self.known:
            return
        self.known.add(key)
        self.bytes += storage.nbytes()
        self.most = max(self.most, self.bytes)
        weakref.finalize(storage, self.free, key, storage.nbytes())

    def free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.bytes -= size

    def start(self) -> None:
        """A new peak; what there is now no longer counts."""
        self.bytes = self.most = 0


Pass = tuple[nn.Module, Callable[[Tensor], Tensor], Tensor]
"""A network, a pass of it, and what goes in."""


def run(args: argparse.Namespace) -> int:
    """Weighs every network; the JSON, and a table on the terminal."""
    found = []
    print(f"{'network':28}{'weights':>9}{'plain':>9}{'kept':>9}{'backward':>9}{'blocks':>9}  GiB", flush=True)
    for row in rows():
        found.append(row)
        values = [row[name] for name in ("weights_gib", "plain_gib", "kept_gib", "backward_gib", "blocks_gib")]
        cells = "".join(f"{value:>9}" for value in values)
        print(f"{row['network']:<16}{row['size']:>5} {row['format']}{cells}", flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1) + "\n")
    return 0


def rows() -> list[dict[str, Any]]:
    for family in [*REAL, *MORE]:
        yield row(family.name, family.side, "16 bit", lambda family=family: model_pass(family))
    for channels, size in ((4, 512), (4, 1024), (16, 1024)):
        for name, number_format in FORMATS.items():
            for half in ("decoder", "encoder"):

                def make(half=half, channels=channels, size=size, number_format=number_format) -> Pass:
                    return autoencoder_pass(half, channels, size, number_format)

                yield row(f"{half}, {channels} ch", size, name, make)


def row(network: str, size: int, number_format: str, make: Callable[[], Pass]) -> dict[str, Any]:
    """Weighs a network in four passes."""
    weights, plain = measured(make, backward=False)
    measures = {"weights_gib": weights, "plain_gib": plain, "kept_gib": kept(make)}
    again = {"backward_gib": nullcontext, "blocks_gib": checkpointed}
    measures |= {name: measured(make, True, held)[1] for name, held in again.items()}
    rounded = {name: round(value / GIB, 2) for name, value in measures.items()}
    return {"network": network, "size": size, "format": number_format, **rounded}


def measured(
    make: Callable[[], Pass], backward: bool, held: Callable[[nn.Module], AbstractContextManager] | None = None
) -> tuple[int, int]:
    """Bytes of the weights, and the most that a pass holds beside them."""
    with torch.inference_mode(False), FakeTensorMode(allow_non_fake_inputs=True), Held() as storages:
        network, call, x = make()
        weights = sum(weight.nbytes for weight in network.parameters())
        for weight in network.parameters():
            storages.follow(weight)
        storages.start()
        if not backward:
            with torch.no_grad():
                call(x)
            return weights, storages.most
        with torch.enable_grad(), told_apart(), mutable_saved_tensors(network), held(network):
            y = call(x.requires_grad_())
            torch.autograd.grad(y, x, torch.ones_like(y))
        return weights, storages.most


def told_apart() -> AbstractContextManager:
    """Lets PyTorch tell by their storages which tensors it has saved: those without values have no addresses."""
    numbers, known = itertools.count(), {}

    def storage(tensor: Tensor) -> tuple[int, ...]:
        it = tensor.untyped_storage()
        if it._cdata not in known:
            known[it._cdata] = next(numbers)
            weakref.finalize(it, known.pop, it._cdata)  # a later one may lie where it lay
        return known[it._cdata], tensor.storage_offset(), tensor._version

    def itself(tensor: Tensor) -> tuple[int, ...]:
        return id(tensor), *storage(tensor)

    return patch.multiple(torch.autograd.graph, _get_sid=storage, _get_tid=itself)


def kept(make: Callable[[], Pass]) -> int:
    """What the memory plan would weigh."""
    with torch.inference_mode(False), FakeTensorMode(allow_non_fake_inputs=True):
        network, call, x = make()
        return kept_bytes(call, x, network)


def model_pass(family: Family) -> Pass:
    """A model in bfloat16, with ComfyUI's PyTorch attention."""
    config = getattr(comfy.supported_models, family.config)(family.settings)
    config.set_inference_dtype(torch.bfloat16, None)
    model = config.get_model({})
    channels, factor, axes = family.latents
    x = torch.empty(1, channels, *[1] * (axes - 2), family.side // factor, family.side // factor)
    conds: dict[str, Any] = {"c_crossattn": torch.empty(1, TOKENS[family.name], family.text)}
    if model.adm_channels:
        conds["y"] = torch.empty(1, model.adm_channels)
    if family.config == "Flux":
        conds["guidance"] = torch.empty(1)
    if family.config == "ZImage":
        conds |= {"num_tokens": TOKENS[family.name], "attention_mask": None}

    def attention(_: Any, *args: Any, **kwargs: Any) -> Tensor:
        return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs | {"_inside_attn_wrapper": True})

    def call(z: Tensor) -> Tensor:
        return model.apply_model(z, torch.empty(1), transformer_options={ATTENTION: attention}, **conds)

    return model.diffusion_model.requires_grad_(False), call, x


def autoencoder_pass(half: str, channels: int, size: int, number_format: torch.dtype) -> Pass:
    """Decoding or encoding a picture of so many pixels a side with Stable Diffusion's first stage."""
    torch.set_default_dtype(number_format)
    try:
        network = AutoencoderKL(embed_dim=channels, ddconfig=SD15_VAE | {"z_channels": channels}).requires_grad_(False)
    finally:
        torch.set_default_dtype(torch.float32)
    shape = (1, 3, size, size) if half == "encoder" else (1, channels, size // 8, size // 8)
    return network, network.encode if half == "encoder" else network.decode, torch.empty(shape, dtype=number_format)
