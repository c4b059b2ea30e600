"""Files of quantised weights as people load them: GGUF by operations like ComfyUI-GGUF's, and ComfyUI's scaled fp8.

The operations are ours, written after what city96/ComfyUI-GGUF does (ops.py, dequant.py), and only of format Q8_0.
"""

from __future__ import annotations

from typing import Any

import comfy.ops
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from psld.tests.checkpoints import random_weights
from psld.tests.families import Family
from psld.tests.family_files import FILES, shapes
from torch import Tensor, nn

BLOCK = 32
"""Weights with one scale."""


def weights_of(family: Family) -> dict[str, Tensor]:
    """Random weights of a family's network, under the names of its files."""
    config = getattr(comfy.supported_models, family.config)(family.settings)
    return random_weights(shapes(config.get_model({}, device=torch.device("meta")).diffusion_model), seed=0)


class GGMLTensor(Tensor):
    """What a GGUF file stores, under its shape once unpacked: bytes in blocks (packed), or plain numbers.

    What is computed of plain ones, such as a table of positions, is of this class too.
    """

    packed = False

    @staticmethod
    def of(data: Tensor, packed: bool, shape: torch.Size) -> GGMLTensor:
        tensor = data.as_subclass(GGMLTensor)
        tensor.packed, tensor.told_shape = packed, shape
        return tensor

    def to(self, *args, **kwargs) -> GGMLTensor:
        return GGMLTensor.of(super().to(*args, **kwargs), self.packed, self.shape)

    def clone(self, *args, **kwargs) -> GGMLTensor:
        return self

    def detach(self) -> GGMLTensor:
        return self

    @property
    def shape(self) -> torch.Size:
        return self.__dict__.get("told_shape", self.size())


def packed(weight: Tensor) -> GGMLTensor:
    """Matrices and kernels in format Q8_0, blocks of a scale in half precision and 32 bytes; the rest in float32."""
    if weight.ndim not in (2, 4) or weight.numel() % BLOCK:
        return GGMLTensor.of(weight.float(), False, weight.shape)
    blocks = weight.float().reshape(-1, BLOCK)
    scales = (blocks.abs().amax(1, keepdim=True) / 127).half()
    numbers = (blocks / scales.float().clamp_min(1e-8)).round().to(torch.int8)
    rows = torch.cat([scales.view(torch.uint8), numbers.view(torch.uint8)], dim=1)
    return GGMLTensor.of(rows, True, weight.shape)


def unpacked(weight: GGMLTensor, dtype: torch.dtype) -> Tensor:
    """The weight as a layer multiplies by it."""
    if not weight.packed:
        return torch.Tensor(weight.to(dtype))
    rows = weight.data.as_subclass(Tensor).reshape(-1, 2 + BLOCK)
    scales, numbers = rows.split([2, BLOCK], dim=1)
    return (scales.view(torch.float16).to(dtype) * numbers.view(torch.int8)).reshape(weight.shape)


class Layer(nn.Module):
    """Keeps weights as the file has them, and unpacks them at every call."""

    comfy_cast_weights = True

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *_: Any) -> None:
        for name in ("weight", "bias"):
            if prefix + name in state_dict:
                setattr(self, name, nn.Parameter(state_dict[prefix + name], requires_grad=False))

    def _save_to_state_dict(self, destination: dict, prefix: str, _: bool) -> None:
        """For ComfyUI's estimate of memory alone."""
        for name, weight in self._parameters.items():
            if weight is not None:
                destination[prefix + name] = torch.empty(weight.size(), dtype=weight.dtype, device="meta")

    def forward_comfy_cast_weights(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.weight is None or not self.weight.packed:
            result = super().forward_comfy_cast_weights(x, *args, **kwargs)
        else:
            bias = None if self.bias is None else unpacked(self.bias, x.dtype)
            result = self.apply_to(x, unpacked(self.weight, x.dtype), bias)
        return torch.Tensor(result)  # of no class of its own


class GGMLOps(comfy.ops.manual_cast):
    """For `model_options={"custom_operations": GGMLOps}`."""

    class Linear(Layer, comfy.ops.manual_cast.Linear):
        def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None) -> None:
            nn.Module.__init__(self)
            self.in_features, self.out_features, self.weight, self.bias = in_features, out_features, None, None

        def apply_to(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return nn.functional.linear(x, weight, bias)

    class Conv2d(Layer, comfy.ops.manual_cast.Conv2d):
        def apply_to(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return self._conv_forward(x, weight, bias)

    class LayerNorm(Layer, comfy.ops.manual_cast.LayerNorm):
        pass

    class GroupNorm(Layer, comfy.ops.manual_cast.GroupNorm):
        pass


def load(family: Family, weights: dict[str, Tensor], **options: Any) -> ModelPatcher:
    """A family's model as ComfyUI's loader makes it; of its own class where no file is so small."""
    if family in FILES:
        return comfy.sd.load_diffusion_model_state_dict(dict(weights), model_options=options)
    config = getattr(comfy.supported_models, family.config)(family.settings)
    config.set_inference_dtype(torch.float32, None)
    config.custom_operations = options.get("custom_operations")
    model = config.get_model({})
    model.diffusion_model.load_state_dict(weights)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def gguf_and_plain(family: Family) -> tuple[ModelPatcher, ModelPatcher]:
    """A family's model with packed weights, and one with the same weights unpacked."""
    weights = {name: packed(weight) for name, weight in weights_of(family).items()}
    plain = {name: unpacked(weight, torch.float32) for name, weight in weights.items()}
    return load(family, weights, custom_operations=GGMLOps()), load(family, plain)


def scaled_fp8(family: Family) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights whose matrices are fp8 with a scale each, as such files store them; and the same in float32.

    Biases are such that fp8 holds them: older versions of ComfyUI cast them to it.
    """
    stored, plain = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)}, {}
    for name, weight in weights_of(family).items():
        stored[name] = plain[name] = weight.to(torch.float8_e4m3fn).float()
        if weight.ndim == 2 and name.endswith(".weight"):
            scale = weight.float().abs().max() / torch.finfo(torch.float8_e4m3fn).max
            stored[name] = (weight.float() / scale).to(torch.float8_e4m3fn)
            stored[name.replace(".weight", ".scale_weight")] = scale
            plain[name] = stored[name].float() * scale
    return stored, plain


def cast(family: Family, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of a file in half precision; and in float32 as they are once they were cast to a type."""
    weights = weights_of(family)
    return weights, {name: weight.to(dtype).float() for name, weight in weights.items()}
