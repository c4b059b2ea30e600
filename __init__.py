"""Inverse problems with latent diffusion, as ComfyUI nodes."""


async def comfy_entrypoint():
    """Entry point of the V3 node API; imports lazily so that tools may import this package without ComfyUI."""
    from .nodes import PSLDExtension

    return PSLDExtension()
