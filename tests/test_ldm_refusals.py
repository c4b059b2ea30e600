"""What Load Latent Diffusion (LDM) refuses, and the sentence it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from psld.runtime.ldm import load_ldm
from psld.tests.ldm import (
    SMALL,
    STAGE,
    UNET,
    change,
    save,
    small_weights,
)


def rename(weights: dict, old: str, new: str) -> dict:
    return {key.replace(old, new): tensor for key, tensor in weights.items()}


def without(weights: dict, part: str) -> dict:
    return {key: tensor for key, tensor in weights.items() if part not in key}


CROSS = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
REFUSALS = {
    "not a latent diffusion checkpoint": lambda w: rename(w, UNET, "unet."),
    "use the Load Checkpoint node": lambda w: w | {
        CROSS: torch.zeros(4, 4), "cond_stage_model.transformer.text_model.final_layer_norm.bias": torch.zeros(4)},
    "has cross-attention": lambda w: w | {CROSS: torch.zeros(4, 4)},
    "class-conditional": lambda w: w | {UNET + "label_emb.weight": torch.zeros(10, 128)},
    r"by concatenation \(its U-Net takes 7": lambda w: w | {
        UNET + "input_blocks.0.0.weight": torch.zeros(32, 7, 3, 3)},
    "neither CompVis's AutoencoderKL nor its VQModel": lambda w: without(w, STAGE),
    "neither a KL posterior": lambda w: w | {STAGE + "encoder.conv_out.weight": torch.zeros(4, 64, 3, 3)},
    "takes 1 channels and returns 3": lambda w: w | {STAGE + "encoder.conv_in.weight": torch.zeros(32, 1, 3, 3)},
    "U-Net of this checkpoint lacks 1 weights, first out.0.bias": lambda w: without(w, UNET + "out.0.bias"),
    "U-Net of this checkpoint has 1 weights too many, first id_predictor": lambda w: w | {
        UNET + "id_predictor.0.weight": torch.zeros(4)},
    r"has time_embed.2.bias of shape \(5,\), not \(128,\)": lambda w: w | {UNET + "time_embed.2.bias": torch.zeros(5)},
    "first stage of this checkpoint lacks 4 weights, first encoder.mid.attn_1": lambda w: without(
        without(w, "encoder.mid.attn_1.q"), "encoder.mid.attn_1.k"),
    "levels of different depth": lambda w: without(w, UNET + "output_blocks.3."),
    "works on 4 channels but its first stage makes 3": lambda w: w | {
        STAGE + "post_quant_conv.weight": torch.zeros(4, 3, 1, 1)},
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSALS)
def test_refuses_weights_of_another_kind(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load_ldm(save(tmp_path, REFUSALS[message](small_weights())))


@pytest.mark.parametrize(("config", "message"), [
    (None, "put its CompVis config beside it, named small.yaml"),
    (SMALL | {"parameterization": "score"}, "parameterization 'score'"),
    (SMALL | {"linear_end": "much"}, "linear_end = 'much'"),
    (change(SMALL, num_head_channels=24), "which do not divide its 64 channels"),
    (change(SMALL, num_head_channels=-1), "num_heads -1 and num_head_channels -1"),
])  # fmt: skip
def test_refuses_a_bad_config(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        load_ldm(save(tmp_path, small_weights(), config))


@pytest.mark.parametrize(("text", "message"), [("a: [", "small.yaml .* cannot be read"), ("- 1", "hold a mapping")])
def test_refuses_an_unreadable_config(tmp_path, text, message):
    file = save(tmp_path, small_weights())
    file.with_suffix(".yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_ldm(file)


def test_refuses_a_pickle_with_more_than_weights(tmp_path):
    torch.save({"state_dict": small_weights(), "callbacks": Path("/")}, tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match="old.ckpt holds more than weights .* convert it to .safetensors"):
        load_ldm(tmp_path / "old.ckpt")


def test_refuses_a_broken_download(tmp_path):
    file = save(tmp_path, small_weights())
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="small.safetensors cannot be read .* download it again"):
        load_ldm(file)
    (tmp_path / "empty.ckpt").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="empty.ckpt"):
        load_ldm(tmp_path / "empty.ckpt")
