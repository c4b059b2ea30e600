"""Sampling by ComfyUI alone, to compare with: no node of ours but the loader of the embedded prior."""

from __future__ import annotations

from .client import Workflow

EMBEDDED = "[embedded] hands64.safetensors"


def stock(seed: int, steps: int = 2) -> Workflow:
    """ComfyUI's own KSampler; its picture is saved by the node titled `save`."""
    text = {"positive": ["1", 2], "negative": ["1", 2]}
    settings = {"seed": seed, "steps": steps, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    return {
        "1": {"class_type": "PSLD_LoadLDM", "inputs": {"ckpt_name": EMBEDDED}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "3": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "latent_image": ["2", 0], "denoise": 1.0,
                                             **text, **settings}},
        "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["1", 1]}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "stock"},
              "_meta": {"title": "save"}},
    }  # fmt: skip
