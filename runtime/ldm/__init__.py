"""CompVis latent-diffusion checkpoints (unconditional; KL, VQ or TAESD-like first stage) as a ComfyUI MODEL and VAE."""

from .loader import load_ldm
from .model import LDMModel

__all__ = ["LDMModel", "load_ldm"]
