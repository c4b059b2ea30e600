"""`python leash.py script.py arguments`: runs the script, which ends when whoever holds its standard input ends.

A parent that is killed cannot stop its children, and a server that nobody knows of keeps its memory and its GPU.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def follow() -> None:
    """Waits for the end of standard input, which comes with the parent's."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=follow, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
