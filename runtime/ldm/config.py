"""What a state dict cannot tell: attention heads, noise schedule, scale factor; from metadata or a file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PARAMETERIZATIONS = ("eps", "v", "x0")


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

    @staticmethod
    def from_params(params: Mapping[str, Any]) -> LDMConfig:
        """From CompVis `model.params`, or from the same with the schedule in a mapping of its own (`schedule`)."""
        unet, first_stage = (inner_params(params, name) for name in ("unet_config", "first_stage_config"))
        values = {**params, **params.get("schedule", {}), **first_stage.get("ddconfig", {}), **unet}
        fields = LDMConfig.__dataclass_fields__
        config = LDMConfig(**{key: cast(key, values[key], fields[key].default) for key in fields if key in values})
        if config.parameterization not in PARAMETERIZATIONS:
            raise ValueError(f"The config of this checkpoint asks for parameterization {config.parameterization!r}: "
                             f"only {', '.join(PARAMETERIZATIONS)} can be sampled.")
        return config


def inner_params(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """`params[name]`, or its `params` where it is written as {target, params}."""
    config = params.get(name, {})
    return config.get("params", config)


def cast(key: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`: YAML reads 1e-4 as text."""
    try:
        return type(default)(value)
    except (TypeError, ValueError) as error:
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
            return LDMConfig.from_params(document.get("model", {}).get("params", document))
    if metadata and "unet_config" in metadata:
        keys = ("unet_config", "first_stage_config", "schedule", "scale_factor")
        return LDMConfig.from_params({key: json.loads(metadata[key]) for key in keys if key in metadata})
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
