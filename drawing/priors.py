"""What the workflows need to know of the priors they come for, in one place."""

from __future__ import annotations

from typing import NamedTuple

from .litegraph import Node

FILES = "https://huggingface.co/{}/resolve/main/{}?download=true"


class Prior(NamedTuple):
    """A model that restores: `words` end the titles of its workflows, `size` in pixels is what it was trained on.

    `file` lies in models/checkpoints and comes from the `repository` of Hugging Face; embedded ones come with the pack.
    """

    words: str
    size: int
    file: str
    repository: str = ""

    @property
    def embedded(self) -> bool:
        """Whether it comes with the pack."""
        return not self.repository


PRIORS = {
    "ldm": Prior("no download", 64, "[embedded] hands64.safetensors"),
    "sd15": Prior(
        "SD 1.5", 512, "v1-5-pruned-emaonly-fp16.safetensors", "Comfy-Org/stable-diffusion-v1-5-archive"
    ),
    "sdxl": Prior("SDXL", 1024, "sd_xl_base_1.0.safetensors", "stabilityai/stable-diffusion-xl-base-1.0"),
}
KNOWS = "The embedded prior knows hands at 64 pixels and nothing else: for other photos take SD 1.5 or SDXL."
MEMORY = "Short of GPU memory? Connect a small VAE (**taesd** for SD 1.5, **taesdxl** for SDXL) as draft_vae."


def advice(prior: str) -> str:
    """What to know of a prior."""
    if PRIORS[prior].embedded:
        return KNOWS
    return f"It needs the checkpoint **{PRIORS[prior].file}**. {MEMORY}"


def loader(prior: str) -> Node:
    """The node that loads it; ComfyUI offers to download a checkpoint."""
    about = PRIORS[prior]
    if about.embedded:
        return Node("PSLD_LoadLDM", {"ckpt_name": about.file})
    url = FILES.format(about.repository, about.file)
    model = {"name": about.file, "url": url, "directory": "checkpoints"}
    return Node("CheckpointLoaderSimple", {"ckpt_name": about.file}, properties={"models": [model]})


def vae(prior: str) -> tuple[str, int]:
    """The VAE of the node "prior", as the input of another node."""
    return "prior", 1 if PRIORS[prior].embedded else 2


def texts(prior: str) -> dict[str, Node]:
    """The nodes "positive" and "negative", folded, where the model takes a text."""
    if PRIORS[prior].embedded:
        return {}
    text = {"text": "", "clip": ("prior", 1)}
    return {
        "positive": Node("CLIPTextEncode", text, "positive (may describe the photo)", folded=True),
        "negative": Node("CLIPTextEncode", text, "negative (only where cfg is not 1)", folded=True),
    }


def conditionings(prior: str) -> dict[str, tuple[str, int]]:
    """The inputs "positive" and "negative" of a sampler."""
    return {name: (name, 0) for name in texts(prior)}


def sampler(prior: str, **changes: float | int | str) -> Node:
    """PSLD KSampler on the nodes "prior" and "measure", with its defaults but for `changes`."""
    links = {"model": ("prior", 0), "vae": vae(prior), "measurement": ("measure", 0)}
    return Node("PSLD_KSampler", links | changes | conditionings(prior))
