"""Boots the real ComfyUI once and loads this pack through its own loader.

Afterwards `import psld.operators` (and so on) names the very modules that ComfyUI loaded.
"""

import asyncio
import gc
import inspect
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # until ComfyUI takes its place
from devkit import inprocess  # noqa: E402

BASE = tempfile.TemporaryDirectory(prefix="psld-comfyui-")
LONGEST = (
    "test_restore_photo", "test_browser", "test_sd15", "test_training", "test_bridge", "test_server", "test_properties",
    "test_workflows", "test_faults", "test_estimate_blur", "test_people", "test_bench", "test_nodes",
)  # fmt: skip
"""First, or one process ends alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Boots ComfyUI where tests will run: the process that only hands them out needs none, nor torch."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        inprocess.boot(Path(BASE.name))
        from comfy.cli_args import args

        args.deterministic = True  # with which a seed gives the same bits on a GPU


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, the others as they come."""
    items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))


def pytest_collection_finish() -> None:
    """What is imported stays: else each collection looks through its half million objects again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random numbers, alone or after others."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="module")
def single_thread():
    """Small tensors: threads cost more than they give, most of all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    cache = {"lru": 0, "ram": 0, "ram_inactive": 0}  # as main.py; the last is newer than 0.3.75
    return execution.PromptExecutor(server.PromptServer(loop), cache_args=cache)


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
        if any(map(inspect.isawaitable, entries.values())):  # in newer versions
            entries = {node: asyncio.run(entry) for node, entry in entries.items()}
        return {node: [slot[0] for slot in entry.outputs] for node, entry in entries.items() if entry is not None}

    return run
