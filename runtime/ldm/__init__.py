"""CompVis latent-diffusion checkpoints (unconditional, KL or VQ first stage) as a ComfyUI MODEL and VAE."""

from .loader import load_ldm

__all__ = ["load_ldm"]
