"""Reads the architecture of a CompVis checkpoint off its state dict and refuses what is no unconditional LDM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

StateDict = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class UNetArchitecture:
    """What the weights alone tell of the U-Net of `ldm/modules/diffusionmodules/openaimodel.py`, in its own terms."""

    in_channels: int
    out_channels: int
    model_channels: int
    num_res_blocks: int
    channel_mult: tuple[int, ...]
    attention_resolutions: tuple[int, ...]
    """Down-sampling factors at which the residual blocks are followed by attention."""
    use_scale_shift_norm: bool
    resblock_updown: bool


def refuse_other_models(unet: StateDict, keys: set[str]) -> None:
    """Stops on a checkpoint of another kind.

    `unet` holds the keys below `model.diffusion_model.`, `keys` all keys of the file.
    Raises ValueError with a sentence that says what the file is and what to do.
    """
    if "input_blocks.0.0.weight" not in unet or "out.2.weight" not in unet:
        raise ValueError(
            "This file is not a latent diffusion checkpoint: it has no U-Net under model.diffusion_model.input_blocks. "
            "Choose a checkpoint in the CompVis layout, or use Load Checkpoint for other models."
        )
    if any("transformer_blocks" in key for key in unet):
        if any(key.startswith(("cond_stage_model.transformer.text_model.", "cond_stage_model.model.", "conditioner."))
               for key in keys):
            raise ValueError("This file is a Stable Diffusion checkpoint: use the Load Checkpoint node for it.")
        raise ValueError(
            "This latent diffusion checkpoint is conditional (its U-Net has cross-attention): "
            "choose an unconditional one, or use Load Checkpoint if it is a Stable Diffusion model."
        )
    if any(key.startswith("label_emb.") for key in unet):
        raise ValueError("This latent diffusion checkpoint is class-conditional (it has label_emb): "
                         "choose an unconditional one.")
    inputs, outputs = unet["input_blocks.0.0.weight"].shape[1], unet["out.2.weight"].shape[0]
    if inputs != outputs:
        raise ValueError(f"This latent diffusion checkpoint is conditional by concatenation (its U-Net takes {inputs} "
                         f"channels and returns {outputs}): choose an unconditional one.")


def unet_architecture(unet: StateDict) -> UNetArchitecture:
    """Architecture of the U-Net whose weights are `unet` (keys below `model.diffusion_model.`)."""
    model_channels = unet["input_blocks.0.0.weight"].shape[0]
    layers: dict[int, dict[int, str]] = {}  # output block -> position in it -> kind of layer
    for key in unet:
        if match := re.match(r"output_blocks\.(\d+)\.(\d+)\.(in_layers|qkv|conv)\.", key):
            layers.setdefault(int(match[1]), {})[int(match[2])] = match[3]
    ups = [block for block in layers if any(kind != "qkv" for i, kind in layers[block].items() if i > 0)]
    levels = len(ups) + 1
    per_level = len(layers) // levels
    last_of_level = [per_level * (levels - level) - 1 for level in range(levels)]  # its block in the output half
    if not layers or sorted(last_of_level[1:]) != sorted(ups):
        raise ValueError("The U-Net of this checkpoint has levels of different depth or pools without convolution: "
                         "only the layout of CompVis's unconditional models can be loaded.")
    widths = [unet[f"output_blocks.{block}.0.out_layers.3.weight"].shape[0] for block in last_of_level]
    first = "input_blocks.1.0."
    return UNetArchitecture(
        in_channels=unet["input_blocks.0.0.weight"].shape[1],
        out_channels=unet["out.2.weight"].shape[0],
        model_channels=model_channels,
        num_res_blocks=per_level - 1,
        channel_mult=tuple(width // model_channels for width in widths),
        attention_resolutions=tuple(2**n for n, block in enumerate(last_of_level) if "qkv" in layers[block].values()),
        use_scale_shift_norm=unet[first + "emb_layers.1.weight"].shape[0]
        == 2 * unet[first + "out_layers.3.weight"].shape[0],
        resblock_updown=any("conv" not in layers[block].values() for block in ups),
    )


def first_stage_config(first_stage: StateDict) -> dict[str, Any]:
    """CompVis `first_stage_config.params` of the weights below `first_stage_model.`; VQ has the key `n_embed`.

    `resolution` is nominal: it serves to name the levels that have attention.
    """
    keys = first_stage.keys()
    if not {"encoder.conv_in.weight", "encoder.conv_out.weight", "decoder.conv_in.weight", "decoder.conv_out.weight",
            "quant_conv.weight", "post_quant_conv.weight"} <= keys:
        raise ValueError("The first stage of this checkpoint is neither CompVis's AutoencoderKL nor its VQModel "
                         "(encoder, decoder, quant_conv and post_quant_conv under first_stage_model.), nor like "
                         "TAESD: choose a checkpoint with such a first stage.")
    ch, in_channels = first_stage["encoder.conv_in.weight"].shape[:2]
    levels = count(first_stage, r"encoder\.down\.(\d+)\.block\.")
    z_channels = first_stage["decoder.conv_in.weight"].shape[1]
    resolution = 2 ** (levels + 4)
    ddconfig = {
        "double_z": first_stage["encoder.conv_out.weight"].shape[0] == 2 * z_channels,
        "z_channels": z_channels,
        "resolution": resolution,
        "in_channels": in_channels,
        "out_ch": first_stage["decoder.conv_out.weight"].shape[0],
        "ch": ch,
        "ch_mult": [first_stage[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] // ch for i in range(levels)],
        "num_res_blocks": count(first_stage, r"encoder\.down\.0\.block\.(\d+)\."),
        "attn_resolutions": [resolution >> i for i in range(levels) if f"encoder.down.{i}.attn.0.q.weight" in keys],
        "dropout": 0.0,
    }
    config = {"embed_dim": first_stage["post_quant_conv.weight"].shape[1], "ddconfig": ddconfig}
    if "quantize.embedding.weight" in first_stage:
        config["n_embed"] = first_stage["quantize.embedding.weight"].shape[0]
    if ddconfig["in_channels"] != 3 or ddconfig["out_ch"] != 3:
        raise ValueError(f"The first stage of this checkpoint takes {in_channels} channels and returns "
                         f"{ddconfig['out_ch']}: only RGB images can be loaded; choose another checkpoint.")
    if ddconfig["double_z"] == ("n_embed" in config):
        raise ValueError("The first stage of this checkpoint has neither a KL posterior (double_z) nor a VQ codebook "
                         "(quantize.embedding.weight): choose a checkpoint with a KL or VQ first stage.")
    return config


def count(weights: StateDict, pattern: str) -> int:
    """Number of distinct values of the group in `pattern` over the keys."""
    return len({match[1] for key in weights if (match := re.match(pattern, key))})


def check_weights(module: torch.nn.Module, weights: StateDict, part: str, exactly: bool = False) -> None:
    """Raises ValueError where `weights` do not fill `module` (which may be on the meta device).

    `exactly` refuses weights that `module` has no place for, too.
    """
    expected = module.state_dict()
    advice = "the file is incomplete or of another architecture; download it again or choose another."
    if missing := [key for key in expected if key not in weights]:
        raise ValueError(f"The {part} of this checkpoint lacks {len(missing)} weights, first {missing[0]}: {advice}")
    if exactly and (unknown := [key for key in weights if key not in expected]):
        raise ValueError(f"The {part} of this checkpoint has {len(unknown)} weights too many, first {unknown[0]}: "
                         f"{advice}")
    for key, tensor in expected.items():
        if weights[key].shape != tensor.shape:
            raise ValueError(f"The {part} of this checkpoint has {key} of shape {tuple(weights[key].shape)}, not "
                             f"{tuple(tensor.shape)}: {advice}")
