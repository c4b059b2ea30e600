"""Boots the real ComfyUI once and loads this pack through its own loader.

Afterwards `import psld.operators` (and so on) names the very modules that ComfyUI loaded.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui" / "ComfyUI"))


def boot_comfyui(base_directory: str) -> None:
    """Imports ComfyUI as its main.py does, with folders of its own and on the CPU where there is no GPU."""
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]  # our nodes/ would shadow its nodes.py
    sys.path.insert(0, str(COMFYUI))
    from comfy.cli_args import args

    args.base_directory = base_directory
    args.cpu = not torch.cuda.is_available()

    import utils.extra_config  # noqa: F401  must precede nodes: both ComfyUI and some wheels have a `utils`

    import nodes

    async def load() -> None:
        await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
        assert await nodes.load_custom_node(str(ROOT)), "ComfyUI could not load this pack"

    asyncio.run(load())


def alias_pack() -> None:
    """Lets tests import the pack's modules as `psld.*`: the same objects that ComfyUI holds, not a second copy."""
    loaded = str(ROOT).replace(".", "_x_")
    for name in [n for n in sys.modules if n == loaded or n.startswith(loaded + ".")]:
        sys.modules["psld" + name[len(loaded) :]] = sys.modules[name]


BASE = tempfile.TemporaryDirectory(prefix="psld-comfyui-")
for folder in ("custom_nodes", "input", "output", "models/checkpoints"):
    (Path(BASE.name) / folder).mkdir(parents=True)
boot_comfyui(BASE.name)
alias_pack()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random numbers, alone or after others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def comfy_base() -> Path:
    """ComfyUI's base directory (models/, input/, output/) of this test session."""
    return Path(BASE.name)


@pytest.fixture(scope="session")
def executor():
    """ComfyUI's own PromptExecutor on its own (idle) server object."""
    import execution
    import server

    loop = asyncio.new_event_loop()
    return execution.PromptExecutor(server.PromptServer(loop), cache_args={"lru": 0, "ram": 0})  # as main.py


@pytest.fixture
def run_prompt(executor):
    """Runs an API-format prompt as the server would, and returns {node id: its output values}.

    Raises Failed with what ComfyUI would show the user. Models stay cached from one prompt to the next.
    """
    import execution
    from psld.tests.prompts import Failed

    def run(prompt: dict) -> dict[str, list]:
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
        if not valid:
            raise Failed(f"{error} {node_errors}")
        executor.execute(prompt, "test", {}, outputs)
        if not executor.success:
            event, data = executor.status_messages[-1]
            raise Failed(data.get("exception_message", event))
        entries = {node: executor.caches.outputs.get(node) for node in prompt}
        return {node: [slot[0] for slot in entry.outputs] for node, entry in entries.items() if entry is not None}

    return run
