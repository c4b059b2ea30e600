"""The real ComfyUI inside this process, with this pack loaded by its own loader: for benchmarks and tests.

Afterwards `import psld.operators` (and so on) names the very modules that ComfyUI loaded.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from . import ROOT, DevError
from .environment import comfyui_path


def boot(base: Path) -> None:
    """Loads ComfyUI, with models/, input/ and output/ below `base`, and the pack. Once a process, before other use.

    Raises DevError where there is no ComfyUI, or where it cannot load the pack.
    """
    comfyui = comfyui_path()
    if not (comfyui / "main.py").is_file():
        raise DevError(f"There is no ComfyUI in {comfyui}; set COMFYUI_PATH to a checkout, or run without --no-setup.")
    for folder in ("custom_nodes", "input", "output", "models/checkpoints"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    load_comfyui(comfyui, base)
    alias_pack()


def load_comfyui(comfyui: Path, base: Path) -> None:
    """Imports ComfyUI as its main.py does, on the CPU where there is no GPU."""
    import torch

    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]  # our nodes/ would shadow its nodes.py
    sys.path.insert(0, str(comfyui))
    from comfy.cli_args import args

    args.base_directory = str(base)
    args.cpu = not torch.cuda.is_available()

    import utils.extra_config  # noqa: F401  must precede nodes: both ComfyUI and some wheels have a `utils`

    import nodes

    async def load() -> bool:
        await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
        return await nodes.load_custom_node(str(ROOT))

    if not asyncio.run(load()):
        raise DevError("ComfyUI could not load this pack; its log says why.")


def alias_pack() -> None:
    """Lets this process import the pack's modules as `psld.*`: the same objects that ComfyUI holds, not copies."""
    loaded = str(ROOT).replace(".", "_x_")
    for name in [n for n in sys.modules if n == loaded or n.startswith(loaded + ".")]:
        sys.modules["psld" + name[len(loaded) :]] = sys.modules[name]
