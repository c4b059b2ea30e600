"""Workers on the machines of a Ray cluster: the only code that talks to Ray, which nothing else needs.

Every machine has this checkout at the same path, set up, and Ray started from its `.venv`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

from . import ROOT, DevError
from .client import Workflow
from .worker import Lost

FORWARDED = ("COMFYUI_PATH", "OMP_NUM_THREADS")


class RemoteWorker:
    """A `Worker` in a process of its own somewhere in the cluster."""

    def __init__(self, ray, actor_class, workflow: Workflow) -> None:
        self.ray, self.actor = ray, actor_class.remote(workflow)
        self.ask(self.actor.ready.remote())

    def restore(self, name: str, content: bytes) -> dict[str, bytes]:
        """As `Worker.restore`; Lost also where the process or its machine is gone."""
        return self.ask(self.actor.restore.remote(name, content))

    def ask(self, answer):
        try:
            return self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            raise Lost(f"A worker of the cluster is gone ({type(error).__name__}).") from None

    def close(self) -> None:
        """Ends the process, and its server with it."""
        self.ray.kill(self.actor)


def workers(address: str, workflow: Workflow) -> list[Callable[[], RemoteWorker]]:
    """What makes a worker, for each GPU of the cluster, or for each machine where there are none."""
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise DevError(f"--ray: Ray is not installed; {sys.executable} -m pip install ray.") from None
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise DevError(f"--ray: there is no cluster at {address} ({error}); `ray start --head` makes one.") from None
    gpus, machines = int(ray.cluster_resources().get("GPU", 0)), sum(node["Alive"] for node in ray.nodes())
    environment = {name: os.environ[name] for name in FORWARDED if name in os.environ}

    @ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, scheduling_strategy="SPREAD")
    class Actor:
        def __init__(self, workflow: Workflow) -> None:
            os.environ.update(environment)
            sys.path.insert(0, str(ROOT))
            self.worker = importlib.import_module("devkit.worker").Worker(workflow)

        def ready(self) -> None:
            """Returns once the server is up."""

        def restore(self, name: str, content: bytes) -> dict[str, bytes]:
            return self.worker.restore(name, content)

    return [lambda: RemoteWorker(ray, Actor, workflow)] * (gpus or machines)
