"""A real ComfyUI server with this pack installed, in folders of its own: nothing is written into the checkout."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import ROOT, DevError
from .environment import HOME, comfyui_path, tail

PACK = "psld-restore"
LEASH = Path(__file__).with_name("leash.py")
START_TIMEOUT = 300  # seconds; the first start on a slow disk compiles every module


@dataclass(frozen=True)
class Server:
    """A running server: `address` is host:port, `log` holds what it prints."""

    address: str
    process: subprocess.Popen
    base: Path
    log: Path

    def get(self, path: str) -> object:
        """GET a JSON resource, past any proxy."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.address}{path}", timeout=30) as answer:
            return json.load(answer)


def prepare_base(base: Path, pack: str = PACK) -> None:
    """Makes ComfyUI's base directory: this pack as a custom node in a folder of that name, and empty folders."""
    for folder in ("custom_nodes", "input", "output", "user", "models/checkpoints"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / pack
    if not link.is_symlink() or link.resolve() != ROOT:
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)


def model_folders(comfyui: Path, base: Path) -> Path:
    """Writes an extra_model_paths file (JSON is YAML) that shows a checkout's own models to our base directory."""
    folders = sorted(p.name for p in (comfyui / "models").glob("*") if p.is_dir())
    paths = {"base_path": str(comfyui / "models"), **{name: name for name in folders}}
    file = base / "extra_model_paths.yaml"
    file.write_text(json.dumps({"checkout": paths}, indent=2))
    return file


def command(comfyui: Path, base: Path, port: int, python: str) -> list[str]:
    """The command line of a private server on the loopback interface."""
    import torch

    arguments = [python, str(LEASH), str(comfyui / "main.py"), "--listen", "127.0.0.1", "--port", str(port)]
    arguments += ["--base-directory", str(base), "--extra-model-paths-config", str(model_folders(comfyui, base))]
    arguments += ["--database-url", "sqlite:///:memory:"]  # the default lies in the checkout
    arguments += ["--disable-auto-launch", "--disable-api-nodes", "--preview-method", "auto"]
    return arguments if torch.cuda.is_available() else [*arguments, "--cpu"]


def environment(comfyui: Path | None = None) -> dict[str, str]:
    """The environment of the server and of the tests.

    Byte code goes to a folder of ours, which also keeps the checkout as it is; that of installed packages is not looked
    for elsewhere then, so it has to be written: without it a start takes 17 seconds of a processor instead of 6. OpenMP
    threads sleep when they wait: if they spin, the default, one other busy process makes every small convolution some
    30 times slower.
    """
    ours = {"COMFYUI_PATH": str(comfyui or comfyui_path()), "PYTHONUNBUFFERED": "1"}
    ours |= {"PYTHONPYCACHEPREFIX": str(HOME / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **ours}


def free_port() -> int:
    """A TCP port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def comfyui_server(
    base: Path = HOME / "base", port: int | None = None, pack: str = PACK,
    comfyui: Path | None = None, python: str = sys.executable,
) -> Iterator[Server]:  # fmt: skip
    """Starts ComfyUI, waits until it answers and has our nodes, and stops it whatever happens.

    Another checkout than the one in use, and another Python, may be given.
    Raises DevError with the end of the server's log when it does not start or could not load the pack.
    """
    comfyui, log = comfyui or comfyui_path(), base / (f"server-{port}.log" if port else "server.log")
    port = port or free_port()
    if not (comfyui / "main.py").is_file():
        raise DevError(f"There is no ComfyUI in {comfyui}; set COMFYUI_PATH to a checkout, or run without --no-setup.")
    prepare_base(base, pack)
    with log.open("w") as output:
        process = subprocess.Popen(
            command(comfyui, base, port, python), cwd=base, env=environment(comfyui), stdin=subprocess.PIPE,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,  # Ctrl-C is ours to pass on
        )  # fmt: skip
    try:
        server = Server(f"127.0.0.1:{port}", process, base, log)
        wait_until_ready(server)
        yield server
    finally:
        stop(process)


def wait_until_ready(server: Server) -> None:
    """Returns once the server answers with at least one of our nodes."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        if server.process.poll() is not None:
            raise failure(server, f"ComfyUI ended with exit code {server.process.returncode} while starting")
        if time.monotonic() > deadline:
            raise failure(server, f"ComfyUI did not answer within {START_TIMEOUT} s")
        try:
            nodes = server.get("/object_info")
        except OSError:
            time.sleep(0.2)
            continue
        if not any(name.startswith("PSLD_") for name in nodes):
            reasons = [line for line in server.log.read_text(errors="replace").splitlines() if PACK in line]
            lines = "\n    ".join([f"ComfyUI runs, but could not load this pack's nodes; from {server.log}:", *reasons])
            raise DevError(lines)
        return


def failure(server: Server, sentence: str) -> DevError:
    """The error for a server that is of no use, with the end of its log."""
    return DevError(f"{sentence}; the end of {server.log}:\n{tail(server.log)}")


def stop(process: subprocess.Popen) -> None:
    """Ends the server: politely, then by force."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
