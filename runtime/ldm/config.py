"""What a state dict cannot tell: attention heads, noise schedule, scale factor; from metadata or a file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PARAMETERIZATIONS = ("eps", "v", "x0")
BETA_SCHEDULES = ("linear", "cosine", "squaredcos_cap_v2", "sqrt_linear", "sqrt")  # ComfyUI's
LIMITS = {"timesteps": (1, 100_000), "linear_start": (1e-9, 0.999), "linear_end": (1e-9, 0.999),
          "scale_factor": (1e-6, 1e6)}  # fmt: skip


@dataclass(frozen=True)
class LDMConfig:
    """The settings of CompVis's `LatentDiffusion` that are not in its weights, with the repository's defaults."""

    num_heads: int = -1
    num_head_channels: int = -1
    use_new_attention_order: bool = False
    beta_schedule: str = "linear"
    linear_start: float = 1e-4
    linear_end: float = 2e-2
    timesteps: int = 1000
    parameterization: str = "eps"
    scale_factor: float = 1.0
    tanh_out: bool = False
    image_size: int = 64
    """Latents along the side of the pictures that it was trained on."""

    @staticmethod
    def from_params(params: Mapping[str, Any]) -> LDMConfig:
        """From CompVis `model.params`, or from the same with the schedule in a mapping of its own (`schedule`)."""
        unet, first_stage = (inner_params(params, name) for name in ("unet_config", "first_stage_config"))
        values = {**params, **part(params, "schedule"), **part(first_stage, "ddconfig"), **unet}
        fields = LDMConfig.__dataclass_fields__
        config = LDMConfig(**{key: cast(key, values[key], fields[key].default) for key in fields if key in values})
        for name, known in (("parameterization", PARAMETERIZATIONS), ("beta_schedule", BETA_SCHEDULES)):
            if (value := getattr(config, name)) not in known:
                raise ValueError(f"The config of this checkpoint asks for {name} {value!r}: only {', '.join(known)} "
                                 "can be sampled.")
        for name in LIMITS:
            check_limits(name, getattr(config, name))
        return config


def part(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """`params[name]`, which has to be a mapping where it is there."""
    found = params.get(name, {})
    if not isinstance(found, Mapping):
        raise ValueError(f"The config of this checkpoint has {name} = {str(found)[:40]!r}: it must hold a mapping "
                         "there as CompVis's configs do.")
    return found


def inner_params(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """`params[name]`, or its `params` where it is written as {target, params}."""
    config = part(params, name)
    return part(config, "params") if "params" in config else config


def check_limits(name: str, value: float) -> None:
    """Raises ValueError for a number with which there is no noise schedule, or no latent."""
    low, high = LIMITS[name]
    if not low <= value <= high:  # NaN too
        raise ValueError(f"The config of this checkpoint has {name} = {value}: give a number from {low:g} to {high:g}.")


def cast(key: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`: YAML reads 1e-4 as text."""
    try:
        return type(default)(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"The config of this checkpoint has {key} = {value!r}: give a number as in "
                         f"{key}: {default}.") from error


def read_config(path: Path, metadata: Mapping[str, str] | None) -> LDMConfig | None:
    """Config of the checkpoint at `path`: of the file beside it, else of its safetensors metadata, else None.

    Beside it: `<name>.yaml` or `<name>.json`, or `config.yaml` for a file called `model.*` as CompVis ships them.
    """
    beside = [path.with_suffix(suffix) for suffix in (".yaml", ".json")]
    if path.stem == "model":
        beside.append(path.with_name("config.yaml"))
    for file in beside:
        if file.is_file():
            document = read_mapping(file)
            model = part(document, "model")
            return LDMConfig.from_params(part(model, "params") if "params" in model else document)
    if metadata and "unet_config" in metadata:
        keys = ("unet_config", "first_stage_config", "schedule", "scale_factor")
        try:
            values = {key: json.loads(metadata[key]) for key in keys if key in metadata}
        except ValueError as error:
            raise ValueError(f"The config in the metadata of {path.name} is not JSON ({error}): download it again, or "
                             "put its CompVis config beside it.") from error
        return LDMConfig.from_params(values)
    return None


def read_mapping(file: Path) -> Mapping[str, Any]:
    """The mapping in a YAML or JSON file (JSON is YAML)."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The config {file.name} beside the checkpoint cannot be read: {error}") from error
    if not isinstance(document, Mapping):
        raise ValueError(f"The config {file.name} beside the checkpoint must hold a mapping as CompVis's configs do.")
    return document
