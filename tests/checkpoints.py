"""Checkpoints of real architectures with seeded random weights, for tests that cannot have the real ones.

Use after ComfyUI has been booted (tests/conftest.py does): `from psld.tests.checkpoints import write_sd15`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch

Shapes = dict[str, tuple[int, ...]]

SD15_UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4], "num_heads": 8, "use_spatial_transformer": True, "context_dim": 768,
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}  # fmt: skip
SD15_VAE = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
    "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
FFHQ256 = {  # CompVis/latent-diffusion, models/ldm/ffhq256/config.yaml
    "linear_start": 0.0015, "linear_end": 0.0195, "timesteps": 1000,
    "unet_config": {"params": {
        "image_size": 64, "in_channels": 3, "out_channels": 3, "model_channels": 224,
        "attention_resolutions": [8, 4, 2], "num_res_blocks": 2, "channel_mult": [1, 2, 3, 4], "num_head_channels": 32,
    }},
    "first_stage_config": {"params": {"embed_dim": 3, "n_embed": 8192, "ddconfig": {
        "double_z": False, "z_channels": 3, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
        "ch_mult": [1, 2, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
    }}},
}  # fmt: skip


def write_sd15(folder: Path, seed: int = 0) -> Path:
    """`v1-5-pruned-emaonly-fp16.safetensors` (2 GB) in `folder`: the real keys and shapes, random fp16 weights.

    Takes seconds; a file already there with the same seed stays. For CheckpointLoaderSimple.
    """
    file = Path(folder) / "v1-5-pruned-emaonly-fp16.safetensors"
    stamp = {"stamp": f"random sd15, version 1, seed {seed}"}
    if not has_metadata(file, stamp):
        weights = random_weights(sd15_shapes(), seed)
        weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
        safetensors.torch.save_file(weights, file, metadata=stamp)
    return file


def write_ldm(file: Path, config: Mapping = FFHQ256, seed: int = 0, dtype: torch.dtype = torch.float16) -> Path:
    """LDM checkpoint of CompVis `model.params` `config` at `file`, random weights; FFHQ-256 takes 0.7 GB and seconds.

    `.safetensors` carries its config as metadata; `.ckpt` holds what PyTorch Lightning writes, and the config lies
    beside it as `.yaml`.
    """
    weights = random_weights(ldm_shapes(config), seed, dtype)
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(weights, file, metadata={key: json.dumps(config[key]) for key in config})
    else:
        torch.save({"state_dict": weights, "epoch": 1, "global_step": 1, "callbacks": {}}, file)
        file.with_suffix(".yaml").write_text(json.dumps({"model": {"params": config}}))
    return file


def has_metadata(file: Path, metadata: Mapping[str, str]) -> bool:
    """Whether `file` is a safetensors file with this metadata."""
    if not file.is_file():
        return False
    with safetensors.safe_open(file, framework="pt") as opened:
        return opened.metadata() == metadata


def random_weights(shapes: Shapes, seed: int, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """Weights of these shapes in the range of PyTorch's own initialisation; no layer is zero, norms are near one.

    Windows of one pool of noise: a billion fresh random numbers would take half a minute.
    """
    generator = torch.Generator().manual_seed(seed)
    largest = max(map(math.prod, shapes.values()))
    pool = torch.empty(2 * largest + 1, dtype=dtype).uniform_(-1, 1, generator=generator)
    weights = {}
    for key, shape in shapes.items():
        size = math.prod(shape)
        start = int(torch.randint(pool.numel() - size, (), generator=generator))
        noise = pool[start : start + size].reshape(shape)
        if "embedding.weight" in key:
            weights[key] = noise * (1.0 if "quantize" in key else 0.03)
        elif len(shape) > 1:
            weights[key] = noise / math.sqrt(math.prod(shape[1:]))
        else:
            weights[key] = noise * 0.05 + (1 if key.endswith("weight") else 0)
    return weights


def sd15_shapes() -> Shapes:
    """Keys and shapes of Stable Diffusion 1.5, of ComfyUI's own modules."""
    import comfy.clip_model
    import comfy.ops
    import comfy.sd1_clip
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    clip_config = json.loads(Path(comfy.sd1_clip.__file__).with_name("sd1_clip_config.json").read_text())
    with torch.device("meta"):
        modules = {
            "model.diffusion_model.": UNetModel(**SD15_UNET),
            "first_stage_model.": AutoencoderKL(embed_dim=4, ddconfig=SD15_VAE),
            "cond_stage_model.transformer.": comfy.clip_model.CLIPTextModel(
                clip_config, torch.float32, "meta", comfy.ops.disable_weight_init
            ),
        }
    shapes = {
        prefix + key: tuple(tensor.shape)
        for prefix, module in modules.items()
        for key, tensor in module.state_dict().items()
    }
    del shapes["cond_stage_model.transformer.text_projection.weight"]  # the real file has none
    return shapes


def ldm_shapes(config: Mapping) -> Shapes:
    """Keys and shapes of a CompVis LDM, written down from the repository's layout and not from this pack's modules."""
    stage = config["first_stage_config"]["params"]
    shapes = {"model.diffusion_model." + key: shape for key, shape in unet_shapes(config["unet_config"]["params"])}
    return shapes | {"first_stage_model." + key: shape for key, shape in first_stage_shapes(stage)}


