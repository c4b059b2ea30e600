"""What the workflows need to know of the two priors they come for."""

from __future__ import annotations

from .litegraph import Node

PICTURE_SIZE = {"ldm": 64, "sd15": 512}  # pixels; what each prior was trained on
SD15 = "v1-5-pruned-emaonly-fp16.safetensors"
SD15_URL = f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{SD15}?download=true"
STEPS = 20
ADVICE = {
    "ldm": "The embedded prior knows hands at 64 pixels and nothing else.",
    "sd15": f"It needs the checkpoint **{SD15}**. Gradients through the VAE take memory: connect a small one, "
    "taesd, as draft_vae, or choose Proximal gluing.",
}


def prior_nodes(prior: str) -> dict[str, Node]:
    """The node "prior" (model 0, and the VAE as its last output), with a conditioning where the model takes one."""
    if prior == "ldm":
        return {"prior": Node("PSLD_LoadLDM", {"ckpt_name": "[embedded] hands64.safetensors"})}
    model = {"name": SD15, "url": SD15_URL, "directory": "checkpoints"}  # the frontend offers to download it
    text = {"text": "", "clip": ("prior", 1)}
    return {
        "prior": Node("CheckpointLoaderSimple", {"ckpt_name": SD15}, properties={"models": [model]}),
        "positive": Node("CLIPTextEncode", text, "positive (may describe the photo)"),
        "negative": Node("CLIPTextEncode", text, "negative (only used where cfg is not 1)"),
    }


def sampler(prior: str, measurement: tuple[str, int]) -> Node:
    """PSLD KSampler on the nodes of `prior_nodes`, with its defaults."""
    nodes = prior_nodes(prior)
    settings = {"seed": 0, "steps": STEPS, "cfg": 1.0, "scheduler": "auto"}
    settings |= {"gamma": -1.0, "omega": -1.0, "method": "Glued MAP", "keep_measured": True}
    settings |= {"candidates": 0, "result": "perceptual"}
    texts = {name: (name, 0) for name in ("positive", "negative") if name in nodes}
    links = {"model": ("prior", 0), "vae": vae(prior), "measurement": measurement}
    return Node("PSLD_KSampler", links | settings | texts)


def vae(prior: str) -> tuple[str, int]:
    """The VAE, as the input of another node."""
    return "prior", 1 if prior == "ldm" else 2
