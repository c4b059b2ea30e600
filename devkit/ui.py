"""`dev.py ui`: the demo's ComfyUI, to be used by hand."""

from __future__ import annotations

import argparse
import socket

from . import DevError
from .server import PACK, comfyui_server


def main(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or until the server ends by itself."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", args.port)) == 0:
            raise DevError(f"Something already listens on port {args.port}; choose another one with --port.")
    print("starting ComfyUI ...", flush=True)
    with comfyui_server(port=args.port) as server:
        print(f"ComfyUI is at http://{server.address} (log: {server.log})")
        print(f"Our workflows are under Workflow > Browse Templates > Extensions > {PACK}.")
        print(f"Checkpoints go to {server.base / 'models' / 'checkpoints'}; Ctrl-C stops.", flush=True)
        try:
            return server.process.wait()
        except KeyboardInterrupt:
            print()
            return 0