def conv(key: str, inputs: int, outputs: int, *kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Weight and bias of a convolution, or of a linear layer where there is no kernel."""
    yield f"{key}.weight", (outputs, inputs, *kernel)
    yield f"{key}.bias", (outputs,)


def norm(key: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{key}.weight", (channels,)
    yield f"{key}.bias", (channels,)


def unet_shapes(config: Mapping) -> Iterator[tuple[str, tuple[int, ...]]]:
    """CompVis `UNetModel` (ldm/modules/diffusionmodules/openaimodel.py) with attention blocks."""
    width, depth, mult = config["model_channels"], config["num_res_blocks"], config["channel_mult"]
    updown = config.get("resblock_updown", False)

    def residual(key: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from norm(f"{key}.in_layers.0", inputs)
        yield from conv(f"{key}.in_layers.2", inputs, outputs, 3, 3)
        yield from conv(f"{key}.emb_layers.1", 4 * width, outputs * (1 + config.get("use_scale_shift_norm", False)))
        yield from norm(f"{key}.out_layers.0", outputs)
        yield from conv(f"{key}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            yield from conv(f"{key}.skip_connection", inputs, outputs, 1, 1)

    def attention(key: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from norm(f"{key}.norm", channels)
        yield from conv(f"{key}.qkv", channels, 3 * channels, 1)
        yield from conv(f"{key}.proj_out", channels, channels, 1)

    yield from conv("time_embed.0", width, 4 * width)
    yield from conv("time_embed.2", 4 * width, 4 * width)
    yield from conv("input_blocks.0.0", config["in_channels"], width, 3, 3)
    skips, channels, block = [width], width, 1
    for level, multiplier in enumerate(mult):
        for _ in range(depth):
            yield from residual(f"input_blocks.{block}.0", channels, multiplier * width)
            channels = multiplier * width
            if 2**level in config["attention_resolutions"]:
                yield from attention(f"input_blocks.{block}.1", channels)
            skips.append(channels)
            block += 1
        if level < len(mult) - 1:
            if updown:
                yield from residual(f"input_blocks.{block}.0", channels, channels)
            else:
                yield from conv(f"input_blocks.{block}.0.op", channels, channels, 3, 3)
            skips.append(channels)
            block += 1
    yield from residual("middle_block.0", channels, channels)
    yield from attention("middle_block.1", channels)
    yield from residual("middle_block.2", channels, channels)
    block = 0
    for level, multiplier in reversed(list(enumerate(mult))):
        for i in range(depth + 1):
            yield from residual(f"output_blocks.{block}.0", channels + skips.pop(), multiplier * width)
            channels = multiplier * width
            attend = 2**level in config["attention_resolutions"]
            if attend:
                yield from attention(f"output_blocks.{block}.1", channels)
            if level and i == depth:
                up = f"output_blocks.{block}.{1 + attend}"
                yield from residual(up, channels, channels) if updown else conv(up + ".conv", channels, channels, 3, 3)
            block += 1
    yield from norm("out.0", channels)
    yield from conv("out.2", channels, config["out_channels"], 3, 3)


def first_stage_shapes(stage: Mapping) -> Iterator[tuple[str, tuple[int, ...]]]:
    """CompVis `AutoencoderKL` and `VQModelInterface`: the shapes of ComfyUI's autoencoder, and the codebook; or TAESD.
    """
    if "ddconfig" not in stage:
        yield from tiny_shapes(**stage)
        return
    from comfy.ldm.models.autoencoder import AutoencoderKL

    with torch.device("meta"):
        model = AutoencoderKL(embed_dim=stage["embed_dim"], ddconfig=stage["ddconfig"])
    yield from ((key, tuple(tensor.shape)) for key, tensor in model.state_dict().items())
    if "n_embed" in stage:
        yield "quantize.embedding.weight", (stage["n_embed"], stage["embed_dim"])


def tiny_shapes(embed_dim: int, width: int, pooled: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """madebyollin/taesd: `Encoder(embed_dim, pooled)` and `Decoder(embed_dim, pooled)`, of any width."""

    def block(key: str, pool: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
        for layer in (0, 2, 4):
            yield from conv(f"{key}.conv.{layer}", width, width, 3, 3)
        if pool:
            yield f"{key}.pool.0.weight", (4 * width, width, 1, 1)
            yield from norm(f"{key}.pool.1", 4 * width)
            yield f"{key}.pool.3.weight", (width, 4 * width, 1, 1)

    yield from conv("encoder.0", 3, width, 3, 3)
    yield from conv("encoder.14", width, embed_dim, 3, 3)
    for i in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13):
        yield from block(f"encoder.{i}", pooled and i > 10)
    yield from conv("decoder.1", embed_dim, width, 3, 3)
    yield from conv("decoder.19", width, 3, 3, 3)
    for i in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        yield from block(f"decoder.{i}", pooled and i < 6)
    for key in ("encoder.2", "encoder.6", "encoder.10", "decoder.7", "decoder.12", "decoder.17"):
        yield f"{key}.weight", (width, width, 3, 3)
