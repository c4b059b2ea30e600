"""Inverse problems with latent diffusion, as ComfyUI nodes."""

import logging
import re

WEB_DIRECTORY = "./web"  # found under any folder name, where pyproject's `web` is found under the project's alone
NEEDED = (0, 3, 64)


def version_of_comfyui() -> str:
    """Of the ComfyUI around us; the one that is needed where there is none, as for our tools."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return ".".join(map(str, NEEDED))
    return __version__


if tuple(map(int, re.findall(r"\d+", version_of_comfyui())[:3])) < NEEDED:
    logging.error("PSLD needs ComfyUI %d.%d.%d or newer, and this is %s: update it.", *NEEDED, version_of_comfyui())
    NODE_CLASS_MAPPINGS = {}  # ComfyUI then looks no further


async def comfy_entrypoint():
    """Entry point of the V3 node API; imports lazily so that tools may import this package without ComfyUI."""
    from .nodes import PSLDExtension
    from .runtime.samples import offer_samples
    from .runtime.web_files import offer_files

    offer_samples()
    offer_files()
    return PSLDExtension()
