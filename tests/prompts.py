"""Prompts in API format, what a test may expect of them, and nodes called one by one."""

import torch

import nodes


class Failed(Exception):
    """A prompt that ComfyUI refused, or whose run ended in an error or a cancel."""


def node(class_type: str, **inputs) -> dict:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def call(name: str, **inputs) -> list:
    """Outputs of one of the pack's nodes, called directly as the executor would."""
    with torch.inference_mode():
        return list(nodes.NODE_CLASS_MAPPINGS[f"PSLD_{name}"].execute(**inputs).args)
